"""After STOP nothing goes out: neither an answer that was being thought of, nor a part that was being sent."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import inbox, outbox
from bot.engine import Answer
from bot.services import Services
from bot.tables import conversations, deliveries, messages
from channels.channel import Inbound, NotSent, Part
from tests.bot.door import PERSON, listening, turns, work
from tests.conftest import Phone, ScriptedEngine


async def wrote(services: Services, text: str) -> uuid.UUID:
    async with services.database.begin() as conn:
        stored = await inbox.store(conn, services.vault, "sms", Inbound(uuid.uuid4().hex, PERSON, "text", text))
    assert stored is not None
    return stored[0]


async def value(services: Services, query: sa.Select[tuple[object]]) -> object:
    async with services.database.connect() as conn:
        return await conn.scalar(query)


async def states(services: Services) -> list[tuple[str, str]]:
    """(response key, state) of every part, in order."""
    query = sa.select(messages.c.response_key, deliveries.c.state).join_from(deliveries, messages)
    async with services.database.connect() as conn:
        return [(row.response_key, row.state) for row in await conn.execute(query.order_by(deliveries.c.position))]


class Thinking(ScriptedEngine):
    """Answers when the person has written STOP meanwhile, and that was understood."""

    services: Services

    async def respond(
        self, conversation: str, text: str, *, language: str, vector: bytes | None, place: str | None, asked: str | None
    ) -> Sequence[Answer]:
        await wrote(self.services, "STOP")
        while not await value(self.services, sa.select(conversations.c.opted_out)):
            pass
        return self.answers


async def test_an_answer_that_comes_after_stop_is_not_said(services: Services, phone: Phone) -> None:
    engine = Thinking()
    engine.services = services = dataclasses.replace(services, engine=engine)
    await wrote(services, "what are the signs of trafficking?")
    async with listening(services):
        await turns(services)
    await work(services)
    assert await states(services) == [("keyword.stop", "sent")]
    assert len(phone.sent) == 1


async def being_sent(services: Services) -> outbox.Delivery:
    async with services.database.begin() as conn:
        taken = await outbox.claim_part(conn, services.vault)
    assert taken is not None
    return taken


async def test_a_part_that_did_not_get_through_before_stop_is_not_tried_again(services: Services, phone: Phone) -> None:
    await wrote(services, "what are the signs of trafficking?")
    await turns(services)
    taken = await being_sent(services)
    await wrote(services, "STOP")
    await turns(services)
    async with services.database.begin() as conn:
        await outbox.record_failure(conn, taken, NotSent("20429", retry_after=0.0))
    await work(services)
    assert await states(services) == [("info.signs", "cancelled"), ("keyword.stop", "sent")]
    assert len(phone.sent) == 1


async def test_a_part_that_was_lost_before_stop_is_not_sent_by_the_successor(services: Services) -> None:
    conversation = await wrote(services, "what are the signs of trafficking?")
    await turns(services)
    await being_sent(services)
    async with services.database.begin() as conn:
        await outbox.opt_out(conn, conversation)
        await outbox.record_again(conn, await _only(conn, services), delay=0.0, error="lost")
    assert await states(services) == [("info.signs", "cancelled")]


async def _only(conn: AsyncConnection, services: Services) -> outbox.Delivery:
    await conn.execute(deliveries.update().values(lease_until=sa.func.now() - sa.text("interval '1 second'")))
    taken = await outbox.claim_lost_part(conn, services.vault)
    assert taken is not None
    return taken


async def test_the_confirmation_of_stop_is_tried_again(services: Services, phone: Phone) -> None:
    await wrote(services, "STOP")
    await turns(services)
    phone.failures.append((429, {"code": 20429}))
    await work(services)
    assert await states(services) == [("keyword.stop", "queued")]


@pytest.mark.parametrize("author", ["assistant", "service", "advocate"])
async def test_nobody_can_put_words_into_the_outbox_after_stop(services: Services, author: str) -> None:
    conversation = await wrote(services, "STOP")
    await turns(services)
    message = outbox.Outgoing(author=author, text="hello", language="en")
    async with services.database.begin() as conn:
        assert await outbox.enqueue(
            conn, services.vault, conversation, message, parts=[Part("hello")], dedupe_key="k"
        ) is None  # fmt: skip
    assert await states(services) == [("keyword.stop", "queued")]
