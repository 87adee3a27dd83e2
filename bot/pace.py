"""How fast parts may go out: one token bucket for each sender of ours, and one for each conversation.

A bucket is one moment, ``free_at``: nothing goes before it, each part moves it on by what the part costs, and after
a rest it lags behind the clock by as much as may go at once. The buckets are rows, so that several gateways share
them and a restart forgets nothing. Locks: a sender's row is held from ``take`` to the commit, which should be near.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from channels.channel import Pace

# A row that is missing stands for a full bucket.
_TAKE = sa.text("""
INSERT INTO pace (name, free_at) VALUES (:name, now() + make_interval(secs => :cost - :rest))
ON CONFLICT (name) DO UPDATE SET
  free_at = greatest(pace.free_at, now() - make_interval(secs => :rest)) + make_interval(secs => :cost)
WHERE pace.free_at <= now() OR NOT :ask
RETURNING name
""")
_HOLD = sa.text("""
INSERT INTO pace (name, free_at) VALUES (:name, now() + make_interval(secs => :seconds))
ON CONFLICT (name) DO UPDATE SET free_at = greatest(pace.free_at, excluded.free_at)
""")
# Longer than any bucket takes to be full again.
_FORGET = sa.text("DELETE FROM pace WHERE free_at < now() - interval '1 hour'")


def sender_name(channel: str, sender: str) -> str:
    """The name of a sender's bucket; a conversation's is its id."""
    return f"{channel}:{sender}"


async def take(conn: AsyncConnection, name: str, pace: Pace | None, *, units: int = 1, ask: bool = True) -> bool:
    """Whether ``units`` may go now, which are then counted; with ``ask`` false they are counted in any case."""
    if pace is None:
        return True
    each = 1 / pace.per_second
    values = {"name": name, "cost": units * each, "rest": (pace.burst - 1) * each, "ask": ask}
    return (await conn.execute(_TAKE, values)).one_or_none() is not None


async def hold(conn: AsyncConnection, name: str, seconds: float) -> None:
    """Nothing goes through this bucket for so long: the provider has said that it was too much."""
    await conn.execute(_HOLD, {"name": name, "seconds": seconds})


async def forget(conn: AsyncConnection) -> None:
    """Drops buckets that have long been full."""
    await conn.execute(_FORGET)
