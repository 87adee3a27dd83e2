"""Under a load of signed webhooks the gateway is killed, and the database: what was acknowledged is there, once.

PASSERELLE_KILLS and PASSERELLE_OUTAGE (seconds) make the same tests longer.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import httpx
import psycopg
import pytest

from bot import database, embedded
from bot.vault import Vault
from tests.conftest import DATA_KEY
from tests.crash.providers import Providers, providers
from tests.crash.test_kill import count
from tests.crash.writers import ENVIRONMENT, Said, Writers
from tests.running import Gateway, running, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
KILLS = int(os.environ.get("PASSERELLE_KILLS", "3"))
OUTAGE = float(os.environ.get("PASSERELLE_OUTAGE", "3"))

BUSY = """SELECT (SELECT count(*) FROM conversations WHERE pending)
+ (SELECT count(*) FROM deliveries WHERE state IN ('queued', 'sending'))"""


def gateway_for(database_url: str, folder: Path, outside: Providers) -> Gateway:
    gateway = Gateway(database_url, folder)
    gateway.environment |= ENVIRONMENT | outside.environment()
    return gateway


def provider_ids(database_url: str) -> Counter[tuple[str, str]]:
    with psycopg.connect(database_url) as conn:
        rows = conn.execute("SELECT channel, provider_id FROM messages WHERE direction = 'in'").fetchall()
    return Counter((channel, row) for channel, row in rows)


def nothing_lost_or_doubled(database_url: str, writers: Writers) -> None:
    found = provider_ids(database_url)
    acknowledged = {(said.channel, said.provider_id) for said in writers.acknowledged}
    assert len(acknowledged) == len(writers.acknowledged)
    assert acknowledged <= set(found)
    assert set(found.values()) == {1}
    perhaps = {(said.channel, said.provider_id) for said in writers.given_up}
    assert set(found) - acknowledged <= perhaps  # stored, and killed before the 2xx


def sent(database_url: str) -> dict[tuple[str, str], list[str]]:
    """States of the parts by channel and message of the person."""
    states = defaultdict(list)
    with psycopg.connect(database_url) as conn:
        rows = conn.execute(
            "SELECT m.channel, m.provider_id, d.state FROM messages m JOIN deliveries d USING (conversation_id)"
            " WHERE m.direction = 'in'"
        ).fetchall()
    for channel, row, state in rows:
        states[channel, row].append(state)
    return states


def test_killed_under_load_nothing_acknowledged_is_lost_and_no_reply_goes_out_twice(
    database_url: str, tmp_path: Path
) -> None:
    moments = random.Random(11)
    with providers() as outside, running(gateway_for(database_url, tmp_path, outside)) as gateway:
        writers = Writers(gateway.base, "my boss keeps my passport", pause=0.1)
        with writers.writing():
            for _ in range(KILLS):
                time.sleep(moments.uniform(0.05, 2.0))
                gateway.kill()
                gateway.start()
            time.sleep(0.5)
        until(lambda: count(database_url, BUSY) == 0, seconds=60 + 10 * KILLS, what="the end of the work")
        nothing_lost_or_doubled(database_url, writers)
        replies, states = outside.counts(), sent(database_url)
    said = {(one.channel, one.provider_id): one for one in writers.acknowledged + writers.given_up}
    unknown = Counter[str]()
    for key in provider_ids(database_url):
        one: Said = said[key]
        (state,) = states[key]  # one reply, of one part
        reached = replies[one.channel, one.address]
        assert reached <= 1, key
        if state == "unknown":  # these two cannot be asked; staff see it
            assert one.channel != "sms"
            unknown[one.channel] += 1
        else:
            assert (state, reached) == ("sent", 1), key
    print(
        f"\n{KILLS} kills: {len(writers.acknowledged)} acknowledged, 0 lost, 0 doubled; {sum(replies.values())}"
        f" replies reached people, none twice; unknown, shown to staff: {dict(unknown)};"
        f" not acknowledged: {len(writers.given_up)}"
    )
    assert len(writers.acknowledged) > 3 * KILLS


@pytest.mark.parametrize("killed", [False, True], ids=["alone", "and the gateway killed"])
def test_without_a_database_under_load_nothing_acknowledged_is_lost_or_disordered(tmp_path: Path, killed: bool) -> None:
    data = Path(tempfile.mkdtemp(prefix="passerelle-outage-"))  # as tests.conftest does, for the same reason
    data.chmod(0o755)
    server = embedded.start(data)
    try:
        database.prepare(server.url, Vault.from_key(DATA_KEY))
        with providers() as outside, running(gateway_for(server.url, tmp_path / "gateway", outside)) as gateway:
            writers = Writers(gateway.base, "hello", people=4)
            with writers.writing():
                time.sleep(0.5)
                before = len(writers.acknowledged)
                stop_at_once(data)
                time.sleep(OUTAGE)
                during = len(writers.acknowledged) - before
                ready = httpx.get(f"{gateway.base}/health/ready", timeout=10)
                if killed:
                    gateway.kill()
                embedded.revive(data)
                if killed:
                    gateway.start()
                back = time.monotonic()
                until(lambda: is_ready(gateway), seconds=30, what="readiness")
                recovered = time.monotonic() - back
                time.sleep(0.5)
            until(lambda: is_ready(gateway), seconds=60)
            nothing_lost_or_doubled(server.url, writers)
            in_order(server.url, writers)
        assert ready.status_code == 503
        assert ready.json()["spool"] > 0
        print(
            f"\n{OUTAGE:g} s without a database: {during} acknowledged meanwhile of {len(writers.acknowledged)}, "
            f"0 lost, 0 doubled, in order; ready and the spool empty {recovered:.1f} s after its return; "
            f"refusals: {dict(Counter(writers.refusals))}"
        )
        assert during > 10 * OUTAGE
    finally:
        embedded.stop(server)
        shutil.rmtree(data, ignore_errors=True)


def is_ready(gateway: Gateway) -> bool:
    """With everything brought in."""
    answer = httpx.get(f"{gateway.base}/health/ready", timeout=10)
    return answer.status_code == 200 and answer.json()["spool"] == 0


def stop_at_once(data: Path) -> None:
    """As a power failure would: no server process says good-bye."""
    pid = int((data / "postgres" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, 3)  # SIGQUIT: immediate shutdown, with recovery at the next start
    until(lambda: not embedded.is_running(data), what="the end of the database")


def in_order(database_url: str, writers: Writers) -> None:
    """Each person wrote one message after the other, and so they are numbered."""
    for channel in ("sms", "whatsapp", "telegram"):
        with psycopg.connect(database_url) as conn:
            rows = conn.execute(
                "SELECT conversation_id, provider_id FROM messages WHERE direction = 'in' AND channel = %s"
                " ORDER BY conversation_id, seq",
                (channel,),
            ).fetchall()
        numbers = defaultdict(list)
        for conversation, row in rows:
            numbers[conversation].append(int(row.removeprefix("SM").removeprefix("wamid.")))
        assert len(numbers) == 4
        for theirs in numbers.values():
            assert theirs == sorted(theirs)
