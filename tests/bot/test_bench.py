"""The bench's own arithmetic: what it times, in which order, and that a stall of the event loop is seen."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from bot import bench_understanding as bench
from bot.bench_understanding import ODD, TEXTS, Timing, interleaved, lateness, longest_of, stretched, timed


def test_a_timing_is_told_by_its_median_and_its_worst_hundredth() -> None:
    timing = Timing([float(value) for value in range(200, 0, -1)])
    assert (timing.p50, timing.p99, timing.longest) == (100.5, 199.0, 200.0)
    assert str(timing) == "p50 100.50 ms, p99 199.00 ms"
    assert str(Timing([7.0])) == "p50 7.00 ms, p99 7.00 ms"


@pytest.mark.parametrize("length", [1, 300, 4000])
def test_long_messages_have_their_length_and_differ(length: int) -> None:
    texts = stretched(length)
    assert [len(text) for text in texts] == [length] * len(TEXTS)
    assert len(set(texts)) == (len(TEXTS) if length > 1 else len({text[0] for text in TEXTS}))


def test_odd_texts_are_what_they_are_called() -> None:
    assert len(ODD["100 kB"].encode()) == 100_000
    assert ODD["10 000 emoji"] == "😭" * 10_000
    assert "\x00" in ODD["NUL"]
    assert re.search("[\ud800-\udfff]", ODD["lone surrogates"])
    assert {"\u202e", "\u2066"} <= set(ODD["bidi overrides"])
    assert ODD["empty"] == ""


def test_every_text_is_timed_in_every_round() -> None:
    asked: list[str] = []
    timing = timed(asked.append, ["a", "b"], rounds=3)
    assert asked == ["a", "b"] * 3
    assert len(timing.values) == 6
    assert timed(lambda _: time.sleep(0.01), ["a"], rounds=2).p50 >= 10


def test_the_slowest_text_is_named() -> None:
    name, took = longest_of(lambda text: time.sleep(0.02 if text == "slow" else 0), {"a": "quick", "b": "slow"})
    assert name == "b"
    assert took >= 20


async def test_calls_take_turns_at_every_text_and_the_first_round_does_not_count() -> None:
    asked: list[str] = []

    async def left(text: str) -> None:
        asked.append(f"left {text}")
        await asyncio.sleep(0.05 if len(asked) <= 4 else 0)  # slow when cold

    async def right(text: str) -> None:
        asked.append(f"right {text}")

    timings = await interleaved([left, right], ["a", "b"], rounds=2)
    assert asked == ["left a", "right a", "left b", "right b"] * 3
    assert [len(timing.values) for timing in timings] == [4, 4]
    assert timings[0].longest < 50


async def test_whatever_holds_the_event_loop_is_seen() -> None:
    async def rude() -> None:
        await asyncio.sleep(0.01)
        time.sleep(0.1)  # noqa: ASYNC251 - the point

    assert (await lateness(rude())).longest >= 90
    polite = await lateness(asyncio.to_thread(time.sleep, 0.1))
    assert polite.p50 < 50
    assert len(polite.values) > 10


def test_a_fresh_process_is_measured() -> None:
    told = bench.fresh_process("cascade")
    found = re.fullmatch(
        r"screen and detector  loaded in (\d+\.\d) s, first answer (\d+\.\d) s later, (\d+) MB resident"
        r" \(Python alone (\d+) MB\)",
        told,
    )
    assert found, told
    assert float(found[3]) > float(found[4]) > 0


def test_a_process_that_fails_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_FRESH", "raise SystemExit('no model')")
    assert bench.fresh_process("cascade") == "screen and detector  not measured: no model"
