"""What `passerelle bench` measures without a database: screen, detector, their loading, the event loop meanwhile."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from bot.settings import ROOT
from nlu import language, risk
from nlu.encoder import E5Encoder

TEXTS = (
    "my boss keeps my passport and says i owe him for the flight",
    "what are the signs of trafficking?",
    "mon patron ne me paie pas depuis deux mois et je ne peux pas partir",
    "saan ako pwede matulog ngayong gabi",
    "मुझे मदद कहाँ मिलेगी",
    "mera passport malik ke paas hai",
)
# What a broken or hostile client may send: none of it may take long.
ODD = {
    "100 kB": "he took my passport " * 5000,
    "10 000 emoji": "😭" * 10_000,
    "NUL": "help\x00me" * 500,
    "lone surrogates": "help\ud83dme" * 500,
    "bidi overrides": "\u202ehelp\u202c \u2066me\u2069 \u200f" * 500,
    "empty": "",
}
TICK = 0.001  # seconds that the event loop's witness sleeps


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of many repetitions."""

    values: Sequence[float]

    @property
    def p50(self) -> float:
        return statistics.median(self.values)

    @property
    def p99(self) -> float:
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]

    @property
    def longest(self) -> float:
        return max(self.values)

    def __str__(self) -> str:
        return f"p50 {self.p50:.2f} ms, p99 {self.p99:.2f} ms"


def stretched(length: int) -> list[str]:
    """As many messages as TEXTS, each of so many characters: a story in sentences, begun elsewhere each time."""
    found = []
    for first in range(len(TEXTS)):
        sentences = islice(cycle(TEXTS), first, first + length)  # each has a character at least
        found.append(". ".join(sentences)[:length])
    return found


def timed(call: Callable[[str], object], texts: Sequence[str], *, rounds: int) -> Timing:
    """Of every text as often as there are rounds."""
    values = []
    for _ in range(rounds):
        for text in texts:
            started = time.perf_counter()
            call(text)
            values.append((time.perf_counter() - started) * 1000)
    return Timing(values)


async def interleaved(
    calls: Sequence[Callable[[str], Awaitable[object]]], texts: Sequence[str], *, rounds: int
) -> list[Timing]:
    """One timing a call; they take turns at each text, so that a noisy neighbour disturbs all alike.

    One round more comes first and does not count.
    """
    values: list[list[float]] = [[] for _ in calls]
    for number in range(rounds + 1):
        for text in texts:
            for call, kept in zip(calls, values, strict=True):
                started = time.perf_counter()
                await call(text)
                if number:
                    kept.append((time.perf_counter() - started) * 1000)
    return [Timing(kept) for kept in values]


def understanding(detector_kind: str) -> None:
    """`screen` and `language` per message, in this process; one line each."""
    encoder = E5Encoder()
    screen, detector = risk.load(encoder), language.load(detector_kind)
    for text in TEXTS:
        screen.screen(text)
        detector.detect(text)
    encoded = timed(lambda text: encoder.encode([text]), TEXTS, rounds=20)
    print(f"encoder alone        {encoded}")
    screened = timed(screen.screen, TEXTS, rounds=20)
    print(f"screen               {screened} ({screened.p50 / encoded.p50:.2f} x the encoder alone)")
    longer = timed(screen.screen, stretched(300), rounds=20)
    print(f"  300 characters     {longer} ({longer.p50 / screened.p50:.1f} x a short message)")
    longest = timed(screen.screen, stretched(4000), rounds=5).longest
    print(f"  4 000 characters   at most {longest:.0f} ms ({longest / screened.p50:.1f} x a short message)")
    name, odd = longest_of(screen.screen, ODD)
    print(f"  odd texts          at most {odd:.0f} ms: {name} ({odd / screened.p50:.1f} x a short message)")
    detected = timed(detector.detect, TEXTS, rounds=100)
    print(f"language             p50 {detected.p50 * 1000:.0f} µs, p99 {detected.p99 * 1000:.0f} µs")
    print(fresh_process(detector_kind))


def longest_of(call: Callable[[str], object], texts: dict[str, str]) -> tuple[str, float]:
    """(name, milliseconds) of the text that took longest, the worst of three times."""
    took = {name: timed(call, [text], rounds=3).longest for name, text in texts.items()}
    worst = max(took, key=took.__getitem__)
    return worst, took[worst]


_FRESH = """
import json, sys, time
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
before, started = resident(), time.perf_counter()
from nlu import language, risk
from nlu.encoder import E5Encoder
screen, detector = risk.load(E5Encoder()), language.load(sys.argv[1])
loaded = time.perf_counter()
screen.screen("my boss keeps my passport"), detector.detect("where can i get help")
used = time.perf_counter()
print(json.dumps({"load": loaded - started, "first": used - loaded, "bare": before, "resident": resident()}))
"""


def fresh_process(detector_kind: str) -> str:
    """A process that has screen and detector and nothing else: how long until its first answer, and how large."""
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", _FRESH, detector_kind], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"screen and detector  not measured: {(done.stderr.strip().splitlines() or ['it ended'])[-1]}"
    found = json.loads(done.stdout)
    size, bare = found["resident"] / 1024, found["bare"] / 1024
    return (
        f"screen and detector  loaded in {found['load']:.1f} s, first answer {found['first']:.1f} s later, "
        f"{size:.0f} MB resident (Python alone {bare:.0f} MB)"
    )


async def lateness(work: Awaitable[object]) -> Timing:
    """How much too late a task of this event loop wakes from a sleep of 1 ms, again and again while work is done."""
    late: list[float] = []

    async def witness() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(TICK)
            late.append((time.perf_counter() - started - TICK) * 1000)

    watching = asyncio.create_task(witness())
    await asyncio.sleep(TICK)
    try:
        await work
        await asyncio.sleep(2 * TICK)  # it must wake once more to see the last of it
    finally:
        watching.cancel()
    return Timing(late or [0.0])
