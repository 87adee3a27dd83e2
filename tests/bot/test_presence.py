"""What open chats hear of the queue and of each other: their own place, an advocate who writes, and nothing else."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from bot import chat, chat_session, inbox
from bot.chat_session import Places, Session
from bot.events import Hub
from bot.services import Services
from bot.tables import conversations, handoffs
from channels.channel import Inbound
from handoff import queue
from tests.bot.door import Door, listening, open_door
from tests.bot.test_chat import bearer, session, tab

encoder = screen = detector = pytest.fixture(scope="session")(lambda: None)  # nothing is screened here


@pytest.fixture
def database_url(emptied: str) -> str:
    return emptied


@pytest.fixture
async def live(services: Services) -> AsyncIterator[Door]:
    async with open_door(services) as opened, listening(services):
        yield opened


async def waits(services: Services, *, severity: str = "high", token: str = "") -> Session:
    """Somebody who writes in the web chat and waits for an advocate."""
    found = Session(token or chat_session.issue(services), None, 0, None)
    async with services.database.begin() as conn:
        stored = await inbox.store(conn, services.vault, "web", Inbound(uuid.uuid4().hex, found.token, "text", "hello"))
        assert stored
        await queue.open_handoff(
            conn, conversation=stored[0], message=uuid.uuid4(), severity=severity, indicators=["debt"],
            language="en", channel="web",
        )  # fmt: skip
    await chat_session.attach(services, found)
    return found


async def ahead(services: Services, found: Session) -> object:
    return (await chat_session.state(services, found)).get("ahead")


async def test_the_place_is_that_of_the_queue(services: Services) -> None:
    first, second = await waits(services), await waits(services)
    grave = await waits(services, severity="critical")
    assert [await ahead(services, one) for one in (first, second, grave)] == [1, 2, 0]
    async with services.database.begin() as conn:
        listed = [row.conversation_id for row in await queue.list_open(conn)]
        places = await queue.places(conn)
    assert (
        listed
        == sorted(places, key=places.__getitem__)
        == [grave.conversation, first.conversation, second.conversation]
    )


async def test_where_somebody_may_be_reading_along_no_place_is_told(services: Services) -> None:
    found = await waits(services)
    assert found.conversation
    async with services.database.begin() as conn:
        await inbox.learn(conn, found.conversation, maybe_watched=True)
    assert await chat_session.state(services, found) == {"human": False, "waiting": False}


async def test_an_open_chat_hears_that_it_moves_up(live: Door) -> None:
    first, second = await waits(live.services), await waits(live.services)
    async with tab(live) as page:
        await page.hello(token=second.token)
        assert (await page.next("state"))["ahead"] == 1
        async with live.services.database.begin() as conn:
            await conn.execute(
                handoffs.update().where(handoffs.c.conversation_id == first.conversation).values(state="closed")
            )
            await chat.events.notify(conn, "queue", state="closed", conversation=first.conversation)
        assert (await page.next("state"))["ahead"] == 0


async def test_places_are_read_once_for_all_until_the_queue_changes(services: Services) -> None:
    both = [await waits(services), await waits(services)]
    places, read = Places(), 0
    right = queue.places

    async def counted(conn: object) -> dict[uuid.UUID, int]:
        nonlocal read
        read += 1
        return await right(conn)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "places", counted)
        for _ in range(3):
            await asyncio.gather(*(places.before(services, one.conversation) for one in both if one.conversation))
        assert read == 1
        services.hub.publish({"kind": "queue"})
        assert both[0].conversation
        assert await places.before(services, both[0].conversation) == 0
    assert read == 2


async def test_what_happens_to_others_wakes_no_chat(live: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    right = chat_session.look

    async def counted(services: Services, found: Session, places: Places) -> chat_session.Look:
        looks.append(found.token)
        return await right(services, found, places)

    monkeypatch.setattr(chat_session, "look", counted)
    async with tab(live) as quiet, tab(live) as other, tab(live) as silent:
        await quiet.hello()
        await quiet.write("hello")
        await quiet.next("message")
        await silent.hello()  # opened, and nothing written
        await other.hello()
        await asyncio.sleep(0.2)
        looks.clear()
        await other.write("hello")
        await waits(live.services)
        assert (await other.next("message"))["text"] == "hello"
        await asyncio.sleep(0.2)
        assert set(looks) == {other.token}


async def test_the_person_sees_that_the_advocate_writes(live: Door) -> None:
    found, stranger = await waits(live.services), await waits(live.services)
    async with tab(live) as page, tab(live) as other:
        await page.hello(token=found.token)
        await other.hello(token=stranger.token)
        await page.next("state")
        async with live.services.database.begin() as conn:
            await chat.events.notify(conn, "typing", conversation=found.conversation)
        assert (await page.next("typing")) == {"type": "typing"}
        await live.answer(stranger.conversation, "hi")  # type: ignore[arg-type]
        while (await other.next("message", "typing"))["type"] != "message" or other.seen[-1]["text"] != "hi":
            pass
        assert "typing" not in {frame["type"] for frame in other.seen}


# -- the language


@pytest.mark.parametrize("way", ["socket", "http"])
async def test_a_language_chosen_before_the_first_message_is_stored_with_it(live: Door, way: str) -> None:
    if way == "socket":
        async with tab(live) as page:
            await page.hello()
            await page.write("hello", language="pa")
    else:
        token = await session(live)
        body = json.dumps({"type": "message", "client_id": "c1", "text": "hello", "language": "pa"})
        assert (await live.client.post("/chat/messages", content=body, headers=bearer(token))).status_code == 200
    (row,) = await live.rows(conversations)
    assert (row.language, row.language_chosen) == ("pa", True)


async def test_no_worker_sees_the_first_message_without_the_language(live: Door) -> None:
    """Stored in one transaction: whoever claims the conversation knows what was chosen."""
    async with tab(live) as page:
        await page.hello()
        await page.send({"type": "language", "language": "ar"})
        await page.write("hello")
    async with live.services.database.begin() as conn:
        rows = "SELECT xmin FROM conversations UNION ALL SELECT xmin FROM messages"
        seen = (await conn.execute(sa.text(f"SELECT count(DISTINCT xmin::text) AS n FROM ({rows}) written"))).one()
        claim = await inbox.claim(conn, live.services.vault)
    assert seen.n == 1
    assert claim is not None
    assert (claim.language, claim.language_chosen) == ("ar", True)


@pytest.mark.parametrize("language", ["xx", "", 7, None])
async def test_a_language_that_does_not_exist_is_no_choice(live: Door, language: object) -> None:
    async with tab(live) as page:
        await page.hello()
        assert (await page.write("hello", language=language))["type"] == "ack"
    (row,) = await live.rows(conversations)
    assert not row.language_chosen


# -- the hub


async def test_a_follower_gets_what_it_follows_and_nothing_after_it_left() -> None:
    hub = Hub("")
    with hub.following() as reader:
        reader.follow("a", "queue")
        for event in ({"kind": "inbound", "conversation": "b"}, {"kind": "inbound", "conversation": "a"}):
            hub.publish(event)
        assert reader.queue.get_nowait()["conversation"] == "a"
        assert reader.queue.empty()
        hub.publish({"kind": "queue", "conversation": "b"})
        assert (await asyncio.wait_for(reader.queue.get(), 5))["kind"] == "queue"
        reader.leave("a")
        hub.publish({"kind": "inbound", "conversation": "a"})
        hub.publish({"kind": "missed"})
        assert (await asyncio.wait_for(reader.queue.get(), 5))["kind"] == "missed"
    assert hub._followers == {}


async def test_a_broadcast_wakes_a_few_at_a_time() -> None:
    hub = Hub("")
    with ExitStack() as stack:
        readers = [stack.enter_context(hub.following()) for _ in range(100)]
        hub.publish({"kind": "missed"})
        await asyncio.sleep(0)
        woken = sum(not reader.queue.empty() for reader in readers)
        assert 0 < woken <= 20
        await asyncio.gather(*(asyncio.wait_for(reader.queue.get(), 5) for reader in readers))
