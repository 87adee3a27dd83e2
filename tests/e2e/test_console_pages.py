"""The console's pages in real Chromium: the sound of the queue, the dates of the signal log."""

from __future__ import annotations

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
    added = gateway.command("staff", "add", "ana", "--role", "analyst", "--display", "Ana", text=PASSWORD)
    assert added.returncode == 0, added.stderr
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
