"""Live events: PostgreSQL's NOTIFY out, one LISTEN connection in, handed to whoever waits in this process.

An event tells *that* something happened, with ids only; readers then read the tables. So a missed event costs
time and never a message, and nothing a person wrote travels here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

TOPIC = "passerelle"
Event = dict[str, Any]
_log = logging.getLogger("passerelle.events")
_QUEUE = 1000  # events a slow reader may be behind; then it gets one "missed" and reads everything anew


async def notify(conn: AsyncConnection, kind: str, **details: object) -> None:
    """Tells every process, when this transaction commits."""
    payload = json.dumps({"kind": kind, **details}, default=str, separators=(",", ":"))
    await conn.execute(sa.text("SELECT pg_notify(:topic, :payload)"), {"topic": TOPIC, "payload": payload})


class Hub:
    """One listening connection, many waiting readers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._readers: set[asyncio.Queue[Event]] = set()
        self.connected = False

    @contextlib.contextmanager
    def subscribe(self) -> Any:
        """A queue of events from now on. Subscribe first, then read the tables: nothing falls between."""
        queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUE)
        self._readers.add(queue)
        try:
            yield queue
        finally:
            self._readers.discard(queue)

    def publish(self, event: Event) -> None:
        """Hands an event to this process's readers."""
        for queue in self._readers:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                event = {"kind": "missed"}
            queue.put_nowait(event)

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
