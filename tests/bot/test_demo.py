"""/demo: four phones of a visitor's own, each of whose messages takes the provider's signed way in."""

from __future__ import annotations

import asyncio
import dataclasses
import html
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bot import demo, demo_phones, supervisor
from bot.app import make_channels
from bot.services import Services
from bot.settings import Settings, load
from bot.tables import deliveries, messages
from tests.bot.door import Door, open_door, work
from tests.conftest import DATA_KEY
from tests.running import free_port

FICTITIOUS = re.compile(r"\+1[2-9]\d\d55501\d\d")


@pytest.fixture
def settings(tmp_path: Any, database_url: str) -> Settings:
    """Of the demonstration: every provider is a stand-in at the gateway's own port."""
    port = str(free_port())
    return load({"DATABASE_URL": database_url, "DATA_KEY": DATA_KEY, "VAR_DIR": str(tmp_path / "var"), "PORT": port})


@pytest.fixture
async def door(services: Services, settings: Settings) -> AsyncIterator[Door]:
    async with httpx.AsyncClient() as client:
        whole = dataclasses.replace(services, settings=settings, channels=make_channels(settings, client))
        async with open_door(whole, port=settings.port) as opened:
            yield opened


class Visitor:
    """One loaded page."""

    def __init__(self, door: Door, page: str) -> None:
        self._door = door
        found = re.search(r'data-token="([^"]+)"', page)
        assert found
        self.token = html.unescape(found[1])
        self.numbers = FICTITIOUS.findall(page)

    async def act(self, channel: str, **what: object) -> int:
        headers = {"Authorization": f"Bearer {self.token}"}
        return (
            await self._door.client.post(f"/demo/phones/{channel}", content=json.dumps(what), headers=headers)
        ).status_code

    async def screens(self) -> dict[str, list[dict[str, Any]]]:
        answer = await self._door.client.get("/demo/phones", headers={"Authorization": f"Bearer {self.token}"})
        assert answer.status_code == 200
        found: dict[str, list[dict[str, Any]]] = answer.json()
        return found

    async def until(self, channel: str, state: str) -> list[dict[str, Any]]:
        """The screen once its newest message has come so far."""
        async with asyncio.timeout(20):
            while True:
                shown = (await self.screens())[channel]
                if shown and shown[-1]["state"] == state:
                    return shown
                await asyncio.sleep(0.05)


async def visit(door: Door) -> Visitor:
    page = await door.client.get("/demo")
    assert page.status_code == 200
    return Visitor(door, page.text)


@pytest.mark.parametrize(("channel", "state"), [("sms", "delivered"), ("whatsapp", "delivered"), ("telegram", "sent")])
async def test_what_is_written_on_a_phone_is_answered_on_it(door: Door, channel: str, state: str) -> None:
    visitor = await visit(door)
    assert await visitor.act(channel, text="what are the signs?") == 200
    await work(door.services)
    shown = await visitor.until(channel, state)
    assert shown[-1]["text"]
    assert [name for name, found in (await visitor.screens()).items() if found] == [channel]
    (row,) = await door.rows(messages, messages.c.direction == "in")
    assert (row.channel, row.kind) == (channel, "text")


@pytest.mark.parametrize("channel", ["whatsapp", "telegram"])
async def test_the_buttons_of_an_answer_can_be_pressed(door: Door, channel: str) -> None:
    visitor = await visit(door)
    await visitor.act(channel, text="what are the signs?")
    await work(door.services)
    newest = (await visitor.screens())[channel][-1]
    button = next(button for button in newest["buttons"] if button["id"] == "choice.human")
    pressed = {"choice": button["id"], "label": button["label"], "message": newest["id"]}
    assert await visitor.act(channel, **pressed) == 200
    await work(door.services)
    rows = await door.rows(messages, messages.c.direction == "in")
    assert [row.kind for row in sorted(rows, key=lambda row: row.seq)] == ["text", "button"]
    assert len((await visitor.screens())[channel]) == 2


async def test_what_was_read_on_whatsapp_is_reported(door: Door) -> None:
    visitor = await visit(door)
    await visitor.act("whatsapp", text="hello")
    await work(door.services)
    (shown,) = await visitor.until("whatsapp", "delivered")
    assert await visitor.act("whatsapp", read=[shown["id"]]) == 200
    (row,) = await door.rows(deliveries)
    assert row.state == "read"


async def test_stop_ends_it(door: Door) -> None:
    visitor = await visit(door)
    for text in ("STOP", "what are the signs?"):
        await visitor.act("sms", text=text)
        await work(door.services)
    assert len(await visitor.until("sms", "delivered")) == 1


async def test_two_visitors_have_phones_of_their_own(door: Door) -> None:
    left, right = await visit(door), await visit(door)
    assert len({*left.numbers, *right.numbers}) == 4
    await left.act("sms", text="hello")
    await work(door.services)
    assert await left.until("sms", "delivered")
    assert await right.screens() == {"sms": [], "whatsapp": [], "telegram": []}


async def test_a_number_that_somebody_has_written_from_is_given_to_nobody_else(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["+15145550101", "+15145550102", "+15145550103", "+15145550104", "+15145550105"]
    monkeypatch.setattr(demo_phones, "numbers", lambda: iter(few))
    first = await visit(door)
    assert first.numbers[0] == few[0]
    await first.act("whatsapp", text="hello")
    assert await demo._free_numbers(door.services, (), 2) == [few[0], few[2]]  # whoever has loaded pages meanwhile
    assert (await visit(door)).numbers[:1] == [few[2]]
    assert (await door.client.get("/demo")).status_code == 503


@pytest.mark.parametrize("token", ["x", "hello", "é", "A" * 120])
async def test_a_token_that_is_not_ours_shows_nothing(door: Door, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}".encode()}
    assert (await door.client.get("/demo/phones", headers=headers)).status_code == 401
    assert (await door.client.post("/demo/phones/sms", json={"text": "hello"}, headers=headers)).status_code == 401
    assert await door.nothing_stored()


@pytest.mark.parametrize(
    ("channel", "what"),
    [
        ("fax", {"text": "hello"}),
        ("sms", {"text": " "}),
        ("sms", {"text": 7}),
        ("sms", {"text": "a" * 4001}),
        ("sms", {}),
        ("sms", {"choice": "choice.human", "label": "x", "message": "1"}),
        ("telegram", {"choice": "choice.human"}),
        ("whatsapp", {"read": 7}),
        ("sms", {"text": "\ud83d"}),
    ],
)
async def test_what_no_phone_does_is_refused(door: Door, channel: str, what: dict[str, object]) -> None:
    assert await (await visit(door)).act(channel, **what) == 400
    assert await door.nothing_stored()


async def test_the_page_is_hardened_and_loads_nothing_from_elsewhere(door: Door) -> None:
    page = await door.client.get("/demo")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert all(address.startswith(("/chat/static/", "/console", "data:")) for address in addresses)
    for script in ("demo.js", "panel.js", "demo.css"):
        loaded = (await door.client.get(f"/chat/static/{script}")).text
        assert not re.search(r"https?://|localStorage|sessionStorage|document\.cookie", loaded)


def test_the_numbers_are_fictitious_and_each_is_one() -> None:
    found = list(demo_phones.numbers())
    assert len(set(found)) == len(found) > 5000
    assert all(FICTITIOUS.fullmatch(number) for number in found)


def test_the_page_stands_only_where_every_provider_is_a_stand_in(settings: Settings) -> None:
    assert demo.stands(settings)
    assert settings.twilio is not None
    real = dataclasses.replace(settings.twilio, api_url="https://api.example")
    assert not demo.stands(dataclasses.replace(settings, twilio=real))
    assert not demo.stands(dataclasses.replace(settings, twilio=None))
    assert not demo.stands(dataclasses.replace(settings, mode="production"))


def test_the_start_names_the_page_first_and_only_where_it_stands(settings: Settings) -> None:
    named = supervisor.addresses(settings)
    assert list(named) == ["phones", "chat", "console"]
    assert named["phones"] == f"http://127.0.0.1:{settings.port}/demo"
    assert list(supervisor.addresses(dataclasses.replace(settings, mode="production"))) == ["chat", "console"]
