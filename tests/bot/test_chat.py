"""The web chat as its page speaks it: over a socket, over plain HTTP, and after the exit not at all."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bot import chat_session
from bot.services import Services
from bot.settings import ROOT
from bot.tables import conversations, messages, quarantine
from channels.webchat import MAX_TEXT
from tests.bot.door import Door, listening, open_door

STRANGE = "a\x00b \ud83d \u202eabc\u202c \u200d👩‍👩‍👧 e\u0301 مرحبا ਮੈਂ <b>&amp;"

encoder = screen = detector = pytest.fixture(scope="session")(lambda: None)  # the door stores and never screens


@pytest.fixture
def database_url(emptied: str) -> str:
    return emptied


@pytest.fixture
async def door(services: Services) -> AsyncIterator[Door]:
    async with open_door(services) as opened:
        yield opened


@pytest.fixture
async def live(door: Door) -> AsyncIterator[Door]:
    """The door while the gateway hears of what happens."""
    async with listening(door.services):
        yield door


class Tab:
    """One page's socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.token = ""
        self.seen: list[dict[str, Any]] = []  # every frame that came
        self._unread: list[dict[str, Any]] = []

    async def send(self, frame: object) -> None:
        await self._socket.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    async def next(self, *kinds: str) -> dict[str, Any]:
        """The next frame of one of these kinds; frames of other kinds wait for whoever asks for them."""
        async with asyncio.timeout(30):
            while True:
                for number, frame in enumerate(self._unread):
                    if frame["type"] in kinds:
                        return self._unread.pop(number)
                frame = json.loads(await self._socket.recv())
                self.seen.append(frame)
                self._unread.append(frame)

    async def hello(self, **more: object) -> dict[str, Any]:
        await self.send({"type": "hello", "token": None, "after": 0, "language": "en", **more})
        welcome = await self.next("welcome")
        self.token = welcome["token"]
        return welcome

    async def write(self, text: str, client_id: str = "", **more: object) -> dict[str, Any]:
        """What the server says to a message."""
        await self.send({"type": "message", "client_id": client_id or str(uuid.uuid4()), "text": text, **more})
        return await self.next("ack", "error", "ended")

    async def texts(self, count: int) -> list[tuple[int, str, str]]:
        """(number, author, text) of as many messages."""
        found = [await self.next("message") for _ in range(count)]
        return [(frame["seq"], frame["from"], frame["text"]) for frame in found]

    async def closed(self) -> int | None:
        """The code the server closes with."""
        with suppress(ConnectionClosed):
            await self.next("nothing")
        return self._socket.close_code


@asynccontextmanager
async def tab(door: Door, *, origin: str | None = None) -> AsyncIterator[Tab]:
    url = door.base.replace("http", "ws") + "/chat/ws"
    async with connect(url, origin=origin, max_size=None) as socket:  # type: ignore[arg-type]
        yield Tab(socket)


async def session(door: Door, **more: object) -> str:
    """A token, over HTTP."""
    answer = await door.client.post("/chat/session", json={"type": "hello", "token": None, "after": 0, **more})
    assert answer.status_code == 200
    return str(answer.json()["token"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def post(door: Door, token: str, text: object, client_id: object = "c1", **more: object) -> tuple[int, Any]:
    body = json.dumps({"type": "message", "client_id": client_id, "text": text, **more})
    answer = await door.client.post("/chat/messages", content=body, headers=bearer(token))
    return answer.status_code, answer.json()


async def read(door: Door, token: str, after: object = 0) -> tuple[int, list[str]]:
    answer = await door.client.get("/chat/messages", params={"after": after, "wait": "0"}, headers=bearer(token))
    return answer.status_code, [message["text"] for message in answer.json().get("messages", [])]


async def only_conversation(door: Door) -> uuid.UUID:
    (row,) = await door.rows(conversations)
    key: uuid.UUID = row.id
    return key


# -- tokens


def not_ours(right: str) -> list[object]:
    half, mark = right.split(".")
    other = "A" * 22
    return [
        None, "", ".", "hello", half, f"{half}.", f".{mark}", f"{other}.{mark}", f"{half}.{mark[:-1]}",
        f"{half}.{mark}0", f"{half}.{mark.swapcase()}x", f"{half}:{mark}", f"{half}.{'0' * 32}", f" {right}",
        "é" * 22 + "." + mark, "\ud83d" * 22 + "." + mark, "\x00" * 22 + "." + mark, "x" * 9000,
        7, True, 1.5, [right], {"token": right},
    ]  # fmt: skip


async def test_the_server_issues_the_token_and_takes_no_other(door: Door) -> None:
    right = await session(door)
    assert re.fullmatch(r"[\w-]{22}\.[0-9a-f]{32}", right)
    issued = {right}
    for wrong in not_ours(right):
        answer = await door.client.post("/chat/session", content=json.dumps({"type": "hello", "token": wrong}))
        assert answer.status_code == 200, wrong
        issued.add(answer.json()["token"])
    assert len(issued) == len(not_ours(right)) + 1  # a new one each time
    assert await session(door, token=right) == right
    async with tab(door) as page:
        assert (await page.hello(token=right))["token"] == right
    async with tab(door) as page:
        assert (await page.hello(token="A" * 22 + "." + "0" * 32))["token"] not in issued


async def test_an_unknown_token_reads_and_writes_nothing(door: Door) -> None:
    right = await session(door)
    assert (await post(door, right, "hello"))[0] == 200
    for wrong in not_ours(right):
        if isinstance(wrong, str) and re.fullmatch(r"[!-~]{1,200}", wrong):
            assert await read(door, wrong) == (401, []), wrong
            assert (await post(door, wrong, "hello"))[0] == 401, wrong
    assert (await door.client.get("/chat/messages")).status_code == 401
    assert (await door.client.get("/chat/messages", headers={"Authorization": b"Bearer \xff"})).status_code == 401
    assert await door.words() == ["hello"]


async def test_nobody_reads_what_another_wrote(door: Door) -> None:
    mine, theirs = await session(door), await session(door)
    await post(door, mine, "mine")
    await post(door, theirs, "theirs")
    assert await read(door, mine) == (200, ["mine"])
    assert await read(door, theirs) == (200, ["theirs"])


async def test_whoever_writes_nothing_leaves_no_trace(door: Door) -> None:
    async with tab(door) as page:
        await page.hello()
    assert await read(door, await session(door)) == (200, [])
    for table in (conversations, messages, quarantine):
        assert await door.rows(table) == []


# -- origins


ORIGINS = [
    (None, True),  # no browser
    ("https://gateway.example", True),
    ("https://gateway.example/", True),
    ("https://partner.example", True),
    ("https://evil.example", False),
    ("https://gateway.example.evil.example", False),
    ("http://gateway.example", False),
    ("https://gateway.example:444", False),
    ("null", False),
    ("http://[", False),
    ("file://", False),
    ("https://partner.example@evil.example", False),
]


async def test_only_known_pages_may_open_the_chat(services: Services) -> None:
    object.__setattr__(services.settings, "chat_origins", ("https://partner.example",))
    async with open_door(services) as door:
        for origin, allowed in [*ORIGINS, (door.base, True)]:
            headers = {"Origin": origin} if origin else {}
            answer = await door.client.post("/chat/session", json={"type": "hello"}, headers=headers)
            assert answer.status_code == (200 if allowed else 403), origin
            assert ("token" in answer.json()) == allowed
            async with tab(door, origin=origin) as page:
                if allowed:
                    await page.hello()
                else:
                    assert await page.closed() == 4403, origin


# -- messages


async def test_a_message_is_acknowledged_after_it_is_stored(door: Door) -> None:
    async with tab(door) as page:
        await page.hello()
        assert await page.write("hello", "c1") == {"type": "ack", "client_id": "c1", "seq": 1}
        assert await door.words() == ["hello"]
        assert await page.write("again", "c2") == {"type": "ack", "client_id": "c2", "seq": 2}


async def test_the_acknowledgement_waits_for_the_commit(door: Door) -> None:
    async with tab(door) as page:
        await page.hello()
        async with door.services.database.connect() as conn:
            await conn.execute(sa.text("LOCK TABLE messages IN EXCLUSIVE MODE"))
            await page.send({"type": "message", "client_id": "c1", "text": "hello"})
            waiting = asyncio.create_task(page.next("ack"))
            done, _ = await asyncio.wait([waiting], timeout=0.4)
            assert not done
            await conn.rollback()
        assert (await waiting)["seq"] == 1


async def test_a_message_that_is_sent_twice_is_one_message(door: Door) -> None:
    async with tab(door) as first:
        await first.hello()
        assert (await first.write("help", "c1"))["seq"] == 1
        assert (await first.write("help", "c1"))["seq"] == 1
    async with tab(door) as second:
        await second.hello(token=first.token)
        assert (await second.write("help", "c1"))["seq"] == 1
    answers = await asyncio.gather(*(post(door, first.token, "help", "c1") for _ in range(8)))
    assert answers == [(200, {"type": "ack", "client_id": "c1", "seq": 1})] * 8
    assert await door.words() == ["help"]


async def test_the_same_id_or_the_same_words_of_another_are_another_message(door: Door) -> None:
    for token in (await session(door), await session(door)):
        for client_id in ("c1", "c2"):
            assert (await post(door, token, "help", client_id))[0] == 200
    assert len(await door.rows(messages)) == 4


async def test_a_chip_is_stored_with_its_choice(door: Door) -> None:
    assert (await post(door, await session(door), "Talk to a person", choice="choice.human"))[0] == 200
    (row,) = await door.rows(messages)
    assert row.kind == "button"


async def test_what_a_person_writes_comes_back_unchanged(live: Door) -> None:
    async with tab(live) as page:
        await page.hello()
        assert (await page.write(STRANGE))["type"] == "ack"
        assert await page.texts(1) == [(1, "you", STRANGE)]
        assert await read(live, page.token) == (200, [STRANGE])
    assert await live.words() == [STRANGE]


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"text": ""}, "chat.not_sent"),
    ({"text": " \n\t\u3000"}, "chat.not_sent"),
    ({"text": "x" * (MAX_TEXT + 1)}, "chat.too_long"),
    ({"text": "ਮ" * 20_000}, "chat.too_long"),
    ({"text": None}, "chat.not_sent"),
    ({"text": 7}, "chat.not_sent"),
    ({"text": ["hello"]}, "chat.not_sent"),
    ({"text": {"a": "b"}}, "chat.not_sent"),
    ({"client_id": ""}, "chat.not_sent"),
    ({"client_id": "x" * 65}, "chat.not_sent"),
    ({"client_id": None}, "chat.not_sent"),
    ({"client_id": 7}, "chat.not_sent"),
    ({"client_id": ["c1"]}, "chat.not_sent"),
    ({"client_id": "a\x00b"}, "chat.not_sent"),
    ({"client_id": "\ud83d"}, "chat.not_sent"),
    ({"client_id": "é"}, "chat.not_sent"),
    ({"choice": "x" * 65}, "chat.not_sent"),
    ({"choice": 7}, "chat.not_sent"),
]


async def test_what_cannot_be_taken_is_refused_and_the_socket_lives_on(door: Door) -> None:
    token = await session(door)
    async with tab(door) as page:
        await page.hello(token=token)
        for fields, key in REFUSED:
            frame = {"type": "message", "client_id": "c1", "text": "hello", **fields}
            body = json.dumps(frame, ensure_ascii="client_id" in fields).encode("utf-8", "surrogatepass")
            answer = await door.client.post("/chat/messages", content=body, headers=bearer(token))
            assert answer.status_code in (400, 413), fields
            assert answer.json()["key"] == key, fields
            if len(body) <= 32_768:
                await page.send(json.dumps(frame, ensure_ascii="client_id" in fields))
                refusal = await page.next("ack", "error")
                assert (refusal["type"], refusal["key"]) == ("error", key), fields
        assert await door.rows(messages) == []
        assert (await page.write("x" * MAX_TEXT))["type"] == "ack"


async def test_a_text_that_fits_no_frame_is_too_long_all_the_same(door: Door) -> None:
    async with tab(door) as page:
        await page.hello()
        answer = await page.write("x" * 30_000, "c1")
        assert answer == {"type": "error", "key": "chat.too_long", "client_id": "c1"}
        status, body = await post(door, page.token, "x" * 300_000)
        assert (status, body["key"]) == (413, "chat.too_long")
        assert "client_id" not in body  # the page puts in its own: the words go back into the field


GARBAGE = [
    "",
    "hello",
    "[]",
    "null",
    "7",
    '{"type":',
    '{"type": "sesame"}',
    '{"type": 7}',
    "[" * 30_000,
    '{"a":' * 5000,
]


async def test_frames_that_are_none_are_passed_over(door: Door) -> None:
    async with tab(door) as page:
        await page.hello()
        for frame in [*GARBAGE, b"\xff\xfe", b"\x00" * 100, b'{"type": "seen", "seq": 1}']:
            await page.send(frame)
        assert (await page.write("still here"))["type"] == "ack"
    for frame in GARBAGE[:-1]:
        async with tab(door) as other:
            await other.send(frame)  # instead of a hello
            assert "token" in await other.next("welcome")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=40)
FRAMES = st.dictionaries(
    st.sampled_from(["type", "text", "client_id", "choice", "token", "after", "language", "chosen"]),
    SCALARS | st.lists(SCALARS, max_size=2) | st.just("message") | st.text("xyz", min_size=1, max_size=5),
    max_size=8,
).map(lambda frame: json.dumps(frame).encode())


@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=FRAMES | st.binary(max_size=100) | st.integers(1, 30_000).map(lambda depth: b'{"a":[' * depth))
async def test_no_body_is_a_failure_of_ours(door: Door, body: bytes) -> None:
    opened = await door.client.post("/chat/session", content=body)
    assert opened.status_code == 200
    token = opened.json()["token"]
    answer = await door.client.post("/chat/messages", content=body, headers=bearer(token))
    assert answer.status_code in (200, 400, 413)
    assert (await door.client.post("/chat/end", content=body)).status_code == 204
    assert (await read(door, token, after=body[:20]))[0] == 200


async def test_a_flood_on_one_socket_is_slowed_down(door: Door) -> None:
    async with tab(door) as page:
        await page.hello()
        answers = [await page.write(f"message {number}", f"c{number}") for number in range(31)]
    assert [answer["type"] for answer in answers] == ["ack"] * 30 + ["error"]
    assert answers[-1]["key"] == "chat.not_sent"


async def test_a_flood_over_http_is_slowed_down_too(door: Door) -> None:
    token = await session(door)
    answers = [await post(door, token, f"message {number}", f"c{number}") for number in range(31)]
    assert [status for status, _ in answers] == [200] * 30 + [429]
    assert (answers[-1][1]["type"], answers[-1][1]["key"]) == ("error", "chat.not_sent")
    assert answers[-1][1]["client_id"] == "c30"  # so that its words go back into the field
    assert len(await door.words()) == 30
    assert (await post(door, await session(door), "another person", "c0"))[0] == 200


async def test_more_sockets_and_requests_are_no_way_around_it(door: Door) -> None:
    async with tab(door) as left, tab(door) as right:
        await left.hello()
        await right.hello(token=left.token)
        for number in range(15):
            assert (await left.write(f"left {number}"))["type"] == "ack"
            assert (await right.write(f"right {number}"))["type"] == "ack"
        assert (await right.write("one too many"))["type"] == "error"
        assert (await post(door, left.token, "one too many"))[0] == 429


async def test_what_is_refused_for_other_reasons_does_not_count(door: Door) -> None:
    token = await session(door)
    for _ in range(40):
        assert (await post(door, token, ""))[0] == 400
    assert (await post(door, token, "hello"))[0] == 200


# -- what the page reads


async def test_a_page_that_comes_again_gets_what_it_missed_once(live: Door) -> None:
    async with tab(live) as page:
        await page.hello()
        await page.write("one")
        conversation = await only_conversation(live)
        await live.answer(conversation, "two")
        assert await page.texts(2) == [(1, "you", "one"), (2, "person", "two")]
    await live.answer(conversation, "three")
    await live.answer(conversation, "four", author="assistant")
    async with tab(live) as again:
        welcome = await again.hello(token=page.token, after=2)
        assert (welcome["token"], welcome["seq"]) == (page.token, 4)
        assert await again.texts(2) == [(3, "person", "three"), (4, "assistant", "four")]
        await live.answer(conversation, "five", author="service")
        assert await again.texts(1) == [(5, "service", "five")]
        assert [frame["seq"] for frame in again.seen if frame["type"] == "message"] == [3, 4, 5]
    async with tab(live) as reloaded:
        await reloaded.hello(token=page.token)
        assert [seq for seq, _, _ in await reloaded.texts(5)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("after", [-5, "x", None, 1.5, True, 10**30, [2], "²"])
async def test_a_strange_last_number_shows_no_less_than_it_should(door: Door, after: object) -> None:
    token = await session(door)
    await post(door, token, "one")
    async with tab(door) as page:
        await page.hello(token=token, after=after)
        if after == 10**30:
            assert (await page.write("two"))["seq"] == 2
            assert not [frame for frame in page.seen if frame["type"] == "message"]
        else:
            assert await page.texts(1) == [(1, "you", "one")]


async def test_two_tabs_show_the_same_conversation(live: Door) -> None:
    async with tab(live) as left, tab(live) as right:
        await left.hello()
        await right.hello(token=left.token)
        await left.write("from the left")
        await right.write("from the right")
        expected = [(1, "you", "from the left"), (2, "you", "from the right")]
        assert await left.texts(2) == expected
        assert await right.texts(2) == expected


async def test_a_long_conversation_comes_in_order_over_http(door: Door) -> None:
    token = await session(door)
    written = [f"message {number}" for number in range(12)]
    for number, text in enumerate(written):
        assert (await post(door, token, text, f"c{number}"))[1]["seq"] == number + 1
    assert await read(door, token) == (200, written)
    assert await read(door, token, after=9) == (200, written[9:])
    assert await read(door, token, after=12) == (200, [])
    assert await read(door, token, after="x") == (200, written)


async def test_over_http_a_page_waits_for_news(live: Door) -> None:
    token = await session(live)
    await post(live, token, "one")
    asking = asyncio.create_task(live.client.get("/chat/messages", params={"after": 1}, headers=bearer(token)))
    done, _ = await asyncio.wait([asking], timeout=0.3)
    assert not done
    await live.answer(await only_conversation(live), "two")
    answer = (await asyncio.wait_for(asking, 20)).json()
    assert [(message["seq"], message["from"], message["text"]) for message in answer["messages"]] == [
        (2, "person", "two")
    ]
    assert answer["state"] == {"human": False, "waiting": False}


async def test_a_socket_that_cannot_read_any_more_is_closed_so_that_the_page_comes_again(
    live: Door, postgres: str
) -> None:
    async with tab(live) as page:
        await page.hello()
        await page.write("hello")
        await page.texts(1)
        name = sa.engine.make_url(live.services.settings.database_url).database
        with psycopg.connect(postgres, autocommit=True) as conn:
            try:
                conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
                live.services.hub.publish({"kind": "missed"})
                await page.closed()
            finally:
                conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    async with tab(live) as again:
        await again.hello(token=page.token)
        assert await again.texts(1) == [(1, "you", "hello")]


# -- language


async def test_a_language_chosen_before_the_first_message_is_remembered(door: Door) -> None:
    async with tab(door) as page:
        await page.hello()
        await page.send({"type": "language", "language": "pa"})
        await page.send({"type": "language", "language": "xx"})
        await page.send({"type": "language", "language": ["fr"]})
        await page.write("hello")
    (row,) = await door.rows(conversations)
    assert (row.language, row.language_chosen) == ("pa", True)


async def test_the_pages_own_language_is_no_choice(door: Door) -> None:
    async with tab(door) as page:
        assert (await page.hello(language="fr"))["language"] == "fr"
        await page.write("hello")
    (row,) = await door.rows(conversations)
    assert (row.language, row.language_chosen) == (None, False)


# -- the exit


async def test_the_exit_ends_the_session_at_the_server(door: Door) -> None:
    async with tab(door) as page:
        await page.hello()
        await page.write("hello")
        await page.send({"type": "end"})
        await page.next("ended")
        await page.closed()
    assert await read(door, page.token) == (401, [])
    assert (await post(door, page.token, "again", "c9"))[0] == 401
    assert await session(door, token=page.token) != page.token
    async with tab(door) as other:
        assert (await other.hello(token=page.token))["token"] != page.token
        assert not [frame for frame in other.seen if frame["type"] == "message"]
    assert await door.words() == ["hello"]  # advocates keep it


async def test_the_page_may_end_the_session_with_a_beacon(door: Door) -> None:
    token = await session(door)
    await post(door, token, "hello")
    plain = {"Content-Type": "text/plain;charset=UTF-8"}
    beacon = await door.client.post("/chat/end", content=goodbye(token), headers=plain)
    assert (beacon.status_code, beacon.content) == (204, b"")
    assert await read(door, token) == (401, [])
    assert (await door.client.post("/chat/end", content=goodbye(token))).status_code == 204  # twice is no harm


def goodbye(token: str, *messages: dict[str, Any]) -> str:
    return json.dumps({"token": token, "messages": messages})


async def test_an_exit_that_overtakes_the_first_message_brings_it_along(door: Door) -> None:
    token = await session(door)
    words = {"type": "message", "client_id": "c1", "text": "my boss keeps my passport"}
    assert (await door.client.post("/chat/end", content=goodbye(token, words))).status_code == 204
    assert (await post(door, token, words["text"], "c1"))[0] == 401  # the overtaken one
    (row,) = await door.rows(conversations)
    assert row.left_at is not None
    assert await door.words() == [words["text"]]
    assert await read(door, token) == (401, [])


async def test_what_an_exit_brings_along_and_was_stored_before_is_stored_once(door: Door) -> None:
    token = await session(door)
    await post(door, token, "hello", "c1")
    copies = [goodbye(token, {"client_id": "c1", "text": "hello"}, {"client_id": "c2", "text": "again"})] * 5
    answers = await asyncio.gather(*(door.client.post("/chat/end", content=copy) for copy in copies))
    assert {answer.status_code for answer in answers} == {204}
    assert await door.words() == ["hello", "again"]
    assert len(await door.rows(conversations)) == 1


ODD_LAST_WORDS = [None, "x", 3, {"client_id": "c"}, ["x", None, {}, {"text": 3}, {"client_id": []}]]


@pytest.mark.parametrize("messages", ODD_LAST_WORDS)
async def test_odd_last_words_do_not_keep_an_exit_from_ending(door: Door, messages: object) -> None:
    token = await session(door)
    await post(door, token, "hello")
    body = json.dumps({"token": token, "messages": messages})
    assert (await door.client.post("/chat/end", content=body)).status_code == 204
    assert await read(door, token) == (401, [])
    assert await door.words() == ["hello"]


async def test_ending_with_a_token_that_is_not_ours_ends_nothing(door: Door) -> None:
    token = await session(door)
    await post(door, token, "hello")
    for wrong in ("", "hello", "A" * 22 + token[22:], token[:-1], b"\xff" * 60):
        assert (await door.client.post("/chat/end", content=wrong)).status_code == 204
        if isinstance(wrong, str):
            assert (await door.client.post("/chat/end", content=goodbye(wrong))).status_code == 204
    assert await read(door, token) == (200, ["hello"])


async def test_nothing_of_the_token_is_kept_after_the_exit(door: Door) -> None:
    token = await session(door)
    await post(door, token, "hello")
    await door.client.post("/chat/end", content=goodbye(token))
    (row,) = await door.rows(conversations)
    address = door.services.vault.open(row.address_sealed, context="address:web")
    assert token.encode() not in address
    assert (await chat_session.known(door.services, token)) is None


async def test_the_exit_ends_the_other_tabs_too(live: Door) -> None:
    async with tab(live) as left, tab(live) as right:
        await left.hello()
        await left.write("hello")
        await right.hello(token=left.token)
        assert await right.texts(1) == [(1, "you", "hello")]
        waiting = asyncio.create_task(
            live.client.get("/chat/messages", params={"after": 1}, headers=bearer(left.token))
        )
        await asyncio.sleep(0.2)
        await left.send({"type": "end"})
        await right.next("ended")
        await right.closed()
        assert (await asyncio.wait_for(waiting, 20)).json() == {"messages": [], "ended": True}


async def test_a_tab_that_has_not_heard_of_the_exit_writes_nothing(door: Door) -> None:
    async with tab(door) as left, tab(door) as right:  # nobody listens here: the right one is not told
        await left.hello()
        await left.write("hello")
        await right.hello(token=left.token)
        await right.texts(1)
        await door.client.post("/chat/end", content=goodbye(left.token))
        assert (await right.write("too late"))["type"] == "ended"
        await right.closed()
    assert await door.words() == ["hello"]
    assert len(await door.rows(conversations)) == 1


async def test_a_first_message_while_another_request_looks_is_no_exit(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two looks of `known` the conversation comes into being."""
    token = await session(door)
    right = chat_session.attach
    first = True

    async def attach(services: Services, found: chat_session.Session) -> None:
        nonlocal first
        await right(services, found)
        if first:
            first = False
            await post(door, token, "hello")

    monkeypatch.setattr(chat_session, "attach", attach)
    assert await session(door, token=token) == token


# -- the page


class Loads(HTMLParser):
    """Every address that a browser would load by itself, or send a form to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        names = {"link": ("href",), "form": ("action",), "object": ("data",), "a": ()}.get(
            tag, ("src", "srcset", "href")
        )
        self.found += [given[name] or "" for name in names if name in given]
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "script" and "src" not in given and given.get("type") != "application/json":
            self.inline.append("script")


PATHS = ["/chat", "/chat?lang=ur", "/chat/texts/fr.json", "/chat/texts/xx.json", "/chat/messages"]
PATHS += [f"/chat/static/{path.name}" for path in (ROOT / "bot" / "static").iterdir()]


async def test_every_answer_is_hardened_and_none_is_kept(door: Door) -> None:
    posted = [await door.client.post(path, content=b"x") for path in ("/chat/session", "/chat/messages", "/chat/end")]
    for answer in [*[await door.client.get(path) for path in PATHS], *posted]:
        rules = [item.split() for item in answer.headers["content-security-policy"].split("; ")]
        policy = {name: sources for name, *sources in rules}
        assert policy["default-src"] == ["'none'"]
        assert policy["frame-ancestors"] == ["'none'"]
        assert policy["base-uri"] == ["'none'"]
        assert {source for sources in policy.values() for source in sources} <= {"'none'", "'self'", "data:"}
        assert answer.headers["cache-control"] == "no-store", answer.url
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("language", ["en", "ar"])
async def test_the_page_loads_nothing_from_another_host(door: Door, language: str) -> None:
    page = await door.client.get("/chat", params={"lang": language})
    assert page.status_code == 200
    loads = Loads()
    loads.feed(page.text)
    assert loads.inline == []  # the policy would refuse it
    addresses = {urljoin(f"{door.base}/chat", address) for address in loads.found}
    assert {urlsplit(address).scheme for address in addresses} == {"http", "data"}
    for address in sorted(address for address in addresses if not address.startswith("data:")):
        assert address.startswith(f"{door.base}/chat/static/")
        loaded = await door.client.get(address)
        assert loaded.status_code == 200
        assert not re.search(r"https?://|url\(\s*['\"]?//|@import|import\(", loaded.text), address


async def test_the_page_knows_how_long_a_message_may_be(door: Door) -> None:
    assert f'data-longest="{MAX_TEXT}"' in (await door.client.get("/chat")).text


async def test_the_browser_keeps_nothing_after_the_page() -> None:
    script = (ROOT / "bot" / "static" / "chat.js").read_text(encoding="utf-8")
    assert not re.search(r"localStorage|indexedDB|document\.cookie|caches\.|serviceWorker", script)


@pytest.mark.parametrize(
    ("query", "accepted", "language", "direction"),
    [
        ("", "", "en", "ltr"),
        ("?lang=fr", "", "fr", "ltr"),
        ("?lang=ur", "en", "ur", "rtl"),
        ("", "fr-CA,en;q=0.8", "fr", "ltr"),
        ("", "zh-TW", "zh-Hant", "ltr"),
        ("", "zh-CN,zh;q=0.9", "zh-Hans", "ltr"),
        ("", "fil", "tl", "ltr"),
        ("", "xx,,;q=,ar;q=0.1", "ar", "rtl"),
        ("?lang=xx", "", "en", "ltr"),
        ("?lang=%ff%00<script>", "", "en", "ltr"),
        ("?lang=", "é" * 500, "en", "ltr"),
    ],
)
async def test_the_page_speaks_the_language_asked_for(
    door: Door, query: str, accepted: str, language: str, direction: str
) -> None:
    page = await door.client.get(f"/chat{query}", headers={"Accept-Language": accepted.encode()})
    assert page.status_code == 200
    assert f'<html lang="{language}" dir="{direction}">' in page.text
    assert "<script>" not in page.text


async def test_a_plain_request_to_the_socket_is_no_failure_of_ours(door: Door) -> None:
    assert 400 <= (await door.client.get("/chat/ws")).status_code < 500
