"""Live events: PostgreSQL's NOTIFY out, one LISTEN connection in, handed to whoever waits in this process.

An event tells *that* something happened, with ids only; readers then read the tables. So a missed event costs
time and never a message, and nothing a person wrote travels here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

TOPIC = "passerelle"
Event = dict[str, Any]
_log = logging.getLogger("passerelle.events")
_QUEUE = 1000  # events a slow reader may be behind; then it gets one "missed" and reads everything anew
_AT_ONCE, _PAUSE = 20, 0.02  # readers that a broadcast wakes at a time, and seconds until the next ones


async def notify(conn: AsyncConnection, kind: str, **details: object) -> None:
    """Tells every process, when this transaction commits."""
    payload = json.dumps({"kind": kind, **details}, default=str, separators=(",", ":"))
    await conn.execute(sa.text("SELECT pg_notify(:topic, :payload)"), {"topic": TOPIC, "payload": payload})


class Following:
    """One reader's queue, and the keys under which it is found."""

    __slots__ = ("_followers", "keys", "queue")

    def __init__(self, queue: asyncio.Queue[Event], followers: dict[str, set[asyncio.Queue[Event]]]) -> None:
        self.queue = queue
        self.keys: tuple[str, ...] = ()
        self._followers = followers

    def follow(self, *keys: str) -> None:
        """From now on also of these conversations, chats or kinds."""
        for key in set(keys) - set(self.keys):
            self._followers.setdefault(key, set()).add(self.queue)
            self.keys += (key,)

    def leave(self, *keys: str) -> None:
        """No longer of these."""
        for key in set(keys) & set(self.keys):
            self._followers[key].discard(self.queue)
            if not self._followers[key]:
                del self._followers[key]
        self.keys = tuple(key for key in self.keys if key not in keys)


def _put(queue: asyncio.Queue[Event], event: Event) -> None:
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        event = {"kind": "missed"}
    queue.put_nowait(event)


async def _broadcast(queues: Iterable[asyncio.Queue[Event]], event: Event) -> None:
    """A few at a time. Of a burst that only says that places have changed, a reader gets two and reads once."""
    for number, queue in enumerate(list(queues), 1):
        if event["kind"] == "missed" or queue.qsize() < 2:
            _put(queue, event)
        if number % _AT_ONCE == 0:
            await asyncio.sleep(_PAUSE)


class Hub:
    """One listening connection, many waiting readers.

    Most readers, thousands of open chats, want to know of one conversation only: they follow it, and sleep through
    what happens to others. What concerns many of them at once wakes a few at a time, so that the event loop, and the
    database behind it, have room for everybody else.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._readers: set[asyncio.Queue[Event]] = set()
        self._followers: dict[str, set[asyncio.Queue[Event]]] = {}  # by conversation, chat or kind
        self._broadcasts: set[asyncio.Task[None]] = set()  # a task that nobody holds may vanish
        self.connected = False
        self.turn = 0  # counts what may have changed the queue of handoffs

    @contextlib.contextmanager
    def subscribe(self) -> Iterator[asyncio.Queue[Event]]:
        """A queue of events from now on. Subscribe first, then read the tables: nothing falls between."""
        queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUE)
        self._readers.add(queue)
        try:
            yield queue
        finally:
            self._readers.discard(queue)

    @contextlib.contextmanager
    def following(self) -> Iterator[Following]:
        """As ``subscribe``, of what is followed only, and of what may have been missed."""
        queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUE)
        reader = Following(queue, self._followers)
        try:
            reader.follow("missed")
            yield reader
        finally:
            reader.leave(*reader.keys)

    def publish(self, event: Event) -> None:
        """Hands an event to this process's readers."""
        kind = event["kind"]
        self.turn += kind in ("queue", "missed")
        for queue in self._readers:
            _put(queue, event)
        mine = {queue for name in ("conversation", "chat") for queue in self._followers.get(str(event.get(name)), ())}
        for queue in mine:
            _put(queue, event)
        if many := self._followers.get(kind, set()) - mine:
            broadcast = asyncio.create_task(_broadcast(many, event))
            self._broadcasts.add(broadcast)
            broadcast.add_done_callback(self._broadcasts.discard)

    async def run(self) -> None:
        """Listens for ever; after a lost connection, readers are told that they may have missed something."""
        while True:
            try:
                async for event in self._listen():
                    self.publish(event)
            except (psycopg.Error, OSError) as error:
                _log.warning("listening stopped (%s), trying again", type(error).__name__)
            self.connected = False
            await asyncio.sleep(1)

    async def _listen(self) -> AsyncIterator[Event]:
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=5) as conn:
            await conn.execute(f"LISTEN {TOPIC}")
            self.connected = True
            yield {"kind": "missed"}
            async for notice in conn.notifies():
                yield json.loads(notice.payload)
