"""The signal log: one row per risk event and per outcome, append-only, without words and without addresses."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.tables import signals


async def log_risk(
    conn: AsyncConnection,
    *,
    conversation: uuid.UUID,
    message: uuid.UUID,
    handoff: uuid.UUID | None,
    found: Sequence[tuple[str, str, str]],
    language: str | None,
    channel: str,
    region: str | None,
    screen_version: str,
) -> int:
    """Logs (indicator, severity, source) of one message; how many are new. Repeating it changes nothing."""
    if not found:
        return 0
    rows = [
        {
            "id": uuid.uuid4(),
            "kind": "risk",
            "conversation_id": conversation,
            "message_id": message,
            "handoff_id": handoff,
            "indicator": indicator,
            "severity": severity,
            "source": source,
            "language": language,
            "channel": channel,
            "region": region,
            "screen_version": screen_version,
        }
        for indicator, severity, source in found
    ]
    statement = (
        insert(signals)
        .values(rows)
        .on_conflict_do_nothing(index_elements=["message_id", "indicator"], index_where=sa.text("kind = 'risk'"))
    )
    return len((await conn.execute(statement.returning(signals.c.id))).all())


async def log_outcome(conn: AsyncConnection, kind: str, handoff: sa.Row[Any], *, details: dict[str, object]) -> None:
    """Logs what became of a handoff: accepted, closed or abandoned, with waits in seconds and codes only."""
    await conn.execute(
        signals.insert().values(
            id=uuid.uuid4(),
            kind=kind,
            conversation_id=handoff.conversation_id,
            handoff_id=handoff.id,
            severity=handoff.severity,
            language=handoff.language,
            channel=handoff.channel,
            details=details,
        )
    )


async def page(conn: AsyncConnection, *, before: int | None, size: int = 100) -> list[sa.Row[Any]]:
    """The newest signals below a number, newest first."""
    query = sa.select(signals).order_by(signals.c.number.desc()).limit(size)
    if before is not None:
        query = query.where(signals.c.number < before)
    return list(await conn.execute(query))
