"""The person has left the web chat for good: the advocate sees it, and no word said after that counts as sent."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator

import pytest

from bot import chat_session, inbox, worker
from bot.services import Services
from bot.tables import handoffs, messages
from channels.channel import Inbound
from tests.handoff.desk import DISCLOSURE, Desk, accepted, handoff_of, newest, open_desk, send, written
from tests.handoff.test_console import frames

LEFT = re.compile(
    r'The person left the chat at <time class="clock" datetime="[\d-]+T[\d:.+]+">[\d-]+ [\d:]+</time>\. '
    r"They cannot read what you write here\."
)


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[Desk]:
    async with open_desk(services) as opened:
        yield opened


async def visitor(desk: Desk) -> tuple[str, uuid.UUID]:
    """Somebody on the web chat who disclosed something; their token and conversation."""
    token = chat_session.issue(desk.services)
    return token, await desk.person(sender=token, channel="web")


async def leave(desk: Desk, token: str) -> None:
    """The quick exit."""
    session = await chat_session.known(desk.services, token)
    assert session is not None
    await chat_session.end(desk.services, session)


async def test_words_to_a_person_who_left_are_refused_and_kept(desk: Desk) -> None:
    token, conversation = await visitor(desk)
    nour = await desk.member("nour")
    await accepted(desk, nour, conversation)
    await leave(desk, token)
    status, page = await send(desk, nour, conversation, "Are you safe?")
    assert status == 409
    assert "Not sent: the person left the chat" in page
    assert ">Are you safe?</textarea>" in page
    assert await written(desk, "advocate") == []


async def test_the_page_its_fragment_and_the_queue_say_that_the_person_left(desk: Desk) -> None:
    token, conversation = await visitor(desk)
    nour = await desk.member("nour")
    pages = [f"/console/conversations/{conversation}", f"/console/conversations/{conversation}/messages", "/console"]
    for path in pages:
        assert not LEFT.search((await nour.get(path)).text), path
    await leave(desk, token)
    for path in pages:
        assert LEFT.search((await nour.get(path)).text), path
    await accepted(desk, nour, conversation)
    for path in pages:
        assert LEFT.search((await nour.get(path)).text), path
    assert 'id="reply"' not in (await nour.get(pages[0])).text


async def test_the_console_hears_of_the_exit_at_once(desk: Desk) -> None:
    token, conversation = await visitor(desk)
    nour = await desk.member("nour")
    async with asyncio.timeout(10):
        stream = frames(nour, 2)
        await anext(stream)
        await leave(desk, token)
        assert await anext(stream) == ("conversation", {"conversation": str(conversation)})
        await stream.aclose()  # type: ignore[attr-defined]


async def test_after_the_exit_no_fixed_text_looks_sent_and_the_handoff_can_be_closed(desk: Desk) -> None:
    token, conversation = await visitor(desk)
    nour = await desk.member("nour")
    await leave(desk, token)
    said = await newest(desk, conversation)
    handoff = await accepted(desk, nour, conversation)
    answer = await nour.post(f"/console/handoffs/{handoff}/close", classification="unsure")
    assert answer.status_code == 303
    assert await newest(desk, conversation) == said


async def test_who_leaves_before_the_answer_is_called_for_all_the_same_and_not_shown_as_answered(desk: Desk) -> None:
    token = chat_session.issue(desk.services)
    async with desk.services.database.begin() as conn:
        stored = await inbox.store(conn, desk.services.vault, "web", Inbound("c1", token, "text", DISCLOSURE))
    assert stored is not None
    await leave(desk, token)
    while await worker.run_once(desk.services):
        pass
    assert await handoff_of(desk, stored[0])
    assert await desk.rows(messages, messages.c.direction == "out") == []


async def test_other_channels_are_left_alone(desk: Desk) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")
    await accepted(desk, nour, conversation)
    assert not LEFT.search((await nour.get(f"/console/conversations/{conversation}")).text)
    assert (await send(desk, nour, conversation, "Hello"))[0] == 303
    assert len(await desk.rows(handoffs)) == 1
