"""Table definitions, and nothing else. Who writes a table is said beside it; migrations are in ``migrations/``.

Whatever a person wrote, and every address, is sealed (``bytea``, see ``vault``); JSON columns hold codes,
numbers and offsets only, never words.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, TIMESTAMP, UUID

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_NOW = sa.text("now()")


def _uuid_key() -> sa.Column[object]:
    return sa.Column("id", UUID(as_uuid=True), primary_key=True)


def _time(name: str, *, nullable: bool = True, now: bool = False) -> sa.Column[object]:
    return sa.Column(
        name, TIMESTAMP(timezone=True), nullable=nullable and not now, server_default=_NOW if now else None
    )


def _conversation() -> sa.Column[object]:
    return sa.Column(
        "conversation_id", UUID(as_uuid=True), sa.ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False
    )


def _false(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())


# Written by bot.inbox (rows, numbering, leases) and, under the lease, by bot.conversations (what a turn learnt).
conversations = sa.Table(
    "conversations",
    metadata,
    _uuid_key(),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("address_lookup", BYTEA, nullable=False),  # keyed hash: finds, and tells nothing
    sa.Column("address_sealed", BYTEA, nullable=False),
    sa.Column("sender", sa.Text),  # which number of ours the person writes to, where there are several
    sa.Column("language", sa.Text),  # BCP 47, None while unknown
    _false("language_chosen"),  # the person's own choice: detection never overrides it
    sa.Column("place_sealed", BYTEA),  # the place the person named, for services nearby
    sa.Column("region", sa.Text),  # province code, when the place is known
    _false("opted_out"),
    sa.Column("stopped_by", sa.Text),  # while opted out: person (a STOP) or block; None counts as person
    _false("maybe_watched"),
    _time("left_at"),  # the quick exit of the web chat: nobody reads what is said from then on
    sa.Column("next_seq", sa.Integer, nullable=False, server_default="1"),
    _false("pending"),  # has an inbound message that no turn has finished
    _time("pending_since"),
    _time("retry_at"),  # a turn failed: not before this time
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    _time("lease_until"),
    sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
    _time("created_at", now=True),
    sa.UniqueConstraint("channel", "address_lookup"),
    sa.Index("ix_conversations_pending", "pending_since", postgresql_where=sa.text("pending")),
)

# Written by bot.inbox (in) and bot.outbox (out).
messages = sa.Table(
    "messages",
    metadata,
    _uuid_key(),
    _conversation(),
    sa.Column("seq", sa.Integer, nullable=False),  # place in the conversation
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("provider_id", sa.Text),
    sa.Column("direction", sa.Text, nullable=False),  # in | out
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),  # person | assistant | advocate | service
    sa.Column("staff_id", UUID(as_uuid=True), sa.ForeignKey("staff.id")),
    sa.Column("words", BYTEA),  # sealed JSON: text, choice, media references
    sa.Column("response_key", sa.Text),
    sa.Column("language", sa.Text),
    sa.Column("state", sa.Text, nullable=False),  # in: received recorded done failed; out: shown
    sa.Column("understanding", JSONB),  # language, severity, indicators, evidence offsets, score
    sa.Column("plan", JSONB),  # what commit 1 decided is still to be done: response keys, ask the engine
    sa.Column("dedupe_key", sa.Text, unique=True),  # out: one reply per turn, one send per form
    _time("created_at", now=True),
    _time("written_at"),  # in: when the provider says it was written
    sa.UniqueConstraint("conversation_id", "seq"),
    sa.Index(
        "uq_messages_provider", "channel", "provider_id", unique=True, postgresql_where=sa.text("direction = 'in'")
    ),
    sa.Index(
        "ix_messages_unfinished",
        "conversation_id",
        postgresql_where=sa.text("direction = 'in' AND state IN ('received', 'recorded')"),
    ),
)

# Written by bot.outbox: one row a part.
deliveries = sa.Table(
    "deliveries",
    metadata,
    _uuid_key(),
    sa.Column(
        "message_id", UUID(as_uuid=True), sa.ForeignKey("messages.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    _conversation(),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),  # seq * 256 + part: the order within the conversation
    sa.Column("part", BYTEA, nullable=False),  # sealed JSON of the channel's part
    # queued sending sent delivered read failed unknown cancelled
    sa.Column("state", sa.Text, nullable=False, server_default="queued"),
    sa.Column("priority", sa.Integer, nullable=False),  # 0 a human's words, 1 a safety text, 2 the assistant's
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    _time("next_at", now=True),
    _time("lease_until"),
    sa.Column("provider_id", sa.Text, index=True),
    sa.Column("error", sa.Text),  # provider's code
    _time("created_at", now=True),
    _time("sent_at"),
    sa.Column("sender", sa.Text, nullable=False, server_default=""),  # of the conversation, for its pace
    sa.Column("units", sa.Integer, nullable=False, server_default="1"),  # what the provider counts it as
    sa.Column("again", sa.Integer, nullable=False, server_default="0"),  # how often staff had it sent again
    sa.UniqueConstraint("conversation_id", "position"),
    sa.Index("ix_deliveries_due", "priority", "next_at", postgresql_where=sa.text("state = 'queued'")),
    sa.Index(
        "ix_deliveries_open", "conversation_id", "position", postgresql_where=sa.text("state IN ('queued', 'sending')")
    ),
    sa.Index("ix_deliveries_undelivered", "created_at", postgresql_where=sa.text("state IN ('failed', 'unknown')")),
)

# Written by bot.attachments: a file that a person sent, one row each; its reference is among the message's words.
attachments = sa.Table(
    "attachments",
    metadata,
    _uuid_key(),
    sa.Column("message_id", UUID(as_uuid=True), sa.ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    _conversation(),
    sa.Column("part", sa.Integer, nullable=False),  # its place among the message's files
    sa.Column("kind", sa.Text, nullable=False),  # picture | video | sound | file
    sa.Column("content_type", sa.Text, nullable=False),  # as the provider says
    sa.Column("size", sa.BigInteger),  # bytes; None while nobody has told
    # kept: at the provider; fetching, stored: opened; refused: a picture where none are wanted; gone; deleted
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("error", sa.Text),  # why the last try to open it failed
    sa.Column("shown_as", sa.Text),  # the type a browser may show it as; None: to be saved only
    _time("lease_until"),
    sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
    _time("deleted_at"),
    # there | asked: to be deleted | deleted | cannot: the provider offers no such thing | failed
    sa.Column("at_provider", sa.Text, nullable=False, server_default="there"),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    _time("next_at", now=True),
    _time("created_at", now=True),
    sa.UniqueConstraint("message_id", "part"),
    sa.Index("ix_attachments_conversation_id", "conversation_id"),
    sa.Index("ix_attachments_ending", "created_at", postgresql_where=sa.text("state <> 'deleted'")),
    sa.Index("ix_attachments_asked", "next_at", postgresql_where=sa.text("at_provider = 'asked'")),
)
attachment_pieces = sa.Table(
    "attachment_pieces",
    metadata,
    sa.Column(
        "attachment_id", UUID(as_uuid=True), sa.ForeignKey("attachments.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("sealed", BYTEA, nullable=False),
)

# Written by bot.pace: when the next part may go, for each sender of ours and for each conversation.
pace = sa.Table(
    "pace",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),  # channel:sender, or the conversation's id
    _time("free_at", nullable=False),
)

# Written by handoff.signals. Append-only: a trigger refuses UPDATE and DELETE. No words, no address.
signals = sa.Table(
    "signals",
    metadata,
    _uuid_key(),
    sa.Column("number", sa.BigInteger, sa.Identity(always=True), unique=True),
    sa.Column("kind", sa.Text, nullable=False),  # risk | accepted | closed | abandoned
    sa.Column("conversation_id", UUID(as_uuid=True), nullable=False, index=True),
    sa.Column("message_id", UUID(as_uuid=True)),
    sa.Column("handoff_id", UUID(as_uuid=True)),
    sa.Column("indicator", sa.Text),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("language", sa.Text),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("region", sa.Text),
    sa.Column("source", sa.Text),  # what found it: pattern:fr, model, keyword …
    sa.Column("screen_version", sa.Text),
    sa.Column("details", JSONB, nullable=False, server_default="{}"),  # waits in seconds, classification, staff id
    _time("created_at", now=True),
    sa.Index("uq_signals_risk", "message_id", "indicator", unique=True, postgresql_where=sa.text("kind = 'risk'")),
)

# Written by handoff.queue.
handoffs = sa.Table(
    "handoffs",
    metadata,
    _uuid_key(),
    _conversation(),
    sa.Column("message_id", UUID(as_uuid=True)),
    sa.Column("state", sa.Text, nullable=False),  # waiting | accepted | closed | abandoned
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("indicators", ARRAY(sa.Text), nullable=False),
    sa.Column("language", sa.Text),
    sa.Column("channel", sa.Text, nullable=False),
    _time("opened_at", now=True),
    sa.Column("accepted_by", UUID(as_uuid=True), sa.ForeignKey("staff.id")),
    _time("accepted_at"),
    _time("closed_at"),
    sa.Column("classification", sa.Text),
    sa.Column("writer", sa.Text),
    sa.Column("note", BYTEA),  # sealed
    sa.Index(
        "uq_handoffs_open",
        "conversation_id",
        unique=True,
        postgresql_where=sa.text("state IN ('waiting', 'accepted')"),
    ),
    sa.Index("ix_handoffs_waiting", "opened_at", postgresql_where=sa.text("state = 'waiting'")),
)

# Written by handoff.staff.
staff = sa.Table(
    "staff",
    metadata,
    _uuid_key(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("display", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
    _false("demonstration"),
    sa.Column("failed_logins", sa.Integer, nullable=False, server_default="0"),
    _time("locked_until"),
    _time("created_at", now=True),
)
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_lookup", BYTEA, primary_key=True),
    sa.Column("staff_id", UUID(as_uuid=True), sa.ForeignKey("staff.id", ondelete="CASCADE"), nullable=False),
    sa.Column("csrf", sa.Text, nullable=False),
    _time("created_at", now=True),
    _time("expires_at", nullable=False),
)
tokens = sa.Table(
    "tokens",
    metadata,
    _uuid_key(),
    sa.Column("token_lookup", BYTEA, nullable=False, unique=True),
    sa.Column("staff_id", UUID(as_uuid=True), sa.ForeignKey("staff.id", ondelete="CASCADE"), nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    _time("created_at", now=True),
    _time("revoked_at"),
)

# Written by handoff.verdicts: what an advocate says of the screen; it teaches, and is no part of the case.
verdicts = sa.Table(
    "verdicts",
    metadata,
    _uuid_key(),
    sa.Column("message_id", UUID(as_uuid=True), sa.ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    _conversation(),
    sa.Column("staff_id", UUID(as_uuid=True), sa.ForeignKey("staff.id"), nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),  # should | should_not have been escalated
    _time("created_at", now=True),
    sa.UniqueConstraint("message_id", "staff_id"),
    sa.Index("ix_verdicts_conversation_id", "conversation_id"),
)

# Written by handoff.access.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("actor", sa.Text, nullable=False),  # a staff name, or "command line"
    sa.Column("staff_id", UUID(as_uuid=True)),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("conversation_id", UUID(as_uuid=True), index=True),
    sa.Column("purpose", sa.Text, nullable=False, server_default=""),
    _time("created_at", now=True),
)

# Written by bot.directory. Names and columns follow HSDS 3.1.
organizations = sa.Table(
    "organizations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    _false("demonstration"),  # fictitious
)
services = sa.Table(
    "services",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("organization_id", sa.Text, sa.ForeignKey("organizations.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("need", sa.Text, nullable=False),  # shelter | legal | health | services
    sa.Column("phone", sa.Text),
    sa.Column("url", sa.Text),
    sa.Column("languages", ARRAY(sa.Text), nullable=False),
    _false("confidential"),
    sa.Column("assured_date", sa.Date),
)
locations = sa.Table(
    "locations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("service_id", sa.Text, sa.ForeignKey("services.id", ondelete="CASCADE"), nullable=False),
    sa.Column("city", sa.Text),  # None: the whole province
    sa.Column("province", sa.Text),  # None: all of Canada
)

# Written by bot.inbox: what could not be read, kept aside.
quarantine = sa.Table(
    "quarantine",
    metadata,
    _uuid_key(),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("body", BYTEA, nullable=False),  # sealed
    _time("created_at", now=True),
)

# Written by the engine's own process (bot.rasa_tracker_store).
engine_trackers = sa.Table(
    "engine_trackers",
    metadata,
    sa.Column("conversation", sa.Text, primary_key=True),
    sa.Column("sealed", BYTEA, nullable=False),
    _time("updated_at", now=True),
)

# Written by bot.database: facts about this installation, such as the data key's fingerprint.
installation = sa.Table(
    "installation",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
