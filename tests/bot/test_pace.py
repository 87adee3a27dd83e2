"""How fast parts go out: per sender and per pair, humans first, nobody starved, nothing forgotten in a restart."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid

import pytest
import sqlalchemy as sa

from bot import inbox, outbox, pace, worker
from bot.services import Services
from bot.settings import SettingsError, load
from bot.tables import deliveries
from channels.channel import Inbound, Limits, Pace, Part, Sent, Status
from channels.sms import Sms
from channels.telegram import Telegram
from channels.whatsapp import WhatsApp
from tests.conftest import Phone

encoder = screen = detector = pytest.fixture(scope="session")(lambda: None)  # nothing is understood here
HOUR = 3600.0


@pytest.fixture
def database_url(emptied: str) -> str:
    return emptied


async def person(services: Services, number: int, *, sender: str = "") -> uuid.UUID:
    """A conversation with somebody."""
    item = Inbound(uuid.uuid4().hex, f"+1514555010{number}", "text", "hello", sender=sender)
    async with services.database.begin() as conn:
        stored = await inbox.store(conn, services.vault, "sms", item)
    assert stored is not None
    return stored[0]


async def say(services: Services, to: uuid.UUID, text: str, *, author: str = "assistant", units: int = 1) -> None:
    message = outbox.Outgoing(author=author, text=text, language="en")
    async with services.database.begin() as conn:
        await outbox.enqueue(
            conn, services.vault, to, message, parts=[Part(text, units=units)], dedupe_key=uuid.uuid4().hex
        )  # fmt: skip


async def taken(services: Services, limits: Limits, *, settle: bool = True) -> list[str]:
    """The words of everything that may go at this moment, in the order in which it goes."""
    found = []
    while True:
        async with services.database.begin() as conn:
            part = await outbox.claim_part(conn, services.vault, {"sms": limits})
        if part is None:
            return found
        found.append(part.part.text)
        if settle:
            async with services.database.begin() as conn:
                await outbox.record_sent(conn, part, provider_id=uuid.uuid4().hex)


def limits(*, sender: Pace | None = None, pair: Pace | None = None) -> Limits:
    return Limits(text=1600, choices=0, sender=sender, pair=pair)


async def later(services: Services, seconds: float) -> None:
    """As if so much time had passed for the buckets."""
    async with services.database.begin() as conn:
        await conn.execute(sa.text("UPDATE pace SET free_at = free_at - make_interval(secs => :s)"), {"s": seconds})


async def test_a_sender_sends_what_its_burst_allows_and_then_by_and_by(services: Services) -> None:
    for number in range(5):
        await say(services, await person(services, number), str(number))
    slow = limits(sender=Pace(1 / HOUR, burst=2))
    assert await taken(services, slow) == ["0", "1"]
    assert await taken(services, slow) == []
    await later(services, HOUR)
    assert await taken(services, slow) == ["2"]
    await later(services, 10 * HOUR)
    assert await taken(services, slow) == ["3", "4"]  # a long rest gives one burst, not ten


async def test_workers_that_claim_at_once_share_one_bucket(services: Services) -> None:
    for number in range(8):
        await say(services, await person(services, number), str(number))
    found = await asyncio.gather(*(taken(services, limits(sender=Pace(1 / HOUR, burst=3))) for _ in range(4)))
    assert sum(map(len, found)) == 3


async def test_what_costs_more_is_waited_for_longer(services: Services) -> None:
    first, second = await person(services, 1), await person(services, 2)
    await say(services, first, "long", units=3)
    await say(services, second, "short")
    slow = limits(sender=Pace(1 / HOUR))
    assert await taken(services, slow) == ["long"]
    await later(services, 2 * HOUR)
    assert await taken(services, slow) == []
    await later(services, HOUR)
    assert await taken(services, slow) == ["short"]


async def test_humans_go_before_the_assistant(services: Services) -> None:
    for number in range(3):
        await say(services, await person(services, number), f"assistant {number}")
    await say(services, await person(services, 7), "safety", author="service")
    await say(services, await person(services, 8), "human", author="advocate")
    slow = limits(sender=Pace(1 / HOUR, burst=3))
    assert await taken(services, slow) == ["human", "safety", "assistant 0"]


async def test_one_pair_that_waits_keeps_nobody_else_waiting(services: Services) -> None:
    busy, other = await person(services, 1), await person(services, 2)
    for number in range(4):
        await say(services, busy, f"busy {number}")
    await say(services, other, "other")
    slow = limits(pair=Pace(1 / HOUR, burst=2))
    assert await taken(services, slow) == ["busy 0", "busy 1", "other"]
    await later(services, HOUR)
    assert await taken(services, slow) == ["busy 2"]


async def test_each_number_of_ours_has_a_bucket_of_its_own(services: Services) -> None:
    slow = limits(sender=Pace(1 / HOUR))
    for number, sender in enumerate(("A", "A", "B")):
        await say(services, await person(services, number, sender=sender), f"{sender}{number}")
    assert await taken(services, slow) == ["A0", "B2"]


async def test_a_worker_sleeps_until_something_may_go(services: Services) -> None:
    to = await person(services, 1)
    await say(services, to, "one")
    await say(services, to, "two")
    slow = limits(sender=Pace(1 / 20))
    assert await taken(services, slow) == ["one"]
    async with services.database.connect() as conn:
        assert 15 < await outbox.seconds_to_next(conn) <= 20
    await later(services, 20)
    async with services.database.connect() as conn:
        assert await outbox.seconds_to_next(conn) < 1
    assert await taken(services, slow) == ["two"]


async def test_waiting_for_ones_turn_is_no_attempt_and_survives_a_restart(services: Services) -> None:
    to = await person(services, 1)
    await say(services, to, "one")
    await say(services, to, "two")
    slow = limits(sender=Pace(1 / HOUR))
    assert await taken(services, slow) == ["one"]
    async with services.database.begin() as conn:
        await inbox.free_leases(conn)  # what a start does
    await services.database.dispose()
    assert await taken(services, slow) == []  # the bucket is remembered
    async with services.database.connect() as conn:
        rows = (await conn.execute(sa.select(deliveries).order_by(deliveries.c.position))).all()
    assert [(row.state, row.attempts) for row in rows] == [("sent", 1), ("queued", 0)]
    await later(services, HOUR)
    assert await taken(services, slow) == ["two"]


async def test_what_is_too_much_for_the_sender_holds_all_its_parts(services: Services, phone: Phone) -> None:
    for number in range(3):
        await say(services, await person(services, number), str(number))
    phone.failures.append((429, {"code": 20429}))
    for _ in range(5):
        await worker.send_once(services)
    assert phone.sent == []  # one refusal, and nobody asks again before its time
    await later(services, 31)
    async with services.database.begin() as conn:
        await conn.execute(deliveries.update().values(next_at=sa.func.now()))
    while await worker.send_once(services):
        pass
    assert len(phone.sent) == 3


async def test_buckets_that_have_long_been_full_are_dropped(services: Services) -> None:
    await say(services, await person(services, 1), "one")
    await taken(services, limits(sender=Pace(1), pair=Pace(1)))
    await later(services, 2 * HOUR)
    async with services.database.begin() as conn:
        await pace.hold(conn, "sms:still", 60)
        await pace.forget(conn)
        assert list(await conn.scalars(sa.text("SELECT name FROM pace"))) == ["sms:still"]


# -- what is reported back


async def reported(
    services: Services, state: str, code: str = "", *, sid: str = "SMout1"
) -> sa.Row[tuple[object, ...]]:
    """The first part, after a status of Twilio's."""
    failure = services.channels["sms"].failure(code) if code else None
    async with services.database.begin() as conn:
        await outbox.record_status(conn, "sms", Status(sid, state, error=code), failure)
        return (await conn.execute(sa.select(deliveries).order_by(deliveries.c.created_at).limit(1))).one()


async def sent(services: Services) -> uuid.UUID:
    to = await person(services, 1)
    await say(services, to, "hello")
    assert await worker.send_once(services)
    return to


async def due(services: Services) -> float:
    async with services.database.begin() as conn:
        wait = await conn.scalar(sa.text("SELECT extract(epoch FROM next_at - now()) FROM deliveries"))
        await conn.execute(deliveries.update().values(next_at=sa.func.now()))
    return round(float(wait or 0) / 60)


@pytest.mark.parametrize("code", ["30003", "30008", "99999"])
async def test_a_phone_that_is_off_is_tried_again_a_few_times(services: Services, phone: Phone, code: str) -> None:
    await sent(services)
    waits = []
    for number in range(1, 4):
        row = await reported(services, "failed", code, sid=f"SMout{number}")
        assert (row.state, row.error) == ("queued", code)
        waits.append(await due(services))
        assert await worker.send_once(services)
    assert waits == [1, 4, 16]
    assert len(phone.sent) == 4
    assert (await reported(services, "failed", code, sid="SMout4")).state == "failed"  # and not for ever
    assert not await worker.send_once(services)


@pytest.mark.parametrize("code", ["30004", "30005", "30006", "30007"])
async def test_what_is_final_is_final(services: Services, code: str) -> None:
    await sent(services)
    row = await reported(services, "failed", code)
    assert (row.state, row.error) == ("failed", code)


async def test_news_of_an_earlier_try_changes_nothing(services: Services, phone: Phone) -> None:
    await sent(services)
    await reported(services, "failed", "30003")
    for state in ("sent", "failed"):  # a late one, and the same once more
        assert (await reported(services, state, "30003" if state == "failed" else "")).state == "queued"
    await due(services)
    assert await worker.send_once(services)
    row = await reported(services, "failed", "30003")
    assert (row.state, row.provider_id, row.attempts) == ("sent", "SMout2", 2)
    assert len(phone.sent) == 2


async def test_what_arrived_after_all_is_not_sent_again(services: Services, phone: Phone) -> None:
    await sent(services)
    await reported(services, "failed", "30008")
    assert (await reported(services, "delivered")).state == "delivered"
    await due(services)
    assert not await worker.send_once(services)
    assert len(phone.sent) == 1


async def test_new_words_do_not_wait_for_a_phone_that_was_off(services: Services, phone: Phone) -> None:
    to = await sent(services)
    await reported(services, "failed", "30003")
    await say(services, to, "are you there?", author="advocate")
    assert await worker.send_once(services)
    assert [form["Body"] for form in phone.sent] == ["hello", "are you there?"]


async def test_nothing_is_tried_again_after_stop(services: Services) -> None:
    to = await sent(services)
    async with services.database.begin() as conn:
        await outbox.opt_out(conn, to)
    assert (await reported(services, "failed", "30003")).state == "failed"


async def test_a_full_queue_that_is_reported_back_holds_the_sender(services: Services, phone: Phone) -> None:
    await sent(services)
    await say(services, await person(services, 2), "other")
    await reported(services, "failed", "30001")
    assert not await worker.send_once(services)
    await later(services, 31)
    assert await worker.send_once(services)
    assert [form["Body"] for form in phone.sent] == ["hello", "other"]


async def test_a_crash_in_the_second_try_is_not_settled_by_the_first(services: Services, phone: Phone) -> None:
    """Twilio's list still names the try that did not arrive."""
    await sent(services)
    await reported(services, "failed", "30003")
    async with services.database.begin() as conn:
        long_ago = sa.func.now() - sa.text("interval '1 second'")
        await conn.execute(deliveries.update().values(state="sending", attempts=2, lease_until=long_ago))
    first = dataclasses.replace(services, channels={"sms": Listed()})
    assert await worker.recover_once(first)
    async with services.database.connect() as conn:
        assert await conn.scalar(sa.select(deliveries.c.state)) == "queued"


class Listed:
    """A provider whose list names the first try."""

    name = "sms"

    async def find(self, address: str, part: Part, *, since: float) -> Sent:
        return Sent("SMout1")


# -- what the providers state


def test_no_second_sees_more_than_a_provider_takes() -> None:
    for channel, most in ((WhatsApp, 80), (Telegram, 30)):
        pace_ = channel.limits.sender
        assert pace_ is not None
        assert pace_.per_second + pace_.burst <= most
    assert WhatsApp.limits.pair == Pace(1 / 6, burst=20)
    assert Telegram.limits.pair == Pace(1, burst=3)


def test_a_number_sends_one_segment_a_second_unless_told_otherwise(tmp_path: object) -> None:
    given = {"VAR_DIR": str(tmp_path), "TWILIO_API_URL": "http://127.0.0.1:9"}
    rates = []
    for more in ({}, {"TWILIO_RATE": "3"}, {"TWILIO_RATE": "0.5"}):
        twilio = load(given | more).twilio
        assert twilio is not None
        rates.append(twilio.rate)
    assert rates == [1, 3, 0.5]
    for wrong in ("0", "0.0", "-1", "fast", "1e9", "1,5"):
        with pytest.raises(SettingsError, match="TWILIO_RATE"):
            load(given | {"TWILIO_RATE": wrong})


def test_a_text_costs_its_segments(services: Services) -> None:
    sms = services.channels["sms"]
    assert isinstance(sms, Sms)
    assert [part.units for part in sms.compose("hello", ())] == [1]
    assert [part.units for part in sms.compose("ê" * 140, ())] == [3]
