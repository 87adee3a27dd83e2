"""The durable inbox: what people write is stored before anybody is told "received", and worked on in order.

Locks: ``store_all`` takes the conversations' rows (numbering), in one order, for one short statement; ``claim`` takes
a lease on one with a fence number, so that a worker that was thought dead cannot write over its successor.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import events
from bot.tables import conversations, messages, quarantine
from bot.vault import Vault
from channels.channel import Inbound, Unreadable

LATE = 900.0  # seconds from the writing of a message to its arrival, from which on that is told
_OLDEST = 8 * 86400.0  # seconds; Meta repeats a webhook for seven days, Telegram for one
LEASE = 60  # seconds a worker may take for one conversation's messages before another takes over
_RETRY = (1, 5, 30, 120, 300)  # seconds before a failing turn is tried again; the last one for ever

# Numbering and storing of many in one round trip. A conversation's row lock serialises its messages; the rows are
# locked in the order of `given`, which is the same for every gateway. A copy with a known provider id burns a number
# and stores nothing.
_STORE = sa.text("""
WITH given AS (
  SELECT * FROM unnest(
    CAST(:conversations AS uuid[]), CAST(:channels AS text[]), CAST(:lookups AS bytea[]), CAST(:addresses AS bytea[]),
    CAST(:senders AS text[]), CAST(:regions AS text[]), CAST(:counts AS int[])
  ) AS given (id, channel, lookup, address, sender, region, count)
), conversation AS (
  INSERT INTO conversations
    (id, channel, address_lookup, address_sealed, sender, region, next_seq, pending, pending_since)
  SELECT id, channel, lookup, address, sender, region, count + 1, true, now() FROM given
  ON CONFLICT (channel, address_lookup) DO UPDATE SET
    next_seq = conversations.next_seq + excluded.next_seq - 1,
    sender = coalesce(excluded.sender, conversations.sender),
    region = coalesce(conversations.region, excluded.region),
    pending = true,
    pending_since = CASE WHEN conversations.pending THEN conversations.pending_since ELSE now() END
  RETURNING id, channel, address_lookup, next_seq
), stored AS (
  INSERT INTO messages
    (id, conversation_id, seq, channel, provider_id, direction, kind, author, words, state, written_at)
  SELECT item.id, conversation.id, conversation.next_seq - item.back, item.channel, item.provider_id, 'in', item.kind,
    'person', item.words, 'received', to_timestamp(item.written_at)
  FROM unnest(
    CAST(:messages AS uuid[]), CAST(:of_channels AS text[]), CAST(:of_lookups AS bytea[]), CAST(:backs AS int[]),
    CAST(:provider_ids AS text[]), CAST(:kinds AS text[]), CAST(:words AS bytea[]), CAST(:written_at AS float8[])
  ) AS item (id, channel, lookup, back, provider_id, kind, words, written_at)
  JOIN conversation ON conversation.channel = item.channel AND conversation.address_lookup = item.lookup
  ORDER BY conversation.id, item.back DESC
  ON CONFLICT (channel, provider_id) WHERE direction = 'in' DO NOTHING
  RETURNING id, conversation_id, seq
)
SELECT id, conversation_id, seq,
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
RETURNING id, channel, fence, language, language_chosen, place_sealed, region, opted_out, stopped_by, maybe_watched,
  failures
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
    media: tuple[dict[str, Any], ...]  # url, content_type; size where it was told
    state: str  # received | recorded
    understanding: dict[str, Any] | None
    plan: dict[str, Any] | None
    answered: bool = False  # by the provider itself
    late: bool = False  # it was long on its way


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
    stopped_by: str | None = None  # while opted out: person or block


Stored = tuple[uuid.UUID, int]  # conversation, number in it


async def store(conn: AsyncConnection, vault: Vault, channel: str, item: Inbound) -> Stored | None:
    """Stores one message; None for a copy of one already stored."""
    return (await store_all(conn, vault, [(channel, item)]))[0]


async def store_all(conn: AsyncConnection, vault: Vault, arrived: Sequence[tuple[str, Inbound]]) -> list[Stored | None]:
    """Stores messages, each with its channel's name, in one statement; each person's in the order given.

    None for a copy of one already stored.
    """
    ids = [uuid.uuid4() for _ in arrived]
    keys = [(channel, address_lookup(vault, channel, item.address)) for channel, item in arrived]
    theirs: dict[tuple[str, bytes], list[int]] = {}
    for number, key in enumerate(keys):
        theirs.setdefault(key, []).append(number)
    back = {number: len(numbers) - place for numbers in theirs.values() for place, number in enumerate(numbers)}
    people = sorted(theirs)
    said = [[arrived[number][1] for number in theirs[key]] for key in people]
    rows = await conn.execute(
        _STORE,
        {
            "conversations": [uuid.uuid4() for _ in people],
            "channels": [channel for channel, _ in people],
            "lookups": [lookup for _, lookup in people],
            "addresses": [
                _sealed_address(vault, channel, items[0]) for (channel, _), items in zip(people, said, strict=True)
            ],
            "senders": [next((item.sender for item in reversed(items) if item.sender), None) for items in said],
            "regions": [next((item.region for item in items if item.region), None) for items in said],
            "counts": [len(items) for items in said],
            "messages": ids,
            "of_channels": [channel for channel, _ in keys],
            "of_lookups": [lookup for _, lookup in keys],
            "backs": [back[number] for number in range(len(arrived))],
            "provider_ids": [item.provider_id for _, item in arrived],
            "kinds": [item.kind for _, item in arrived],
            "words": [_sealed_words(vault, row, item) for row, (_, item) in zip(ids, arrived, strict=True)],
            "written_at": [_believed(item.written_at) for _, item in arrived],
        },
    )
    stored = {row.id: (row.conversation_id, row.seq) for row in rows}
    return [stored.get(row) for row in ids]


def _believed(written_at: float | None) -> float | None:
    """When a message was written, within what can be: not in the future, and no provider repeats older ones."""
    if written_at is None or not (now := time.time()) - _OLDEST <= written_at:
        return None
    return min(written_at, now)


def _sealed_address(vault: Vault, channel: str, item: Inbound) -> bytes:
    return vault.seal(item.address.encode("utf-8", "surrogatepass"), context=f"address:{channel}")


def _sealed_words(vault: Vault, message: uuid.UUID, item: Inbound) -> bytes:
    words: dict[str, Any] = {"text": item.text, "choice": item.choice, "client_id": item.client_id}
    if item.media:
        words["media"] = [
            {"url": media.url, "content_type": media.content_type, **({"size": media.size} if media.size else {})}
            for media in item.media
        ]
    if item.answered:
        words["answered"] = True
    return vault.seal_json(words, context=f"message:{message}")


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


async def keep_aside(
    conn: AsyncConnection, vault: Vault, channel: str, item: Unreadable, *, row: uuid.UUID | None = None
) -> None:
    """What could not be read is kept for staff, not dropped; under the same ``row`` once."""
    row = row or uuid.uuid4()
    sealed = vault.seal(item.body, context=f"quarantine:{row}")
    values = {"id": row, "channel": channel, "reason": item.reason[:500], "body": sealed}
    await conn.execute(insert(quarantine).values(values).on_conflict_do_nothing())


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
        stopped_by=row.stopped_by,
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
        late=was_late(row.written_at, row.created_at),
    )


def was_late(written_at: datetime | None, created_at: datetime) -> bool:
    """Whether a message was so long on its way that its reader should know."""
    return written_at is not None and (created_at - written_at).total_seconds() >= LATE


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
        stopped_by=row.stopped_by,
        maybe_watched=row.maybe_watched,
        messages=await _unfinished(conn, vault, claim.conversation),
    )


def _place(vault: Vault, row: Any) -> str | None:
    if row.place_sealed is None:
        return None
    return vault.open(row.place_sealed, context=f"place:{row.id}").decode("utf-8", "replace")
