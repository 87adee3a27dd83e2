"""A rate by key: what is within it, what is not, and that nothing is remembered for ever."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bot.rate import Rate


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_so_many_and_no_more(clock: Clock) -> None:
    rate = Rate(3, 10.0, clock=clock)
    assert [rate.allows("a") for _ in range(5)] == [True, True, True, False, False]


def test_keys_are_counted_apart(clock: Clock) -> None:
    rate = Rate(1, 10.0, clock=clock)
    assert [rate.allows(key) for key in "abab"] == [True, True, False, False]


def test_the_window_slides(clock: Clock) -> None:
    rate = Rate(2, 10.0, clock=clock)
    allowed = []
    for clock.now in (0.0, 6.0, 9.0, 10.5, 11.0, 16.5):
        allowed.append(rate.allows("a"))
    assert allowed == [True, True, False, True, False, True]


def test_what_is_refused_does_not_count(clock: Clock) -> None:
    rate = Rate(1, 10.0, clock=clock)
    assert rate.allows("a")
    for _ in range(9):
        clock.now += 1
        assert not rate.allows("a")
    clock.now += 1.1
    assert rate.allows("a")


def test_who_has_gone_is_forgotten_and_who_writes_is_not(clock: Clock) -> None:
    rate = Rate(2, 10.0, clock=clock)
    for number in range(1000):
        rate.allows(f"passer-by {number}")
    clock.now += 8
    assert rate.allows("passer-by 0")
    assert len(rate) == 1000
    clock.now += 8
    rate.allows("another")
    assert len(rate) == 2
    assert [rate.allows("passer-by 0") for _ in range(2)] == [True, False]
