"""How often somebody may do something: counted in memory, and forgotten as soon as it is too old to count."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable


class Rate:
    """So many times in so many seconds, for each key."""

    def __init__(self, count: int, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._seconds = seconds
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()  # the key that was last used stands last

    def allows(self, key: str) -> bool:
        """Whether this once more is within the rate; what is refused does not count."""
        now = self._clock()
        self._forget(now)
        times = self._times.setdefault(key, deque())
        while times and now - times[0] > self._seconds:
            times.popleft()
        if len(times) >= self._count:
            return False
        times.append(now)
        self._times.move_to_end(key)
        return True

    def __len__(self) -> int:
        """Keys that are remembered."""
        return len(self._times)

    def _forget(self, now: float) -> None:
        """Keys of whom nothing counts any more: nobody fills our memory by coming under ever new ones."""
        while self._times:
            oldest = next(iter(self._times.values()))
            if now - oldest[-1] <= self._seconds:
                return
            self._times.popitem(last=False)
