"""The only way to a person's words: permission and audit row together, in one transaction."""

from __future__ import annotations

import getpass
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import inbox
from bot.tables import audit, conversations, deliveries, messages, staff
from bot.vault import Vault
from handoff.evidence import Quotation, gather, quotations
from handoff.staff import Member


class Denied(Exception):
    """This role may not read conversations."""


@dataclass(frozen=True, slots=True)
class TranscriptMessage:
    """One message as staff read it. ``evidence``: dicts of indicator, start, end, source."""

    id: uuid.UUID
    seq: int
    author: str  # person | assistant | advocate | service
    author_display: str | None
    text: str
    kind: str
    language: str | None
    time: datetime
    state: str  # of an outgoing message: its least advanced part
    evidence: tuple[dict[str, Any], ...]
    written_at: datetime | None = None  # where it was long on its way


_QUOTES = 3  # different ones of a conversation
_STATE_ORDER = ("failed", "cancelled", "unknown", "queued", "sending", "sent", "delivered", "read")


def command_line() -> str:
    """Who runs a command, as the audit trail names them; a container's user need not have a name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"command line ({name})"


async def write_audit(
    conn: AsyncConnection,
    actor: str,
    action: str,
    *,
    member: Member | None = None,
    conversation: uuid.UUID | None = None,
    purpose: str = "",
) -> None:
    """One line of the audit trail."""
    await conn.execute(
        audit.insert().values(
            actor=actor,
            staff_id=member.id if member else None,
            action=action,
            conversation_id=conversation,
            purpose=purpose,
        )
    )


async def access_conversation(
    conn: AsyncConnection, member: Member, conversation: uuid.UUID, *, purpose: str
) -> sa.Row[Any] | None:
    """The conversation's row, after permission and audit. Raises Denied. None when there is no such one."""
    if not member.may("converse"):
        raise Denied("Your role may not read conversations.")
    row = (await conn.execute(sa.select(conversations).where(conversations.c.id == conversation))).one_or_none()
    if row is not None:
        await write_audit(conn, member.name, "read", member=member, conversation=conversation, purpose=purpose)
    return row


async def access_messages(
    conn: AsyncConnection, vault: Vault, member: Member, conversation: uuid.UUID, *, after: int = 0, limit: int = 500
) -> list[TranscriptMessage]:
    """The newest messages after a number, in order. To be called after ``access_conversation`` let the member in."""
    if not member.may("converse"):
        raise Denied("Your role may not read conversations.")
    query = (
        sa.select(messages, staff.c.display)
        .outerjoin(staff, staff.c.id == messages.c.staff_id)
        .where(messages.c.conversation_id == conversation, messages.c.seq > after)
        .order_by(messages.c.seq.desc())
        .limit(limit)
    )
    rows = list(await conn.execute(query))[::-1]
    states = await _delivery_states(conn, [row.id for row in rows if row.direction == "out"])
    return [_transcript_message(vault, row, states) for row in rows]


async def _delivery_states(conn: AsyncConnection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    found = await conn.execute(
        sa.select(deliveries.c.message_id, deliveries.c.state).where(deliveries.c.message_id.in_(ids))
    )
    states: dict[uuid.UUID, str] = {}
    for row in found:
        known = states.get(row.message_id, "read")
        states[row.message_id] = min(known, row.state, key=_STATE_ORDER.index)
    return states


def _transcript_message(vault: Vault, row: Any, states: dict[uuid.UUID, str]) -> TranscriptMessage:
    return TranscriptMessage(
        id=row.id,
        seq=row.seq,
        author=row.author,
        author_display=row.display,
        text=inbox.open_words(vault, row.id, row.words).get("text", ""),
        kind=row.kind,
        language=row.language,
        time=row.created_at,
        state=states.get(row.id, "sent") if row.direction == "out" else row.state,
        evidence=tuple((row.understanding or {}).get("evidence", ())),
        written_at=row.written_at if inbox.was_late(row.written_at, row.created_at) else None,
    )


async def access_evidence(
    conn: AsyncConnection, vault: Vault, member: Member, conversation_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, list[Quotation]]:
    """Short quotations behind each handoff, for the queue; the first sight of each conversation is audited."""
    if not conversation_ids or not member.may("converse"):
        return {}
    rows = await conn.execute(
        sa.select(messages.c.id, messages.c.conversation_id, messages.c.words, messages.c.understanding)
        .where(
            messages.c.conversation_id.in_(conversation_ids),
            messages.c.direction == "in",
            sa.text("jsonb_array_length(coalesce(messages.understanding -> 'evidence', '[]')) > 0"),
        )
        .order_by(messages.c.conversation_id, messages.c.seq.desc())
    )
    quoted: dict[uuid.UUID, list[Quotation]] = {}
    for row in rows:
        quotes = quoted.setdefault(row.conversation_id, [])
        if len(quotes) < _QUOTES:
            text = inbox.open_words(vault, row.id, row.words).get("text", "")
            quoted[row.conversation_id] = gather(quotes, quotations(text, row.understanding["evidence"]))[:_QUOTES]
    await _audit_first_sight(conn, member, list(quoted))
    return quoted


async def _audit_first_sight(conn: AsyncConnection, member: Member, ids: Sequence[uuid.UUID]) -> None:
    seen = set(
        await conn.scalars(
            sa.select(audit.c.conversation_id).where(
                audit.c.staff_id == member.id, audit.c.action == "quoted", audit.c.conversation_id.in_(ids)
            )
        )
    )
    for conversation in set(ids) - seen:
        await write_audit(conn, member.name, "quoted", member=member, conversation=conversation, purpose="queue")


async def continue_reading(conn: AsyncConnection, member: Member, conversation: uuid.UUID) -> None:
    """For a page that is open and asks for more: audited as a reading unless one was within the last hour."""
    recent = await conn.scalar(
        sa.select(audit.c.id)
        .where(
            audit.c.staff_id == member.id,
            audit.c.action == "read",
            audit.c.conversation_id == conversation,
            audit.c.created_at > sa.func.now() - sa.text("interval '1 hour'"),
        )
        .limit(1)
    )
    if recent is None:
        await access_conversation(conn, member, conversation, purpose="read")


async def conversation_row(conn: AsyncConnection, conversation: uuid.UUID, *, lock: bool = False) -> Any:
    """The conversation's facts without any words: nothing here needs an audit row. ``lock``: until we commit."""
    c = conversations.c
    query = sa.select(c.id, c.channel, c.language, c.opted_out, c.left_at).where(c.id == conversation)
    return (await conn.execute(query.with_for_update() if lock else query)).one_or_none()


async def latest_inbound(conn: AsyncConnection, conversation: uuid.UUID) -> int:
    """The number of the newest message of the person."""
    found = await conn.scalar(
        sa.select(sa.func.max(messages.c.seq)).where(
            messages.c.conversation_id == conversation, messages.c.direction == "in"
        )
    )
    return int(found or 0)
