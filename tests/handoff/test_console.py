"""The console over HTTP: what an advocate, and what somebody who should not be there, gets to see and to do."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from bot.services import Services
from bot.tables import audit, conversations, deliveries, handoffs, messages, sessions, signals
from handoff import queue
from nlu.script import ONE_LANGUAGE
from tests.handoff.desk import DISCLOSURE, Browser, Desk, accepted, handoff_of, open_desk, send, written
from translations.render import language_name


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[Desk]:
    async with open_desk(services) as opened:
        yield opened


# -- the queue and the conversation


async def test_the_queue_shows_how_grave_it_is_and_why(desk: Desk) -> None:
    await desk.person()
    nour = await desk.member("nour")
    page = (await nour.get("/console")).text
    assert "<title>(1) Queue" in page
    assert 'data-severity="high"' in page
    assert "Papers kept" in page
    assert "my boss keeps my passport" in page
    assert "English" in page
    fragment = (await nour.get("/console/queue")).text
    assert "my boss keeps my passport" in fragment
    assert "<html" not in fragment


async def test_a_new_critical_stands_above_whoever_waits_for_hours(desk: Desk) -> None:
    await desk.person(sender="+15145550101")
    await desk.execute(handoffs.update().values(opened_at=sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 3)))
    await desk.person("he is coming with a knife, help me now", sender="+15145550102")
    page = (await (await desk.member("nour")).get("/console")).text
    assert re.findall('data-severity="([a-z]+)"', page) == ["critical", "high"]


async def test_a_sentence_stands_once_in_its_entry_whatever_it_led_to(desk: Desk) -> None:
    words = "they take all our money and we work day and night, we are not allowed to go out and he hits us"
    conversation = await desk.person(words)
    await desk.person(words)
    nour = await desk.member("nour")
    (row,) = await desk.rows(handoffs)
    assert len(row.indicators) > 2
    entry = (await nour.get("/console")).text
    assert entry.count("not allowed to go out") == 1
    assert entry.count("<li>Violence</li>") == 1
    await accepted(desk, nour, conversation)
    aside = (await nour.get(f"/console/conversations/{conversation}")).text.split("<aside")[1]
    assert aside.count("not allowed to go out") == 1
    assert aside.count("<strong>Violence</strong>") == 1
    assert aside.count("<strong>") == len(row.indicators)


async def test_words_are_escaped(desk: Desk) -> None:
    conversation = await desk.person("<script>alert(1)</script> my boss keeps my passport </script><b>")
    nour = await desk.member("nour")
    for path in ("/console", "/console/queue", f"/console/conversations/{conversation}"):
        page = (await nour.get(path)).text
        assert "passport" in page
        assert "<script>alert" not in page
        assert "</script><b>" not in page


async def test_half_a_character_does_not_blind_the_queue(desk: Desk) -> None:
    conversation = await desk.person("my boss keeps my passport \ud83d and \u0000 me")
    nour = await desk.member("nour")
    for path in ("/console", "/console/queue", f"/console/conversations/{conversation}"):
        answer = await nour.get(path)
        assert answer.status_code == 200
        assert "my boss keeps my passport" in answer.text


async def test_accepting_tells_the_person_and_the_log(desk: Desk) -> None:
    conversation = await desk.person("mon patron garde mon passeport et il a fermé la porte à clé")
    nour = await desk.member("nour")
    handoff = await accepted(desk, nour, conversation)
    assert await written(desk, "service") == [desk.services.catalog.texts["fr"]["handoff.accepted"].text]
    (row,) = await desk.rows(messages, messages.c.author == "service")
    assert row.dedupe_key == f"accepted:{handoff}"
    (part,) = await desk.rows(deliveries, deliveries.c.message_id == row.id)
    assert (part.state, part.priority) == ("queued", 1)
    assert len(await desk.rows(signals, signals.c.kind == "accepted")) == 1


async def test_who_comes_second_is_told_by_whom(desk: Desk) -> None:
    conversation = await desk.person()
    nour, sacha = await desk.member("nour"), await desk.member("sacha")
    handoff = await accepted(desk, nour, conversation)
    answer = await sacha.post(f"/console/handoffs/{handoff}/accept")
    assert answer.status_code == 409
    assert "Nour has already accepted this handoff." in answer.text
    assert "Accepted by Nour" in (await sacha.get("/console")).text
    assert len(await written(desk, "service")) == 1


async def test_accepting_does_not_collide_with_a_turn_of_the_same_person(desk: Desk) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")
    handoff = await handoff_of(desk, conversation)
    async with desk.services.database.begin() as conn:  # as a turn does: first the conversation, then its handoff
        await conn.execute(sa.select(conversations).where(conversations.c.id == conversation).with_for_update())
        accepting = asyncio.create_task(nour.post(f"/console/handoffs/{handoff}/accept"))
        await asyncio.sleep(0.3)
        await queue.open_handoff(
            conn, conversation=conversation, message=uuid.uuid4(), severity="critical", indicators=("violence",),
            language="en", channel="sms",
        )  # fmt: skip
    assert (await accepting).status_code == 303
    (row,) = await desk.rows(handoffs)
    assert (row.state, row.severity) == ("accepted", "critical")


async def test_closing_tells_the_person_and_keeps_the_classification(desk: Desk) -> None:
    conversation = await desk.person()
    nour, sacha = await desk.member("nour"), await desk.member("sacha")
    handoff = await accepted(desk, nour, conversation)
    form = {"classification": "trafficking_labour", "writer": "person_affected", "note": "asked for a lawyer"}
    refused = await sacha.post(f"/console/handoffs/{handoff}/close", **form)
    assert refused.status_code == 409
    assert "Nour has already accepted this handoff." in refused.text
    assert (await nour.post(f"/console/handoffs/{handoff}/close", **{**form, "writer": "a fox"})).status_code == 400
    assert (await nour.post(f"/console/handoffs/{handoff}/close", **form)).status_code == 303
    (row,) = await desk.rows(handoffs)
    assert (row.state, row.classification, row.writer) == ("closed", "trafficking_labour", "person_affected")
    assert (await written(desk, "service"))[-1] == desk.services.catalog.texts["en"]["handoff.closed"].text
    assert "This conversation is closed." in (await nour.get(f"/console/conversations/{conversation}")).text


async def test_who_wrote_stop_is_told_nothing(desk: Desk) -> None:
    conversation = await desk.person()
    await desk.execute(conversations.update().values(opted_out=True))
    nour = await desk.member("nour")
    handoff = await accepted(desk, nour, conversation)
    status, page = await send(desk, nour, conversation, "Hello")
    assert status == 409
    assert "the person wrote STOP" in page
    assert (await nour.post(f"/console/handoffs/{handoff}/close", classification="unsure")).status_code == 303
    assert await written(desk, "service") == []
    assert await written(desk, "advocate") == []


async def test_an_unknown_conversation_is_not_found(desk: Desk) -> None:
    nour = await desk.member("nour")
    assert (await nour.get(f"/console/conversations/{uuid.uuid4()}")).status_code == 404
    assert (await nour.post(f"/console/handoffs/{uuid.uuid4()}/accept")).status_code == 409
    assert (await nour.post(f"/console/handoffs/{uuid.uuid4()}/close", classification="unsure")).status_code == 409


# -- reading is audited


async def test_opening_the_page_is_one_reading_and_its_polls_are_none(desk: Desk) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")

    async def readings() -> int:
        return len(await desk.rows(audit, audit.c.action == "read", audit.c.conversation_id == conversation))

    await nour.get(f"/console/conversations/{conversation}")
    assert await readings() == 1
    for after in (1, 2, 1):
        assert (await nour.get(f"/console/conversations/{conversation}/messages", after=after)).status_code == 200
    assert await readings() == 1
    await nour.get(f"/console/conversations/{conversation}")
    assert await readings() == 2


async def test_the_fragment_is_no_way_around_the_audit(desk: Desk) -> None:
    conversation = await desk.person()
    await desk.person("now what?")
    nour = await desk.member("nour")
    answer = await nour.get(f"/console/conversations/{conversation}/messages", after=1)
    assert "now what?" in answer.text
    (row,) = await desk.rows(audit, audit.c.action == "read")
    assert (row.actor, row.conversation_id) == ("nour", conversation)


# -- live events


async def frames(browser: Browser, wanted: int) -> AsyncIterator[tuple[str, dict[str, object]]]:
    """The first (event, data) pairs of the stream."""
    async with browser.client.stream("GET", "/console/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        event = ""
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield event, json.loads(line.removeprefix("data: "))
                wanted -= 1
                if wanted == 0:
                    return


async def test_the_queue_hears_of_a_disclosure_within_a_second(desk: Desk) -> None:
    nour = await desk.member("nour")
    seen: list[tuple[str, dict[str, object]]] = []
    async with asyncio.timeout(10):
        stream = frames(nour, 4)
        seen.append(await anext(stream))
        conversation = await desk.person()
        async for frame in stream:
            seen.append(frame)
    handoff = await handoff_of(desk, conversation)
    assert seen[0] == ("hello", {})
    assert ("queue", {"handoff": str(handoff), "state": "waiting", "severity": "high"}) in seen
    assert ("conversation", {"conversation": str(conversation), "seq": 1}) in seen
    assert "passport" not in str(seen)


async def test_a_delivery_says_no_number_and_a_missed_event_says_hello(desk: Desk) -> None:
    nour = await desk.member("nour")
    conversation = str(uuid.uuid4())
    async with asyncio.timeout(10):
        stream = frames(nour, 3)
        seen = [await anext(stream)]
        desk.services.hub.publish({"kind": "something else"})
        desk.services.hub.publish({"kind": "delivery", "conversation": conversation})
        desk.services.hub.publish({"kind": "missed"})
        seen += [frame async for frame in stream]
    assert seen == [("hello", {}), ("conversation", {"conversation": conversation}), ("hello", {})]


# -- the signal log


async def test_the_signal_log_pages_backwards_and_holds_no_words(desk: Desk) -> None:
    conversation = await desk.person()
    row = {"kind": "accepted", "conversation_id": conversation, "severity": "high", "channel": "sms"}
    await desk.execute(signals.insert().values([{**row, "id": uuid.uuid4(), "details": {"waited": 1}}] * 1))
    more = [{**row, "id": uuid.uuid4(), "details": {"waited": 2, "staff": "somebody"}} for _ in range(120)]
    await desk.execute(signals.insert().values(more))
    ana = await desk.member("ana", "analyst")
    first = (await ana.get("/console/signals")).text
    assert first.count("<tr>") == 101
    assert "passport and" not in first
    assert "somebody" not in first
    total = len(await desk.rows(signals))
    older = first.split('rel="next" href="')[1].split('"')[0]
    second = (await ana.get(older)).text
    assert second.count("<tr>") == total - 100 + 1
    assert "Papers kept" in second
    assert 'rel="next"' not in second


# -- evidence


async def test_the_signal_log_speaks_as_the_console_does(desk: Desk) -> None:
    conversation = await desk.person("malik ne mera passport rakh leya hai, ghar nahi jaan dinda")
    nour = await desk.member("nour")
    handoff = await accepted(desk, nour, conversation)
    form = {"classification": "trafficking_labour", "writer": "not_said"}
    assert (await nour.post(f"/console/handoffs/{handoff}/close", **form)).status_code == 303
    row = {"id": uuid.uuid4(), "kind": "accepted", "conversation_id": conversation, "severity": "high"}
    waited = {"details": {"waited": 675.1}, "language": "pa-Latn", "channel": "sms"}
    await desk.execute(signals.insert().values({**row, **waited}))
    ana = await desk.member("ana", "analyst")
    page = (await ana.get("/console/signals")).text
    for raw in ("675", "not_said", "trafficking_labour", "pa-Latn", "pattern:", ">model<"):
        assert raw not in page, raw
    shown = " ".join(re.sub("<[^>]+>", " ", page).split())
    assert "waited 11 min 15 s" in shown
    assert re.search(r"waited \d s; lasted \d s; what it was: Trafficking: labour; who wrote: Not said\b", shown)
    assert not re.search(r"\d\.\d", shown)
    assert "Punjabi (in Latin letters)" in shown
    assert "Risk found" in shown
    assert page.count("data-dated") == page.count('<time class="clock"') > 0


def test_every_language_that_is_told_by_its_script_has_a_name_for_staff() -> None:
    assert [tag for tag in ONE_LANGUAGE.values() if language_name(tag) == tag] == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("pattern:hi-Latn", "words in Hindi (in Latin letters)"),
        ("model", "the model, in the whole message"),
        ("model:piece", "the model, in a part of the message"),
        ("model:history", "the model, after earlier messages"),
        ("keyword", "a keyword"),
        ("choice", "a choice that was offered"),
        ("voice", "a voice message"),
        ("dialogue", "the dialogue"),
        ("something new", "something new"),
    ],
)
async def test_the_signal_log_says_what_found_it(desk: Desk, source: str, said: str) -> None:
    row = {"id": uuid.uuid4(), "kind": "risk", "severity": "high", "channel": "sms", "source": source}
    await desk.execute(signals.insert().values({**row, "conversation_id": await desk.person("hello")}))
    page = (await (await desk.member("ana", "analyst")).get("/console/signals")).text
    assert f"found by {said}</td>" in page


async def test_the_evidence_is_marked_in_the_conversation(desk: Desk) -> None:
    conversation = await desk.person()
    nour = await desk.member("nour")
    page = (await nour.get(f"/console/conversations/{conversation}")).text
    assert "<mark>" in page
    assert DISCLOSURE.split(" and ")[0].split()[-1] in page
    assert await desk.rows(sessions)


async def test_a_mark_ends_where_the_word_ends(desk: Desk) -> None:
    conversation = await desk.person("malik ne mera passport rakh leya")
    nour = await desk.member("nour")
    page = (await nour.get(f"/console/conversations/{conversation}")).text
    assert 'rakh leya<span class="label"' in page
