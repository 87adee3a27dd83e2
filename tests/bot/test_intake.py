"""The intake: concurrent webhooks share a transaction, and an absent database loses, doubles and disorders nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from bot import inbox, intake
from bot.intake import Intake, NotKept, is_away
from bot.services import Services
from bot.spool import Spool, contents
from bot.tables import conversations, messages, quarantine
from channels.channel import RawRequest
from tests.bot.door import HOOK, Door, open_door, sms

encoder = screen = detector = pytest.fixture(scope="session")(lambda: None)  # a webhook stores and never screens


@pytest.fixture
def database_url(emptied: str) -> str:
    return emptied


class Outage:
    """A database behind a door of its own, which can be shut."""

    def __init__(self, url: str, folder: Path) -> None:
        parts = make_url(url).set(drivername="postgresql+psycopg")
        self._real = str(parts.query["host"])
        self._link = folder / "s"
        # no pool: every transaction asks anew whether the door is open
        self.database = create_async_engine(
            parts.update_query_dict({"host": str(self._link)}),
            poolclass=sa.NullPool,
            connect_args={"connect_timeout": 5},
        )
        self.open()

    def open(self) -> None:
        self._link.symlink_to(self._real)

    def shut(self) -> None:
        self._link.unlink()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short name: a socket's path has little room."""
    made = Path(tempfile.mkdtemp(prefix="outage-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def outage(database_url: str, folder: Path) -> Outage:
    return Outage(database_url, folder)


@pytest.fixture
def behind(services: Services, outage: Outage) -> Services:
    return dataclasses.replace(services, database=outage.database)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "AGAIN", 0.02)


@asynccontextmanager
async def taking(services: Services, *, replaying: bool = True, most: int = 10**6) -> AsyncIterator[Intake]:
    """An intake that works until the block ends, as a process that is killed then."""
    spool = Spool(services.settings.spool, services.vault, most=most)
    made = Intake(services, spool)
    work = [made.write(), made.replay()] if replaying else [made.write()]
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        spool.close()  # as the kernel does


async def take(taker: Intake, services: Services, *bodies: bytes) -> list[bool]:
    """Verified webhooks that come in this order, at the same time."""
    channel, url = services.channels["sms"], services.settings.public_url + HOOK
    return await asyncio.gather(*(taker.take(channel, RawRequest(url, {}, body)) for body in bodies))


def texts(count: int, *, first: int = 0) -> list[bytes]:
    return [sms(f"text {number}", sid=f"SM{number}") for number in range(first, first + count)]


async def stored(services: Services) -> list[str]:
    """What people wrote, in order."""
    async with services.database.connect() as conn:
        rows = await conn.execute(sa.select(messages).where(messages.c.direction == "in").order_by(messages.c.seq))
    return [inbox.open_words(services.vault, row.id, row.words)["text"] for row in rows]


async def drained(taker: Intake) -> None:
    async with asyncio.timeout(10):
        while taker.spooling:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# -- one transaction for many


async def test_webhooks_that_wait_share_a_transaction_in_their_order(services: Services) -> None:
    async with taking(services) as taker:
        assert await take(taker, services, *texts(40)) == [True] * 40
        assert await take(taker, services, *texts(2, first=40)) == [True] * 2
    assert await stored(services) == [f"text {number}" for number in range(42)]
    async with services.database.connect() as conn:
        transactions = await conn.scalar(sa.text("SELECT count(DISTINCT xmin::text) FROM messages"))
        numbers = (await conn.execute(sa.select(messages.c.seq).order_by(messages.c.seq))).scalars().all()
    assert transactions == 2
    assert list(numbers) == list(range(1, 43))


async def test_copies_in_one_transaction_are_stored_once(services: Services) -> None:
    async with taking(services) as taker:
        assert await take(taker, services, *texts(3) * 3) == [True] * 9
    assert sorted(await stored(services)) == ["text 0", "text 1", "text 2"]


async def test_much_at_once_is_felt_for_a_moment(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MOMENT", 0.5)
    async with taking(services) as taker:
        await take(taker, services, *texts(intake.PRESSED - 1))
        assert not taker.pressed()
        await take(taker, services, *texts(1, first=intake.PRESSED))
        assert taker.pressed()
        await asyncio.sleep(0.6)
        assert not taker.pressed()


async def test_every_message_wakes_the_workers(services: Services, database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as listener:
        await listener.execute("LISTEN passerelle")
        async with taking(services) as taker:
            await take(taker, services, *texts(3), *texts(3))
        told = [notice.payload async for notice in listener.notifies(timeout=5, stop_after=3)]
    assert len(told) == 3
    assert len({payload for payload in told if '"inbound"' in payload}) == 3


@asynccontextmanager
async def refusing(services: Services, condition: str) -> AsyncIterator[None]:
    """A database that stores no message of this kind."""
    async with services.database.begin() as conn:
        await conn.execute(sa.text(f"ALTER TABLE messages ADD CONSTRAINT no_zebra CHECK (NOT ({condition}))"))
    try:
        yield
    finally:
        async with services.database.begin() as conn:
            await conn.execute(sa.text("ALTER TABLE messages DROP CONSTRAINT no_zebra"))


async def test_a_bad_webhook_loses_no_other_and_is_kept_aside(services: Services) -> None:
    bodies = texts(5)
    async with refusing(services, "provider_id = 'SM2'"), taking(services) as taker:
        assert await take(taker, services, *bodies) == [True] * 5
    assert await stored(services) == ["text 0", "text 1", "text 3", "text 4"]
    async with services.database.connect() as conn:
        (kept,) = (await conn.execute(sa.select(quarantine))).all()
    assert services.vault.open(kept.body, context=f"quarantine:{kept.id}") == bodies[2]
    assert kept.reason == "it could not be stored (IntegrityError)"


# -- without a database


async def test_what_comes_without_a_database_is_stored_when_it_is_back(behind: Services, outage: Outage) -> None:
    async with taking(behind) as taker:
        await take(taker, behind, *texts(2))
        outage.shut()
        assert await take(taker, behind, *texts(3, first=2)) == [True] * 3
        assert await take(taker, behind, *texts(1, first=4), b"unreadable") == [True, False]
        assert taker.spooling
        assert contents(behind.settings.spool).bytes > 0
        outage.open()
        await drained(taker)
        await take(taker, behind, *texts(1, first=5))
    assert await stored(behind) == [f"text {number}" for number in range(6)]
    assert contents(behind.settings.spool).bytes == 0
    async with behind.database.connect() as conn:
        assert len((await conn.execute(sa.select(quarantine))).all()) == 1
        ages = await conn.execute(sa.text("SELECT written_at <= created_at FROM messages WHERE written_at IS NOT NULL"))
        assert list(ages.scalars()) == [True] * 3  # those know when they came


async def test_killed_before_the_database_is_back_nothing_is_lost(behind: Services, outage: Outage) -> None:
    outage.shut()
    for first in (0, 3):  # killed twice
        async with taking(behind) as taker:
            await take(taker, behind, *texts(3, first=first))
    outage.open()
    async with taking(behind) as taker:
        await drained(taker)
    assert await stored(behind) == [f"text {number}" for number in range(6)]


async def test_killed_in_the_middle_of_a_replay_nothing_is_stored_twice(behind: Services, outage: Outage) -> None:
    outage.shut()
    async with taking(behind, replaying=False) as taker:
        await take(taker, behind, *texts(3), b"unreadable")
    (segment,) = behind.settings.spool.glob("*.spool")
    again = segment.read_bytes()
    outage.open()
    for _ in range(2):  # the segment is still there: its end was not reached
        segment.write_bytes(again)
        async with taking(behind) as taker:
            await drained(taker)
    assert await stored(behind) == ["text 0", "text 1", "text 2"]
    async with behind.database.connect() as conn:
        assert len((await conn.execute(sa.select(quarantine))).all()) == 1


async def test_whatever_comes_while_the_spool_holds_something_goes_behind_it(behind: Services, outage: Outage) -> None:
    outage.shut()
    async with taking(behind, replaying=False) as taker:
        await take(taker, behind, *texts(1))
        outage.open()
        await take(taker, behind, *texts(1, first=1))
        assert await stored(behind) == []
    async with taking(behind) as taker:
        await take(taker, behind, *texts(1, first=2))
        await drained(taker)
    assert await stored(behind) == ["text 0", "text 1", "text 2"]


async def test_the_spool_comes_to_an_end_while_ever_more_comes(behind: Services, outage: Outage) -> None:
    async with taking(behind) as taker:
        numbers = iter(range(10**6))
        done = False

        async def write() -> None:
            while not done:
                await take(taker, behind, *texts(1, first=next(numbers)))

        outage.shut()
        writing = [asyncio.create_task(write()) for _ in range(8)]
        async with asyncio.timeout(10):
            while not taker.spooling:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        outage.open()
        await drained(taker)
        done = True
        await asyncio.gather(*writing)
    assert len(await stored(behind)) == next(numbers)


async def test_a_database_that_says_nothing_counts_as_absent(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "DEADLINE", 0.2)
    async with taking(services) as taker:
        async with services.database.connect() as conn:
            await conn.execute(sa.text("LOCK TABLE messages IN EXCLUSIVE MODE"))
            async with asyncio.timeout(2):
                assert await take(taker, services, *texts(2)) == [True, True]
            assert taker.spooling
        await drained(taker)
    assert await stored(services) == ["text 0", "text 1"]


async def test_a_bad_webhook_on_the_spool_loses_no_other(behind: Services, outage: Outage) -> None:
    outage.shut()
    async with taking(behind, replaying=False) as taker:
        await take(taker, behind, *texts(3))
    outage.open()
    async with refusing(behind, "provider_id = 'SM1'"), taking(behind) as taker:
        await drained(taker)
    assert await stored(behind) == ["text 0", "text 2"]
    async with behind.database.connect() as conn:
        assert len((await conn.execute(sa.select(quarantine))).all()) == 1


async def test_a_channel_that_is_gone_is_kept_aside_from_the_spool(behind: Services, outage: Outage) -> None:
    outage.shut()
    async with taking(behind) as taker:
        await take(taker, behind, *texts(1))
    outage.open()
    without = dataclasses.replace(behind, channels={"web": behind.channels["web"]})
    async with taking(without) as taker:
        await drained(taker)
    async with behind.database.connect() as conn:
        (kept,) = (await conn.execute(sa.select(quarantine))).all()
        assert (await conn.execute(sa.select(conversations))).all() == []
    assert (kept.channel, kept.reason) == ("sms", "a channel that is not configured any more")


async def test_a_full_spool_is_a_refusal_and_later_there_is_room(behind: Services, outage: Outage) -> None:
    outage.shut()
    async with taking(behind, most=1000) as taker:
        await take(taker, behind, *texts(1))
        with pytest.raises(NotKept, match="SpoolFull"):
            await take(taker, behind, sms("x" * 2000, sid="SMlarge"))
        outage.open()
        await drained(taker)
        await take(taker, behind, sms("x" * 2000, sid="SMlarge"))
    assert await stored(behind) == ["text 0", "x" * 2000]


# -- at the door


@pytest.fixture
async def door(behind: Services) -> AsyncIterator[Door]:
    async with open_door(behind) as opened:
        yield opened


async def test_readiness_tells_the_truth(door: Door, outage: Outage) -> None:
    async def ready() -> tuple[int, bool, bool]:
        answer = await door.client.get("/health/ready")
        return answer.status_code, answer.json()["database"], answer.json()["spool"] > 0

    assert await ready() == (200, True, False)
    outage.shut()
    assert await ready() == (503, False, False)
    assert (await door.hook(sms())).status_code == 200
    assert await ready() == (503, False, True)
    outage.open()
    async with asyncio.timeout(10):
        while await ready() != (200, True, False):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await door.words() == ["hello"]


async def test_nothing_unproven_reaches_the_spool(door: Door, outage: Outage) -> None:
    outage.shut()
    assert (await door.hook(sms(), signature="wrong")).status_code == 403
    assert not list(door.services.settings.spool.glob("*"))
    outage.open()


def failure(kind: type[psycopg.Error]) -> sa.exc.DBAPIError:
    wrapper = sa.exc.OperationalError if issubclass(kind, psycopg.OperationalError) else sa.exc.DBAPIError
    return wrapper("", {}, kind("said"))


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (sa.exc.TimeoutError(), True),  # no connection in the pool came free
        (failure(psycopg.OperationalError), True),  # the connection broke
        (failure(psycopg.errors.AdminShutdown), True),
        (failure(psycopg.errors.CannotConnectNow), True),
        (failure(psycopg.errors.DiskFull), True),
        (failure(psycopg.errors.TooManyConnections), True),
        (failure(psycopg.errors.ReadOnlySqlTransaction), True),  # the server before a switch-over
        (failure(psycopg.errors.DeadlockDetected), False),
        (failure(psycopg.errors.UndefinedTable), False),
        (failure(psycopg.errors.CheckViolation), False),
        (failure(psycopg.errors.UntranslatableCharacter), False),
        (KeyError("ours"), False),
    ],
)
def test_what_counts_as_an_absent_database(error: Exception, away: bool) -> None:
    assert is_away(error) is away
