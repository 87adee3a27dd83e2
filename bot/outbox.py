"""The durable outbox: one row a part, sent in the order of the conversation, humans' words first.

A part is ``queued``, leased as ``sending`` while the provider is called, then ``sent`` (and ``delivered``,
``read`` by statuses), ``failed``, or ``unknown`` when nobody can say whether it left. Only what is certainly
unsent is tried again.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import events, inbox
from bot.tables import conversations, deliveries, messages
from bot.vault import Vault
from channels.channel import Ambiguous, Choice, NotSent, Part, SendError, Status

LEASE = 20  # seconds one call to a provider may take
MAX_ATTEMPTS = 8
PRIORITY = {"advocate": 0, "service": 1, "assistant": 2}
_RANK = {"queued": 0, "sending": 1, "unknown": 2, "sent": 3, "failed": 4, "delivered": 5, "read": 6}

# The next part that may go: due, and with no earlier part of its conversation still on the way. A part whose
# neighbour another worker is just taking is seen as not yet first, so order holds without a lock of its own.
_CLAIM = sa.text("""
UPDATE deliveries SET state = 'sending', attempts = attempts + 1,
  lease_until = now() + make_interval(secs => :lease)
WHERE id = (
  SELECT d.id FROM deliveries d
  WHERE d.state = 'queued' AND d.next_at <= now() AND NOT EXISTS (
    SELECT FROM deliveries e WHERE e.conversation_id = d.conversation_id AND e.position < d.position
      AND e.state IN ('queued', 'sending'))
  ORDER BY d.priority, d.next_at FOR UPDATE SKIP LOCKED LIMIT 1
)
RETURNING id, conversation_id, channel, part, attempts, now() AS claimed_at
""")

# Parts whose sender died in the middle: one worker takes each to find out what became of it.
_CLAIM_LOST = sa.text("""
UPDATE deliveries SET lease_until = now() + make_interval(secs => :lease)
WHERE id = (
  SELECT id FROM deliveries WHERE state = 'sending' AND lease_until < now()
  ORDER BY lease_until FOR UPDATE SKIP LOCKED LIMIT 1
)
RETURNING id, conversation_id, channel, part, attempts,
  lease_until - make_interval(secs => :lease) - make_interval(secs => :lookback) AS claimed_at
""")
# What the provider itself reports (a changed number) is no message of the person.
_WINDOW_CLOSED = sa.text("""
SELECT NOT EXISTS (
  SELECT FROM messages
  WHERE conversation_id = :conversation AND direction = 'in' AND kind <> 'system'
    AND created_at >= now() - make_interval(secs => :window)
)
""")
_LOOKBACK = 900  # seconds before the take-over in which a dead sender may have sent
_LAST_WORD = "keyword.stop"  # confirms a STOP: all that may still go to who wrote it


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to a person, rendered."""

    author: str  # assistant | advocate | service
    text: str
    language: str
    choices: tuple[Choice, ...] = ()
    response_key: str | None = None
    staff: uuid.UUID | None = None
    client_id: str = ""
    drafted: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One part in the hands of this worker."""

    id: uuid.UUID
    conversation: uuid.UUID
    channel: str
    address: str
    part: Part
    attempts: int
    claimed_at: datetime


async def enqueue(
    conn: AsyncConnection,
    vault: Vault,
    conversation: uuid.UUID,
    message: Outgoing,
    *,
    parts: Sequence[Part],
    dedupe_key: str,
    pulled: bool = False,
) -> int | None:
    """Stores a message to a person and its parts; its number, or None when this key was enqueued before.

    None too after STOP or the web chat's exit, whoever speaks: an answer may have been thought of while it came.
    ``pulled``: the reader fetches it (web chat), so there is nothing to send. Locks the conversation's row.
    """
    spoken_to = (
        await conn.execute(
            sa.select(conversations.c.channel, conversations.c.opted_out, conversations.c.left_at)
            .where(conversations.c.id == conversation)
            .with_for_update()
        )
    ).one_or_none()
    if spoken_to is None:
        raise LookupError(f"no conversation {conversation}")
    if spoken_to.left_at or (spoken_to.opted_out and message.response_key != _LAST_WORD):
        return None
    if await conn.scalar(sa.select(messages.c.id).where(messages.c.dedupe_key == dedupe_key)):
        return None
    seq = await inbox.next_seq(conn, conversation)
    row = uuid.uuid4()
    words = {
        "text": message.text,
        "choices": [asdict(choice) for choice in message.choices],
        "client_id": message.client_id,
        "drafted": message.drafted,
    }
    await conn.execute(
        insert(messages).values(
            id=row,
            conversation_id=conversation,
            seq=seq,
            channel=spoken_to.channel,
            direction="out",
            kind="text",
            author=message.author,
            staff_id=message.staff,
            words=vault.seal_json(words, context=f"message:{row}"),
            response_key=message.response_key,
            language=message.language,
            state="done",
            dedupe_key=dedupe_key,
        )
    )
    for number, part in enumerate(parts):
        delivery = uuid.uuid4()
        await conn.execute(
            insert(deliveries).values(
                id=delivery,
                message_id=row,
                conversation_id=conversation,
                channel=spoken_to.channel,
                position=seq * 256 + number,
                part=vault.seal_json(asdict(part), context=f"delivery:{delivery}"),
                state="sent" if pulled else "queued",
                priority=PRIORITY[message.author],
                sent_at=sa.func.now() if pulled else None,
            )
        )
    await events.notify(conn, "outbound", conversation=conversation, seq=seq)
    return seq


async def claim_part(conn: AsyncConnection, vault: Vault) -> Delivery | None:
    """Leases the next part that may be sent."""
    row = (await conn.execute(_CLAIM, {"lease": LEASE})).one_or_none()
    return await _delivery(conn, vault, row) if row else None


async def claim_lost_part(conn: AsyncConnection, vault: Vault) -> Delivery | None:
    """Leases a part whose sender did not come back; ``claimed_at`` is how far back to look for it."""
    row = (await conn.execute(_CLAIM_LOST, {"lease": LEASE, "lookback": _LOOKBACK})).one_or_none()
    return await _delivery(conn, vault, row) if row else None


async def _delivery(conn: AsyncConnection, vault: Vault, row: Any) -> Delivery:
    sealed = await conn.scalar(
        sa.select(conversations.c.address_sealed).where(conversations.c.id == row.conversation_id)
    )
    address = vault.open(sealed or b"", context=f"address:{row.channel}").decode("utf-8", "surrogatepass")
    return Delivery(
        id=row.id,
        conversation=row.conversation_id,
        channel=row.channel,
        address=address,
        part=open_part(vault, row.id, row.part),
        attempts=row.attempts,
        claimed_at=row.claimed_at,
    )


def open_part(vault: Vault, delivery: uuid.UUID, sealed: bytes) -> Part:
    """The sealed part of a delivery."""
    opened: Any = vault.open_json(sealed, context=f"delivery:{delivery}")
    return Part(text=opened["text"], choices=tuple(Choice(**choice) for choice in opened["choices"]))


async def record_sent(conn: AsyncConnection, delivery: Delivery, *, provider_id: str) -> None:
    """The provider took it. A status that was quicker than us is not overwritten."""
    await conn.execute(
        deliveries.update()
        .where(deliveries.c.id == delivery.id)
        .values(
            provider_id=provider_id,
            sent_at=sa.func.now(),
            lease_until=None,
            state=sa.case((deliveries.c.state.in_(("sending", "unknown")), "sent"), else_=deliveries.c.state),
        )
    )
    await _changed(conn, delivery.conversation)


async def record_again(conn: AsyncConnection, delivery: Delivery, *, delay: float, error: str) -> None:
    """Certainly unsent: queued again, not before ``delay`` seconds; cancelled when STOP came meanwhile.

    Locks the conversation's row, as ``opt_out`` does: one of the two sees what the other did.
    """
    opted_out = await conn.scalar(
        sa.select(conversations.c.opted_out).where(conversations.c.id == delivery.conversation).with_for_update()
    )
    key = await conn.scalar(
        sa.select(messages.c.response_key).join_from(messages, deliveries).where(deliveries.c.id == delivery.id)
    )
    state = "cancelled" if opted_out and key != _LAST_WORD else "queued"
    await _set_state(conn, delivery, state, error=error, delay=delay)


async def record_failure(conn: AsyncConnection, delivery: Delivery, error: SendError) -> None:
    """What a SendError means for the part: again later, given up, or unknown. Staff see the last two."""
    if isinstance(error, NotSent) and delivery.attempts < MAX_ATTEMPTS:
        delay = error.retry_after if error.retry_after is not None else min(300.0, error.growth**delivery.attempts)
        await record_again(conn, delivery, delay=delay, error=error.code)
        return
    await _set_state(conn, delivery, "unknown" if isinstance(error, Ambiguous) else "failed", error=error.code)
    if error.stops:
        await opt_out(conn, delivery.conversation)


async def _set_state(conn: AsyncConnection, delivery: Delivery, state: str, *, error: str, delay: float = 0.0) -> None:
    await conn.execute(
        deliveries.update()
        .where(deliveries.c.id == delivery.id, deliveries.c.state.in_(("sending", "unknown")))
        .values(
            state=state,
            error=error,
            lease_until=None,
            next_at=sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, delay),
        )
    )
    await _changed(conn, delivery.conversation)


async def record_status(conn: AsyncConnection, channel: str, status: Status) -> bool:
    """Moves a part forward, never back (a late "sent" leaves "read" alone); False for a part that is not ours."""
    which = deliveries.c.provider_id == status.provider_id
    if status.delivery:
        try:
            which = deliveries.c.id == uuid.UUID(status.delivery)
        except ValueError:
            return False
    row = (
        await conn.execute(
            sa.select(deliveries.c.id, deliveries.c.state, deliveries.c.conversation_id)
            .where(deliveries.c.channel == channel, which)
            .with_for_update()
        )
    ).first()
    if row is None:
        return False
    if _RANK.get(status.state, -1) > _RANK.get(row.state, 99):
        values: dict[str, object] = {"state": status.state, "provider_id": status.provider_id}
        if status.error:
            values["error"] = status.error
        await conn.execute(deliveries.update().where(deliveries.c.id == row.id).values(**values))
        await _changed(conn, row.conversation_id)
    if status.stops:
        await opt_out(conn, row.conversation_id)
    return True


async def opt_out(conn: AsyncConnection, conversation: uuid.UUID) -> None:
    """Nothing more goes to this person: what still waits is cancelled; staff see it."""
    await inbox.learn(conn, conversation, opted_out=True)
    await conn.execute(
        deliveries.update()
        .where(deliveries.c.conversation_id == conversation, deliveries.c.state == "queued")
        .values(state="cancelled")
    )


async def window_closed(conn: AsyncConnection, conversation: uuid.UUID, window: float | None) -> bool:
    """Whether the provider would refuse our words now: ``window`` seconds since the person last wrote are over."""
    if window is None:
        return False
    closed = await conn.scalar(_WINDOW_CLOSED, {"conversation": conversation, "window": window})
    return bool(closed)


async def _changed(conn: AsyncConnection, conversation: uuid.UUID) -> None:
    await events.notify(conn, "delivery", conversation=conversation)


async def seconds_to_next(conn: AsyncConnection) -> float:
    """How long nothing will be due, at most half a minute."""
    due = await conn.scalar(
        sa.text("SELECT extract(epoch FROM min(next_at) - now()) FROM deliveries WHERE state = 'queued'")
    )
    return 30.0 if due is None else min(30.0, max(0.05, float(due)))
