"""An advocate's words on their way to the person: once, seen by nobody else, and never past something unread."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator

import pytest

from bot import outbox
from bot.services import Services
from bot.tables import deliveries, handoffs, messages
from tests.handoff.desk import Desk, accepted, newest, open_desk, send, written


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[Desk]:
    async with open_desk(services) as opened:
        yield opened


async def test_a_sent_message_waits_in_the_outbox_before_all_others(desk: Desk) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")
    await accepted(desk, nour, conversation)
    status, _ = await send(desk, nour, conversation, " Hello, is it safe?\r\nYou can say no. ", client_id="abc-1")
    assert status == 303
    (row,) = await desk.rows(messages, messages.c.author == "advocate")
    assert desk.words(row) == "Hello, is it safe?\nYou can say no."
    assert row.dedupe_key == f"advocate:{conversation}:abc-1"
    (part,) = await desk.rows(deliveries, deliveries.c.message_id == row.id)
    assert (part.state, part.priority) == ("queued", 0)
    assert "Nour" in (await nour.get(f"/console/conversations/{conversation}/messages", after=row.seq - 1)).text


async def test_a_second_press_sends_nothing_twice(desk: Desk) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")
    await accepted(desk, nour, conversation)
    seen = await newest(desk, conversation)
    forms = (send(desk, nour, conversation, "Hello", version=seen, client_id="same") for _ in range(5))
    assert {status for status, _ in await asyncio.gather(*forms)} == {303}
    await desk.person("yes i can write")  # the answer to the first press was lost, and the person was quick
    status, _ = await send(desk, nour, conversation, "Hello", version=seen, client_id="same")
    assert status == 303
    assert await written(desk, "advocate") == ["Hello"]


async def test_words_changed_after_a_lost_answer_are_sent(desk: Desk) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")
    await accepted(desk, nour, conversation)
    for text in ("Hello", "Hello again", "Hello again"):
        assert (await send(desk, nour, conversation, text, client_id="same"))[0] == 303
    assert await written(desk, "advocate") == ["Hello", "Hello again"]


async def test_words_the_advocate_has_not_seen_stop_the_send_and_keep_the_text(desk: Desk) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")
    await accepted(desk, nour, conversation)
    seen = await newest(desk, conversation)
    await desk.person("he is coming, stop writing")
    status, page = await send(desk, nour, conversation, "Call me <now>", version=seen)
    assert status == 409
    assert "the person has written something new" in page
    assert "he is coming" in page
    assert ">Call me &lt;now&gt;</textarea>" in page
    assert await written(desk, "advocate") == []
    assert (await send(desk, nour, conversation, "Call me"))[0] == 303


async def test_our_own_words_do_not_stop_the_next_ones(desk: Desk) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")
    await accepted(desk, nour, conversation)
    seen = await newest(desk, conversation)
    for text in ("Hello", "I am Nour"):
        assert (await send(desk, nour, conversation, text, version=seen))[0] == 303


async def test_only_who_accepted_writes(desk: Desk) -> None:
    conversation = await desk.person()
    nour, sacha = await desk.member("nour"), await desk.member("sacha")
    assert (await send(desk, nour, conversation, "Hello"))[0] == 409
    await accepted(desk, nour, conversation)
    status, page = await send(desk, sacha, conversation, "Hello")
    assert status == 409
    assert "only the advocate who accepted this conversation" in page
    assert (await send(desk, sacha, uuid.uuid4(), "Hello", version=1))[0] == 404
    assert await written(desk, "advocate") == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("   \n", "the message is empty"), ("x" * 4001, "longer than 4000 characters")],
    ids=["empty", "too-long"],
)
async def test_what_cannot_be_sent_is_refused_with_a_sentence(desk: Desk, text: str, sentence: str) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")
    await accepted(desk, nour, conversation)
    status, page = await send(desk, nour, conversation, text)
    assert status == 400
    assert sentence in page
    assert await written(desk, "advocate") == []


async def test_a_channel_that_is_switched_off_stops_no_escalation_and_no_advocate(services: Services) -> None:
    without = dataclasses.replace(services, channels={"web": services.channels["web"]})
    async with open_desk(without) as desk:
        conversation = await desk.person()
        (handoff,) = await desk.rows(handoffs)
        assert (handoff.state, handoff.severity) == ("waiting", "high")
        nour = await desk.member("nour")
        await accepted(desk, nour, conversation)
        status, page = await send(desk, nour, conversation, "Hello")
        assert status == 409
        assert "this channel is switched off" in page
        assert (await nour.post(f"/console/handoffs/{handoff.id}/close", classification="unsure")).status_code == 303
        assert await desk.rows(deliveries) == []


@pytest.mark.parametrize("version", ["", "²", "-1", "9" * 6000, "x"])
async def test_a_strange_version_is_no_reason_to_fall_over(desk: Desk, version: str) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")
    await accepted(desk, nour, conversation)
    form = {"text": "Hello", "version": version, "client_id": "a\u0000b"}
    assert (await nour.post(f"/console/conversations/{conversation}/send", **form)).status_code in (303, 409)
    path = f"/console/conversations/{conversation}/messages"
    assert (await nour.get(path, after=version[:3000])).status_code == 200
    vera = await desk.member("vera", "supervisor")
    assert (await vera.get("/console/signals", before=version[:3000])).status_code == 200


async def test_web_chat_is_read_not_sent(desk: Desk) -> None:
    conversation = await desk.person(channel="web", sender="token")
    nour = await desk.member("nour")
    await accepted(desk, nour, conversation)
    await send(desk, nour, conversation, "Hello")
    assert {row.state for row in await desk.rows(deliveries)} == {"sent"}
    async with desk.services.database.begin() as conn:
        assert await outbox.claim_part(conn, desk.services.vault) is None
