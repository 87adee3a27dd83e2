"""The gateway is killed (kill -9) at the worst moments; what it had acknowledged is there, once."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from tests.running import Gateway, running, until

pytestmark = pytest.mark.slow


def count(url: str, query: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute(query).fetchone()
        assert row is not None
        return int(row[0])


def test_killed_right_after_the_2xx_the_message_is_escalated_and_answered_once(
    database_url: str, tmp_path: Path
) -> None:
    with running(Gateway(database_url, tmp_path)) as gateway:
        assert gateway.sms("my boss keeps my passport and locked the door", sid="SMkill").status_code == 200
        gateway.kill()
        gateway.start()
        until(lambda: count(database_url, "SELECT count(*) FROM handoffs"), what="the handoff")
        until(lambda: count(database_url, "SELECT count(*) FROM deliveries WHERE state IN ('sent','delivered')"))
        gateway.sms("my boss keeps my passport and locked the door", sid="SMkill")  # the provider sends it again
        entries = gateway.log()
    assert [entry["direction"] for entry in entries] == ["in", "out"]
    assert count(database_url, "SELECT count(*) FROM handoffs") == 1
    assert count(database_url, "SELECT count(*) - count(DISTINCT indicator) FROM signals") == 0


def test_killed_at_random_moments_nothing_acknowledged_is_lost_or_doubled(database_url: str, tmp_path: Path) -> None:
    acknowledged = []
    moments = random.Random(7)
    with running(Gateway(database_url, tmp_path)) as gateway:
        for round_ in range(4):
            for number in range(moments.randrange(3, 9)):
                sid = f"SM{round_}x{number}"
                answer = gateway.sms("my boss keeps my passport", sid=sid, sender=f"+1514555{round_}{number:03}")
                if answer.status_code == 200:
                    acknowledged.append(sid)
            gateway.kill()
            gateway.start()
        until(
            lambda: count(database_url, "SELECT count(*) FROM conversations WHERE pending") == 0,
            seconds=60,
            what="the end of the work",
        )
        entries = gateway.log()
    incoming = Counter(entry["provider_id"] for entry in entries if entry["direction"] == "in")
    assert incoming == Counter(acknowledged)
    replies = Counter(entry["conversation"] for entry in entries if entry["direction"] == "out")
    assert set(replies.values()) == {1}
    assert len(replies) == len(acknowledged)
    assert count(database_url, "SELECT count(*) FROM handoffs") == len(acknowledged)
