"""What a message means where it comes: the conversation's situation, and the reading of it away from the event loop."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import attachments, inbox, turn
from bot.inbox import Claim, StoredMessage
from bot.services import Services
from bot.tables import messages
from handoff import queue

_HISTORY = 5
_LOOKED_AT = 25  # to find them among places, pictures and presses of a button


async def situation_of(
    conn: AsyncConnection, services: Services, claim: Claim, message: StoredMessage
) -> turn.Situation:
    """What the conversation is in when this message comes."""
    latest = await queue.latest_of(conn, claim.conversation)
    handoff = latest if latest and latest.state in ("waiting", "accepted") else None
    last = (
        await conn.execute(
            sa.select(messages.c.created_at, messages.c.response_key)
            .where(messages.c.conversation_id == claim.conversation, messages.c.direction == "out")
            .order_by(messages.c.seq.desc())
            .limit(1)
        )
    ).one_or_none()
    earlier = await conn.execute(
        sa.select(messages.c.id, messages.c.words, messages.c.created_at)
        .where(
            messages.c.conversation_id == claim.conversation,
            messages.c.direction == "in",
            messages.c.seq < message.seq,
            messages.c.created_at > sa.func.now() - sa.text("interval '6 hours'"),
        )
        .order_by(messages.c.seq.desc())
        .limit(_LOOKED_AT)
    )
    texts = [
        (row.created_at, inbox.open_words(services.vault, row.id, row.words).get("text", ""))
        for row in reversed(earlier.all())
    ]
    said = [(when, text) for when, text in texts if any(map(str.isalpha, text))][-_HISTORY:]
    closed = latest.closed_at if latest else None
    return turn.Situation(
        handoff_state=handoff.state if handoff else None,
        handoff_severity=handoff.severity if handoff else "none",
        last_reply_at=last.created_at if last else None,
        last_reply_key=last.response_key if last else None,
        default_language=services.settings.default_language,
        # what led to a handoff must not mark every "yes" that follows, nor what is asked after it was closed
        history=() if handoff else tuple(text for when, text in said if closed is None or when > closed),
        before=tuple(text for _, text in said),
        no_pictures=not services.settings.media.pictures and _shows_something(message),
    )


def _shows_something(message: StoredMessage) -> bool:
    kinds = {attachments.kind_of(message.kind, file["content_type"]) for file in message.media}
    return not kinds.isdisjoint(attachments.PICTURES)


async def understand(
    services: Services, message: StoredMessage, claim: Claim, situation: turn.Situation
) -> turn.Understanding:
    """Away from the event loop, which goes on taking messages and answering chats meanwhile."""
    work = partial(
        turn.understand, message, claim, situation,
        detector=services.language, screen=services.risk, encoder=services.encoder,
    )  # fmt: skip
    return await asyncio.get_running_loop().run_in_executor(_understanding_threads(), work)


@lru_cache(maxsize=1)
def _understanding_threads() -> ThreadPoolExecutor:
    """The process's own few: each takes Python's lock and a core away from the event loop.

    Six at once on two cores stalled the loop for 20 to 40 ms and understood no more messages than one does, which
    stalls it for 5 (`passerelle bench`). Half of the cores, and no more than the encoder has threads.
    """
    size = max(1, min(2, len(os.sched_getaffinity(0)) // 2))
    return ThreadPoolExecutor(size, thread_name_prefix="understand")
