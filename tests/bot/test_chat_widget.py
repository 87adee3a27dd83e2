"""The web chat on other pages, what it weighs, and the page of numbers."""

from __future__ import annotations

import dataclasses
import gzip
import re
from collections.abc import AsyncIterator

import pytest

from bot.chat_page import LINES
from bot.services import Services
from bot.settings import ROOT
from tests.bot.door import Door, open_door

encoder = screen = detector = pytest.fixture(scope="session")(lambda: None)  # the door stores and never screens
HOST = "https://ngo.example"
STATIC = ROOT / "bot" / "static"
MOST = 25_000  # bytes, compressed


@pytest.fixture
def database_url(emptied: str) -> str:
    return emptied


@pytest.fixture
async def door(services: Services) -> AsyncIterator[Door]:
    settings = dataclasses.replace(services.settings, chat_origins=(HOST,))
    async with open_door(dataclasses.replace(services, settings=settings)) as opened:
        yield opened


READ = [
    "/chat/widget.json?lang=fr",
    "/chat/texts/fr.json",
    "/chat/static/panel.js",
    "/chat/static/chat.css",
    "/widget.js",
]


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize("origin", [HOST, "https://ngo.example.evil.example", "http://ngo.example", "null", ""])
async def test_only_pages_of_named_origins_may_read(door: Door, path: str, origin: str) -> None:
    answer = await door.client.get(path, headers={"Origin": origin} if origin else {})
    permitted = answer.headers.get("access-control-allow-origin")
    assert permitted == (HOST if origin == HOST else None)
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("path", ["/chat/session", "/chat/messages"])
async def test_a_browser_that_asks_before_it_posts_is_told_who_may(door: Door, path: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    yes = await door.client.options(path, headers={"Origin": HOST, **asked})
    assert (yes.status_code, yes.headers["access-control-allow-origin"]) == (204, HOST)
    assert "Authorization" in yes.headers["access-control-allow-headers"]
    no = await door.client.options(path, headers={"Origin": "https://evil.example", **asked})
    assert no.status_code == 403
    assert "access-control-allow-origin" not in no.headers


async def test_a_page_that_is_not_named_gets_neither_texts_nor_a_session(door: Door) -> None:
    strange = {"Origin": "https://evil.example"}
    assert (await door.client.get("/chat/widget.json", headers=strange)).status_code == 403
    assert (await door.client.post("/chat/session", json={"type": "hello"}, headers=strange)).status_code == 403
    assert (
        await door.client.post("/chat/session", json={"type": "hello"}, headers={"Origin": HOST})
    ).status_code == 200


@pytest.mark.parametrize(
    ("asked", "language", "direction"),
    [("fr", "fr", "ltr"), ("xx,ur-PK,en", "ur", "rtl"), ("zh-TW,zh", "zh-Hant", "ltr"), ("", "en", "ltr")],
)
async def test_the_widget_speaks_the_language_asked_for(door: Door, asked: str, language: str, direction: str) -> None:
    found = (await door.client.get("/chat/widget.json", params={"lang": asked})).json()
    assert (found["language"], found["direction"]) == (language, direction)
    assert found["texts"]["chat.exit"]
    assert found["exit"] == door.services.settings.exit_url
    assert {"tag": "fr", "name": "Français"} in found["languages"]


# -- weight


async def weight(door: Door, *paths: str) -> int:
    """Bytes over the line, bodies only, as our own answers are compressed."""
    total = 0
    for path in paths:
        async with door.client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.status_code == 200
            total += len(b"".join([chunk async for chunk in answer.aiter_raw()]))
    return total


def static(*names: str) -> list[str]:
    return [f"/chat/static/{name}" for name in names]


MODULES = static("conversation.js", "bubbles.js", "line.js", "exit.js")


async def test_page_and_widget_are_light_in_every_language(door: Door) -> None:
    """The largest of the languages; together they would be read by nobody, and still are under the limit."""
    shared = await weight(door, *MODULES, *static("variables.css", "chat.css"))
    pages, widgets = [], []
    for tag in door.services.catalog.languages:
        pages.append(await weight(door, f"/chat?lang={tag}"))
        widgets.append(await weight(door, f"/chat/widget.json?lang={tag}"))
    page = max(pages) + await weight(door, *static("chat.js"))
    widget = max(widgets) + await weight(door, "/widget.js", *static("panel.js", "panel.css"))
    assert shared + page + widget < MOST, (shared, page, widget)


async def test_what_is_compressed_is_what_was_not(door: Door) -> None:
    async with door.client.stream("GET", "/chat", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    plain = await door.client.get("/chat", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(raw) == plain.content


def test_everything_that_the_modules_import_was_weighed() -> None:
    known = {"conversation.js", "bubbles.js", "line.js", "exit.js", "panel.js"}
    for name in (*known, "chat.js", "widget.js"):
        text = (STATIC / name).read_text(encoding="utf-8")
        assert set(re.findall(r"(?:from |static/)\W*(\w+\.js)", text)) <= known, name


@pytest.mark.parametrize("name", ["widget.js", "panel.js", "conversation.js", "bubbles.js", "line.js", "exit.js"])
def test_the_host_page_keeps_nothing_of_the_widget(name: str) -> None:
    script = (STATIC / name).read_text(encoding="utf-8")
    assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie|caches\.|serviceWorker", script)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.style\.cssText", script)


# -- the numbers


async def test_the_page_of_numbers_names_public_lines_and_how_to_call_them(door: Door) -> None:
    page = await door.client.get("/chat/numbers?lang=fr")
    assert page.status_code == 200
    assert '<html lang="fr" dir="ltr">' in page.text
    assert [shown for _, shown, _, _ in LINES] == ["9-1-1", "1-833-900-1010", "9-8-8", "1-800-668-6868"]
    for key, shown, dialled, sms in LINES:
        assert re.sub(r"\D", "", shown) in re.sub(r"\D", "", dialled)
        assert f'<a href="tel:{dialled}" dir="ltr">{shown}</a>' in page.text
        assert not sms or f'href="sms:{sms}"' in page.text
        french = door.services.catalog.texts["fr"][key].text
        assert french.replace("'", "&#39;") in page.text


async def test_the_page_of_numbers_is_printed_and_the_chat_is_not() -> None:
    chat, numbers = ((STATIC / name).read_text(encoding="utf-8") for name in ("chat.css", "numbers.css"))
    assert "@media print { body { display: none; } }" in chat
    assert not re.search(r"@media print \{[^@]*\b(body|main|dl|dd) \{[^}]*display: none", numbers)
