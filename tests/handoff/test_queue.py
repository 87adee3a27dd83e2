"""The queue of handoffs: one advocate each, the gravest first, nobody forgotten."""

from __future__ import annotations

import asyncio
import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import inbox
from bot.tables import handoffs, signals, staff
from bot.vault import Vault
from channels.channel import Inbound
from handoff import queue
from handoff.queue import Opened, Refused


class Line:
    """A queue with people and advocates."""

    def __init__(self, engine: AsyncEngine, vault: Vault) -> None:
        self.engine = engine
        self.vault = vault

    async def person(self, number: int = 0) -> uuid.UUID:
        async with self.engine.begin() as conn:
            item = Inbound(f"SM{uuid.uuid4().hex}", f"+1514555{number:04}", "text", "help")
            stored = await inbox.store(conn, self.vault, "sms", item)
        assert stored is not None
        return stored[0]

    async def advocate(self, name: str) -> uuid.UUID:
        key = uuid.uuid4()
        async with self.engine.begin() as conn:  # no argon2 here: nobody logs in
            values = {"id": key, "name": name, "display": name.title(), "role": "advocate", "password_hash": "-"}
            await conn.execute(staff.insert().values(**values))
        return key

    async def opens(self, conversation: uuid.UUID, severity: str, *indicators: str) -> Opened:
        async with self.engine.begin() as conn:
            return await queue.open_handoff(
                conn, conversation=conversation, message=uuid.uuid4(), severity=severity,
                indicators=indicators or ("distress",), language="fr", channel="sms",
            )  # fmt: skip

    async def accepts(self, handoff: uuid.UUID, advocate: uuid.UUID) -> str:
        """Empty, or why not."""
        try:
            async with self.engine.begin() as conn:
                await queue.accept(conn, handoff, staff=advocate)
        except Refused as refusal:
            return str(refusal)
        return ""

    async def closes(self, handoff: uuid.UUID, advocate: uuid.UUID, *, classification: str = "unsure") -> str:
        try:
            async with self.engine.begin() as conn:
                await queue.close(
                    conn, self.vault, handoff, staff=advocate,
                    classification=classification, writer="not_said", note="met her sister",
                )  # fmt: skip
        except Refused as refusal:
            return str(refusal)
        return ""

    async def waited(self, handoff: uuid.UUID, minutes: int, seconds: int = 0) -> None:
        """Lets time pass for one handoff."""
        earlier = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, minutes, seconds)
        async with self.engine.begin() as conn:
            await conn.execute(handoffs.update().where(handoffs.c.id == handoff).values(opened_at=earlier))

    async def order(self) -> list[uuid.UUID]:
        async with self.engine.connect() as conn:
            return [row.id for row in await queue.list_open(conn)]

    async def logged(self, kind: str) -> list[sa.Row[tuple[object, ...]]]:
        async with self.engine.connect() as conn:
            return list(await conn.execute(sa.select(signals).where(signals.c.kind == kind)))


@pytest.fixture
async def line(engine: AsyncEngine, vault: Vault) -> Line:
    return Line(engine, vault)


async def test_of_twenty_advocates_exactly_one_accepts_and_the_others_are_told_by_whom(line: Line) -> None:
    opened = await line.opens(await line.person(), "high")
    names = [f"advocate-{number}" for number in range(20)]
    keys = [await line.advocate(name) for name in names]
    answers = await asyncio.gather(*(line.accepts(opened.id, key) for key in keys))
    winners = [name for name, answer in zip(names, answers, strict=True) if not answer]
    assert len(winners) == 1
    told = {answer for answer in answers if answer}
    assert told == {f"{winners[0].title()} has already accepted this handoff."}
    assert len(await line.logged("accepted")) == 1


async def test_who_accepts_twice_is_told_so(line: Line) -> None:
    opened = await line.opens(await line.person(), "high")
    nour = await line.advocate("nour")
    assert await line.accepts(opened.id, nour) == ""
    assert await line.accepts(opened.id, nour) == "You have already accepted this handoff."


async def test_an_unknown_handoff_is_refused(line: Line) -> None:
    assert await line.accepts(uuid.uuid4(), await line.advocate("nour")) == "There is no such handoff."


async def test_twenty_disclosures_at_once_open_one_handoff(line: Line) -> None:
    person = await line.person()
    opened = await asyncio.gather(*(line.opens(person, "high", f"indicator_{number}") for number in range(20)))
    assert len({item.id for item in opened}) == 1
    assert [item.new for item in opened].count(True) == 1
    async with line.engine.connect() as conn:
        (row,) = await conn.execute(sa.select(handoffs))
    assert len(row.indicators) == 20


async def test_severity_only_rises_and_indicators_gather(line: Line) -> None:
    person = await line.person()
    seen = [
        (await line.opens(person, severity, indicator)).severity
        for severity, indicator in [
            ("elevated", "distress"), ("critical", "confinement"), ("high", "threats"), ("elevated", "distress"),
        ]
    ]  # fmt: skip
    assert seen == ["elevated", "critical", "critical", "critical"]
    async with line.engine.connect() as conn:
        (row,) = await conn.execute(sa.select(handoffs))
    assert row.indicators == ["confinement", "distress", "threats"]


async def test_an_accepted_handoff_is_raised_and_stays_with_its_advocate(line: Line) -> None:
    person = await line.person()
    opened = await line.opens(person, "elevated")
    await line.accepts(opened.id, await line.advocate("nour"))
    raised = await line.opens(person, "critical")
    assert (raised.id, raised.state, raised.severity, raised.new) == (opened.id, "accepted", "critical", False)


async def test_the_gravest_comes_first_and_equals_by_waiting_time(line: Line) -> None:
    ids = {}
    for number, (severity, minutes) in enumerate(
        [("elevated", 4), ("critical", 0), ("high", 1), ("high", 3), ("critical", 2)]
    ):
        opened = await line.opens(await line.person(number), severity)
        await line.waited(opened.id, minutes)
        ids[severity, minutes] = opened.id
    expected = [("critical", 2), ("critical", 0), ("high", 3), ("high", 1), ("elevated", 4)]
    assert await line.order() == [ids[place] for place in expected]


async def test_ageing_lifts_who_waits_long(line: Line) -> None:
    old = await line.opens(await line.person(1), "elevated")
    new = await line.opens(await line.person(2), "high")
    assert await line.order() == [new.id, old.id]
    await line.waited(old.id, 12)
    assert await line.order() == [old.id, new.id]


async def test_no_wait_lifts_the_elevated_over_a_new_critical(line: Line) -> None:
    old = await line.opens(await line.person(1), "elevated")
    await line.waited(old.id, 60 * 24 * 3)
    new = await line.opens(await line.person(2), "critical")
    assert await line.order() == [new.id, old.id]


async def test_a_critical_of_one_second_comes_before_whoever_waits_for_hours(line: Line) -> None:
    waits = [("elevated", 60 * 24), ("high", 60 * 9), ("high", 60 * 2), ("high", 11)]
    older = []
    for number, (severity, minutes) in enumerate(waits):
        opened = await line.opens(await line.person(number), severity)
        await line.waited(opened.id, minutes)
        older.append(opened.id)
    calls = []
    for number, seconds in [(8, 3), (9, 1)]:
        opened = await line.opens(await line.person(number), "critical")
        await line.waited(opened.id, 0, seconds)
        calls.append(opened.id)
    order = await line.order()
    assert order[:2] == calls
    assert set(order[2:]) == set(older)


async def test_a_handoff_that_becomes_critical_comes_first_at_once(line: Line) -> None:
    first = await line.person(1)
    raised = await line.opens(first, "elevated")
    old = await line.opens(await line.person(2), "high")
    await line.waited(old.id, 60 * 5)
    await line.opens(first, "critical")
    assert await line.order() == [raised.id, old.id]


async def test_accepted_handoffs_come_after_those_that_wait(line: Line) -> None:
    grave = await line.opens(await line.person(1), "critical")
    mild = await line.opens(await line.person(2), "elevated")
    await line.accepts(grave.id, await line.advocate("nour"))
    assert await line.order() == [mild.id, grave.id]


async def test_nobody_else_closes_it(line: Line, vault: Vault) -> None:
    opened = await line.opens(await line.person(), "high")
    nour, sacha = await line.advocate("nour"), await line.advocate("sacha")
    assert await line.closes(opened.id, nour) == "Accept the handoff before you close it."
    await line.accepts(opened.id, nour)
    assert await line.closes(opened.id, sacha) == "Nour has already accepted this handoff."
    assert await line.closes(opened.id, nour) == ""
    assert await line.closes(opened.id, nour) != ""
    async with line.engine.connect() as conn:
        (row,) = await conn.execute(sa.select(handoffs))
    assert (row.state, row.classification, row.writer) == ("closed", "unsure", "not_said")
    assert vault.open(row.note, context=f"handoff:{opened.id}") == b"met her sister"
    (logged,) = await line.logged("closed")
    assert "sister" not in str(logged)


async def test_an_unknown_classification_is_refused(line: Line) -> None:
    opened = await line.opens(await line.person(), "high")
    nour = await line.advocate("nour")
    await line.accepts(opened.id, nour)
    with pytest.raises(ValueError, match="unknown classification"):
        await line.closes(opened.id, nour, classification="something else")


async def test_after_the_close_a_new_disclosure_opens_a_new_handoff(line: Line) -> None:
    person = await line.person()
    first = await line.opens(person, "critical")
    nour = await line.advocate("nour")
    await line.accepts(first.id, nour)
    await line.closes(first.id, nour)
    second = await line.opens(person, "elevated")
    assert second.new
    assert second.id != first.id
    assert second.severity == "elevated"
