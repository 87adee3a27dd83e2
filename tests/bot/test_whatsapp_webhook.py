"""WhatsApp's webhook over HTTP: Meta's verification, signatures, batches, copies; nothing unproven is stored."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as examples

from bot import database
from bot.services import Services
from bot.tables import messages, quarantine
from channels.whatsapp import MAX_CALLBACK, sign
from tests.bot.door import Door, open_door
from tests.bot.graph import HOOK, SECRET, VERIFY, Graph, batch, hook, message, status, with_whatsapp
from tests.channels.whatsapp_examples import BODIES
from tests.running import free_port

encoder = screen = detector = pytest.fixture(scope="session")(lambda: None)  # a webhook stores and never screens


@pytest.fixture
def database_url(emptied: str) -> str:
    return emptied


@pytest.fixture
def meta() -> Graph:
    return Graph()


@pytest.fixture
async def ours(services: Services, meta: Graph) -> AsyncIterator[Services]:
    async with with_whatsapp(services, meta) as made:
        yield made


@pytest.fixture
async def door(ours: Services) -> AsyncIterator[Door]:
    async with open_door(ours) as opened:
        yield opened


# -- proof


async def test_a_wrong_or_older_signature_is_refused_and_nothing_stored(door: Door) -> None:
    body = batch(message())
    right = sign(SECRET, body)
    for wrong in ("", "wrong", right[:-1], right.upper(), right.removeprefix("sha256="), "é" * 71, sign("", body)):
        assert await hook(door, body, signature=wrong) == 403, wrong
    assert await hook(door, body + b" ", signature=right) == 403
    assert (await door.client.post(HOOK, content=body)).status_code == 403
    only_older = {"x-hub-signature": "sha1=" + "0" * 40}
    assert (await door.client.post(HOOK, content=body, headers=only_older)).status_code == 403
    assert await door.nothing_stored()
    assert await hook(door, body) == 200  # and no id was used up
    assert await door.words() == ["hello"]


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        ({"hub.mode": "subscribe", "hub.verify_token": VERIFY, "hub.challenge": "1158201444"}, 200, "1158201444"),
        ({"hub.mode": "subscribe", "hub.verify_token": VERIFY, "hub.challenge": "<b>&"}, 200, "<b>&"),
        ({"hub.mode": "subscribe", "hub.verify_token": "wrong", "hub.challenge": "1"}, 403, None),
        ({"hub.mode": "subscribe", "hub.verify_token": "é", "hub.challenge": "1"}, 403, None),
        ({"hub.mode": "unsubscribe", "hub.verify_token": VERIFY, "hub.challenge": "1"}, 403, None),
        ({"hub.verify_token": VERIFY, "hub.challenge": "1"}, 403, None),
        ({"hub.mode": "subscribe", "hub.verify_token": "", "hub.challenge": "1"}, 403, None),
        ({"hub.mode": "subscribe", "hub.verify_token": VERIFY}, 403, None),
        ({}, 403, None),
    ],
)
async def test_metas_verification(door: Door, query: dict[str, str], code: int, text: str | None) -> None:
    answer = await door.client.get(HOOK, params=query)
    assert answer.status_code == code
    if text is not None:
        assert answer.text == text
        assert answer.headers["content-type"].startswith("text/plain")


async def test_without_whatsapp_in_the_settings_there_is_no_webhook(services: Services) -> None:
    async with open_door(services) as door:
        assert await hook(door, batch(message())) == 404
        assert (await door.client.get(HOOK, params={"hub.mode": "subscribe"})).status_code == 404


# -- batches and copies


async def test_a_batch_is_walked_through_and_a_bad_item_loses_no_other(door: Door) -> None:
    """As many as Meta puts into one: a thousand updates."""
    good = [message(f"text {n}", row=f"wamid.{n}", sender=f"151455501{n % 100:02}") for n in range(996)]
    bad: list[object] = [None, {"id": 7}, message(row="wamid \x00"), {**message(row="wamid.y"), "text": {"body": 7}}]
    assert await hook(door, batch(*good[:150], *bad, *good[150:])) == 200
    assert sorted(await door.words()) == sorted(f"text {number}" for number in range(996))
    assert len(await door.rows(quarantine)) == len(bad)


async def test_twenty_copies_in_different_batches_at_once_are_stored_once(door: Door) -> None:
    people = [message("help", row=f"wamid.{number}", sender=f"1514555010{number}") for number in range(6)]
    orders = [people[turn % 6 :] + people[: turn % 6] for turn in range(20)]
    answers = await asyncio.gather(*(hook(door, batch(*order)) for order in orders))
    assert set(answers) == {200}  # batches in another order do not wait for each other in a circle
    assert await door.words() == ["help"] * 6


async def test_a_copy_after_nine_days_is_known(door: Door) -> None:
    await hook(door, batch(message()))
    async with door.services.database.begin() as conn:
        await conn.execute(messages.update().values(created_at=sa.func.now() - timedelta(days=9)))
    assert await hook(door, batch(message("hello again", row="wamid.2"), message())) == 200
    assert await door.words() == ["hello", "hello again"]


async def test_the_same_words_twice_are_two_messages(door: Door) -> None:
    for row in ("wamid.1", "wamid.2"):
        await hook(door, batch(message("help", row=row)))
    assert await door.words() == ["help", "help"]


async def test_what_a_person_writes_is_stored_unchanged(door: Door) -> None:
    texts = ["a\x00b", "\ud83d lone", "\u202eabc\u202c", "e\u0301 👩‍👩‍👧", "مرحبا\r\n", "", "  help  "]
    await hook(door, batch(*(message(text, row=f"wamid.{number}") for number, text in enumerate(texts))))
    assert await door.words() == texts


async def test_a_message_for_another_number_is_acknowledged_kept_aside_and_reported(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    assert await hook(door, batch(message("zebra"), number="999")) == 200
    assert await door.rows(messages) == []
    (kept,) = await door.rows(quarantine)
    assert b"zebra" in door.services.vault.open(kept.body, context=f"quarantine:{kept.id}")
    said = [record.getMessage() for record in caplog.records if record.name == "passerelle.intake"]
    assert said == ["whatsapp: kept aside: a message for a number that is not configured"]


async def test_what_cannot_be_read_is_kept_aside_and_called_received(door: Door) -> None:
    bodies = [b"", b"hello", b"[]", b"{}", b'{"entry": 1}', b"\xff\xfe\x00", b"[" * 100_000]
    for body in bodies:
        assert await hook(door, body) == 200, body[:20]  # Meta would send it again for seven days
    kept = await door.rows(quarantine)
    vault = door.services.vault
    assert sorted(vault.open(row.body, context=f"quarantine:{row.id}") for row in kept) == sorted(bodies)


async def test_three_megabytes_are_taken_and_more_refused(door: Door) -> None:
    head = batch(message())
    assert await hook(door, head + b" " * (MAX_CALLBACK - len(head))) == 200
    assert await hook(door, head + b" " * (MAX_CALLBACK - len(head) + 1)) == 413


@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
async def test_no_signed_request_is_a_failure_of_ours(door: Door, body: bytes) -> None:
    assert await hook(door, body) == 200


async def test_without_storage_nothing_is_called_received(ours: Services) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    gone = dataclasses.replace(ours, database=database.engine_for(url))
    ours.settings.spool.write_text("in the way")  # and no spool either
    async with open_door(gone) as door:
        assert await hook(door, batch(message())) == 503
        assert await hook(door, b"") == 503
        assert await hook(door, batch(statuses=[status("sent")])) == 503
        assert await hook(door, batch(message()), signature="wrong") == 403
    await gone.database.dispose()
