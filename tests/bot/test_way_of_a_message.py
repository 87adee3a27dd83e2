"""The way of one message, step by step, on a real database: stored, screened, recorded, answered, sent."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from bot import inbox, outbox, worker
from bot.engine import ENGINE_DOWN, Answer
from bot.services import Services
from bot.tables import conversations, deliveries, handoffs, messages, signals
from channels.channel import Inbound, RawRequest, Status
from tests.bot.door import work
from tests.conftest import Phone, ScriptedEngine

PERSON = "+15145550123"


async def write(services: Services, text: str, *, sid: str = "SM1", sender: str = PERSON, kind: str = "text") -> None:
    async with services.database.begin() as conn:
        await inbox.store(conn, services.vault, "sms", Inbound(sid, sender, kind, text))


async def rows(services: Services, table: sa.Table) -> list[sa.Row[tuple[object, ...]]]:
    async with services.database.connect() as conn:
        return list(await conn.execute(sa.select(table)))


async def test_a_disclosure_becomes_handoff_signal_and_a_safe_answer(services: Services, phone: Phone) -> None:
    await write(services, "my boss keeps my passport and i cant leave the house, he locked the door")
    await work(services)
    (handoff,) = await rows(services, handoffs)
    logged = await rows(services, signals)
    assert handoff.state == "waiting"
    assert handoff.severity == "high"
    assert {"document_retention", "confinement"} & {row.indicator for row in logged}
    assert len(phone.sent) == 1
    assert phone.sent[0]["To"] == PERSON
    assert phone.sent[0]["Body"] == services.catalog.texts["en"]["handoff.high"].text
    assert isinstance(services.engine, ScriptedEngine)
    assert services.engine.asked == []  # the engine is not needed for an escalation


async def test_the_engine_is_handed_the_vector_that_the_screen_saw(services: Services) -> None:
    """So that it encodes nothing a second time."""
    question = "what are the signs of trafficking?"
    await write(services, question)
    await work(services)
    assert isinstance(services.engine, ScriptedEngine)
    (vector,) = services.engine.vectors
    assert vector == services.encoder.encode([question])[0].astype("<f4").tobytes()


async def test_what_led_to_a_closed_handoff_does_not_mark_what_is_asked_afterwards(
    services: Services, phone: Phone
) -> None:
    await write(services, "I want to talk to a person", sid="SM1")
    await work(services)
    async with services.database.begin() as conn:
        (handoff,) = await rows(services, handoffs)
        await conn.execute(sa.update(handoffs).values(state="closed", closed_at=sa.func.now()))
    await write(services, "where can I sleep tonight?", sid="SM2")
    await work(services)
    assert [row.id for row in await rows(services, handoffs)] == [handoff.id]
    assert isinstance(services.engine, ScriptedEngine)
    assert services.engine.asked == ["where can I sleep tonight?"]


async def test_the_assistant_is_silent_while_a_grave_handoff_waits(services: Services, phone: Phone) -> None:
    await write(services, "my boss keeps my passport", sid="SM1")
    await work(services)
    await write(services, "what are the signs of trafficking?", sid="SM2")
    await work(services)
    assert len(phone.sent) == 1
    assert len(await rows(services, handoffs)) == 1


async def test_a_question_is_answered_by_the_engine(services: Services, phone: Phone) -> None:
    await write(services, "what are the signs of trafficking?")
    await work(services)
    assert [message["Body"] for message in phone.sent] == [services.catalog.texts["en"]["info.signs"].text]
    assert await rows(services, handoffs) == []


async def test_an_engine_that_is_down_leads_to_an_honest_answer(services: Services, phone: Phone) -> None:
    await write(services, "what are the signs of trafficking?")
    await work(dataclasses.replace(services, engine=ScriptedEngine(ENGINE_DOWN)))
    assert phone.sent[0]["Body"] == services.catalog.texts["en"]["fallback.engine_down"].text


async def test_a_wish_for_a_human_found_by_the_dialogue_opens_a_handoff(services: Services, phone: Phone) -> None:
    await write(services, "what are the opening hours of the museum?")
    await work(dataclasses.replace(services, engine=ScriptedEngine((Answer("human.request"),))))
    (handoff,) = await rows(services, handoffs)
    assert (handoff.severity, handoff.indicators) == ("elevated", ["human_requested"])
    assert phone.sent[0]["Body"] == services.catalog.texts["en"]["handoff.elevated"].text


async def test_twenty_copies_at_once_are_one_message(services: Services, phone: Phone) -> None:
    await asyncio.gather(*(write(services, "what are the signs of trafficking?") for _ in range(20)))
    await work(services)
    assert len([row for row in await rows(services, messages) if row.direction == "in"]) == 1
    assert len(phone.sent) == 1


async def test_equal_words_with_another_id_are_another_message(services: Services) -> None:
    await write(services, "hello", sid="SM1")
    await write(services, "hello", sid="SM2")
    assert [row.seq for row in await rows(services, messages)] == [1, 2]


async def test_many_workers_keep_the_order_of_a_conversation(services: Services, phone: Phone) -> None:
    for number in range(6):
        await write(services, f"question number {number}, what are the signs?", sid=f"SM{number}")
    await asyncio.gather(*(work(services) for _ in range(5)))
    assert isinstance(services.engine, ScriptedEngine)
    assert services.engine.asked == [f"question number {number}, what are the signs?" for number in range(6)]
    sent = [row for row in await rows(services, deliveries) if row.state == "sent"]
    ordered = sorted(sent, key=lambda row: row.position)
    assert [row.sent_at for row in ordered] == sorted(row.sent_at for row in ordered)
    assert len(sent) == 6


async def test_a_worker_that_lost_its_lease_writes_nothing(services: Services, phone: Phone) -> None:
    await write(services, "my boss keeps my passport")
    async with services.database.begin() as conn:
        claim = await inbox.claim(conn, services.vault)
    assert claim is not None
    async with services.database.begin() as conn:
        await inbox.free_leases(conn)  # another gateway starts
    try:
        await worker._through(services, claim)
        lost = False
    except inbox.LostLease:
        lost = True
    assert lost
    assert await rows(services, handoffs) == []
    await work(services)
    assert len(await rows(services, handoffs)) == 1
    assert len(phone.sent) == 1


async def test_a_crash_between_the_commits_answers_once(services: Services, phone: Phone) -> None:
    await write(services, "what are the signs of trafficking?")
    async with services.database.begin() as conn:
        claim = await inbox.claim(conn, services.vault)
    assert claim is not None
    await worker._record(services, claim, claim.messages[0])  # commit 1, then the process is gone
    async with services.database.begin() as conn:
        await inbox.free_leases(conn)
    await work(services)
    assert [message["Body"] for message in phone.sent] == [services.catalog.texts["en"]["info.signs"].text]


async def test_a_slow_engine_does_not_delay_an_escalation(services: Services, phone: Phone) -> None:
    answer = asyncio.Event()

    class Thinking(ScriptedEngine):
        async def respond(self, *arguments: Any, **options: Any) -> Sequence[Answer]:
            await answer.wait()
            return await super().respond(*arguments, **options)

    slow = dataclasses.replace(services, engine=Thinking())
    with services.hub.subscribe() as told:
        listening = asyncio.create_task(services.hub.run())
        await asyncio.wait_for(told.get(), 10)  # the hub's first word is that it listens
    await write(services, "what are the signs of trafficking?", sid="SM1")
    turn = asyncio.create_task(worker.run_once(slow))
    try:
        await asyncio.sleep(0.2)
        await write(services, "my boss keeps my passport, i am locked in", sid="SM2")
        for _ in range(500):
            if await rows(services, handoffs):
                break
            await asyncio.sleep(0.02)
        assert await rows(services, handoffs)
        assert not answer.is_set()
        answer.set()
        await turn
    finally:
        listening.cancel()
    await work(services)
    assert [message["Body"] for message in phone.sent] == [services.catalog.texts["en"]["handoff.high"].text]
    assert {row.state for row in await rows(services, messages)} == {"done"}


async def test_a_stranger_on_the_phone_learns_nothing(services: Services, phone: Phone) -> None:
    """She disclosed, then her boss takes the phone: what is said from here on could be read by anybody."""
    await write(services, "my boss keeps my passport", sid="SM1")
    await work(services)
    await write(services, "who is this? why are you texting her", sid="SM2")
    await work(services)
    await write(services, "he will kill me, he has a knife", sid="SM3")
    await work(services)
    texts = services.catalog.texts["en"]
    said = [message["Body"] for message in phone.sent[1:]]
    assert said == [texts["discreet.who"].text, texts["discreet.noted"].text]
    (conversation,) = await rows(services, conversations)
    (handoff,) = await rows(services, handoffs)
    assert conversation.maybe_watched
    assert handoff.severity == "critical"  # it hides nothing from the advocates


async def test_stop_silences_us_and_start_undoes_it(services: Services, phone: Phone) -> None:
    await write(services, "STOP", sid="SM1", kind="keyword")
    await work(services)
    assert phone.sent[0]["Body"] == services.catalog.texts["en"]["keyword.stop"].text
    await write(services, "my boss keeps my passport", sid="SM2")
    await work(services)
    assert len(phone.sent) == 1  # nothing more goes out
    assert len(await rows(services, handoffs)) == 1  # and still a human is called
    await write(services, "DEBUT", sid="SM3", kind="keyword")
    await work(services)
    assert phone.sent[1]["Body"].startswith(services.catalog.texts["fr"]["keyword.start"].text)


async def test_nothing_in_the_database_can_be_read_without_the_key(services: Services, database_url: str) -> None:
    await write(services, "zebra my boss keeps my passport")
    await work(services)
    async with services.database.connect() as conn:
        for table in (conversations, messages, deliveries, handoffs, signals):
            for row in await conn.execute(sa.select(table)):
                for value in row:
                    plain = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    assert b"zebra" not in plain
                    assert PERSON.encode() not in plain


async def test_strange_characters_survive(services: Services) -> None:
    text = "a\u0000b \ud83d lone \u202e\u200d 👩‍👩‍👧 é مرحبا"
    await write(services, text)
    await work(services)
    (first, *_) = [row for row in await rows(services, messages) if row.direction == "in"]
    assert inbox.open_words(services.vault, first.id, first.words)["text"] == text
    assert first.state == "done"


async def test_a_refused_number_is_opted_out_and_seen(services: Services, phone: Phone) -> None:
    phone.failures.append((400, {"code": 21610, "message": "unsubscribed"}))
    await write(services, "what are the signs of trafficking?")
    await work(services)
    (delivery,) = await rows(services, deliveries)
    (conversation,) = await rows(services, conversations)
    assert (delivery.state, delivery.error) == ("failed", "21610")
    assert conversation.opted_out


async def test_a_throttled_part_is_tried_again(services: Services, phone: Phone) -> None:
    phone.failures.append((429, {"code": 20429, "message": "slow down"}))
    await write(services, "what are the signs of trafficking?")
    await work(services)
    (delivery,) = await rows(services, deliveries)
    assert (delivery.state, delivery.attempts, delivery.error) == ("queued", 1, "20429")


async def test_a_late_status_never_goes_back(services: Services) -> None:
    await write(services, "what are the signs of trafficking?")
    await work(services)
    for state in ("delivered", "sent"):
        async with services.database.begin() as conn:
            assert await outbox.record_status(conn, "sms", Status("SMout1", state))
    (delivery,) = await rows(services, deliveries)
    assert delivery.state == "delivered"


async def test_a_status_finds_its_part_before_our_own_commit(services: Services) -> None:
    await write(services, "what are the signs of trafficking?")
    while await worker.run_once(services):
        pass
    async with services.database.begin() as conn:
        claimed = await outbox.claim_part(conn, services.vault)
    assert claimed is not None
    async with services.database.begin() as conn:
        assert await outbox.record_status(conn, "sms", Status("SMx", "delivered", delivery=str(claimed.id)))
    async with services.database.begin() as conn:
        await outbox.record_sent(conn, claimed, provider_id="SMx")
    (delivery,) = await rows(services, deliveries)
    assert delivery.state == "delivered"


async def test_a_voice_note_always_calls_a_human(services: Services, phone: Phone) -> None:
    await write(services, "", kind="audio")
    await work(services)
    (handoff,) = await rows(services, handoffs)
    assert handoff.severity == "elevated"
    assert phone.sent[0]["Body"] == services.catalog.texts["en"]["kind.voice"].text


async def test_help_that_the_provider_answers_is_not_answered_again(services: Services, phone: Phone) -> None:
    """The way in is the webhook's own: what `OptOutType` says must not be lost on the way to the decision."""
    for number, told in enumerate((b"&OptOutType=HELP", b"")):
        body = b"MessageSid=SM%d&From=%%2B1514555010%d&Body=HELP&NumMedia=0" % (number, number) + told
        (item,) = services.channels["sms"].parse(RawRequest("https://gateway.example/webhooks/twilio", {}, body))
        assert isinstance(item, Inbound)
        async with services.database.begin() as conn:
            await inbox.store(conn, services.vault, "sms", item)
    await work(services)
    assert [message["To"] for message in phone.sent] == ["+15145550101"]
    assert len(await rows(services, handoffs)) == 2
    assert {row.kind for row in await rows(services, messages) if row.direction == "in"} == {"keyword"}


async def test_help_is_answered_and_a_human_is_called(services: Services, phone: Phone) -> None:
    await write(services, "Aide", kind="keyword")
    await work(services)
    assert phone.sent[0]["Body"].startswith(services.catalog.texts["fr"]["keyword.help"].text)
    assert len(await rows(services, handoffs)) == 1


async def test_parts_for_a_channel_that_was_switched_off_fail_where_staff_see_it(services: Services) -> None:
    await write(services, "what are the signs of trafficking?")
    assert await worker.run_once(services)
    off = dataclasses.replace(services, channels={})
    assert await worker.send_once(off)
    (part,) = await rows(services, deliveries)
    assert (part.state, part.error) == ("failed", "off")
    assert not await worker.send_once(off)  # it does not go round
