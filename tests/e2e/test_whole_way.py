"""A person on the web chat and an advocate in the console, both in real Chromium, and everything between them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.running import Gateway, running, until

pytestmark = pytest.mark.slow
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SHOTS = Path(__file__).parents[2] / "var" / "screenshots"
PHONE = {"width": 360, "height": 740}
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def gateway(database_url: str, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(database_url, tmp_path)
    for name in ("nour", "sacha"):
        made.account(name, "advocate", PASSWORD)
    with running(made):
        yield made


def open_page(browser: Browser, **options: object) -> Page:
    page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(15_000)
    return page


def log_in(page: Page, gateway: Gateway, name: str = "nour") -> None:
    page.goto(f"{gateway.base}/console")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Queue", exact=True)).to_be_visible()


def write(page: Page, text: str) -> None:
    page.locator("#text").fill(text)
    page.locator("#text").press("Enter")


def shoot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_person_writes_and_an_advocate_answers(browser: Browser, gateway: Gateway) -> None:
    advocate = open_page(browser)
    log_in(advocate, gateway)
    expect(advocate.get_by_text("Nobody is waiting.")).to_be_visible()
    assert_accessible(advocate)

    person = open_page(browser, viewport=PHONE)
    person.goto(f"{gateway.base}/chat?lang=en")
    assert_accessible(person)
    write(person, "my boss keeps my passport and he locked the door, i cant go out")
    log = person.get_by_role("log")
    expect(log).to_contain_text("a person from our team")

    # the handoff appears without reloading
    accept = advocate.get_by_role("button", name="Accept")
    expect(accept).to_be_visible(timeout=5_000)
    expect(advocate.locator("#queue")).to_contain_text("my boss keeps my passport")
    shoot(advocate, "queue")
    assert_accessible(advocate)
    accept.click()

    advocate.get_by_role("textbox", name="Message").fill("Hello, I am here. Is it safe to write now?")
    advocate.get_by_role("button", name="Send").click()
    expect(log).to_contain_text("Is it safe to write now?")
    write(person, "yes for ten minutes")
    expect(advocate.locator("#messages")).to_contain_text("yes for ten minutes")
    shoot(person, "chat")
    shoot(advocate, "conversation")
    assert_accessible(advocate)
    assert_accessible(person)
    assert person.get_by_role("log").inner_text().count("Is it safe to write now?") == 1

    # the assistant stays silent while the advocate is there
    write(person, "what are my rights?")
    expect(advocate.locator("#messages")).to_contain_text("what are my rights?")
    assert gateway.log()[-1]["direction"] == "in"

    advocate.locator("input[name=classification][value=trafficking_labour]").check()
    advocate.get_by_role("button", name="Close conversation").click()
    expect(advocate.get_by_text("You have no open conversation.")).to_be_visible()


def test_exactly_one_of_two_advocates_accepts_and_the_other_is_told(browser: Browser, gateway: Gateway) -> None:
    first, second = open_page(browser), open_page(browser)
    log_in(first, gateway, "nour")
    log_in(second, gateway, "sacha")
    assert gateway.sms("mon patron garde mon passeport", sid="SM1").status_code == 200
    expect(first.get_by_role("button", name="Accept")).to_be_visible(timeout=5_000)
    expect(second.get_by_role("button", name="Accept")).to_be_visible(timeout=5_000)
    second_form = second.locator("form[action$='/accept']").first.get_attribute("action")
    csrf = second.locator("form[action$='/accept'] input[name=csrf]").first.get_attribute("value")
    first.get_by_role("button", name="Accept").click()
    expect(first.get_by_role("textbox", name="Message")).to_be_visible()
    answer = second.request.post(f"{gateway.base}{second_form}", form={"csrf": csrf or ""})
    assert answer.status == 409
    assert "Nour" in answer.text()
    first.get_by_role("textbox", name="Message").fill("Bonjour, je suis là.")
    first.get_by_role("button", name="Send").click()
    until(lambda: "Bonjour, je suis là." in gateway.phone(), what="the SMS")


@pytest.mark.parametrize("language", ["en", "fr", "ar", "zh-Hant", "pa"])
def test_the_chat_page_in_its_languages(browser: Browser, gateway: Gateway, language: str) -> None:
    page = open_page(browser, viewport=PHONE, color_scheme="dark" if language == "fr" else "light")
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"{gateway.base}/chat?lang={language}")
    assert page.locator("html").get_attribute("dir") == ("rtl" if language == "ar" else "ltr")
    until(lambda: page.locator("#text").is_editable(), what="the composer")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert_accessible(page)
    shoot(page, f"chat-{language}")
    assert problems == []
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length") == 0


def test_a_text_that_is_too_long_is_refused_before_it_is_sent_and_not_lost(browser: Browser, gateway: Gateway) -> None:
    page = open_page(browser, viewport=PHONE)
    page.goto(f"{gateway.base}/chat?lang=fr")
    field, problem, log = page.locator("#text"), page.get_by_role("alert"), page.get_by_role("log")
    too_long = "😭" * 10 + "a" * 3990 + "b"  # 4 001 characters; the browser counts 4 011
    write(page, too_long)
    expect(problem).to_have_text("Ce message est trop long. Envoyez-le en plusieurs parties.")
    expect(field).to_have_value(too_long)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description("Ce message est trop long. Envoyez-le en plusieurs parties.")
    expect(log).to_be_empty()
    assert_accessible(page)

    page.locator("#language").select_option("en")  # the words stay, and so does what is wrong with them
    expect(problem).to_have_text("This message is too long. Please send it in parts.")
    expect(field).to_have_value(too_long)

    field.press("End")
    field.press("Backspace")  # 4 000 characters now, as the server counts them
    expect(page.locator("#error")).to_be_hidden()
    expect(field).not_to_have_attribute("aria-invalid", "true")
    field.press("Enter")
    expect(field).to_have_value("")
    until(lambda: len(gateway.log()) > 0, what="the message")
    assert gateway.log()[0]["text"] == too_long[:-1]


def test_without_sockets_a_flood_is_refused_and_its_words_go_back_into_the_field(
    browser: Browser, gateway: Gateway
) -> None:
    page = open_page(browser)
    page.route_web_socket("**/chat/ws", lambda socket: socket.close())
    page.goto(f"{gateway.base}/chat?lang=en")
    with page.expect_response("**/chat/session"):
        pass  # the page has given up on sockets
    page.evaluate("""() => {
        for (let number = 0; number < 31; number++) {
            document.getElementById("text").value = `message ${number}`;
            document.getElementById("composer").requestSubmit();
        }
    }""")
    expect(page.locator("#text")).to_have_value("message 30", timeout=15_000)
    expect(page.get_by_role("alert")).to_have_text("Not sent")
    assert len([entry for entry in gateway.log() if entry["direction"] == "in"]) == 30


def test_a_reload_of_the_page_brings_the_conversation_back_once(browser: Browser, gateway: Gateway) -> None:
    page = open_page(browser, viewport=PHONE)
    page.goto(f"{gateway.base}/chat?lang=en")
    write(page, "my boss keeps my passport")
    expect(page.get_by_role("log")).to_contain_text("a person from our team")
    page.reload()
    expect(page.get_by_role("log")).to_contain_text("a person from our team")
    assert page.get_by_role("log").inner_text().count("my boss keeps my passport") == 1


def test_whoever_comes_back_later_is_asked_whether_it_is_safe(browser: Browser, gateway: Gateway) -> None:
    page = open_page(browser, viewport=PHONE)
    page.clock.install()
    page.goto(f"{gateway.base}/chat?lang=en")
    reminder, field = page.locator("#safe"), page.locator("#text")
    page.clock.fast_forward("06:00")
    field.focus()
    expect(reminder).to_be_hidden()  # nothing is on the page yet that somebody else could read
    write(page, "my boss keeps my passport")
    expect(page.get_by_role("log")).to_contain_text("a person from our team")
    for minutes, asked in (("04:00", ""), ("06:00", "Is it safe to write now?")):
        field.blur()
        page.clock.fast_forward(minutes)
        field.focus()
        expect(reminder).to_contain_text(asked) if asked else expect(reminder).to_be_hidden()
    shoot(page, "chat-safe")
    assert_accessible(page)
    page.locator("#language").select_option("fr")
    expect(reminder).not_to_contain_text("safe")
    write(page, "yes")
    expect(reminder).to_be_hidden()


def test_the_console_is_closed_to_strangers(gateway: Gateway) -> None:
    for path in ("", "/queue", "/signals", "/events", "/conversations/00000000-0000-0000-0000-000000000000"):
        answer = httpx.get(f"{gateway.base}/console{path}", follow_redirects=False)
        assert answer.status_code in (302, 303, 401), path
    answer = httpx.post(f"{gateway.base}/console/login", data={"name": "nour", "password": PASSWORD})
    assert answer.status_code == 403  # no CSRF token


def test_the_advocate_sees_that_the_person_left_before_writing_in_vain(browser: Browser, gateway: Gateway) -> None:
    person, advocate, other = open_page(browser, viewport=PHONE), open_page(browser), open_page(browser)
    log_in(advocate, gateway)
    log_in(other, gateway, "sacha")
    person.goto(f"{gateway.base}/chat?lang=en")
    write(person, "my boss keeps my passport")
    footer = person.locator("#state")
    expect(footer).to_have_text(
        "A person has been called. You can keep writing. People waiting before you: 0. This can change."
    )
    shoot(person, "chat-called")
    person.locator("#language").select_option("fr")
    expect(footer).to_have_text(
        "Une personne a été appelée. Vous pouvez continuer à écrire. "
        "Personnes qui attendent avant vous : 0. Cela peut changer."
    )
    advocate.get_by_role("button", name="Accept").click()
    expect(footer).to_have_text("Une personne est ici avec vous")
    field = advocate.get_by_role("textbox", name="Message")
    field.fill("Where are you now?")
    person.get_by_role("button", name="Quitter maintenant").click()

    gone = re.compile(r"^The person left the chat at \d\d:\d\d\. They cannot read what you write here\.$")
    expect(advocate.get_by_role("status").filter(has_text="left the chat")).to_have_text(gone, timeout=5_000)
    expect(advocate.get_by_role("button", name="Send")).to_be_disabled()
    expect(field).to_have_value("Where are you now?")
    field.press("Enter")
    expect(field).to_have_value("Where are you now?")
    expect(other.locator("#others .left")).to_have_text(gone, timeout=5_000)
    shoot(advocate, "conversation-left")
    shoot(other, "queue-left")
    assert_accessible(advocate)
    assert_accessible(other)
    advocate.reload()
    expect(advocate.get_by_role("status").filter(has_text="left the chat")).to_have_text(gone)
    expect(advocate.get_by_role("button", name="Send")).to_have_count(0)
    assert [entry["text"] for entry in gateway.log() if entry["direction"] == "out"][-1] != "Where are you now?"


def test_words_already_on_their_way_when_the_person_leaves_are_refused(browser: Browser, gateway: Gateway) -> None:
    person, advocate = open_page(browser), open_page(browser)
    log_in(advocate, gateway)
    person.goto(f"{gateway.base}/chat?lang=en")
    write(person, "my boss keeps my passport")
    advocate.get_by_role("button", name="Accept").click()
    expect(person.locator("#state")).to_have_text("A person is here with you")
    advocate.route("**/console/events", lambda route: route.abort())  # nothing is told any more
    advocate.reload()
    person.get_by_role("button", name="Leave now").click()
    until(lambda: chat_has_ended(gateway), what="the end")
    field = advocate.get_by_role("textbox", name="Message")
    field.fill("Where are you now?")
    advocate.get_by_role("button", name="Send").click()
    expect(advocate.locator("#error")).to_contain_text("Not sent: the person left the chat")
    expect(advocate.locator("#left")).to_contain_text("They cannot read what you write here.")
    expect(advocate.get_by_role("button", name="Send")).to_be_disabled()
    expect(field).to_have_value("Where are you now?")


def test_every_language_that_drafts_are_served_in_is_said_to_be_a_draft_once(
    browser: Browser, gateway: Gateway
) -> None:
    page = open_page(browser, viewport=PHONE)
    page.goto(f"{gateway.base}/chat?lang=en")
    notice, log = page.locator("main > .notice"), page.get_by_role("log")
    expect(notice).to_be_hidden()
    page.locator("#language").select_option("fr")
    expect(notice).to_have_text("(Démonstration : texte provisoire, pas encore révisé.)")
    page.locator("#language").select_option("en")
    expect(notice).to_be_hidden()

    page = open_page(browser, viewport=PHONE)  # nothing is chosen here, so the answer follows the words
    page.goto(f"{gateway.base}/chat?lang=en")
    log = page.get_by_role("log")
    write(page, "mi jefe me quitó el pasaporte y no me deja salir de la casa")  # answered in Spanish
    draft = "(Demostración: texto provisional, aún no revisado.)"
    expect(log).to_contain_text(draft)
    write(page, "¿cuáles son mis derechos en el trabajo? tiene una pistola y me va a matar")
    until(lambda: log.locator(".assistant").count() >= 2, what="the second answer")
    assert log.inner_text().count(draft) == 1
    shoot(page, "chat-draft")
    assert_accessible(page)
    page.reload()
    expect(log).to_contain_text(draft)
    assert log.inner_text().count(draft) == 1

    again = open_page(browser, viewport=PHONE)  # where the page is Spanish, it has said so already
    again.goto(f"{gateway.base}/chat?lang=es")
    expect(again.locator("main > .notice")).to_have_text(draft)
    write(again, "mi jefe me quitó el pasaporte y no me deja salir de la casa")
    expect(again.get_by_role("log").locator(".assistant").first).to_be_visible()
    assert draft not in again.get_by_role("log").inner_text()


LONG = {"h1": "தகவல் பரிமாற்றஉரையாடல்கள்", "#exit": "இப்போதேவெளியேறவும்", "option:checked": "தமிழ்மொழிபெயர்ப்பு"}
BROKEN = """() => {
    const broken = [];
    for (const part of document.querySelectorAll("header h1, header button")) {
        const text = part.firstChild;
        for (const word of text.data.matchAll(/\\S+/g)) {
            const range = document.createRange();
            range.setStart(text, word.index);
            range.setEnd(text, word.index + word[0].length);
            const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
            if (lines.size > 1) broken.push(word[0]);
        }
    }
    return broken;
}"""


@pytest.mark.parametrize("width", [320, 390, 430, 490])
def test_the_chats_header_breaks_no_word(browser: Browser, gateway: Gateway, width: int) -> None:
    page = open_page(browser, viewport={"width": width, "height": 740})
    for name in ("en", "es", "fr", "ar", "long"):
        page.goto(f"{gateway.base}/chat?lang={'en' if name == 'long' else name}")
        if name == "long":  # words as long as Tamil's
            for where, text in LONG.items():
                page.locator(f"header {where}").first.evaluate("(part, text) => { part.textContent = text; }", text)
        assert page.evaluate(BROKEN) == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        shoot(page, f"chat-header-{name}-{width}")


def chat_has_ended(gateway: Gateway) -> bool:
    with psycopg.connect(gateway.environment["PASSERELLE_DATABASE_URL"]) as conn:
        return conn.execute("SELECT FROM conversations WHERE left_at IS NOT NULL").fetchone() is not None


def test_a_first_message_and_the_exit_right_after_it_are_both_known(browser: Browser, gateway: Gateway) -> None:
    page = open_page(browser)
    page.goto(f"{gateway.base}/chat?lang=en")
    until(lambda: page.evaluate("sessionStorage.getItem('passerelle')"), what="the welcome")
    page.evaluate("""() => {
        document.getElementById("text").value = "my boss keeps my passport";
        document.getElementById("composer").requestSubmit();
        document.getElementById("exit").click();
    }""")
    until(lambda: chat_has_ended(gateway), what="the end")
    assert [entry["direction"] for entry in gateway.log()].count("in") == 1
