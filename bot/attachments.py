"""Files that people send. They stay at the provider until staff open one; then it is kept here, sealed, for some days.

A row is made when the message is understood; its reference stays among the message's sealed words. A file is stored in
pieces, each sealed with its place in the whole: a piece that is missing, moved or from another file does not open.
Locks: every change is one conditional statement on the row; the fence keeps a fetch that took too long from writing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import inbox
from bot.tables import attachment_pieces, attachments, messages
from bot.vault import Vault

PIECE = 256 * 1024  # bytes
LEASE = 90  # seconds for one fetch; longer than channels.media.LONGEST
PICTURES = ("picture", "video")
_BATCH = 200
_AGAIN = (60, 600, 3600, 6 * 3600, 24 * 3600)  # seconds until the provider is asked again to delete a file
_KINDS = {"image": "picture", "video": "video", "audio": "sound"}
_OF_MESSAGES = {"image": "picture", "sticker": "picture", "video": "video", "audio": "sound", "voice": "sound"}

_CLAIM = sa.text(f"""
UPDATE attachments SET state = 'fetching', fence = fence + 1, lease_until = now() + interval '{LEASE} seconds'
WHERE id = :id AND (state = 'kept' OR (state = 'fetching' AND lease_until < now()))
RETURNING fence
""")  # noqa: S608 - a number of ours

# Those of the last handoff's time go with it, if that is wanted; what came after the closing is not a part of it.
_END = sa.text("""
UPDATE attachments SET state = 'deleted', deleted_at = now(), lease_until = NULL, next_at = now(),
  at_provider = CASE WHEN at_provider = 'there' THEN 'asked' ELSE at_provider END
WHERE id IN (
  SELECT a.id FROM attachments a
  WHERE a.state <> 'deleted' AND (
    a.created_at < now() - make_interval(days => :days)
    OR (:with_handoff
      AND EXISTS (SELECT FROM handoffs h WHERE h.conversation_id = a.conversation_id AND h.closed_at >= a.created_at)
      AND NOT EXISTS (SELECT FROM handoffs h WHERE h.conversation_id = a.conversation_id
                      AND h.state IN ('waiting', 'accepted')))
  )
  ORDER BY a.created_at LIMIT :batch FOR UPDATE SKIP LOCKED
)
RETURNING id
""")

# One that the provider is to delete now; the next try is due later, whatever becomes of this one.
_CLAIM_ASKED = sa.text("""
UPDATE attachments SET tries = tries + 1,
  next_at = now() + make_interval(secs => (CAST(:again AS int[]))[least(tries + 1, cardinality(CAST(:again AS int[])))])
WHERE id = (
  SELECT id FROM attachments WHERE at_provider = 'asked' AND next_at <= now()
  ORDER BY next_at FOR UPDATE SKIP LOCKED LIMIT 1
)
RETURNING id, message_id, part, tries
""")


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a file is at its provider."""

    channel: str
    media: str


def kind_of(message_kind: str, content_type: str) -> str:
    """What a file is: by its type, else by what the message was."""
    major = content_type.partition("/")[0].strip().lower()
    return _KINDS.get(major) or _OF_MESSAGES.get(message_kind, "file")


async def note(
    conn: AsyncConnection,
    message: uuid.UUID,
    conversation: uuid.UUID,
    *,
    kind: str,
    media: Sequence[Mapping[str, Any]],
    pictures: bool,
) -> None:
    """Makes the rows of a message's files, once. ``pictures``: whether pictures and videos may ever be opened."""
    rows = []
    for part, one in enumerate(media):
        found = kind_of(kind, one["content_type"])
        rows.append(
            {
                "id": uuid.uuid4(),
                "message_id": message,
                "conversation_id": conversation,
                "part": part,
                "kind": found,
                "content_type": one["content_type"].replace("\x00", "")[:100],
                "size": one.get("size") or None,
                "state": "refused" if found in PICTURES and not pictures else "kept",
            }
        )
    if rows:
        await conn.execute(insert(attachments).values(rows).on_conflict_do_nothing())


async def of_messages(conn: AsyncConnection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[sa.Row[Any]]]:
    """The files of messages, each message's in their order."""
    found: dict[uuid.UUID, list[sa.Row[Any]]] = {}
    query = sa.select(attachments).where(attachments.c.message_id.in_(ids)).order_by(attachments.c.part)
    for row in await conn.execute(query):
        found.setdefault(row.message_id, []).append(row)
    return found


async def find(conn: AsyncConnection, attachment: uuid.UUID) -> sa.Row[Any] | None:
    """A file's row, with its message's number."""
    query = sa.select(attachments, messages.c.seq).join(messages, messages.c.id == attachments.c.message_id)
    return (await conn.execute(query.where(attachments.c.id == attachment))).one_or_none()


async def reference(conn: AsyncConnection, vault: Vault, message: uuid.UUID, part: int) -> Reference:
    """Where a file is, from the message's words."""
    query = sa.select(messages.c.id, messages.c.channel, messages.c.words).where(messages.c.id == message)
    row = (await conn.execute(query)).one()
    return Reference(row.channel, inbox.open_words(vault, row.id, row.words)["media"][part]["url"])


async def claim(conn: AsyncConnection, attachment: uuid.UUID) -> int | None:
    """The fence of the one who is to fetch it; None for everybody else."""
    fence: int | None = await conn.scalar(_CLAIM, {"id": attachment})
    return fence


async def store(
    conn: AsyncConnection, vault: Vault, row: sa.Row[Any], body: bytes, *, fence: int, shown_as: str | None
) -> bool:
    """Keeps a fetched file; False when it was deleted meanwhile, or the claim was lost."""
    ours = await conn.scalar(
        _fenced(row.id, fence)
        .values(state="stored", size=len(body), shown_as=shown_as, error=None, lease_until=None)
        .returning(attachments.c.id)
    )
    if ours is None:
        return False
    last = (len(body) - 1) // PIECE
    await conn.execute(attachment_pieces.delete().where(attachment_pieces.c.attachment_id == row.id))
    for number in range(last + 1):
        sealed = vault.seal(body[number * PIECE : (number + 1) * PIECE], context=_context(row, number, last))
        await conn.execute(attachment_pieces.insert().values(attachment_id=row.id, number=number, sealed=sealed))
    return True


async def give_back(
    conn: AsyncConnection, attachment: uuid.UUID, *, fence: int, error: str, state: str = "kept"
) -> None:
    """It could not be had: to be tried again, or in a final ``state``."""
    await conn.execute(_fenced(attachment, fence).values(state=state, error=error, lease_until=None))


def _fenced(attachment: uuid.UUID, fence: int) -> sa.Update:
    a = attachments.c
    return attachments.update().where(a.id == attachment, a.state == "fetching", a.fence == fence)


async def read(conn: AsyncConnection, vault: Vault, row: sa.Row[Any], start: int, end: int) -> bytes:
    """The bytes of a stored file from ``start`` up to ``end``. Raises VaultError when they are not all there."""
    first, last = start // PIECE, (end - 1) // PIECE
    numbers = attachment_pieces.c.number
    query = sa.select(numbers, attachment_pieces.c.sealed).where(
        attachment_pieces.c.attachment_id == row.id, numbers.between(first, last)
    )
    pieces = {found.number: found.sealed for found in await conn.execute(query)}
    of_all = (row.size - 1) // PIECE
    plain = b"".join(
        vault.open(pieces.get(number, b""), context=_context(row, number, of_all)) for number in range(first, last + 1)
    )
    return plain[start - first * PIECE : end - first * PIECE]


def _context(row: sa.Row[Any], number: int, last: int) -> str:
    return f"attachment:{row.message_id}:{row.part}:{number}/{last}"


# -- the end of it


async def end_due(conn: AsyncConnection, *, days: int, with_handoff: bool) -> int:
    """Deletes what is due here, and has the provider asked to; how many."""
    ended = list(await conn.scalars(_END, {"days": days, "with_handoff": with_handoff, "batch": _BATCH}))
    await conn.execute(attachment_pieces.delete().where(attachment_pieces.c.attachment_id.in_(ended)))
    return len(ended)


async def claim_asked(conn: AsyncConnection) -> sa.Row[Any] | None:
    """One that the provider is to delete now."""
    return (await conn.execute(_CLAIM_ASKED, {"again": list(_AGAIN)})).one_or_none()


async def record_asked(conn: AsyncConnection, attachment: uuid.UUID, outcome: str) -> None:
    """What came of it: deleted, cannot or failed."""
    await conn.execute(attachments.update().where(attachments.c.id == attachment).values(at_provider=outcome))


def given_up(tries: int) -> bool:
    """Whether the provider has been asked often enough."""
    return tries > len(_AGAIN)
