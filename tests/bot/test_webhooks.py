"""The provider's webhooks over HTTP: nothing unproven is stored, and what is answered with 200 is."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote_plus, urlencode

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from bot import database, outbox
from bot.services import Services
from bot.tables import conversations, deliveries, messages, quarantine
from bot.webhooks import MAX_BODY
from tests.bot.door import HOOK, PERSON, STATUS, Door, open_door, sms
from tests.conftest import TOKEN
from tests.running import free_port

EMPTY = '<?xml version="1.0" encoding="UTF-8"?><Response/>'


encoder = screen = detector = pytest.fixture(scope="session")(lambda: None)  # a webhook stores and never screens


@pytest.fixture
def database_url(emptied: str) -> str:
    return emptied


@pytest.fixture
async def door(services: Services) -> AsyncIterator[Door]:
    async with open_door(services) as opened:
        yield opened


@pytest.mark.parametrize(("mode", "status"), [("demo", 401), ("production", 404)])
async def test_stand_ins_are_for_the_demonstration_only(services: Services, mode: str, status: int) -> None:
    given = dataclasses.replace(services.settings, mode=mode)  # in which the port is the stand-ins'
    assert given.whatsapp is not None
    async with open_door(dataclasses.replace(services, settings=given)) as door:
        for path in (
            "/2010-04-01/Accounts/AC1/Messages.json",
            f"/{given.whatsapp.version}/{given.whatsapp.numbers[0]}/messages",
            "/bot1:wrong/sendMessage",
        ):
            assert (await door.client.post(path, content=b"{}")).status_code == status, path


# -- proof


async def test_a_message_signed_by_the_providers_library_is_stored(door: Door) -> None:
    fields = {"MessageSid": "SM1", "From": PERSON, "Body": "ça va? 👍  ", "FromCity": "", "NumMedia": "0"}
    right = RequestValidator(TOKEN).compute_signature(door.services.settings.public_url + HOOK, fields)
    answer = await door.client.post(HOOK, data=fields, headers={"X-Twilio-Signature": right})
    assert answer.status_code == 200
    assert await door.words() == ["ça va? 👍  "]


async def test_an_address_with_a_query_is_signed_with_it(door: Door) -> None:
    assert (await door.hook(sms(), path=f"{HOOK}?tenant=a%20b&empty=&c=d+e")).status_code == 200
    assert len(await door.rows(messages)) == 1


async def test_a_wrong_signature_is_refused_and_nothing_stored(door: Door) -> None:
    for path in (HOOK, STATUS):
        for signature in ("", "wrong", "=" * 28, "é" * 28, "ਕ", "x" * 5000):
            answer = await door.hook(sms(MessageStatus="sent"), path=path, signature=signature)
            assert answer.status_code == 403, (path, signature)
    assert await door.nothing_stored()


async def test_no_signature_is_refused(door: Door) -> None:
    answer = await door.client.post(HOOK, content=sms())
    assert answer.status_code == 403
    assert await door.nothing_stored()


async def test_a_refused_request_uses_up_no_id(door: Door) -> None:
    assert (await door.hook(sms("forged"), signature="wrong")).status_code == 403
    assert (await door.hook(sms("real"))).status_code == 200
    assert await door.words() == ["real"]


async def test_only_posts_are_taken(door: Door) -> None:
    assert (await door.client.get(HOOK)).status_code == 405
    assert (await door.client.put(STATUS, content=sms())).status_code == 405


async def test_without_sms_in_the_settings_there_is_no_webhook(services: Services) -> None:
    async with open_door(dataclasses.replace(services, channels={"web": services.channels["web"]})) as door:
        assert (await door.hook(sms())).status_code == 404


# -- stored, then answered


async def test_a_stored_message_is_answered_with_an_empty_response(door: Door) -> None:
    answer = await door.hook(sms("hello", FromState="QC", FromCountry="CA"))
    assert (answer.status_code, answer.text) == (200, EMPTY)
    assert answer.headers["content-type"].startswith("text/xml")
    (message,) = await door.rows(messages)
    (conversation,) = await door.rows(conversations)
    assert (message.state, message.kind, message.provider_id) == ("received", "text", "SM1")
    assert (conversation.channel, conversation.region, conversation.pending) == ("sms", "QC", True)
    assert await door.words() == ["hello"]


async def test_the_answer_waits_for_the_commit(door: Door) -> None:
    async with door.services.database.connect() as conn:
        await conn.execute(sa.text("LOCK TABLE messages IN EXCLUSIVE MODE"))
        asked = asyncio.create_task(door.hook(sms()))
        done, _ = await asyncio.wait([asked], timeout=0.5)
        assert not done
        await conn.rollback()
    assert (await asked).status_code == 200
    assert len(await door.rows(messages)) == 1


async def test_a_duplicate_is_stored_once(door: Door) -> None:
    for _ in range(3):
        assert (await door.hook(sms("help"))).text == EMPTY
    assert await door.words() == ["help"]


async def test_twenty_copies_at_once_are_stored_once(door: Door) -> None:
    answers = await asyncio.gather(*(door.hook(sms("help")) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert await door.words() == ["help"]


async def test_the_same_words_twice_are_two_messages(door: Door) -> None:
    for sid in ("SM1", "SM2"):
        assert (await door.hook(sms("help", sid=sid))).status_code == 200
    assert await door.words() == ["help", "help"]


async def test_what_a_person_writes_is_stored_unchanged(door: Door) -> None:
    texts = ["a\x00b", "\u202eabc\u202c", "e\u0301 👩‍👩‍👧 🇨🇦", "مرحبا", "\r\n \t", "&=+%;#?", "", "  help  "]
    for number, text in enumerate(texts):
        assert (await door.hook(sms(text, sid=f"SM{number}"))).status_code == 200
    assert await door.words() == texts


async def test_a_picture_without_words_is_stored_as_a_reference(door: Door) -> None:
    body = sms("", MediaUrl0="http://169.254.169.254/latest", MediaContentType0="image/png")
    assert (await door.hook(body)).status_code == 200
    (message,) = await door.rows(messages)
    assert message.kind == "image"


# -- what cannot be read


UNREADABLE = [
    b"",
    b"hello",
    b"MessageSid=SM1",
    b"From=%2B15145550123&Body=hello",
    b"MessageSid=SM%001&From=%2B15145550123&Body=hello",
    b"MessageSid=" + b"S" * 9000 + b"&From=%2B15145550123",
    b"\xff\xfe\x00",
    b'{"MessageSid": "SM1", "From": "+15145550123"}',
    b"&".join(b"x%d=" % number for number in range(400)),
]


async def test_what_cannot_be_read_is_kept_aside(door: Door) -> None:
    for body in UNREADABLE:
        for path in (HOOK, STATUS):
            assert (await door.hook(body, path=path)).status_code == 400, (path, body[:80])
    assert await door.rows(messages) == []
    vault, kept = door.services.vault, await door.rows(quarantine)
    assert sorted(vault.open(row.body, context=f"quarantine:{row.id}") for row in kept) == sorted(UNREADABLE * 2)


async def test_a_request_that_is_too_large_is_refused(door: Door) -> None:
    for extra, status in ((0, 200), (1, 413)):
        head = sms("", sid=f"SM{extra}")
        body = head + b"&x=" + b"y" * (MAX_BODY - len(head) - 3 + extra)
        assert len(body) == MAX_BODY + extra
        assert (await door.hook(body)).status_code == status
    assert len(await door.rows(messages)) == 1
    assert await door.rows(quarantine) == []


FIELDS = ["MessageSid", "SmsSid", "From", "To", "Body", "NumMedia", "MediaUrl0", "MediaContentType0", "OptOutType"]
FIELDS += ["MessageStatus", "SmsStatus", "ErrorCode", "FromState", "FromCountry"]
WILD = st.text(st.characters(), max_size=60)
VALUES = WILD | st.sampled_from(["SM1", "SM2", "+1514", "delivered", "failed", "21610", "STOP", "QC", "x" * 4000])
FORMS = st.lists(st.tuples(st.sampled_from(FIELDS) | WILD, VALUES), max_size=14)
DELIVERIES = st.none() | st.uuids().map(str) | WILD


def wire(text: str) -> str:
    return quote_plus(text, errors="surrogatepass")


@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=FORMS | st.binary(max_size=200), status=st.booleans(), delivery=DELIVERIES)
async def test_no_signed_request_is_a_failure_of_ours(
    door: Door, form: list[tuple[str, str]] | bytes, status: bool, delivery: str | None
) -> None:
    path = STATUS if status else HOOK
    if delivery is not None:
        path += f"?delivery={wire(delivery)}"
    body = form if isinstance(form, bytes) else "&".join(f"{wire(n)}={wire(v)}" for n, v in form).encode("ascii")
    before = len(await door.rows(quarantine))
    answer = await door.hook(body, path=path)
    assert answer.status_code in (200, 400)
    assert len(await door.rows(quarantine)) == before + (answer.status_code == 400)


async def test_a_strange_address_is_no_failure_of_ours(door: Door) -> None:
    for target in (b"/webhooks/twilio?a=\xff", b"/webhooks/twilio\xff", b"/webhooks/twilio?a=%ff%00"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(door.base.rsplit(":", 1)[1]))
        writer.write(b"POST " + target + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n")
        writer.write(b"X-Twilio-Signature: \xff\r\n\r\n")
        status = int((await asyncio.wait_for(reader.readline(), 20)).split()[1])
        writer.close()
        await writer.wait_closed()
        assert 400 <= status < 500, target
    assert await door.nothing_stored()


# -- storage


async def test_without_storage_nothing_is_called_received(services: Services) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    gone = dataclasses.replace(services, database=database.engine_for(url))
    services.settings.spool.write_text("in the way")  # and no spool either
    async with open_door(gone) as door:
        assert (await door.hook(sms())).status_code == 503
        assert (await door.hook(b"", path=HOOK)).status_code == 503  # the quarantine is storage too
        status = urlencode({"MessageSid": "SM1", "MessageStatus": "sent"}).encode()
        assert (await door.hook(status, path=STATUS)).status_code == 503
        assert (await door.hook(sms(), signature="wrong")).status_code == 403
    await gone.database.dispose()


@asynccontextmanager
async def no_room(door: Door) -> AsyncIterator[None]:
    """A database that answers and cannot store a message."""
    async with door.services.database.begin() as conn:
        await conn.execute(sa.text("ALTER TABLE messages RENAME TO away"))
    try:
        yield
    finally:
        async with door.services.database.begin() as conn:
            await conn.execute(sa.text("ALTER TABLE away RENAME TO messages"))


async def test_what_was_not_stored_may_come_again(door: Door) -> None:
    async with no_room(door):
        assert (await door.hook(sms())).status_code == 503
    assert await door.rows(conversations) == []
    assert (await door.hook(sms())).status_code == 200
    assert await door.words() == ["hello"]


async def test_the_log_names_neither_words_nor_people_nor_secrets(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="passerelle")
    words = sms("zebra crossing")
    signature = "c2lnbmF0dXJlIG9mIHplYnJh"
    await door.hook(words, signature=signature)
    await door.hook(words)
    await door.hook(sms("zebra crossing", sid="\x00"))
    async with no_room(door):
        assert (await door.hook(sms("zebra crossing", sid="SM2"))).status_code == 503
    said = [record.getMessage() for record in caplog.records if record.name.startswith("passerelle")]
    assert len(said) >= 2  # the refusal, and the failure to store
    for secret in ("zebra", "5145550123", signature, TOKEN):
        assert not any(secret in line for line in said)


# -- statuses


async def waiting_part(door: Door) -> outbox.Delivery:
    """A part of ours that a worker has just taken, and not yet handed over."""
    assert (await door.hook(sms())).status_code == 200
    (conversation,) = await door.rows(conversations)
    await door.answer(conversation.id, "an answer", pulled=False)
    async with door.services.database.begin() as conn:
        claimed = await outbox.claim_part(conn, door.services.vault)
    assert claimed is not None
    return claimed


async def report(door: Door, state: str, *, sid: str = "SMout1", delivery: str = "", code: str = "") -> int:
    body = urlencode({"MessageSid": sid, "MessageStatus": state, "ErrorCode": code}).encode()
    return (await door.hook(body, path=f"{STATUS}?delivery={delivery}" if delivery else STATUS)).status_code


async def part(door: Door) -> sa.Row[tuple[object, ...]]:
    (row,) = await door.rows(deliveries)
    return row


async def test_a_status_may_come_before_our_own_commit(door: Door) -> None:
    claimed = await waiting_part(door)
    assert await report(door, "delivered", delivery=str(claimed.id)) == 200
    async with door.services.database.begin() as conn:
        await outbox.record_sent(conn, claimed, provider_id="SMout1")
    row = await part(door)
    assert (row.state, row.provider_id) == ("delivered", "SMout1")


async def test_a_late_status_never_goes_back(door: Door) -> None:
    claimed = await waiting_part(door)
    async with door.services.database.begin() as conn:
        await outbox.record_sent(conn, claimed, provider_id="SMout1")
    for state in ("queued", "delivered", "sent", "failed", "sending", "delivered"):
        assert await report(door, state) == 200
    assert (await part(door)).state == "delivered"


async def test_a_part_that_is_unknown_is_settled_by_its_status(door: Door) -> None:
    claimed = await waiting_part(door)
    async with door.services.database.begin() as conn:
        await conn.execute(deliveries.update().values(state="unknown"))
    assert await report(door, "sent", sid="SMlate", delivery=str(claimed.id)) == 200
    row = await part(door)
    assert (row.state, row.provider_id) == ("sent", "SMlate")


async def test_a_failure_keeps_its_code(door: Door) -> None:
    claimed = await waiting_part(door)
    assert await report(door, "undelivered", delivery=str(claimed.id), code="30007") == 200
    row = await part(door)
    assert (row.state, row.error) == ("failed", "30007")
    (conversation,) = await door.rows(conversations)
    assert not conversation.opted_out


async def test_a_person_who_has_opted_out_with_the_provider_gets_nothing_more(door: Door) -> None:
    claimed = await waiting_part(door)
    await door.answer(claimed.conversation, "another answer", pulled=False)
    assert await report(door, "failed", delivery=str(claimed.id), code="21610") == 200
    (conversation,) = await door.rows(conversations)
    assert conversation.opted_out
    assert sorted(row.state for row in await door.rows(deliveries)) == ["cancelled", "failed"]


async def test_a_status_of_a_part_that_is_not_ours_is_taken_and_changes_nothing(door: Door) -> None:
    claimed = await waiting_part(door)
    for delivery in ("", str(uuid.UUID(int=7)), "not-a-uuid", "%00", "%ff", "x" * 3000):
        assert await report(door, "delivered", sid="SMother", delivery=delivery) == 200, delivery
    row = await part(door)
    assert (row.id, row.state) == (claimed.id, "sending")


async def test_a_status_that_tells_nothing_new_is_taken(door: Door) -> None:
    claimed = await waiting_part(door)
    for state in ("accepted", "scheduled", "queued", "sending", "something new"):
        assert await report(door, state, delivery=str(claimed.id)) == 200
    assert (await part(door)).state == "sending"
    assert await door.rows(quarantine) == []
