"""What we say to a person: a response key becomes a text, the text the channel's parts, which wait in the outbox."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import outbox
from bot.engine import Answer
from bot.inbox import Claim, StoredMessage
from bot.services import Services
from bot.tables import messages
from channels.channel import Choice
from translations.render import render

_log = logging.getLogger("passerelle.reply")


async def say_key(
    conn: AsyncConnection,
    services: Services,
    claim: Claim,
    message: StoredMessage,
    part: str,
    answer: Answer,
    language: str,
) -> None:
    """Renders a response key for the channel and puts it into the outbox, once per turn and place in it.

    Where somebody else may be reading along, a text that would give the person away becomes a discreet one.
    """
    demo = services.settings.demo
    known = services.catalog.keys.get(answer.key)
    if claim.maybe_watched and known is not None and known.revealing:
        answer = Answer("discreet.noted" if answer.key.startswith("handoff.") else "discreet.who")
    try:
        rendered = render(services.catalog, answer.key, language, drafts=demo, slots=answer.slots)
    except KeyError:
        _log.error("no text for response key %s", answer.key)
        rendered = render(services.catalog, "fallback.unclear", language, drafts=demo)
    text = rendered.text
    if rendered.interpreter and answer.key.startswith(("handoff.", "offer.")):
        text += "\n" + render(services.catalog, "notice.interpreter", language, drafts=demo).text
    if demo and rendered.drafted and claim.channel != "web" and not await _spoken_before(conn, claim):
        text += "\n" + render(services.catalog, "notice.draft", language, drafts=True).text
    await say(
        conn, services, claim.conversation, claim.channel,
        outbox.Outgoing(
            author="assistant", text=text, language=rendered.language, response_key=answer.key,
            choices=tuple(Choice(*choice) for choice in rendered.choices), drafted=rendered.drafted,
        ),
        dedupe_key=f"turn:{message.id}:{part}",
    )  # fmt: skip


async def _spoken_before(conn: AsyncConnection, claim: Claim) -> bool:
    """Whether we have written to this person already; the demonstration's notice is given once."""
    found = await conn.scalar(
        sa.select(messages.c.id)
        .where(messages.c.conversation_id == claim.conversation, messages.c.direction == "out")
        .limit(1)
    )
    return found is not None


async def say(
    conn: AsyncConnection,
    services: Services,
    conversation: Any,
    channel: str,
    message: outbox.Outgoing,
    *,
    dedupe_key: str,
) -> int | None:
    """Composes a text for its channel and enqueues it."""
    parts = services.channels[channel].compose(message.text, message.choices)
    return await outbox.enqueue(
        conn, services.vault, conversation, message, parts=parts, dedupe_key=dedupe_key, pulled=channel == "web"
    )
