"""WhatsApp over HTTP and through the whole way: signed webhook, turn, outbox, Graph API, statuses back."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sanic import Sanic

from bot import inbox, outbox, standin_graph, worker
from bot.app import make_services
from bot.services import Services
from bot.tables import conversations, deliveries, handoffs, messages
from channels.channel import Inbound
from channels.whatsapp import sign
from tests.bot import graph
from tests.bot.door import Door, open_door, turns, work
from tests.bot.graph import (
    ACCESS,
    HOOK,
    NUMBER,
    PERSON,
    SECOND,
    SECRET,
    VERIFY,
    Graph,
    batch,
    hook,
    message,
    status,
    with_whatsapp,
)
from tests.handoff.desk import accepted, open_desk, send, written
from tests.running import free_port, serving


@pytest.fixture
def meta() -> Graph:
    return Graph()


@pytest.fixture
async def ours(services: Services, meta: Graph) -> AsyncIterator[Services]:
    async with with_whatsapp(services, meta) as made:
        yield made


@pytest.fixture
async def door(ours: Services) -> AsyncIterator[Door]:
    async with open_door(ours) as opened:
        yield opened


# -- the way of a message


async def test_a_question_is_answered_and_its_statuses_come_back(door: Door, meta: Graph) -> None:
    assert await hook(door, batch(message("what are the signs of trafficking?"))) == 200
    await work(door.services)
    (sent,) = meta.sent
    assert (sent["to"], sent["number"]) == (PERSON, NUMBER)
    assert sent["interactive"]["body"]["text"] == door.services.catalog.texts["en"]["info.signs"].text
    assert [button["reply"]["id"] for button in sent["interactive"]["action"]["buttons"]] == [
        "choice.human", "choice.rights", "choice.services",
    ]  # fmt: skip
    (part,) = await door.rows(deliveries)
    assert (part.state, part.provider_id) == ("sent", "wamid.out1")
    words = ("sent", "delivered", "read")
    assert await hook(door, batch(statuses=[status(word) for word in words])) == 200
    assert (await door.rows(deliveries))[0].state == "read"
    assert await hook(door, batch(statuses=[status("sent")])) == 200
    assert (await door.rows(deliveries))[0].state == "read"


async def test_a_pressed_button_calls_a_human(door: Door, meta: Graph) -> None:
    chosen = {"type": "button_reply", "button_reply": {"id": "choice.human", "title": "Talk to a person"}}
    assert await hook(door, batch(message(type="interactive", interactive=chosen))) == 200
    await work(door.services)
    (handoff,) = await door.rows(handoffs)
    assert (handoff.severity, handoff.channel) == ("elevated", "whatsapp")
    assert meta.sent[0]["words"].startswith(door.services.catalog.texts["en"]["handoff.elevated"].text)


async def test_a_button_that_is_not_ours_is_screened_like_words(door: Door) -> None:
    chosen = {"payload": "X", "text": "my boss keeps my passport, he locked the door"}
    assert await hook(door, batch(message(type="button", button=chosen))) == 200
    await work(door.services)
    assert [row.severity for row in await door.rows(handoffs)] == ["high"]


async def test_the_answer_leaves_from_the_number_that_was_written_to(door: Door, meta: Graph) -> None:
    await hook(door, batch(message("what are the signs?"), number=SECOND))
    await work(door.services)
    assert [sent["number"] for sent in meta.sent] == [SECOND]


async def test_a_person_who_hides_the_number_is_answered(door: Door, meta: Graph) -> None:
    hidden = {"from_user_id": "CA.1349120865530274", "id": "wamid.1", "type": "text", "text": {"body": "hello there"}}
    contact = {"profile": {"username": "@a"}, "user_id": "CA.1349120865530274"}
    await hook(door, batch(hidden, contacts=[contact]))
    await work(door.services)
    (sent,) = meta.sent
    assert sent["recipient"] == "CA.1349120865530274"
    assert "to" not in sent


@pytest.mark.parametrize(
    ("kind", "body", "key"),
    [
        ("sticker", {"id": "1", "mime_type": "image/webp"}, "kind.no_pictures"),
        ("image", {"id": "1", "mime_type": "image/jpeg"}, "kind.no_pictures"),
        ("document", {"id": "1", "mime_type": "application/pdf"}, "kind.media"),
        ("audio", {"id": "1", "voice": True}, "kind.voice"),
        ("hologram", {"id": "1"}, "kind.unsupported"),
        ("unsupported", None, "kind.unsupported"),
    ],
)
async def test_a_kind_without_words_is_answered_with_what_works(
    door: Door, meta: Graph, kind: str, body: object, key: str
) -> None:
    await hook(door, batch(message("what are the signs of trafficking?")))
    await work(door.services)
    await hook(door, batch({"from": PERSON, "id": "wamid.2", "type": kind, kind: body}))
    await work(door.services)
    assert meta.sent[-1]["words"].startswith(door.services.catalog.texts["en"][key].text)
    (row,) = await door.rows(messages, messages.c.provider_id == "wamid.2")
    assert row.kind == {"audio": "voice", "hologram": "unsupported"}.get(kind, kind)


@pytest.mark.parametrize(
    ("kind", "body"), [("reaction", {"emoji": "👍"}), ("system", {"body": "changed"}), ("edit", {})]
)
async def test_what_is_no_message_to_us_is_stored_and_not_answered(
    door: Door, meta: Graph, kind: str, body: object
) -> None:
    await hook(door, batch(message(type=kind, **{kind: body})))
    await work(door.services)
    assert [(row.kind, row.state) for row in await door.rows(messages)] == [(kind, "done")]
    assert meta.sent == []


async def test_a_location_fills_the_place_slot(door: Door) -> None:
    place = {"latitude": 45.5017, "longitude": -73.5673, "name": "Café X", "address": "12 rue Y, Montréal, QC"}
    await hook(door, batch(message(type="location", location=place)))
    await work(door.services)
    (row,) = await door.rows(conversations)
    sealed = door.services.vault.open(row.place_sealed, context=f"place:{row.id}")
    assert (sealed.decode(), row.region) == ("Montréal", "QC")
    assert await door.words() == ["Café X, 12 rue Y, Montréal, QC, (45.50170, -73.56730)"]


async def test_media_are_kept_as_references_and_nothing_is_fetched(door: Door, meta: Graph) -> None:
    picture = {"id": "777", "mime_type": "image/jpeg", "url": "http://169.254.169.254/latest", "caption": "hello there"}
    await hook(door, batch(message(type="image", image=picture)))
    (row,) = await door.rows(messages)
    words = inbox.open_words(door.services.vault, row.id, row.words)
    assert words["media"] == [{"url": "whatsapp:777", "content_type": "image/jpeg"}]
    await work(door.services)
    said = [str(sent["interactive"]["body"]["text"]) for sent in meta.sent]  # the double fails any other call
    assert len(said) == 2  # that pictures are not seen, and the answer to the words beside it
    assert said[0].startswith("Nobody here can see pictures")


async def test_stop_and_start_work_as_by_sms(door: Door, meta: Graph) -> None:
    for row, text in enumerate(("Arrêt", "my boss keeps my passport", "DEBUT")):
        await hook(door, batch(message(text, row=f"wamid.{row}")))
        await work(door.services)
    texts = door.services.catalog.texts["fr"]
    assert len(meta.sent) == 2
    for sent, key in zip(meta.sent, ("keyword.stop", "keyword.start"), strict=True):
        assert sent["words"].startswith(texts[key].text)
    assert len(await door.rows(handoffs)) == 1


# -- the outbox


async def asked_and_answered(door: Door) -> None:
    await hook(door, batch(message("what are the signs of trafficking?")))
    await work(door.services)


async def test_a_status_finds_its_part_before_our_own_commit(door: Door) -> None:
    await hook(door, batch(message("what are the signs of trafficking?")))
    await turns(door.services)
    async with door.services.database.begin() as conn:
        claimed = await outbox.claim_part(conn, door.services.vault)
    assert claimed is not None
    early = status("delivered", biz_opaque_callback_data=str(claimed.id))
    assert await hook(door, batch(statuses=[early])) == 200
    async with door.services.database.begin() as conn:
        await outbox.record_sent(conn, claimed, provider_id="wamid.out1")
    assert (await door.rows(deliveries))[0].state == "delivered"


async def test_what_is_sent_carries_our_own_id(door: Door, meta: Graph) -> None:
    await asked_and_answered(door)
    (part,) = await door.rows(deliveries)
    assert meta.sent[0]["biz_opaque_callback_data"] == str(part.id)


async def test_a_part_that_meta_refuses_later_is_seen_as_failed(door: Door) -> None:
    await asked_and_answered(door)
    late = status("failed", errors=[{"code": 131047, "title": "Re-engagement message"}])
    assert await hook(door, batch(statuses=[late])) == 200
    (part,) = await door.rows(deliveries)
    (conversation,) = await door.rows(conversations)
    assert (part.state, part.error, conversation.opted_out) == ("failed", "131047", False)


async def test_a_crash_while_sending_leaves_it_unknown_until_a_status_comes(door: Door) -> None:
    await hook(door, batch(message("what are the signs of trafficking?")))
    await turns(door.services)
    async with door.services.database.begin() as conn:
        claimed = await outbox.claim_part(conn, door.services.vault)
        await conn.execute(deliveries.update().values(lease_until=sa.func.now() - timedelta(seconds=1)))
    assert claimed is not None
    assert await worker.recover_once(door.services)
    assert (await door.rows(deliveries))[0].state == "unknown"
    await hook(door, batch(statuses=[status("sent", biz_opaque_callback_data=str(claimed.id))]))
    assert (await door.rows(deliveries))[0].state == "sent"


async def test_too_many_to_one_person_waits_four_times_longer_each_time(door: Door, meta: Graph) -> None:
    waits = []
    meta.failures += [(400, {"code": 131056})] * 3
    await asked_and_answered(door)
    for _ in range(3):
        (part,) = await door.rows(deliveries)
        assert (part.state, part.error) == ("queued", "131056")
        async with door.services.database.begin() as conn:
            waits.append(await conn.scalar(sa.text("SELECT extract(epoch FROM next_at - now()) FROM deliveries")))
            await conn.execute(deliveries.update().values(next_at=sa.func.now()))
        await worker.send_once(door.services)
    assert [round(float(wait)) for wait in waits] == [4, 16, 64]
    assert len(meta.sent) == 1


# -- the 24-hour window


async def test_after_a_day_the_advocate_is_told_before_writing(ours: Services) -> None:
    disclosure = Inbound("wamid.1", f"{NUMBER}:{PERSON}", "text", "my boss keeps my passport and locked the door")
    async with open_desk(ours) as desk:
        async with ours.database.begin() as conn:
            stored = await inbox.store(conn, ours.vault, "whatsapp", disclosure)
        assert stored is not None
        conversation = stored[0]
        await work(ours)
        nour = await desk.member("nour")
        await accepted(desk, nour, conversation)
        told = 'id="window"'
        assert told not in (await nour.get(f"/console/conversations/{conversation}")).text
        assert (await send(desk, nour, conversation, "Hello"))[0] == 303
        before = sa.func.now() - timedelta(hours=24, seconds=5)
        await desk.execute(messages.update().where(messages.c.direction == "in").values(created_at=before))
        assert told in (await nour.get(f"/console/conversations/{conversation}")).text
        code, page = await send(desk, nour, conversation, "Are you there?")
        assert code == 409
        assert "more than 24 hours ago" in page
        assert "Are you there?" in page  # the words are kept
        async with ours.database.begin() as conn:
            item = Inbound("wamid.2", f"{NUMBER}:{PERSON}", "text", "yes")
            await inbox.store(conn, ours.vault, "whatsapp", item)
        assert told not in (await nour.get(f"/console/conversations/{conversation}")).text
        assert (await send(desk, nour, conversation, "Are you there?"))[0] == 303


async def test_the_day_begins_when_the_message_was_written_and_the_advocate_sees_that_it_came_late(
    ours: Services,
) -> None:
    written = time.time() - 25 * 3600
    late = Inbound(
        "wamid.1", f"{NUMBER}:{PERSON}", "text", "my boss keeps my passport", sender=NUMBER, written_at=written
    )
    async with open_desk(ours) as desk:
        async with ours.database.begin() as conn:
            stored = await inbox.store(conn, ours.vault, "whatsapp", late)
        assert stored is not None
        while await worker.run_once(ours):
            pass
        nour = await desk.member("nour")
        await accepted(desk, nour, stored[0])
        page = (await nour.get(f"/console/conversations/{stored[0]}")).text
        assert 'id="window"' in page
        assert "Came late. Written at" in page
        assert datetime.fromtimestamp(written, tz=timezone.utc).isoformat()[:16] in page
        assert {row.sender for row in await desk.rows(deliveries)} == {NUMBER}
        soon = dataclasses.replace(late, provider_id="wamid.2", written_at=time.time() + 3600)  # a clock that is wrong
        async with ours.database.begin() as conn:
            await inbox.store(conn, ours.vault, "whatsapp", soon)
        page = (await nour.get(f"/console/conversations/{stored[0]}")).text
        assert 'id="window"' not in page
        assert page.count("Came late.") == 1


async def test_a_status_that_names_a_passing_trouble_is_tried_again(door: Door, meta: Graph) -> None:
    await asked_and_answered(door)
    (part,) = await door.rows(deliveries)
    trouble = status("failed", errors=[{"code": 131000}], biz_opaque_callback_data=str(part.id))
    for _ in range(2):  # and Meta repeats itself
        await hook(door, batch(statuses=[trouble]))
        (part,) = await door.rows(deliveries)
        assert (part.state, part.error, part.attempts) == ("queued", "131000", 1)
    await hook(door, batch(statuses=[status("sent", biz_opaque_callback_data=str(part.id))]))  # a late one
    assert (await door.rows(deliveries))[0].state == "queued"


@pytest.mark.parametrize("code", [131047, 131026, 132001, 190])
async def test_a_status_that_names_a_lasting_trouble_is_final(door: Door, code: int) -> None:
    await asked_and_answered(door)
    await hook(door, batch(statuses=[status("failed", errors=[{"code": code}])]))
    (part,) = await door.rows(deliveries)
    assert (part.state, part.error) == ("failed", str(code))


async def test_after_a_day_nobody_is_told_that_an_advocate_comes_or_goes(ours: Services) -> None:
    disclosure = Inbound("wamid.1", f"{NUMBER}:{PERSON}", "text", "my boss keeps my passport and locked the door")
    async with open_desk(ours) as desk:
        async with ours.database.begin() as conn:
            stored = await inbox.store(conn, ours.vault, "whatsapp", disclosure)
        assert stored is not None
        await work(ours)
        before = sa.func.now() - timedelta(hours=24, seconds=5)
        await desk.execute(messages.update().where(messages.c.direction == "in").values(created_at=before))
        nour = await desk.member("nour")
        handoff = await accepted(desk, nour, stored[0])
        assert (await nour.post(f"/console/handoffs/{handoff}/close", classification="unsure")).status_code == 303
        assert await written(desk, "service") == []
        assert [row.state for row in await desk.rows(deliveries)] == ["sent"]


async def test_a_changed_number_does_not_open_the_window(door: Door) -> None:
    await hook(door, batch(message(type="system", system={"body": "changed", "type": "user_changed_number"})))
    (conversation,) = await door.rows(conversations)
    async with door.services.database.connect() as conn:
        assert await outbox.window_closed(conn, conversation.id, 60.0)
        assert not await outbox.window_closed(conn, conversation.id, None)
    await hook(door, batch(message(row="wamid.2")))
    async with door.services.database.connect() as conn:
        assert not await outbox.window_closed(conn, conversation.id, 60.0)


# -- the demonstration's stand-in


async def test_the_demonstrations_stand_in_sends_and_reports(services: Services) -> None:
    given, port = services.settings.whatsapp, free_port()
    assert given is not None
    made = dataclasses.replace(given, api_url=f"http://127.0.0.1:{port}")
    async with httpx.AsyncClient() as client, AsyncExitStack() as stack:
        secrets = {"access_token": made.access_token, "app_secret": made.app_secret, "api_url": made.api_url}
        channels = {**services.channels, "whatsapp": graph.channel(client, **secrets)}
        door = await stack.enter_async_context(open_door(dataclasses.replace(services, channels=channels)))
        meta: Sanic[Any, Any] = Sanic(f"graph-{uuid.uuid4().hex}", configure_logging=False)
        meta.blueprint(standin_graph.make(made, door.base + HOOK))
        await stack.enter_async_context(serving(meta, port))
        body = batch(message("what are the signs of trafficking?"))
        assert await hook(door, body, signature=sign(made.app_secret, body)) == 200
        await work(door.services)
        for _ in range(200):
            if (await door.rows(deliveries))[0].state == "delivered":
                break
            await asyncio.sleep(0.02)
        (part,) = await door.rows(deliveries)
        assert part.state == "delivered"
        url = f"{made.api_url}/{made.version}/{NUMBER}/messages"
        listed = await client.get(url, params={"to": PERSON}, headers={"authorization": f"Bearer {made.access_token}"})
        assert [shown["id"] for shown in listed.json()["messages"]] == [part.provider_id]
        assert (await client.get(url, params={"to": PERSON})).status_code == 401


async def test_the_demonstration_wires_the_channel_to_its_stand_in(services: Services) -> None:
    async with httpx.AsyncClient() as client:
        made = make_services(services.settings, "postgresql://nobody@127.0.0.1:1/nothing", client)
        assert made.channels["whatsapp"].name == "whatsapp"
        await made.database.dispose()
    async with open_door(services) as door:  # in whose settings the port is the stand-in's
        given = services.settings.whatsapp
        assert given is not None
        answer = await door.client.post(f"/{given.version}/{NUMBER}/messages", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, 190)


async def test_the_log_names_neither_words_nor_people_nor_secrets(
    door: Door, meta: Graph, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="passerelle")
    meta.failures.append((401, {"code": 190, "message": f"token {ACCESS}"}))
    await hook(door, batch(message("zebra crossing")), signature="sha256=zebra")
    await hook(door, batch(message("zebra crossing"), {"id": "zebra"}))
    await work(door.services)
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("passerelle"))
    assert "190" in said
    for secret in ("zebra", PERSON, SECRET, ACCESS, VERIFY):
        assert secret not in said
