"""What did not reach a person is seen by staff, with the reason, and sent again where that can help: once a press."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import channels
from bot import worker
from bot.services import Services
from bot.tables import audit, conversations, deliveries, messages
from channels.outgoing import HOPELESS, why
from handoff import pages
from tests.conftest import Phone
from tests.handoff.desk import Browser, Desk, accepted, open_desk, send

ERRORS = Path(*channels.__path__) / "errors"
LIST = "/console/undelivered"


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[Desk]:
    async with open_desk(services) as opened:
        yield opened


async def lost(desk: Desk, *, state: str = "failed", error: str = "30008") -> tuple[uuid.UUID, uuid.UUID, Browser]:
    """(conversation, message, its advocate): an advocate's words that did not arrive."""
    conversation = await desk.person()
    nour = await desk.member("nour")
    await accepted(desk, nour, conversation)
    while await worker.send_once(desk.services):
        pass
    assert (await send(desk, nour, conversation, "Are you safe?"))[0] == 303
    (row,) = await desk.rows(messages, messages.c.author == "advocate")
    await desk.execute(
        deliveries.update()
        .where(deliveries.c.message_id == row.id)
        .values(state=state, error=error, attempts=8, provider_id="SMold")
    )
    await nour.get(f"/console/conversations/{conversation}")
    return conversation, row.id, nour


def button(page: str) -> dict[str, str]:
    """The fields of the only form that sends again; empty when there is none."""
    forms = re.findall(r'<form method="post" action="(/console/messages/[^"]+/again)">(.*?)</form>', page, re.S)
    assert len(forms) <= 1
    fields = dict(re.findall(r'name="(again|back)" value="([^"]*)"', forms[0][1])) if forms else {}
    return {"path": forms[0][0], **fields} if forms else {}


async def press(browser: Browser, form: dict[str, str]) -> tuple[int, str]:
    answer = await browser.post(**form)
    return answer.status_code, answer.headers.get("location", answer.text)


async def test_the_reason_stands_at_the_message_and_a_press_sends_it_again(desk: Desk, phone: Phone) -> None:
    conversation, message, nour = await lost(desk)
    for path in (f"/console/conversations/{conversation}", f"/console/conversations/{conversation}/messages"):
        page = (await nour.get(path)).text
        assert "Not delivered" in page
        assert "The provider could not send it." in page
        assert "(30008)" in page
    form = button(page)
    before = len(phone.sent)
    assert await press(nour, form) == (303, f"/console/conversations/{conversation}#m-{await seq(desk, message)}")
    while await worker.send_once(desk.services):
        pass
    assert [sent["Body"] for sent in phone.sent[before:]] == ["Are you safe?"]
    (part,) = await desk.rows(deliveries, deliveries.c.message_id == message)
    assert (part.state, part.again) == ("sent", 1)
    (line,) = await desk.rows(audit, audit.c.action == "sent again")
    assert (line.actor, line.conversation_id) == ("nour", conversation)


async def seq(desk: Desk, message: uuid.UUID) -> int:
    (row,) = await desk.rows(messages, messages.c.id == message)
    return int(row.seq)


async def test_pressed_twice_it_is_sent_once(desk: Desk, phone: Phone) -> None:
    conversation, message, nour = await lost(desk)
    form = button((await nour.get(f"/console/conversations/{conversation}")).text)
    before = len(phone.sent)
    assert {status for status, _ in await asyncio.gather(*(press(nour, form) for _ in range(5)))} == {303}
    while await worker.send_once(desk.services):
        pass
    await desk.execute(deliveries.update().where(deliveries.c.message_id == message).values(state="failed"))
    assert (await press(nour, form))[0] == 303  # the old page, once more: its press was used up
    assert not await worker.send_once(desk.services)
    assert len(phone.sent) == before + 1
    assert len(await desk.rows(audit, audit.c.action == "sent again")) == 1


async def test_supervisors_see_all_of_it_in_one_list_without_words(desk: Desk, phone: Phone) -> None:
    conversation, _, nour = await lost(desk, state="unknown", error="ReadTimeout")
    vera = await desk.member("vera", "supervisor")
    page = (await vera.get(LIST)).text
    assert f'href="/console/conversations/{conversation}#m-' in page
    assert "It may have arrived. We do not know." in page
    assert "The person may get it twice." in page
    assert "Nour" in page
    assert "Are you safe?" not in page
    before = len(phone.sent)
    assert await press(vera, button(page)) == (303, LIST)
    while await worker.send_once(desk.services):
        pass
    assert len(phone.sent) == before + 1
    assert "Everything has been delivered" in (await vera.get(LIST)).text
    for browser in (nour, await desk.member("ana", "analyst"), await desk.member("adam", "admin")):
        assert (await browser.get(LIST)).status_code == 403
        assert LIST not in (await browser.get("/console")).text


async def test_what_is_older_than_two_weeks_is_off_the_list(desk: Desk) -> None:
    await lost(desk)
    await desk.execute(deliveries.update().values(created_at=sa.func.now() - sa.text("interval '15 days'")))
    assert "Everything has been delivered" in (await (await desk.member("vera", "supervisor")).get(LIST)).text


@pytest.mark.parametrize(
    ("error", "sentence"),
    [("30007", "blocked it"), ("30006", "cannot get messages"), ("21610", "STOP")],
)
async def test_where_it_cannot_help_there_is_no_button_and_no_way_round_it(
    desk: Desk, error: str, sentence: str
) -> None:
    conversation, message, nour = await lost(desk, error=error)
    page = (await nour.get(f"/console/conversations/{conversation}")).text
    assert sentence in page
    assert button(page) == {}
    status, said = await press(nour, {"path": f"/console/messages/{message}/again", "again": "0"})
    assert (status, "the same words would not arrive" in said) == (409, True)
    assert await desk.rows(deliveries, deliveries.c.state == "queued") == []


async def test_after_stop_nothing_is_sent_again(desk: Desk) -> None:
    conversation, _, nour = await lost(desk)
    form = button((await nour.get(f"/console/conversations/{conversation}")).text)
    await desk.execute(conversations.update().values(opted_out=True))
    assert button((await nour.get(f"/console/conversations/{conversation}")).text) == {}
    status, said = await press(nour, form)
    assert (status, "wrote STOP" in said) == (409, True)
    assert button((await (await desk.member("vera", "supervisor")).get(LIST)).text) == {}


async def test_a_channel_that_was_switched_off_sends_nothing_again(services: Services) -> None:
    async with open_desk(services) as desk:
        await lost(desk, error="off")
    without = dataclasses.replace(services, channels={"web": services.channels["web"]})
    async with open_desk(without) as desk:
        vera = await desk.member("vera", "supervisor")
        status, said = await press(vera, button((await vera.get(LIST)).text))
        assert (status, "switched off" in said) == (409, True)


async def test_only_who_talks_with_the_person_or_supervises_may(desk: Desk) -> None:
    conversation, _, nour = await lost(desk)
    form = button((await nour.get(f"/console/conversations/{conversation}")).text)
    for name, role in (("sacha", "advocate"), ("ana", "analyst"), ("adam", "admin")):
        other = await desk.member(name, role)
        assert button((await other.get(f"/console/conversations/{conversation}")).text) == {}
        assert (await press(other, form))[0] == 403
    assert (await press(nour, {"path": f"/console/messages/{uuid.uuid4()}/again", "again": "0"}))[0] == 404
    assert (await press(nour, form | {"csrf": "wrong"}))[0] == 403
    assert await desk.rows(deliveries, deliveries.c.state == "queued") == []


@pytest.mark.parametrize(("channel", "table"), [("sms", "twilio"), ("whatsapp", "whatsapp"), ("telegram", "telegram")])
def test_the_console_has_words_for_every_code_of_every_table(channel: str, table: str) -> None:
    macros = (pages.HERE / "templates" / "_macros.html").read_text("utf-8")
    with (ERRORS / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        reason = why(channel, row["code"].replace("xxx", "012"))
        assert f'"{reason}": _(' in macros, row
        # what is tried again by itself may be sent again by hand as well, and who has opted out is left alone
        assert (reason in HOPELESS) <= (row["action"] in ("final", "stop")), row
        assert (row["action"] == "stop") <= (reason in HOPELESS), row
    for code in ("connect", "off", "number", "address", "99999", "", "401"):
        assert f'"{why(channel, code)}": _(' in macros
