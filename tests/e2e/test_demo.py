"""The demonstration's page in real Chromium: four phones, their buttons, a console beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from bot import settings
from tests.conftest import fresh_database
from tests.e2e import test_whole_way as whole
from tests.e2e.test_whole_way import PASSWORD, assert_accessible, log_in, open_page, shoot
from tests.running import Gateway, running

pytestmark = pytest.mark.slow
browser = whole.browser


@pytest.fixture(scope="module")
def gateway(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for all: every page has phones of its own."""
    with fresh_database(postgres) as url:
        made = Gateway(url, tmp_path_factory.mktemp("demo"))
        made.account("nour", "advocate", PASSWORD)
        with running(made):
            yield made


def load(page: Page, gateway: Gateway) -> list[str]:
    """The page, and what the browser complains of."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{gateway.base}/demo")
    expect(page.locator("#web #text")).to_be_visible()
    return problems


def write(page: Page, phone: str, text: str) -> Locator:
    """Writes on a phone; its messages."""
    page.locator(f"#{phone} textarea").fill(text)
    page.locator(f"#{phone} textarea").press("Enter")
    return page.locator(f"#{phone}").get_by_role("log")


def test_four_phones_and_a_console(browser: Browser, gateway: Gateway) -> None:
    page = open_page(browser, viewport={"width": 1440, "height": 900})
    problems = load(page, gateway)
    assert_accessible(page)
    log = write(page, "sms", "my boss keeps my passport and i cannot leave")
    expect(log).to_contain_text("a person from our team")
    expect(log.locator(".me .ticks")).to_have_text("✓✓ stored")
    expect(log.locator(".them .ticks").last).to_have_text("✓✓ delivered")
    told = write(page, "whatsapp", "my boss keeps my passport").locator(".them .ticks").first
    expect(told).to_have_text("✓✓ read")
    expect(write(page, "web", "mi jefe me quitó el pasaporte")).to_contain_text("una persona")
    telegram = write(page, "telegram", "/start")
    expect(telegram.locator(".them .ticks").first).to_have_text("✓ sent")
    telegram.get_by_role("button", name="Talk to a person").click()
    expect(telegram.locator(".them")).to_have_count(2)
    shoot(page, "demo")
    assert_accessible(page)

    page.locator("#sms textarea").focus()
    page.get_by_role("button", name="STOP").click()
    stopped = page.locator("#sms").get_by_role("log")
    expect(stopped.locator(".them").last).to_contain_text("START")
    write(page, "sms", "are you there?")
    expect(stopped.locator(".me .ticks").last).to_have_text("✓✓ stored")

    with page.expect_popup() as opened:
        page.get_by_role("link", name="console").click()
    log_in(opened.value, gateway)
    expect(opened.value.get_by_role("button", name="Accept").first).to_be_visible()
    assert problems == []


ROWS = [
    {"id": "choice.human", "title": "Talk to a person", "description": "It may take a little time."},
    {"id": "choice.rights", "title": "My rights"},
]


def send_list(gateway: Gateway, phone: str) -> None:
    """As the outbox sends one, to the stand-in of Meta's API."""
    given = {name.removeprefix("PASSERELLE_"): value for name, value in gateway.environment.items()}
    meta = settings.load({name: value for name, value in given.items() if name != "DATABASE_URL"}).whatsapp
    assert meta is not None
    action = {"button": "Choose", "sections": [{"title": "Choose", "rows": ROWS}]}
    shown = {"type": "list", "body": {"text": "What do you need?"}, "action": action}
    body = {"messaging_product": "whatsapp", "to": phone.lstrip("+"), "type": "interactive", "interactive": shown}
    url = f"{gateway.base}/{meta.version}/{meta.numbers[0]}/messages"
    httpx.post(url, json=body, headers={"Authorization": f"Bearer {meta.access_token}"}).raise_for_status()


def test_buttons_and_a_list_are_pressed_on_whatsapp(browser: Browser, gateway: Gateway) -> None:
    page = open_page(browser, viewport={"width": 900, "height": 900})
    load(page, gateway)
    log = write(page, "whatsapp", "HELP")
    log.locator(".them").get_by_role("button", name="Talk to a person").click()
    expect(log.locator(".me .text").last).to_have_text("Talk to a person")
    expect(log.locator(".me .ticks").last).to_have_text("✓✓ stored")

    send_list(gateway, page.locator("#whatsapp .address").inner_text())
    rows = log.locator(".them").filter(has_text="What do you need?").locator("details")
    expect(rows.get_by_role("button")).to_have_count(0)  # closed, as on a phone
    rows.locator("summary").press("Enter")
    expect(rows.get_by_role("button")).to_have_count(2)
    assert_accessible(page)
    rows.get_by_role("button", name="Talk to a person").press("Enter")
    expect(log.locator(".me .text").last).to_have_text("Talk to a person")
    expect(log.locator(".me .ticks")).to_have_text(["✓✓ stored"] * 3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_one_phone_at_a_time_on_a_narrow_screen(browser: Browser, gateway: Gateway, scheme: str) -> None:
    page = open_page(browser, viewport={"width": 320, "height": 640}, color_scheme=scheme)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"{gateway.base}/demo")
    phones = page.locator(".phone:visible")
    for name, phone in (("SMS", "sms"), ("WhatsApp", "whatsapp"), ("Telegram", "telegram"), ("Web chat", "web")):
        tab = page.get_by_role("button", name=name, exact=True)
        tab.click()
        expect(tab).to_have_attribute("aria-pressed", "true")
        expect(phones).to_have_count(1)
        assert phones.first.get_attribute("id") == phone
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        if scheme == "dark":
            assert_accessible(page)
    page.get_by_label("Examples in").select_option("ar")
    expect(page.locator("#web #panel")).to_have_attribute("dir", "rtl")  # the web chat follows
    shoot(page, f"demo-narrow-{scheme}-web")
    page.get_by_role("button", name="Telegram", exact=True).click()
    page.locator("#examples button").nth(1).click()
    log = page.locator("#telegram").get_by_role("log")
    expect(log.locator(".them").first).to_contain_text(re.compile(r"[\u0600-\u06ff]"))
    shoot(page, f"demo-narrow-{scheme}")
    assert_accessible(page)
    assert problems == []
