"""The durable outbox: one row a part, sent in the order of the conversation, humans' words first.

A part is ``queued``, leased as ``sending`` while the provider is called, then ``sent`` (and ``delivered``,
``read`` by statuses), ``failed``, or ``unknown`` when nobody can say whether it left. Only what is certainly
unsent, or was reported back as not delivered, is tried again. How fast parts go is ``pace``'s.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import events, inbox, pace
from bot.tables import conversations, deliveries, messages
from bot.vault import Vault
from channels.channel import Ambiguous, Choice, Limits, NotSent, Part, SendError, Status, TemplateCall

LEASE = 20  # seconds one call to a provider may take
MAX_ATTEMPTS = 8
LATE_ATTEMPTS = 4  # of a part that was taken, and reported back as not delivered
LATE_PAUSE = 60.0  # seconds before the first of these, while the phone is off; then four times as long each time
PRIORITY = {"advocate": 0, "service": 1, "assistant": 2}
_RANK = {"queued": 0, "sending": 1, "unknown": 2, "sent": 3, "failed": 4, "delivered": 5, "read": 6}

# With no earlier part of its conversation on the way for the first time. What went out once and is tried again keeps
# nobody waiting: the new words must not wait for a phone that is off.
_FIRST = """NOT EXISTS (
    SELECT FROM deliveries e WHERE e.conversation_id = d.conversation_id AND e.position < d.position
      AND e.state IN ('queued', 'sending') AND e.sent_at IS NULL)"""

# The next part that may go: due, first, and with room in both of its buckets. A part whose neighbour another worker is
# just taking is seen as not yet first, so order holds without a lock of its own. Full buckets are looked up once.
_NEXT = sa.text(f"""
SELECT d.id, d.conversation_id, d.channel, d.sender, d.units FROM deliveries d
WHERE d.state = 'queued' AND d.next_at <= now()
  AND d.channel || ':' || d.sender NOT IN (SELECT name FROM pace WHERE free_at > now())
  AND d.conversation_id::text NOT IN (SELECT name FROM pace WHERE free_at > now())
  AND {_FIRST}
ORDER BY d.priority, d.next_at FOR UPDATE SKIP LOCKED LIMIT 1
""")  # noqa: S608 - from a constant
_CLAIM = sa.text("""
UPDATE deliveries SET state = 'sending', attempts = attempts + 1,
  lease_until = now() + make_interval(secs => :lease)
WHERE id = :id
RETURNING id, conversation_id, channel, sender, part, attempts, provider_id, now() AS claimed_at
""")
# When the first of what waits may go.
_DUE = sa.text(f"""
SELECT extract(epoch FROM min(greatest(d.next_at, s.free_at, p.free_at)) - now()) FROM deliveries d
LEFT JOIN pace s ON s.name = d.channel || ':' || d.sender
LEFT JOIN pace p ON p.name = d.conversation_id::text
WHERE d.state = 'queued' AND {_FIRST}
""")  # noqa: S608 - from a constant

# Parts whose sender died in the middle: one worker takes each to find out what became of it.
_CLAIM_LOST = sa.text("""
UPDATE deliveries SET lease_until = now() + make_interval(secs => :lease)
WHERE id = (
  SELECT id FROM deliveries WHERE state = 'sending' AND lease_until < now()
  ORDER BY lease_until FOR UPDATE SKIP LOCKED LIMIT 1
)
RETURNING id, conversation_id, channel, sender, part, attempts, provider_id,
  lease_until - make_interval(secs => :lease) - make_interval(secs => :lookback) AS claimed_at
""")
# What the provider itself reports (a changed number) is no message of the person.
_WINDOW_CLOSED = sa.text("""
SELECT NOT EXISTS (
  SELECT FROM messages
  WHERE conversation_id = :conversation AND direction = 'in' AND kind <> 'system'
    AND coalesce(written_at, created_at) >= now() - make_interval(secs => :window)
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
    sender: str  # which of our numbers it leaves from, where there are several
    address: str
    part: Part
    attempts: int
    provider_id: str | None  # of an earlier try
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
            sa.select(
                conversations.c.channel, conversations.c.sender, conversations.c.opted_out, conversations.c.left_at
            )
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
                sender=spoken_to.sender or "",
                units=part.units,
                sent_at=sa.func.now() if pulled else None,
            )
        )
    await events.notify(conn, "outbound", conversation=conversation, seq=seq)
    return seq


async def claim_part(
    conn: AsyncConnection, vault: Vault, limits: Mapping[str, Limits] | None = None
) -> Delivery | None:
    """Leases the next part that may be sent; ``limits`` by channel, of which those without are not slowed.

    Locks the sender's bucket. Who finds it just emptied by another worker looks for a part of another sender.
    """
    while (found := (await conn.execute(_NEXT)).one_or_none()) is not None:
        limit = (limits or {}).get(found.channel)
        bucket = pace.sender_name(found.channel, found.sender)
        if await pace.take(conn, bucket, limit.sender if limit else None, units=found.units):
            await pace.take(conn, str(found.conversation_id), limit.pair if limit else None, ask=False)
            row = (await conn.execute(_CLAIM, {"lease": LEASE, "id": found.id})).one()
            return await _delivery(conn, vault, row)
    return None


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
        sender=row.sender,
        address=address,
        part=open_part(vault, row.id, row.part),
        attempts=row.attempts,
        provider_id=row.provider_id,
        claimed_at=row.claimed_at,
    )


def open_part(vault: Vault, delivery: uuid.UUID, sealed: bytes) -> Part:
    """The sealed part of a delivery."""
    opened: Any = vault.open_json(sealed, context=f"delivery:{delivery}")
    call = opened.get("template")
    return Part(
        text=opened["text"],
        choices=tuple(Choice(**choice) for choice in opened["choices"]),
        template=TemplateCall(call["name"], call["language"], tuple(map(tuple, call["values"]))) if call else None,
    )


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
    if error.holds_sender and error.retry_after:
        await pace.hold(conn, pace.sender_name(delivery.channel, delivery.sender), error.retry_after)
    if isinstance(error, NotSent) and delivery.attempts < MAX_ATTEMPTS:
        delay = error.retry_after if error.retry_after is not None else min(300.0, error.growth**delivery.attempts)
        await record_again(conn, delivery, delay=delay, error=error.code)
        return
    await _set_state(conn, delivery, "unknown" if isinstance(error, Ambiguous) else "failed", error=error.code)
    if error.stops:
        await opt_out(conn, delivery.conversation, by="block" if error.blocked else "person")


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


async def record_status(conn: AsyncConnection, channel: str, status: Status, failure: SendError | None = None) -> bool:
    """Moves a part forward, never back (a late "sent" leaves "read" alone); False for a part that is not ours.

    ``failure``: what the status's error code means. What may pass is tried again, a few times and ever later.
    """
    which: sa.ColumnElement[bool] = deliveries.c.provider_id == status.provider_id
    if status.delivery:
        try:
            which = deliveries.c.id == uuid.UUID(status.delivery)
        except ValueError:
            return False
    which = sa.and_(deliveries.c.channel == channel, which)
    if status.state == "failed" or status.stops:  # may cancel or queue parts: the conversation first, as in ``opt_out``
        ours = sa.select(deliveries.c.conversation_id).where(which)
        await conn.execute(sa.select(conversations.c.id).where(conversations.c.id.in_(ours)).with_for_update())
    row = (await conn.execute(sa.select(deliveries).where(which).with_for_update())).first()
    if row is None:
        return False
    if _of_another_try(row, status) and status.state not in ("delivered", "read"):
        return True
    if status.state == "failed" and failure is not None and failure.holds_sender and failure.retry_after:
        await pace.hold(conn, pace.sender_name(channel, row.sender), failure.retry_after)
    if _RANK.get(status.state, -1) > _RANK.get(row.state, 99):
        values: dict[str, object] = {"state": status.state, "provider_id": status.provider_id}
        if status.error:
            values["error"] = status.error
        if status.state == "failed" and isinstance(failure, NotSent) and row.attempts < LATE_ATTEMPTS:
            delay = max(failure.retry_after or 0.0, LATE_PAUSE * 4.0 ** (row.attempts - 1))
            values |= await _once_more(conn, row, delay)
        await conn.execute(deliveries.update().where(deliveries.c.id == row.id).values(**values))
        await _changed(conn, row.conversation_id)
    if status.stops:
        await opt_out(conn, row.conversation_id)
    return True


def _of_another_try(row: Any, status: Status) -> bool:
    """Whether the status tells of an earlier try. That it failed is known; only that it arrived after all is news."""
    if row.state in ("queued", "sending", "unknown"):  # the new try's id is not known yet
        return bool(row.provider_id == status.provider_id)
    return row.provider_id is not None and row.provider_id != status.provider_id


async def _once_more(conn: AsyncConnection, row: Any, delay: float) -> dict[str, object]:
    """What a part becomes that was taken and did not arrive; nothing more goes to who wrote STOP meanwhile."""
    stopped = await conn.scalar(sa.select(conversations.c.opted_out).where(conversations.c.id == row.conversation_id))
    if stopped:
        return {}
    next_at = sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, delay)
    return {"state": "queued", "next_at": next_at, "lease_until": None, "sent_at": row.sent_at or sa.func.now()}


async def opt_out(conn: AsyncConnection, conversation: uuid.UUID, *, by: str = "person") -> None:
    """Nothing more goes to this person: what still waits is cancelled; staff see it.

    ``by``: "person" by a word, or "block" by their app's switch, which does not make light of a word said before.
    """
    c = conversations.c
    said = sa.case((c.opted_out & (sa.func.coalesce(c.stopped_by, "person") == "person"), "person"), else_=by)
    await inbox.learn(conn, conversation, opted_out=True, stopped_by=said)
    await conn.execute(
        deliveries.update()
        .where(deliveries.c.conversation_id == conversation, deliveries.c.state == "queued")
        .values(state="cancelled")
    )


async def queue_again(conn: AsyncConnection, conversation: uuid.UUID, message: uuid.UUID) -> None:
    """Staff want what did not arrive of a message sent once more. The conversation's row is locked by the caller."""
    await conn.execute(
        deliveries.update()
        .where(deliveries.c.message_id == message, deliveries.c.state.in_(("failed", "unknown")))
        .values(state="queued", attempts=0, again=deliveries.c.again + 1, next_at=sa.func.now(), lease_until=None)
    )
    await events.notify(conn, "outbound", conversation=conversation)


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
    due = await conn.scalar(_DUE)
    return 30.0 if due is None else min(30.0, max(0.01, float(due)))
