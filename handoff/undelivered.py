"""What did not reach a person, and sending it again: at the message, and in one list for supervisors.

Locks: the conversation's row first, as everything does that puts parts into the outbox.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import outbox
from bot.services import Services
from bot.tables import conversations, deliveries, messages, staff
from channels.outgoing import HOPELESS, why
from handoff import access, queue
from handoff.staff import Member

_DAYS = 14  # older ones help nobody any more
_MOST = 200  # in the list


class Refused(Exception):
    """Why a message is not sent again, in a sentence for staff; ``status`` of the answer."""

    def __init__(self, sentence: str, *, status: int = 409) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A message of which at least one part did not arrive, or may not have."""

    message: uuid.UUID
    why: str  # a reason of channels.outgoing.why, or "unknown"
    code: str
    hopeful: bool  # sending the same words again can help
    again: int  # how often staff have sent it again


@dataclass(frozen=True, slots=True)
class Place:
    conversation: uuid.UUID
    seq: int


def _of(message: uuid.UUID, rows: Sequence[Any]) -> Undelivered:
    """What to say of a message: the reason of the first part that can be named."""
    named = min(rows, key=lambda row: (row.state != "failed", row.position))
    reason = "unknown" if named.state == "unknown" else why(named.channel, named.error or "")
    hopeful = not any(row.state == "failed" and why(row.channel, row.error or "") in HOPELESS for row in rows)
    return Undelivered(message, reason, named.error or "", hopeful, max(row.again for row in rows))


async def of_messages(conn: AsyncConnection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Undelivered]:
    """Those among the messages that did not arrive."""
    found: dict[uuid.UUID, list[Any]] = {}
    query = sa.select(deliveries).where(
        deliveries.c.message_id.in_(ids), deliveries.c.state.in_(("failed", "unknown"))
    )  # fmt: skip
    for row in await conn.execute(query):
        found.setdefault(row.message_id, []).append(row)
    return {message: _of(message, rows) for message, rows in found.items()}


async def listed(conn: AsyncConnection) -> list[tuple[Any, Undelivered]]:
    """The newest of the last days, each with its conversation's facts and no words."""
    recent = (
        sa.select(deliveries.c.message_id)
        .where(
            deliveries.c.state.in_(("failed", "unknown")),
            deliveries.c.created_at > sa.func.now() - sa.func.make_interval(0, 0, 0, _DAYS),
        )
        .distinct()
    )
    query = (
        sa.select(
            messages.c.id, messages.c.conversation_id, messages.c.seq, messages.c.channel, messages.c.author,
            messages.c.created_at, messages.c.response_key, conversations.c.language, conversations.c.opted_out,
            conversations.c.left_at, staff.c.display,
        )
        .join_from(messages, conversations)
        .outerjoin(staff, staff.c.id == messages.c.staff_id)
        .where(messages.c.id.in_(recent))
        .order_by(messages.c.created_at.desc())
        .limit(_MOST)
    )  # fmt: skip
    rows = (await conn.execute(query)).all()
    known = await of_messages(conn, [row.id for row in rows])
    return [(row, known[row.id]) for row in rows]


def may_send_again(member: Member, handoff: Any) -> bool:
    """A supervisor, or the advocate whose conversation it is."""
    mine = handoff is not None and handoff.state == "accepted" and handoff.accepted_by == member.id
    return member.may("send_again") or (member.may("converse") and mine)


async def send_again(
    conn: AsyncConnection, services: Services, member: Member, message: uuid.UUID, *, seen: int
) -> Place:
    """Queues what did not arrive of a message, once for each ``seen``. Raises Refused, or access.Denied."""
    query = sa.select(messages.c.conversation_id, messages.c.seq).where(messages.c.id == message)
    row = (await conn.execute(query)).one_or_none()
    if row is None:
        raise Refused("Not sent: there is no such message.", status=404)
    conversation = await access.conversation_row(conn, row.conversation_id, lock=True)
    if not may_send_again(member, await queue.open_of(conn, row.conversation_id)):
        raise access.Denied("Only the advocate of this conversation or a supervisor can send it again.")
    found = (await of_messages(conn, [message])).get(message)
    if found is not None and found.again == seen:
        await _check(conn, services, conversation, found)
        await outbox.queue_again(conn, row.conversation_id, message)
        await access.write_audit(
            conn, member.name, "sent again", member=member, conversation=row.conversation_id, purpose=str(message)
        )
    return Place(row.conversation_id, row.seq)


async def _check(conn: AsyncConnection, services: Services, conversation: Any, found: Undelivered) -> None:
    if conversation.opted_out:
        raise Refused("Not sent: the person wrote STOP, so nothing more may be sent.")
    if conversation.left_at:
        raise Refused("Not sent: the person left the chat.")
    if (channel := services.channels.get(conversation.channel)) is None:
        raise Refused("Not sent: this channel is switched off. Ask whoever runs Passerelle.")
    closed = await outbox.window_closed(conn, conversation.id, channel.limits.window)
    if closed and not await _is_template(conn, services, found.message):
        raise Refused(
            "Not sent: the person last wrote more than 24 hours ago. Nothing goes out until they write again."
        )
    if not found.hopeful:
        raise Refused("Not sent: the same words would not arrive this time either.")


async def _is_template(conn: AsyncConnection, services: Services, message: uuid.UUID) -> bool:
    """Whether it is a text that the provider has approved, which may go at any time."""
    rows = await conn.execute(sa.select(deliveries.c.id, deliveries.c.part).where(deliveries.c.message_id == message))
    return all(outbox.open_part(services.vault, row.id, row.part).template for row in rows)
