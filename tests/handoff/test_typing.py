"""The console tells that an advocate writes: only of the one whose conversation it is, and nothing of it stays."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from bot.services import Services
from bot.tables import audit, messages
from tests.bot.test_presence import waits
from tests.handoff.desk import Browser, Desk, accepted, open_desk

encoder = screen = detector = pytest.fixture(scope="session")(lambda: None)  # nothing is screened here


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[Desk]:
    async with open_desk(services) as opened:
        yield opened


async def person(desk: Desk) -> uuid.UUID:
    """Somebody who waits for an advocate; their conversation."""
    found = (await waits(desk.services)).conversation
    assert found
    return found


async def types(browser: Browser, conversation: uuid.UUID, *, csrf: str | None = None) -> int:
    """As ``typing.js`` does; the status."""
    headers = {"X-CSRF-Token": browser.csrf if csrf is None else csrf}
    return (await browser.client.post(f"/console/conversations/{conversation}/typing", headers=headers)).status_code


async def test_the_chat_is_told_and_nothing_is_kept(desk: Desk) -> None:
    conversation, nour = await person(desk), await desk.member("nour")
    await accepted(desk, nour, conversation)
    before = len(await desk.rows(messages)), len(await desk.rows(audit))
    with desk.services.hub.following() as chat:
        chat.follow(str(conversation))
        assert await types(nour, conversation) == 204
        event = await asyncio.wait_for(chat.queue.get(), 5)
    assert event == {"kind": "typing", "conversation": str(conversation)}
    assert (len(await desk.rows(messages)), len(await desk.rows(audit))) == before


async def test_nobody_else_can_seem_to_write(desk: Desk) -> None:
    conversation, waiting = await person(desk), await person(desk)
    nour, sacha, ana = await desk.member("nour"), await desk.member("sacha"), await desk.member("ana", "analyst")
    handoff = await accepted(desk, nour, conversation)
    with desk.services.hub.following() as chat:
        chat.follow("typing")
        assert await types(nour, conversation, csrf="") == 403
        assert await types(sacha, conversation) == 403
        assert await types(ana, conversation) == 403
        assert await types(nour, waiting) == 403
        assert await types(nour, uuid.uuid4()) == 403
        assert await types(desk.browser(), conversation) == 303  # to the login
        closed = await nour.post(f"/console/handoffs/{handoff}/close", classification="unsure")
        assert closed.status_code == 303
        assert await types(nour, conversation) == 403
        assert chat.queue.empty()
