"""What advocates say of the risk screen: should this message have been escalated. It teaches, and changes no case.

Locks: giving holds the message's row, so that it is not erased before its verdict stands. The later verdict of
the same member replaces the earlier one; the audit trail keeps both.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import inbox
from bot.tables import messages, verdicts
from bot.vault import Vault, VaultError
from handoff import access
from handoff.deidentify import deidentify
from handoff.staff import Member

VERDICTS = ("should", "should_not")
_HISTORY = 3  # earlier messages that a turn reads with the newest, and for how long they count
_TOGETHER = timedelta(hours=6)


class Refused(Exception):
    """Why a verdict was not kept, in a sentence for the advocate; ``status`` of the answer."""

    def __init__(self, sentence: str, *, status: int) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Place:
    """Where the message stands."""

    conversation: uuid.UUID
    seq: int


@dataclass(frozen=True, slots=True)
class Collected:
    """Verdicts as a reviewer gets them. ``left_out``: on messages without words of the person, or not screened."""

    lines: tuple[dict[str, Any], ...]
    left_out: int


async def give(conn: AsyncConnection, member: Member, message: uuid.UUID, verdict: str) -> Place:
    """Keeps a member's verdict on a person's message. Raises Refused, or Denied for who may not read the message."""
    if not member.may("converse"):  # who may converse may read every conversation
        raise access.Denied("Your role may not read conversations.")
    if verdict not in VERDICTS:
        raise Refused("Choose one of the two verdicts that are offered.", status=400)
    query = sa.select(messages.c.conversation_id, messages.c.seq, messages.c.direction)
    query = query.where(messages.c.id == message).with_for_update(read=True, key_share=True)
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        raise Refused("There is no such message.", status=404)
    if row.direction != "in":
        raise Refused("A verdict can be given on messages of the person only.", status=400)
    statement = insert(verdicts).values(
        id=uuid.uuid4(), message_id=message, conversation_id=row.conversation_id, staff_id=member.id, verdict=verdict
    )
    changed = {"verdict": statement.excluded.verdict, "created_at": sa.func.now()}
    await conn.execute(statement.on_conflict_do_update(index_elements=["message_id", "staff_id"], set_=changed))
    await access.write_audit(
        conn, member.name, "verdict", member=member, conversation=row.conversation_id, purpose=verdict
    )
    return Place(row.conversation_id, row.seq)


async def given_by(conn: AsyncConnection, member: Member, conversation: uuid.UUID) -> dict[uuid.UUID, str]:
    """This member's verdicts in a conversation, by message."""
    rows = await conn.execute(
        sa.select(verdicts.c.message_id, verdicts.c.verdict).where(
            verdicts.c.conversation_id == conversation, verdicts.c.staff_id == member.id
        )
    )
    return {row.message_id: row.verdict for row in rows}


async def collect(conn: AsyncConnection, vault: Vault) -> Collected:
    """Every verdict with its message, de-identified, oldest first. To be called after an audit row is committed.

    ``id`` is the message's: however many advocates judged it, it is learnt once.
    """
    query = sa.select(verdicts.c.verdict, messages).join(messages, messages.c.id == verdicts.c.message_id)
    rows = list(await conn.execute(query.order_by(verdicts.c.created_at, verdicts.c.id)))
    lines = [line for row in rows if (line := await _line(conn, vault, row))]
    return Collected(tuple(lines), len(rows) - len(lines))


async def _line(conn: AsyncConnection, vault: Vault, row: Any) -> dict[str, Any] | None:
    """None where there is nothing to learn from: a picture, a pressed button, a message that no turn has read."""
    words = _open(vault, row)
    text = words.get("text", "")
    if not text.strip() or words.get("choice") or row.understanding is None:
        return None
    return {
        "id": str(row.id),
        "language": row.understanding.get("language") or row.language or "und",
        "text": deidentify(text),
        "history": [deidentify(earlier) for earlier in await _before(conn, vault, row)],
        "escalated": row.understanding.get("severity", "none") != "none",
        "indicators": row.understanding.get("indicators", []),
        "verdict": row.verdict,
        "approved": False,
        "want": [],
    }


async def _before(conn: AsyncConnection, vault: Vault, row: Any) -> list[str]:
    """What the person wrote shortly before, as the screen reads it."""
    query = sa.select(messages.c.id, messages.c.words).where(
        messages.c.conversation_id == row.conversation_id,
        messages.c.direction == "in",
        messages.c.seq < row.seq,
        messages.c.created_at > row.created_at - _TOGETHER,
    )
    earlier = await conn.execute(query.order_by(messages.c.seq.desc()).limit(_HISTORY))
    texts = [_open(vault, found).get("text", "") for found in earlier]
    return [text for text in reversed(texts) if text.strip()]


def _open(vault: Vault, row: Any) -> dict[str, Any]:
    """A damaged row must not keep all others from being reviewed."""
    try:
        return inbox.open_words(vault, row.id, row.words)
    except VaultError:
        return {}
