"""An advocate's verdict on what the screen made of a message: who may give it, on what, and what is kept."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from bot import inbox
from bot.services import Services
from bot.tables import audit, conversations, messages, verdicts
from channels.channel import Inbound
from tests.handoff.desk import Browser, Desk, open_desk


@pytest.fixture
def encoder() -> None:
    """No model is asked here: what the screen said is written beside the message."""


@pytest.fixture
def screen() -> None:
    pass


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[Desk]:
    async with open_desk(services) as opened:
        yield opened


async def wrote(desk: Desk, text: str, *indicators: str) -> sa.Row[tuple[object, ...]]:
    """A message of a person that the screen has judged."""
    async with desk.services.database.begin() as conn:
        item = Inbound(uuid.uuid4().hex, "+15145550123", "text", text)
        stored = await inbox.store(conn, desk.services.vault, "sms", item)
        assert stored is not None
        understanding = {"language": "en", "severity": "high" if indicators else "none", "indicators": indicators}
        this = (messages.c.conversation_id == stored[0], messages.c.seq == stored[1])
        await conn.execute(messages.update().where(*this).values(understanding=understanding, state="done"))
    (row,) = await desk.rows(messages, *this)
    return row


async def judge(browser: Browser, message: object, verdict: str = "should") -> int:
    return (await browser.post(f"/console/messages/{message}/verdict", verdict=verdict)).status_code


async def kept(desk: Desk) -> list[tuple[object, ...]]:
    return [(row.message_id, row.conversation_id, row.verdict) for row in await desk.rows(verdicts)]


def teaching(page: str, seq: int) -> str:
    """What stands under one message."""
    found = re.search(rf'id="m-{seq}".*?(<details.*?</details>)', page, flags=re.S)
    assert found
    return found[1]


async def test_a_verdict_is_kept_and_shown_to_who_gave_it(desk: Desk) -> None:
    told = await wrote(desk, "he took my papers")
    nour, sacha = await desk.member("nour"), await desk.member("sacha", "supervisor")
    page = f"/console/conversations/{told.conversation_id}"
    before = teaching((await nour.get(page)).text, 1)
    assert "Teach the screen" in before
    assert "It is not part of the case" in before
    answer = await nour.post(f"/console/messages/{told.id}/verdict", verdict="should")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{page}#m-1")
    assert await kept(desk) == [(told.id, told.conversation_id, "should")]
    assert "<summary>Kept: should have been escalated</summary>" in (await nour.get(page)).text
    assert "<summary>Kept: should have been escalated</summary>" in (await nour.get(f"{page}/messages")).text
    assert "<summary>Teach the screen</summary>" in (await sacha.get(page)).text


async def test_the_log_does_not_read_it_aloud(desk: Desk) -> None:
    told = await wrote(desk, "he took my papers")
    nour = await desk.member("nour")
    page = (await nour.get(f"/console/conversations/{told.conversation_id}")).text
    assert '<details class="teach" aria-live="off"' in teaching(page, 1)


async def test_the_script_is_answered_without_a_page(desk: Desk) -> None:
    told = await wrote(desk, "he took my papers")
    nour = await desk.member("nour")
    form = {"csrf": nour.csrf, "verdict": "should"}
    path = f"/console/messages/{told.id}/verdict"
    answer = await nour.client.post(path, data=form, headers={"sec-fetch-dest": "empty"})
    assert (answer.status_code, answer.text) == (204, "")
    assert len(await kept(desk)) == 1


async def test_a_later_verdict_replaces_the_earlier_one(desk: Desk) -> None:
    told = await wrote(desk, "my boss is great", "confinement")
    nour, sacha = await desk.member("nour"), await desk.member("sacha")
    for browser, verdict in ((nour, "should"), (sacha, "should"), (nour, "should_not")):
        assert await judge(browser, told.id, verdict) == 303
    assert sorted(str(row[2]) for row in await kept(desk)) == ["should", "should_not"]


async def test_two_presses_at_once_leave_one_verdict(desk: Desk) -> None:
    told = await wrote(desk, "he took my papers")
    nour = await desk.member("nour")
    assert await asyncio.gather(*(judge(nour, told.id) for _ in range(4))) == [303] * 4
    assert len(await kept(desk)) == 1


async def test_each_verdict_is_in_the_audit_trail(desk: Desk) -> None:
    told = await wrote(desk, "my boss is great", "confinement")
    nour = await desk.member("nour")
    await judge(nour, told.id, "should")
    await judge(nour, told.id, "should_not")
    rows = await desk.rows(audit, audit.c.action == "verdict")
    assert [(row.actor, row.conversation_id, row.purpose) for row in rows] == [
        ("nour", told.conversation_id, "should"),
        ("nour", told.conversation_id, "should_not"),
    ]
    assert all(row.staff_id for row in rows)


@pytest.mark.parametrize("role", ["content", "analyst", "admin"])
async def test_who_may_not_read_conversations_gives_no_verdict(desk: Desk, role: str) -> None:
    told = await wrote(desk, "he took my papers")
    somebody = await desk.member("somebody", role)
    assert await judge(somebody, told.id) == 403
    assert await judge(somebody, uuid.uuid4()) == 403
    assert await kept(desk) == []
    assert await desk.rows(audit, audit.c.action == "verdict") == []


async def test_a_verdict_wants_the_forms_token(desk: Desk) -> None:
    told = await wrote(desk, "he took my papers")
    nour, sacha = await desk.member("nour"), await desk.member("sacha")
    for token in ("", "made up", sacha.csrf):
        nour.csrf = token
        assert await judge(nour, told.id) == 403
    assert await judge(desk.browser(), told.id) == 303  # to the log-in page
    assert await kept(desk) == []


@pytest.mark.parametrize("verdict", ["", "SHOULD", "perhaps", "should'; --"])
async def test_there_are_two_verdicts(desk: Desk, verdict: str) -> None:
    told = await wrote(desk, "he took my papers")
    nour = await desk.member("nour")
    assert await judge(nour, told.id, verdict) == 400
    assert await kept(desk) == []


async def test_an_unknown_message_is_not_found(desk: Desk) -> None:
    nour = await desk.member("nour")
    answer = await nour.post(f"/console/messages/{uuid.uuid4()}/verdict", verdict="should")
    assert answer.status_code == 404
    assert "There is no such message." in answer.text
    assert await judge(nour, "not-an-id") == 404
    assert await desk.rows(audit, audit.c.action == "verdict") == []


async def test_what_we_wrote_ourselves_is_not_judged(desk: Desk) -> None:
    told = await wrote(desk, "hello")
    ours = {"id": uuid.uuid4(), "conversation_id": told.conversation_id, "seq": 2, "channel": "sms", "kind": "text"}
    ours |= {"direction": "out", "author": "assistant", "state": "shown"}
    ours["words"] = desk.services.vault.seal_json({"text": "Good day."}, context=f"message:{ours['id']}")
    await desk.execute(messages.insert().values(**ours))
    nour = await desk.member("nour")
    page = (await nour.get(f"/console/conversations/{told.conversation_id}")).text
    assert "Good day." in page
    assert page.count('class="teach"') == 1
    answer = await nour.post(f"/console/messages/{ours['id']}/verdict", verdict="should")
    assert answer.status_code == 400
    assert "on messages of the person only" in answer.text
    assert await kept(desk) == []


async def test_verdicts_go_with_their_conversation(desk: Desk) -> None:
    told = await wrote(desk, "he took my papers")
    nour = await desk.member("nour")
    await judge(nour, told.id)
    await desk.execute(conversations.delete().where(conversations.c.id == told.conversation_id))
    assert await kept(desk) == []
