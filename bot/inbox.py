"""The durable inbox: what people write is stored before anybody is told "received", and worked on in order.

Locks: ``store`` takes the conversation's row (numbering) for one short statement; ``claim`` takes a lease on
it with a fence number, so that a worker that was thought dead cannot write over its successor.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import events
from bot.tables import conversations, messages, quarantine
from bot.vault import Vault
from channels.channel import Inbound, Unreadable

LEASE = 60  # seconds a worker may take for one conversation's messages before another takes over
_RETRY = (1, 5, 30, 120, 300)  # seconds before a failing turn is tried again; the last one for ever

# Numbering and storing in one round trip. The conversation's row lock serialises its messages; a copy with a
# known provider id burns a number and stores nothing.
_STORE = sa.text("""
WITH conversation AS (
  INSERT INTO conversations (id, channel, address_lookup, address_sealed, region, next_seq, pending, pending_since)
  VALUES (:conversation, :channel, :lookup, :address, :region, 2, true, now())
  ON CONFLICT (channel, address_lookup) DO UPDATE SET
    next_seq = conversations.next_seq + 1,
    region = coalesce(conversations.region, excluded.region),
    pending = true,
    pending_since = CASE WHEN conversations.pending THEN conversations.pending_since ELSE now() END
  RETURNING id, next_seq - 1 AS seq
), stored AS (
  INSERT INTO messages (id, conversation_id, seq, channel, provider_id, direction, kind, author, words, state)
  SELECT :message, id, seq, :channel, :provider_id, 'in', :kind, 'person', :words, 'received' FROM conversation
  ON CONFLICT (channel, provider_id) WHERE direction = 'in' DO NOTHING
  RETURNING conversation_id, seq
)
SELECT conversation_id, seq,
  pg_notify('passerelle', json_build_object('kind', 'inbound', 'conversation', conversation_id, 'seq', seq)::text)
FROM stored
""")

# The oldest conversation with unfinished messages that nobody holds. SKIP LOCKED: workers never queue up.
_CLAIM = sa.text("""
UPDATE conversations SET lease_until = now() + make_interval(secs => :lease), fence = fence + 1
WHERE id = (
  SELECT id FROM conversations
  WHERE pending AND (lease_until IS NULL OR lease_until < now()) AND (retry_at IS NULL OR retry_at <= now())
  ORDER BY pending_since FOR UPDATE SKIP LOCKED LIMIT 1
)
RETURNING id, channel, fence, language, language_chosen, place_sealed, region, opted_out, maybe_watched, failures
""")

# Gives the conversation back; `pending` is derived under the row lock that `store` takes too.
_RELEASE = sa.text("""
UPDATE conversations SET lease_until = NULL, failures = 0, retry_at = NULL,
  pending = EXISTS (SELECT FROM messages m WHERE m.conversation_id = conversations.id
                    AND m.direction = 'in' AND m.state IN ('received', 'recorded'))
WHERE id = :conversation AND fence = :fence
""")


class LostLease(Exception):
    """Another worker holds this conversation now: nothing may be written in its name."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One inbound message that a turn has not finished."""

    id: uuid.UUID
    seq: int
    kind: str
    text: str
    choice: str
    media: tuple[dict[str, str], ...]
    state: str  # received | recorded
    understanding: dict[str, Any] | None
    plan: dict[str, Any] | None
    answered: bool = False  # by the provider itself


@dataclass(frozen=True, slots=True)
class Claim:
    """A conversation held by this worker until the lease ends."""

    conversation: uuid.UUID
    channel: str
    fence: int
    language: str | None
    language_chosen: bool
    place: str | None
    region: str | None
    opted_out: bool
    maybe_watched: bool
    failures: int
    messages: tuple[StoredMessage, ...]


async def store(conn: AsyncConnection, vault: Vault, channel: str, item: Inbound) -> tuple[uuid.UUID, int] | None:
    """Stores one message; (conversation, number in it), or None for a copy of one already stored."""
    message = uuid.uuid4()
    words: dict[str, Any] = {"text": item.text, "choice": item.choice, "client_id": item.client_id}
    if item.media:
        words["media"] = [{"url": media.url, "content_type": media.content_type} for media in item.media]
    if item.answered:
        words["answered"] = True
    row = (
        await conn.execute(
            _STORE,
            {
                "conversation": uuid.uuid4(),
                "message": message,
                "channel": channel,
                "lookup": address_lookup(vault, channel, item.address),
                "address": vault.seal(item.address.encode("utf-8", "surrogatepass"), context=f"address:{channel}"),
                "region": item.region,
                "provider_id": item.provider_id,
                "kind": item.kind,
                "words": vault.seal_json(words, context=f"message:{message}"),
            },
        )
    ).one_or_none()
    return (row.conversation_id, row.seq) if row else None


def address_lookup(vault: Vault, channel: str, address: str) -> bytes:
    """The keyed hash a conversation is found by."""
    return vault.lookup(address, context=f"address:{channel}")


async def language_of(conn: AsyncConnection, vault: Vault, channel: str, address: str) -> str | None:
    """The language of a person's conversation, if there is one and it is known."""
    found: str | None = await conn.scalar(
        sa.select(conversations.c.language).where(
            conversations.c.channel == channel,
            conversations.c.address_lookup == address_lookup(vault, channel, address),
        )
    )
    return found


async def keep_aside(conn: AsyncConnection, vault: Vault, channel: str, item: Unreadable) -> None:
    """What could not be read is kept for staff, not dropped."""
    row = uuid.uuid4()
    sealed = vault.seal(item.body, context=f"quarantine:{row}")
    await conn.execute(quarantine.insert().values(id=row, channel=channel, reason=item.reason[:500], body=sealed))


async def claim(conn: AsyncConnection, vault: Vault) -> Claim | None:
    """Takes the conversation that has waited longest, with its unfinished messages in order."""
    row = (await conn.execute(_CLAIM, {"lease": LEASE})).one_or_none()
    if row is None:
        return None
    return Claim(
        conversation=row.id,
        channel=row.channel,
        fence=row.fence,
        language=row.language,
        language_chosen=row.language_chosen,
        place=_place(vault, row),
        region=row.region,
        opted_out=row.opted_out,
        maybe_watched=row.maybe_watched,
        failures=row.failures,
        messages=await _unfinished(conn, vault, row.id),
    )


async def _unfinished(conn: AsyncConnection, vault: Vault, conversation: uuid.UUID) -> tuple[StoredMessage, ...]:
    """In their order."""
    found = await conn.execute(
        sa.select(messages)
        .where(
            messages.c.conversation_id == conversation,
            messages.c.direction == "in",
            messages.c.state.in_(("received", "recorded")),
        )
        .order_by(messages.c.seq)
    )
    return tuple(_stored_message(vault, message) for message in found)


def _stored_message(vault: Vault, row: Any) -> StoredMessage:
    words = open_words(vault, row.id, row.words)
    return StoredMessage(
        id=row.id,
        seq=row.seq,
        kind=row.kind,
        text=words.get("text", ""),
        choice=words.get("choice", ""),
        media=tuple(words.get("media", ())),
        state=row.state,
        understanding=row.understanding,
        plan=row.plan,
        answered=words.get("answered") is True,
    )


def open_words(vault: Vault, message: uuid.UUID, sealed: bytes | None) -> dict[str, Any]:
    """The sealed part of a message: ``text``; where there are: ``choice``, ``media``, ``client_id``, ``answered``."""
    if sealed is None:
        return {}
    opened = vault.open_json(sealed, context=f"message:{message}")
    return opened if isinstance(opened, dict) else {}


async def check_fence(conn: AsyncConnection, claim: Claim) -> None:
    """Locks the conversation's row for this transaction. Raises LostLease when the claim is no longer ours."""
    fence = await conn.scalar(
        sa.select(conversations.c.fence).where(conversations.c.id == claim.conversation).with_for_update()
    )
    if fence != claim.fence:
        raise LostLease(str(claim.conversation))


async def record(
    conn: AsyncConnection, message: uuid.UUID, *, understanding: dict[str, Any], plan: dict[str, Any], language: str
) -> None:
    """Keeps what was understood and what is still to be done: a crash from here on does not decide twice."""
    await conn.execute(
        messages.update()
        .where(messages.c.id == message)
        .values(state="recorded", understanding=understanding, plan=plan, language=language)
    )


async def learn(conn: AsyncConnection, conversation: uuid.UUID, **facts: object) -> None:
    """Writes what a turn learnt about the conversation (language, opted_out, place_sealed …)."""
    if facts:
        await conn.execute(conversations.update().where(conversations.c.id == conversation).values(**facts))


async def done(conn: AsyncConnection, message: uuid.UUID, *, kind: str | None = None) -> None:
    """A turn has finished this message; ``kind`` when the channel rules found it to be a keyword."""
    values = {"state": "done"} if kind is None else {"state": "done", "kind": kind}
    await conn.execute(messages.update().where(messages.c.id == message).values(**values))


async def release(conn: AsyncConnection, claim: Claim) -> None:
    """Gives the conversation back to be claimed again when more comes."""
    await conn.execute(_RELEASE, {"conversation": claim.conversation, "fence": claim.fence})


async def postpone(conn: AsyncConnection, claim: Claim) -> None:
    """A turn failed: later, and ever later, but never given up."""
    delay = _RETRY[min(claim.failures, len(_RETRY) - 1)]
    await conn.execute(
        conversations.update()
        .where(conversations.c.id == claim.conversation, conversations.c.fence == claim.fence)
        .values(
            lease_until=None,
            failures=conversations.c.failures + 1,
            retry_at=sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, delay),
        )
    )


async def free_leases(conn: AsyncConnection) -> None:
    """At a gateway's start: leases of a killed predecessor are void at once, not after a minute.

    Another gateway that is alive loses its claims too; the fence makes that safe, and costs one repeated step.
    """
    await conn.execute(
        sa.text("UPDATE conversations SET lease_until = NULL, fence = fence + 1 WHERE lease_until > now()")
    )
    await events.notify(conn, "inbound")


async def next_seq(conn: AsyncConnection, conversation: uuid.UUID) -> int:
    """The next number in a conversation; takes its row lock until the transaction ends."""
    number = await conn.scalar(
        conversations.update()
        .where(conversations.c.id == conversation)
        .values(next_seq=conversations.c.next_seq + 1)
        .returning(conversations.c.next_seq - 1)
    )
    if number is None:
        raise LookupError(f"no conversation {conversation}")
    return int(number)


async def refresh(conn: AsyncConnection, vault: Vault, claim: Claim) -> Claim:
    """The claim with what was learnt and written meanwhile, and the lease renewed. Raises LostLease."""
    row = (
        await conn.execute(
            conversations.update()
            .where(conversations.c.id == claim.conversation, conversations.c.fence == claim.fence)
            .values(lease_until=sa.func.now() + sa.text(f"interval '{LEASE} seconds'"))
            .returning(conversations)
        )
    ).one_or_none()
    if row is None:
        raise LostLease(str(claim.conversation))
    return replace(
        claim,
        language=row.language,
        language_chosen=row.language_chosen,
        place=_place(vault, row),
        opted_out=row.opted_out,
        maybe_watched=row.maybe_watched,
        messages=await _unfinished(conn, vault, claim.conversation),
    )


def _place(vault: Vault, row: Any) -> str | None:
    if row.place_sealed is None:
        return None
    return vault.open(row.place_sealed, context=f"place:{row.id}").decode("utf-8", "replace")
