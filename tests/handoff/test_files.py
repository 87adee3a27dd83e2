"""Files that people send: opened by who may, fetched once, stored sealed, shown to who pressed, deleted in time."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
import sqlalchemy as sa

from bot import attachments, inbox, retention, worker
from bot.services import Services
from bot.settings import MediaSettings
from bot.tables import attachment_pieces, audit, handoffs, messages
from bot.tables import attachments as table
from bot.vault import VaultError
from channels.channel import Inbound, Media, MediaError
from handoff.filetypes import found_type
from tests.handoff.desk import Browser, Desk, accepted, handoff_of, open_desk

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 3000  # more than one piece
OGG = b"OggS" + b"voice" * 100
HTML = b"<html><script>alert(1)</script></html>"
MEDIA = MediaSettings(pictures=True, most=2**20, days=30, end_with_handoff=False)


@dataclass
class Shelf:
    """A channel's files at the provider; its other side is the channel itself."""

    inner: object
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    offers_deletion: bool = True
    pause: float = 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    async def fetch(self, media: str, *, most: int) -> bytes:
        self.asked.append(media)
        await asyncio.sleep(self.pause)
        if self.failures:
            raise MediaError(self.failures.pop(0))
        if media not in self.files:
            raise MediaError("gone")
        if len(self.files[media]) > most:
            raise MediaError("too_large")
        return self.files[media]

    async def forget(self, media: str) -> bool:
        self.forgotten.append(media)
        if self.failures:
            raise MediaError(self.failures.pop(0))
        return self.offers_deletion


@dataclass
class Case:
    """A desk whose SMS channel has files."""

    desk: Desk
    shelf: Shelf

    @property
    def services(self) -> Services:
        return self.desk.services

    async def person(
        self, body: bytes = JPEG, content_type: str = "image/jpeg", *, kind: str = "image", text: str = ""
    ) -> uuid.UUID:
        """Somebody sends a file, and then says that they need a human; the conversation."""
        media = f"https://api.twilio.com/{uuid.uuid4().hex}"
        self.shelf.files[media] = body
        item = Inbound(uuid.uuid4().hex, "+15145550123", kind, text, media=(Media(media, content_type, len(body)),))
        async with self.services.database.begin() as conn:
            stored = await inbox.store(conn, self.services.vault, "sms", item)
        assert stored is not None
        while await worker.run_once(self.services):
            pass
        return await self.desk.person("HUMAN")

    async def row(self) -> sa.Row[tuple[object, ...]]:
        (found,) = await self.desk.rows(table)
        return found

    async def audited(self) -> list[str]:
        return [str(row.actor) for row in await self.desk.rows(audit, audit.c.action == "opened a file")]


@asynccontextmanager
async def open_case(services: Services, media: MediaSettings = MEDIA) -> AsyncIterator[Case]:
    shelf = Shelf(services.channels["sms"])
    services = dataclasses.replace(
        services,
        settings=dataclasses.replace(services.settings, media=media),
        channels={**services.channels, "sms": shelf},  # type: ignore[dict-item]
    )
    async with open_desk(services) as desk:
        yield Case(desk, shelf)


@pytest.fixture
async def case(services: Services) -> AsyncIterator[Case]:
    async with open_case(services) as made:
        yield made


async def press(browser: Browser, row: sa.Row[tuple[object, ...]]) -> httpx.Response:
    return await browser.post(f"/console/files/{row.id}/open")


async def seen(browser: Browser, conversation: uuid.UUID) -> str:
    return (await browser.get(f"/console/conversations/{conversation}")).text


# -- opening


async def test_a_picture_is_fetched_at_the_press_and_not_before(case: Case) -> None:
    conversation = await case.person()
    ana = await case.desk.member("ana")
    await accepted(case.desk, ana, conversation)
    row = await case.row()
    page = await seen(ana, conversation)
    assert (row.state, case.shelf.asked) == ("kept", [])
    assert "<img" not in page
    assert f"/console/files/{row.id}/open" in page
    assert (await ana.get(f"/console/files/{row.id}")).status_code == 404

    assert (await press(ana, row)).headers["location"] == f"/console/conversations/{conversation}#m-1"
    page = await seen(ana, conversation)
    assert f'<img src="/console/files/{row.id}"' in page
    assert "Show the picture" in page
    answer = await ana.get(f"/console/files/{row.id}")
    assert answer.content == JPEG
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"] == 'inline; filename="file-1.jpg"'
    assert await case.audited() == ["ana"]


async def test_only_its_advocate_or_a_supervisor_opens_it(case: Case) -> None:
    conversation = await case.person()
    ana, ben = await case.desk.member("ana"), await case.desk.member("ben")
    sue, adam = await case.desk.member("sue", "supervisor"), await case.desk.member("adam", "admin")
    row = await case.row()
    for nobody in (ana, adam):
        await nobody.get("/console")
        assert (await press(nobody, row)).status_code == 403  # not accepted yet
    await accepted(case.desk, ana, conversation)
    assert "Only the advocate of this conversation" in await seen(ben, conversation)
    assert (await press(ben, row)).status_code == 403
    assert (case.shelf.asked, await case.audited()) == ([], [])
    assert (await press(ana, row)).status_code == 303
    for other in (ben, sue):  # it is here now, and still nobody has it who has not pressed
        assert (await other.get(f"/console/files/{row.id}")).status_code == 403
    assert "<img" not in await seen(sue, conversation)
    assert (await press(sue, row)).status_code == 303
    assert (await sue.get(f"/console/files/{row.id}")).content == JPEG
    assert await case.audited() == ["ana", "sue"]
    assert len(case.shelf.asked) == 1


async def test_a_form_without_its_token_opens_nothing(case: Case) -> None:
    conversation = await case.person()
    ana = await case.desk.member("ana")
    await accepted(case.desk, ana, conversation)
    row = await case.row()
    ana.csrf = "wrong"
    assert (await press(ana, row)).status_code == 403
    assert case.shelf.asked == []
    stranger = case.desk.browser()
    assert (await stranger.get(f"/console/files/{row.id}")).headers["location"] == "/console/login"


async def test_two_who_press_at_once_fetch_once(case: Case) -> None:
    case.shelf.pause = 0.5
    conversation = await case.person()
    ana, sue = await case.desk.member("ana"), await case.desk.member("sue", "supervisor")
    await accepted(case.desk, ana, conversation)
    await seen(sue, conversation)
    row = await case.row()
    answers = await asyncio.gather(press(ana, row), press(ana, row), press(sue, row))
    assert [answer.status_code for answer in answers] == [303, 303, 303]
    assert len(case.shelf.asked) == 1
    assert sorted(await case.audited()) == ["ana", "ana", "sue"]
    assert (await sue.get(f"/console/files/{row.id}")).content == JPEG


async def test_a_fetch_whose_gateway_died_is_taken_over(case: Case) -> None:
    conversation = await case.person()
    ana = await case.desk.member("ana")
    await accepted(case.desk, ana, conversation)
    row = await case.row()
    async with case.services.database.begin() as conn:
        lost = await attachments.claim(conn, row.id)
    assert lost == 1
    await case.desk.execute(table.update().values(lease_until=sa.func.now() - sa.text("interval '1 second'")))
    await press(ana, row)
    assert (await case.row()).state == "stored"
    async with case.services.database.begin() as conn:  # and the one who was thought dead writes nothing
        assert not await attachments.store(conn, case.services.vault, row, b"other", fence=lost, shown_as=None)
        await attachments.give_back(conn, row.id, fence=lost, error="unreachable")
    assert (await ana.get(f"/console/files/{row.id}")).content == JPEG


# -- what cannot be had


FAILURES = {
    "too_large": "larger than what may be opened",
    "unreachable": "could not be had now",
    "settings": "does not let us have it",
    "foreign": "does not come from the provider",
    "gone": "does not have it any more",
}


async def test_a_failure_is_said_in_plain_words_and_only_a_lost_file_is_given_up(case: Case) -> None:
    conversation = await case.person()
    ana = await case.desk.member("ana")
    await accepted(case.desk, ana, conversation)
    row = await case.row()
    for code, words in FAILURES.items():
        case.shelf.failures = [code]
        await press(ana, row)
        page = await seen(ana, conversation)
        assert words in page
        assert (f"/console/files/{row.id}/open" in page) is (code != "gone")
    await press(ana, row)
    assert len(case.shelf.asked) == len(FAILURES)


# -- what is shown


async def test_a_file_that_is_not_what_it_is_called_is_for_saving_only(case: Case) -> None:
    conversation = await case.person(HTML, "image/jpeg")
    ana = await case.desk.member("ana")
    await accepted(case.desk, ana, conversation)
    row = await case.row()
    await press(ana, row)
    page = await seen(ana, conversation)
    assert "<img" not in page
    assert "Save the file" in page
    answer = await ana.get(f"/console/files/{row.id}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_a_voice_message_is_played_in_parts(case: Case) -> None:
    conversation = await case.person(OGG, "audio/ogg; codecs=opus", kind="voice")
    ana = await case.desk.member("ana")
    await accepted(case.desk, ana, conversation)
    row = await case.row()
    await press(ana, row)
    assert f'src="/console/files/{row.id}"' in (page := await seen(ana, conversation))
    assert "<audio controls" in page
    ana.client.headers["range"] = "bytes=4-8"
    part = await ana.get(f"/console/files/{row.id}")
    assert (part.status_code, part.content) == (206, b"voice")
    assert part.headers["content-range"] == f"bytes 4-8/{len(OGG)}"
    ana.client.headers["range"] = "bytes=99999-"
    assert (await ana.get(f"/console/files/{row.id}")).status_code == 416


async def test_any_part_of_a_large_file_is_the_right_one(case: Case) -> None:
    conversation = await case.person()
    ana = await case.desk.member("ana")
    await accepted(case.desk, ana, conversation)
    row = await case.row()
    await press(ana, row)
    for span in ("0-0", "262143-262144", "262144-", "500000-767999", "0-99999999"):
        first, _, last = span.partition("-")
        ana.client.headers["range"] = f"bytes={span}"
        assert (await ana.get(f"/console/files/{row.id}")).content == JPEG[int(first) : int(last or len(JPEG)) + 1]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"RIFF0000WEBPVP8 ", "image/webp"),
        (b"RIFF0000WAVEfmt ", "audio/wav"),
        (b"\x00\x00\x00\x20ftypisom", "application/mp4"),
        (b"\x00\x00\x00\x20ftypheic", "image/heif"),
        (b"<svg onload=alert(1)>", ""),
        (b"%PDF-1.7", ""),
        (b"", ""),
    ],
)
def test_a_file_is_known_by_its_first_bytes(body: bytes, name: str) -> None:
    assert found_type(body) == name


# -- stored sealed


async def test_what_is_stored_is_sealed_to_its_place(case: Case) -> None:
    conversation = await case.person()
    ana = await case.desk.member("ana")
    await accepted(case.desk, ana, conversation)
    await press(ana, await case.row())
    pieces = sorted(await case.desk.rows(attachment_pieces), key=lambda piece: piece.number)
    assert len(pieces) == 3
    assert not any(JPEG[1000:1032] in bytes(piece.sealed) for piece in pieces)
    vault = case.services.vault

    async def opens(*statements: sa.Executable) -> bool:
        """Whether all of it opens after these changes, which are then taken back."""
        async with case.services.database.connect() as conn:
            for statement in statements:
                await conn.execute(statement)
            changed = (await conn.execute(sa.select(table))).one()
            try:
                return await attachments.read(conn, vault, changed, 0, int(changed.size)) == JPEG
            except VaultError:
                return False

    p = attachment_pieces.c
    assert await opens()
    assert not await opens(attachment_pieces.delete().where(p.number == 1))
    assert not await opens(attachment_pieces.update().where(p.number == 0).values(sealed=pieces[1].sealed))
    assert not await opens(table.update().values(part=1))
    # cut off at a piece's end
    assert not await opens(
        attachment_pieces.delete().where(p.number == 2), table.update().values(size=2 * attachments.PIECE)
    )


# -- pictures switched off


async def test_without_pictures_the_person_is_told_and_the_advocate_sees_that_one_came(services: Services) -> None:
    async with open_case(services, dataclasses.replace(MEDIA, pictures=False)) as case:
        conversation = await case.person()
        said = await case.desk.rows(messages, messages.c.response_key.is_not(None), messages.c.seq < 4)
        assert "kind.no_pictures" in {row.response_key for row in said}
        ana = await case.desk.member("ana")
        await accepted(case.desk, ana, conversation)
        row = await case.row()
        page = await seen(ana, conversation)
        assert "pictures and videos are switched off here" in page
        assert f"/console/files/{row.id}/open" not in page
        await press(ana, row)
        assert (case.shelf.asked, (await case.row()).state) == ([], "refused")


async def test_a_picture_that_comes_as_a_document_is_not_kept_either(services: Services) -> None:
    async with open_case(services, dataclasses.replace(MEDIA, pictures=False)) as case:
        conversation = await case.person(JPEG, "application/octet-stream", kind="document")
        ana = await case.desk.member("ana")
        await accepted(case.desk, ana, conversation)
        await press(ana, await case.row())
        assert (await case.row()).state == "refused"
        assert await case.desk.rows(attachment_pieces) == []


async def test_words_beside_a_picture_are_read_all_the_same(services: Services) -> None:
    async with open_case(services, dataclasses.replace(MEDIA, pictures=False)) as case:
        disclosure = "my boss keeps my passport, he locked the door, i cant leave"
        await case.person(text=disclosure, kind="text")
        (handoff,) = await case.desk.rows(handoffs)
        said = [row.response_key for row in await case.desk.rows(messages, messages.c.direction == "out")]
        assert handoff.severity in ("high", "critical")
        assert "kind.no_pictures" in said
        assert any(key.startswith("handoff.") for key in said)


# -- the end of it


def sooner(days: int) -> sa.Executable:
    return table.update().values(created_at=sa.func.now() - sa.func.make_interval(0, 0, 0, days))


async def ended(case: Case) -> None:
    while await retention.end_once(case.services):
        pass
    while await retention.forget_once(case.services):
        pass


@pytest.mark.parametrize("opened", [True, False])
async def test_after_its_days_a_file_is_deleted_here_and_there(case: Case, opened: bool) -> None:
    conversation = await case.person()
    ana = await case.desk.member("ana")
    await accepted(case.desk, ana, conversation)
    row = await case.row()
    if opened:
        await press(ana, row)
    await case.desk.execute(sooner(29))
    await ended(case)
    assert (await case.row()).state == ("stored" if opened else "kept")
    await case.desk.execute(sooner(31))
    await ended(case)
    row = await case.row()
    assert (row.state, row.at_provider, len(case.shelf.forgotten)) == ("deleted", "deleted", 1)
    assert await case.desk.rows(attachment_pieces) == []
    assert "Deleted on <time" in await seen(ana, conversation)
    assert (await ana.get(f"/console/files/{row.id}")).status_code == 404
    await press(ana, row)
    assert len(case.shelf.asked) == opened


@pytest.mark.parametrize("wanted", [True, False])
async def test_closing_the_handoff_deletes_if_that_is_wanted(services: Services, wanted: bool) -> None:
    async with open_case(services, dataclasses.replace(MEDIA, end_with_handoff=wanted)) as case:
        conversation = await case.person()
        ana = await case.desk.member("ana")
        handoff = await accepted(case.desk, ana, conversation)
        await press(ana, await case.row())
        await ended(case)
        assert (await case.row()).state == "stored"
        await ana.post(f"/console/handoffs/{handoff}/close", classification="unsure", writer="not_said")
        await ended(case)
        assert (await case.row()).state == ("deleted" if wanted else "stored")


async def test_a_file_that_is_deleted_while_it_is_fetched_is_not_stored(case: Case) -> None:
    conversation = await case.person()
    await handoff_of(case.desk, conversation)
    row = await case.row()
    async with case.services.database.begin() as conn:
        fence = await attachments.claim(conn, row.id)
    await case.desk.execute(sooner(31))
    await ended(case)
    async with case.services.database.begin() as conn:
        assert fence is not None
        assert not await attachments.store(conn, case.services.vault, row, JPEG, fence=fence, shown_as=None)
    assert await case.desk.rows(attachment_pieces) == []


async def test_what_the_provider_answers_to_a_deletion_is_kept_and_logged(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "passerelle.retention")
    await case.person()
    await case.desk.execute(sooner(31))
    case.shelf.offers_deletion = False
    answers = [(["gone"], "deleted"), (["unreachable"], "asked"), (["foreign"], "failed"), ([], "cannot")]
    for failures, outcome in answers:
        caplog.clear()
        case.shelf.failures = list(failures)
        await ended(case)
        row = await case.row()
        assert (row.at_provider, row.tries) == (outcome, 1)
        assert any(str(row.id) in line for line in caplog.messages)
        assert "twilio.com" not in caplog.text
        await case.desk.execute(table.update().values(at_provider="asked", tries=0, next_at=sa.func.now()))


async def test_a_provider_is_not_asked_for_ever(case: Case) -> None:
    await case.person()
    await case.desk.execute(sooner(31))
    for _ in range(10):
        case.shelf.failures = ["unreachable"]
        await ended(case)
        await case.desk.execute(table.update().values(next_at=sa.func.now()))
    assert ((await case.row()).at_provider, len(case.shelf.forgotten)) == ("failed", 6)
