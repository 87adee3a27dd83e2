"""The console's pages in real Chromium: the sound of the queue, the dates of the signal log."""

from __future__ import annotations

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e import test_whole_way as whole
from tests.e2e.test_whole_way import PASSWORD, assert_accessible, log_in, open_page, shoot
from tests.running import Gateway, until

pytestmark = pytest.mark.slow
browser, gateway = whole.browser, whole.gateway


def heard(page: Page) -> str:
    """What the page says: "button" that there is no sound yet, "tick" that there is, "cross" that none is wanted."""
    expect(page.locator("#allow-sound:visible, #sound:visible")).to_have_count(1)
    if page.get_by_role("button", name="Turn on the sound").is_visible():
        return "button"
    pressed = page.get_by_role("button", name="Sound for critical").get_attribute("aria-pressed")
    return "tick" if pressed == "true" else "cross"


def test_the_sound_is_ticked_only_when_it_can_be_heard(browser: Browser, gateway: Gateway) -> None:
    first = open_page(browser)
    log_in(first, gateway)
    page = first.context.new_page()  # nobody has done anything on this one: the browser keeps it silent
    page.goto(f"{gateway.base}/console")
    expect(page.locator("#connection")).to_have_text("Live")
    page.wait_for_timeout(500)
    assert heard(page) == "button"
    shoot(page, "queue-silent")
    assert_accessible(page)

    page.get_by_role("button", name="Turn on the sound").press("Enter")
    toggle = page.get_by_role("button", name="Sound for critical")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    expect(toggle).to_be_focused()
    assert heard(page) == "tick"
    shoot(page, "queue-sound")
    toggle.click()
    assert heard(page) == "cross"

    page.reload()  # whoever wants no sound is not asked for it again
    assert heard(page) == "cross"
    page.get_by_role("button", name="Sound for critical").click()
    expect(page.get_by_role("button", name="Sound for critical")).to_have_attribute("aria-pressed", "true")
    assert heard(page) == "tick"


def test_any_click_turns_the_sound_on_and_a_browser_without_it_says_so(browser: Browser, gateway: Gateway) -> None:
    first = open_page(browser)
    log_in(first, gateway)
    page = first.context.new_page()
    page.goto(f"{gateway.base}/console")
    assert heard(page) == "button"
    page.get_by_role("heading", name="Queue", exact=True).click()
    expect(page.get_by_role("button", name="Turn on the sound")).to_be_hidden()
    assert heard(page) == "tick"

    mute = first.context.new_page()
    mute.add_init_script("window.AudioContext = class { constructor() { throw new Error('no sound'); } }")
    mute.goto(f"{gateway.base}/console")
    mute.get_by_role("button", name="Turn on the sound").click()
    expect(mute.locator("#connection")).to_have_text("Live")
    assert heard(mute) == "button"


def test_the_signal_log_says_which_day_it_was(browser: Browser, gateway: Gateway) -> None:
    gateway.account("ana", "analyst", PASSWORD)
    gateway.sms("my boss keeps my passport and he locked the door", sid="SM1")
    page = open_page(browser)
    page.goto(f"{gateway.base}/console")
    page.get_by_label("Name").fill("ana")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Signals", exact=True)).to_be_visible()
    until(lambda: page.reload() and page.locator("tbody tr").count(), what="the signals")
    this_year = str(page.evaluate("new Date().getFullYear()"))
    for time in page.locator("tbody time").all():
        expect(time).to_have_attribute("data-local", "")
        expect(time).to_contain_text(this_year)
    assert page.get_by_role("link", name="Queue").count() == 0
    shoot(page, "signals")
    assert_accessible(page)


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_what_did_not_arrive_is_seen_and_sent_again(
    browser: Browser, gateway: Gateway, database_url: str, colours: str
) -> None:
    gateway.account("vera", "supervisor", PASSWORD)
    gateway.sms("my boss keeps my passport and he locked the door", sid="SM1")
    until(lambda: gateway.phone(), what="the answer")
    with psycopg.connect(database_url, autocommit=True) as conn:
        done = "SELECT 1 FROM deliveries WHERE state IN ('delivered', 'read')"
        until(lambda: conn.execute(done).fetchone(), what="its delivery")
        conn.execute("UPDATE deliveries SET state = 'unknown', error = 'ReadTimeout'")
        conn.execute("UPDATE messages SET written_at = created_at - interval '3 hours' WHERE direction = 'in'")
    page = open_page(browser, color_scheme=colours)
    log_in(page, gateway, "vera")
    page.get_by_role("link", name="Not delivered").click()
    expect(page.get_by_role("button", name="Send again")).to_be_visible()
    shoot(page, f"undelivered-{colours}")
    assert_accessible(page)
    page.evaluate("document.documentElement.dir = 'rtl'")
    page.set_viewport_size({"width": 320, "height": 700})
    shoot(page, f"undelivered-narrow-{colours}")
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    box = page.get_by_role("button", name="Send again").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 320

    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("link", name="English, SMS").click()
    expect(page.get_by_text("Came late. Written at")).to_be_visible()
    expect(page.get_by_text("It may have arrived. We do not know.")).to_be_visible()
    shoot(page, f"conversation-undelivered-{colours}")
    assert_accessible(page)
    page.set_viewport_size({"width": 320, "height": 700})
    shoot(page, f"conversation-undelivered-narrow-{colours}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.get_by_role("button", name="Send again").press("Enter")
    expect(page.get_by_text("It may have arrived. We do not know.")).to_have_count(0)
    until(lambda: len(gateway.phone()) == 2, what="the second try")
