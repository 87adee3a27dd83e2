"""The web chat on somebody else's page with a strict policy, in Chromium: one script tag, and the way out of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e import test_whole_way as whole
from tests.e2e.test_whole_way import assert_accessible, chat_has_ended, open_page, shoot
from tests.running import Gateway, running, until

pytestmark = pytest.mark.slow
browser = whole.browser


class Host:
    """An organisation's page on an origin of its own."""

    def __init__(self) -> None:
        self.body = self.policy = ""
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Security-Policy", host.policy)
                self.end_headers()
                self.wfile.write(host.body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"

    def shows(self, gateway: Gateway) -> None:
        socket = gateway.base.replace("http", "ws", 1)
        self.policy = (
            f"default-src 'none'; script-src {gateway.base}; connect-src {gateway.base} {socket}; "
            "require-trusted-types-for 'script'; img-src data:"
        )
        self.body = (
            '<!doctype html><html lang="en"><head><title>Our services</title><link rel="icon" href="data:,">'
            f'<script src="{gateway.base}/widget.js" async data-lang="ar"></script></head>'
            "<body><main><h1>Our services</h1><p>Welcome.</p></main></body></html>"
        )


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    serving = threading.Thread(target=made.server.serve_forever, daemon=True)
    serving.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    serving.join()


@pytest.fixture
def gateway(database_url: str, tmp_path: Path, host: Host) -> Iterator[Gateway]:
    made = Gateway(database_url, tmp_path)
    made.environment["PASSERELLE_CHAT_ORIGINS"] = host.origin
    with running(made):
        host.shows(made)
        yield made


MEDDLING = """() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(
        "* { font: 40px fantasy !important; color: red } div { opacity: .3 !important; transform: scale(2) }");
    document.adoptedStyleSheets = [sheet];
}"""


def looks(page: Page) -> object:
    """Of the panel and its field, from the edge of the screen to the letters."""
    read = "(part) => ['fontFamily', 'fontSize', 'color', 'colorScheme'].map((name) => getComputedStyle(part)[name])"
    boxes = [page.locator(where).bounding_box() for where in ("#panel", "#text")]
    opacity = page.locator("#panel").evaluate("(part) => getComputedStyle(part.getRootNode().host).opacity")
    return [page.locator(where).evaluate(read) for where in ("#panel", "#text")], boxes, opacity


def test_the_widget_on_a_strict_page(browser: Browser, gateway: Gateway, host: Host) -> None:
    page = open_page(browser, viewport={"width": 320, "height": 640})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.goto(host.origin)
    button = page.locator("#open")
    expect(button).to_be_visible()
    assert_accessible(page)
    button.press("Enter")
    field, panel = page.locator("#text"), page.locator("#panel")
    expect(field).to_be_focused()
    expect(panel).to_have_attribute("dir", "rtl")
    field.fill("my boss keeps my passport")
    field.press("Enter")
    expect(page.get_by_role("log").locator(".assistant").first).to_be_visible()
    assert_accessible(page)
    shoot(page, "widget-ar-320")
    before = looks(page)
    page.evaluate(MEDDLING)  # the page's own styles stop at the shadow
    assert looks(page) == before

    field.press("Escape")
    expect(panel).to_be_hidden()
    expect(button).to_be_focused()
    button.click()
    expect(page.get_by_role("log")).to_contain_text("my boss keeps my passport")
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert page.context.cookies() == []
    assert problems == []

    page.route("https://www.google.ca/**", lambda route: route.fulfill(body="weather"))
    page.locator("#exit").click()
    page.wait_for_url("https://www.google.ca/**")
    until(lambda: chat_has_ended(gateway), what="the end")


def test_a_page_that_is_not_named_shows_no_chat(browser: Browser, gateway: Gateway, host: Host) -> None:
    page = open_page(browser)
    with page.expect_console_message(lambda message: "PASSERELLE_CHAT_ORIGINS" in message.text):
        page.goto(host.origin.replace("127.0.0.1", "localhost"))  # another origin
    expect(page.locator("#open")).to_have_count(0)
