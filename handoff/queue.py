"""The live queue of handoffs: waiting → accepted → closed, or abandoned. All of its SQL stands here.

Locks: every change is one conditional statement on the handoff's row, so that exactly one of many wins. At
most one handoff of a conversation is open (a partial unique index says so).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import events
from bot.tables import handoffs
from bot.vault import Vault
from handoff import signals

CLASSIFICATIONS = ("trafficking_sex", "trafficking_labour", "trafficking_other", "not_trafficking", "unsure")
WRITERS = ("person_affected", "family_friend", "service_provider", "public", "not_said")
_AGEING = 600  # seconds of waiting that weigh as much as one step of severity below critical: nobody starves

# Opens a handoff, or raises the open one: severity never falls, indicators gather.
_OPEN = sa.text("""
INSERT INTO handoffs (id, conversation_id, message_id, state, severity, indicators, language, channel)
VALUES (:id, :conversation, :message, 'waiting', :severity, :indicators, :language, :channel)
ON CONFLICT (conversation_id) WHERE state IN ('waiting', 'accepted') DO UPDATE SET
  severity = CASE WHEN array_position(ARRAY['none','elevated','high','critical'], excluded.severity)
                     > array_position(ARRAY['none','elevated','high','critical'], handoffs.severity)
             THEN excluded.severity ELSE handoffs.severity END,
  indicators = ARRAY(SELECT DISTINCT unnest(handoffs.indicators || excluded.indicators) ORDER BY 1),
  language = coalesce(excluded.language, handoffs.language)
RETURNING id, state, severity, (xmax = 0) AS opened
""").bindparams(sa.bindparam("conversation", type_=UUID(as_uuid=True)))

# Exactly one advocate accepts: the row changes only while it waits.
_ACCEPT = sa.text("""
UPDATE handoffs SET state = 'accepted', accepted_by = :staff, accepted_at = now()
WHERE id = :id AND state = 'waiting'
RETURNING *, extract(epoch FROM now() - opened_at) AS waited
""")

_CLOSE = sa.text("""
UPDATE handoffs SET state = 'closed', closed_at = now(), classification = :classification, writer = :writer,
  note = :note
WHERE id = :id AND state = 'accepted' AND accepted_by = :staff
RETURNING *, extract(epoch FROM accepted_at - opened_at) AS waited, extract(epoch FROM now() - accepted_at) AS lasted
""")

# Critical before all others, however long they have waited: life is in danger now, or it is a child. Below
# it waiting time lifts a handoff, so that later, graver ones do not starve it for ever.
_LIST = sa.text("""
SELECT h.*, s.display AS accepted_display, extract(epoch FROM now() - h.opened_at) AS waiting, c.left_at,
  (SELECT count(*) FROM messages m WHERE m.conversation_id = h.conversation_id AND m.direction = 'in'
     AND m.seq > coalesce((SELECT max(o.seq) FROM messages o WHERE o.conversation_id = h.conversation_id
                           AND o.author = 'advocate'), 0)) AS unread
FROM handoffs h JOIN conversations c ON c.id = h.conversation_id LEFT JOIN staff s ON s.id = h.accepted_by
WHERE h.state IN ('waiting', 'accepted')
ORDER BY (h.state = 'waiting') DESC, (h.severity = 'critical') DESC,
  array_position(ARRAY['elevated','high','critical'], h.severity)
    + least(1.9, extract(epoch FROM now() - h.opened_at) / :ageing) DESC,
  h.opened_at
LIMIT :limit
""")


# The same order, of those that wait.
_PLACES = sa.text("""
SELECT conversation_id, row_number() OVER (
  ORDER BY (severity = 'critical') DESC,
    array_position(ARRAY['elevated','high','critical'], severity)
      + least(1.9, extract(epoch FROM now() - opened_at) / :ageing) DESC,
    opened_at) - 1 AS ahead
FROM handoffs WHERE state = 'waiting'
""")


class Refused(Exception):
    """What was asked is no longer possible; the message says why, for the advocate."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The open handoff after a message: new, raised or just as before."""

    id: uuid.UUID
    state: str
    severity: str
    new: bool


async def open_handoff(
    conn: AsyncConnection,
    *,
    conversation: uuid.UUID,
    message: uuid.UUID,
    severity: str,
    indicators: Sequence[str],
    language: str | None,
    channel: str,
) -> Opened:
    """Opens the conversation's handoff or raises the open one. Repeating it changes nothing."""
    row = (
        await conn.execute(
            _OPEN,
            {
                "id": uuid.uuid4(),
                "conversation": conversation,
                "message": message,
                "severity": severity,
                "indicators": list(indicators),
                "language": language,
                "channel": channel,
            },
        )
    ).one()
    await _tell(conn, row.id, row.state, row.severity, conversation)
    return Opened(row.id, row.state, row.severity, bool(row.opened))


async def open_of(conn: AsyncConnection, conversation: uuid.UUID) -> sa.Row[Any] | None:
    """The conversation's open handoff."""
    return (
        await conn.execute(
            sa.select(handoffs).where(
                handoffs.c.conversation_id == conversation, handoffs.c.state.in_(("waiting", "accepted"))
            )
        )
    ).one_or_none()


async def latest_of(conn: AsyncConnection, conversation: uuid.UUID) -> sa.Row[Any] | None:
    """The conversation's newest handoff, open or not, with the accepter's display name."""
    return (
        await conn.execute(
            sa.text(
                "SELECT h.*, s.display AS accepted_display, extract(epoch FROM now() - h.opened_at) AS waiting"
                " FROM handoffs h LEFT JOIN staff s ON s.id = h.accepted_by"
                " WHERE h.conversation_id = :conversation ORDER BY h.opened_at DESC LIMIT 1"
            ),
            {"conversation": conversation},
        )
    ).one_or_none()


async def accept(conn: AsyncConnection, handoff: uuid.UUID, *, staff: uuid.UUID) -> sa.Row[Any]:
    """Gives the handoff to this advocate. Raises Refused, naming who was quicker."""
    row = (await conn.execute(_ACCEPT, {"id": handoff, "staff": staff})).one_or_none()
    if row is None:
        raise Refused(await _why_not(conn, handoff, staff))
    await signals.log_outcome(
        conn, "accepted", row, details={"waited": round(float(row.waited), 1), "staff": str(staff)}
    )
    await _tell(conn, row.id, "accepted", row.severity, row.conversation_id)
    return row


async def _why_not(conn: AsyncConnection, handoff: uuid.UUID, staff: uuid.UUID) -> str:
    row = (
        await conn.execute(
            sa.text(
                "SELECT h.state, h.accepted_by, s.display FROM handoffs h"
                " LEFT JOIN staff s ON s.id = h.accepted_by WHERE h.id = :id"
            ),
            {"id": handoff},
        )
    ).one_or_none()
    if row is None:
        return "There is no such handoff."
    if row.accepted_by == staff and row.state == "accepted":
        return "You have already accepted this handoff."
    if row.state == "accepted":
        return f"{row.display} has already accepted this handoff."
    return "This handoff is no longer open."


async def close(
    conn: AsyncConnection,
    vault: Vault,
    handoff: uuid.UUID,
    *,
    staff: uuid.UUID,
    classification: str | None,
    writer: str,
    note: str,
) -> sa.Row[Any]:
    """Ends an accepted handoff. Raises Refused when it is not this advocate's, ValueError for unknown codes."""
    if classification not in (None, *CLASSIFICATIONS) or writer not in WRITERS:
        raise ValueError("unknown classification or writer")
    sealed = vault.seal(note.encode("utf-8", "surrogatepass"), context=f"handoff:{handoff}") if note else None
    row = (
        await conn.execute(
            _CLOSE,
            {"id": handoff, "staff": staff, "classification": classification, "writer": writer, "note": sealed},
        )
    ).one_or_none()
    if row is None:
        reason = await _why_not(conn, handoff, staff)
        raise Refused("Accept the handoff before you close it." if "already" not in reason else reason)
    await signals.log_outcome(
        conn,
        "closed",
        row,
        details={
            "waited": round(float(row.waited), 1),
            "lasted": round(float(row.lasted), 1),
            "classification": classification or "not_said",
            "writer": writer,
            "staff": str(staff),
        },
    )
    await _tell(conn, row.id, "closed", row.severity, row.conversation_id)
    return row


async def list_open(conn: AsyncConnection, *, limit: int = 500) -> list[sa.Row[Any]]:
    """Open handoffs, those that wait first, in the order in which they should be taken."""
    return list(await conn.execute(_LIST, {"ageing": _AGEING, "limit": limit}))


async def places(conn: AsyncConnection) -> dict[uuid.UUID, int]:
    """How many wait before each waiting conversation, in the order of the queue; a graver one may still overtake it."""
    found = await conn.execute(_PLACES, {"ageing": _AGEING})
    return {row.conversation_id: row.ahead for row in found}


async def _tell(conn: AsyncConnection, handoff: uuid.UUID, state: str, severity: str, conversation: uuid.UUID) -> None:
    await events.notify(conn, "queue", handoff=handoff, state=state, severity=severity, conversation=conversation)
