"""A picture by SMS and a voice message by WhatsApp, from the signed webhook to the advocate in real Chromium."""

from __future__ import annotations

import io
import struct
import uuid
import wave
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from twilio.request_validator import RequestValidator

from channels.whatsapp import VERSION, sign
from tests.bot import graph
from tests.conftest import TOKEN
from tests.e2e import test_whole_way as whole
from tests.e2e.test_whole_way import PASSWORD, assert_accessible, log_in, open_page, shoot
from tests.running import Gateway, running

pytestmark = pytest.mark.slow
browser = whole.browser
BEARER = {"authorization": f"Bearer {graph.ACCESS}"}


@pytest.fixture
def gateway(database_url: str, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(database_url, tmp_path)
    made.environment |= {
        "PASSERELLE_MEDIA_PICTURES": "on",
        "PASSERELLE_WHATSAPP_ACCESS_TOKEN": graph.ACCESS,
        "PASSERELLE_WHATSAPP_APP_SECRET": graph.SECRET,
        "PASSERELLE_WHATSAPP_PHONE_NUMBER_ID": graph.NUMBER,
    }
    made.account("nour", "advocate", PASSWORD)
    with running(made):
        yield made


def picture(width: int = 360, height: int = 240) -> bytes:
    """A PNG with stripes of colour."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    row = b"\x00" + b"".join(bytes((x * 255 // width, 96, 255 if x // 40 % 2 else 64)) for x in range(width))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b"")
    )


def sound(seconds: int = 2) -> bytes:
    kept = io.BytesIO()
    with wave.open(kept, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes((n * 7) % 256 for n in range(8000 * seconds)))
    return kept.getvalue()


def by_sms(gateway: Gateway, body: bytes, content_type: str, text: str = "") -> None:
    url = f"{gateway.base}/2010-04-01/Accounts/AC1/Media.json"
    sent = httpx.post(url, content=body, headers={"content-type": content_type}, auth=("AC1", TOKEN), timeout=20)
    fields = {
        **sent.raise_for_status().json(),
        "From": "+15145550123",
        "To": "+15005550006",
        "Body": text,
        "NumMedia": "1",
        "MediaContentType0": content_type,
    }
    hook = f"{gateway.base}/webhooks/twilio"
    signature = RequestValidator(TOKEN).compute_signature(hook, fields)
    httpx.post(hook, data=fields, headers={"X-Twilio-Signature": signature}, timeout=20).raise_for_status()


def by_whatsapp(gateway: Gateway, body: bytes, content_type: str) -> None:
    files = {"file": ("voice", body, content_type)}
    url = f"{gateway.base}/{VERSION}/{graph.NUMBER}/media"
    upload = httpx.post(url, files=files, data={"messaging_product": "whatsapp"}, headers=BEARER, timeout=20)
    voice = {"id": upload.raise_for_status().json()["id"], "mime_type": content_type, "voice": True}
    event = graph.batch(graph.message(row=f"wamid.{uuid.uuid4().hex}", type="audio", audio=voice))
    proof = {"x-hub-signature-256": sign(graph.SECRET, event)}
    httpx.post(f"{gateway.base}{graph.HOOK}", content=event, headers=proof, timeout=20).raise_for_status()


def accept_one(page: Page) -> None:
    page.get_by_role("button", name="Accept").first.click(timeout=30_000)
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()


def test_a_picture_is_opened_covered_and_shown(browser: Browser, gateway: Gateway) -> None:
    by_sms(gateway, picture(), "image/png", "he locked the door and keeps my passport, look")
    page = open_page(browser)
    page.set_default_timeout(40_000)
    log_in(page, gateway)
    accept_one(page)
    file = page.locator(".file")
    expect(file).to_contain_text("Picture")
    assert page.locator(".file img").count() == 0
    shoot(page, "file-closed")
    assert_accessible(page)

    file.get_by_role("button", name="Open").click()
    show = file.get_by_role("checkbox", name="Show the picture")
    expect(show).to_be_focused()
    image = page.locator(".file img")
    expect(image).to_have_js_property("naturalWidth", 360)
    assert "blur" in image.evaluate("node => getComputedStyle(node).filter")
    shoot(page, "file-covered")
    assert_accessible(page)
    show.check()
    assert image.evaluate("node => getComputedStyle(node).filter") == "none"
    shoot(page, "file-shown")

    page.reload()  # its state is no secret, but what it shows is covered again
    assert "blur" in page.locator(".file img").evaluate("node => getComputedStyle(node).filter")
    page.set_viewport_size({"width": 320, "height": 700})
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.documentElement.dir = 'rtl'")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    shoot(page, "file-320-dark-rtl")
    assert_accessible(page)

    address = page.locator(".file img").get_attribute("src")
    page.goto(f"{gateway.base}{address}")  # alone it is a picture in a sandbox
    assert page.evaluate("self.origin") == "null"


def test_a_voice_message_is_played(browser: Browser, gateway: Gateway) -> None:
    by_whatsapp(gateway, sound(), "audio/wav")
    page = open_page(browser)
    page.set_default_timeout(40_000)
    log_in(page, gateway)
    accept_one(page)
    page.locator(".file").get_by_role("button", name="Open").click()
    player = page.locator(".file audio")
    expect(player).to_have_js_property("duration", 2)
    expect(player).to_be_focused()
    player.evaluate("node => { node.muted = true; return node.play(); }")
    expect(player).to_have_js_property("ended", True, timeout=20_000)
    shoot(page, "file-voice")
    assert_accessible(page)
