"""The workers' manners towards the event loop that they share with webhooks, chats and consoles."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from bot import inbox, worker
from bot.services import Services
from channels.channel import Inbound
from nlu.language import Language
from nlu.risk import Risk

encoder = screen = detector = pytest.fixture(scope="session")(lambda: None)  # not loaded: `with_slow` takes their place


class Slow:
    """Detector, screen and encoder in one; each step holds its thread for a while and notes which one it was."""

    version = "test"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._now = 0
        self.threads: dict[str, set[int]] = {}
        self.most_at_once = 0

    def _hold(self, step: str) -> None:
        with self._lock:
            self.threads.setdefault(step, set()).add(threading.get_ident())
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._hold("encode")
        return np.zeros((len(texts), 384), dtype=np.float32)

    def detect(self, text: str, *, history: str | None = None) -> Language:
        self._hold("detect")
        return Language("en", "Latn", 0.9)

    def screen(self, text: str, *, history: Sequence[str] = (), vector: NDArray[np.float32] | None = None) -> Risk:
        self._hold("screen")
        return Risk("none", (), (), 0.0)


async def write_as(services: Services, *people: str) -> None:
    async with services.database.begin() as conn:
        for number, person in enumerate(people):
            await inbox.store(conn, services.vault, "sms", Inbound(f"SM{number}", person, "text", "is this private?"))


def with_slow(services: Services, slow: Slow) -> Services:
    return dataclasses.replace(services, encoder=slow, language=slow, risk=slow)


async def test_a_message_is_understood_away_from_the_event_loop(services: Services) -> None:
    slow = Slow(0.25)
    await write_as(services, "+15145550101")
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - started)

    ticking = asyncio.create_task(tick())
    assert await worker.run_once(with_slow(services, slow))
    ticking.cancel()
    assert set(slow.threads) == {"encode", "detect", "screen"}
    assert threading.get_ident() not in set().union(*slow.threads.values())
    assert longest < 0.25  # one step alone would have taken that long


async def test_no_more_are_understood_at_once_than_leave_the_loop_a_core(services: Services) -> None:
    slow = Slow(0.03)
    await write_as(services, *(f"+151455501{number:02}" for number in range(worker.TURN_WORKERS)))
    done = await asyncio.gather(*(worker.run_once(with_slow(services, slow)) for _ in range(worker.TURN_WORKERS)))
    assert done == [True] * worker.TURN_WORKERS
    cores = len(os.sched_getaffinity(0))
    assert slow.most_at_once <= max(1, min(2, cores // 2))
    assert len(slow.threads["screen"]) <= max(1, min(2, cores // 2))


@pytest.mark.parametrize("moment", range(5))
async def test_a_worker_ends_when_it_is_told_to_though_it_rains_events(moment: int) -> None:
    events: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    waiting = asyncio.create_task(worker._wait(events, ("inbound",), 30.0))
    await asyncio.sleep(0.01)
    events.put_nowait({"kind": "inbound"})
    for _ in range(moment):  # between the event and its being taken
        await asyncio.sleep(0)
    told = waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled() is told


async def test_a_worker_that_is_held_back_leaves_the_work_to_the_others(services: Services) -> None:
    quick = with_slow(services, Slow(0.0))
    await write_as(quick, "+15145550123")
    held = True
    working = asyncio.create_task(worker.turns(quick, lambda: held))
    await asyncio.sleep(0.3)
    assert await unfinished(quick) == 1
    held = False
    async with asyncio.timeout(10):
        while await unfinished(quick):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def unfinished(services: Services) -> int:
    async with services.database.connect() as conn:
        count = await conn.scalar(sa.text("SELECT count(*) FROM conversations WHERE pending"))
    return int(count or 0)
