"""What we say to a person: a response key becomes a text, the text the channel's parts, which wait in the outbox."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import outbox
from bot.engine import Answer
from bot.inbox import Claim, StoredMessage
from bot.services import Services
from bot.tables import messages
from channels.channel import Choice, Part
from channels.templates import Template
from channels.templates import find as find_template
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
    if demo and rendered.drafted and claim.channel != "web" and not await _spoken_in(conn, claim, rendered.language):
        text += "\n" + render(services.catalog, "notice.draft", language, drafts=True).text
    await say(
        conn, services, claim.conversation, claim.channel,
        outbox.Outgoing(
            author="assistant", text=text, language=rendered.language, response_key=answer.key,
            choices=tuple(Choice(*choice) for choice in rendered.choices), drafted=rendered.drafted,
        ),
        dedupe_key=f"turn:{message.id}:{part}",
    )  # fmt: skip


async def _spoken_in(conn: AsyncConnection, claim: Claim, language: str) -> bool:
    """Whether we have written to this person in this language already; the demonstration's notice is given once."""
    found = await conn.scalar(
        sa.select(messages.c.id)
        .where(
            messages.c.conversation_id == claim.conversation,
            messages.c.direction == "out",
            messages.c.language == language,
        )
        .limit(1)
    )
    return found is not None


@dataclass(frozen=True, slots=True)
class Window:
    """Whether our own words may go out now; once that is over, perhaps a template may."""

    is_open: bool
    template: Template | None = None

    @property
    def shut(self) -> bool:
        """Nothing at all may go out."""
        return not self.is_open and self.template is None


async def window_of(conn: AsyncConnection, services: Services, conversation: Any, stands_for: str) -> Window:
    """The window of a conversation's row, and the organisation's template for a response key or an advocate's words."""
    channel = services.channels.get(conversation.channel)
    if channel is None or not await outbox.window_closed(conn, conversation.id, channel.limits.window):
        return Window(True)
    whatsapp, default = services.settings.whatsapp, services.settings.default_language
    languages = [conversation.language or default, default, "en"]
    return Window(False, find_template(whatsapp.templates if whatsapp else (), stands_for, languages))


async def say(
    conn: AsyncConnection,
    services: Services,
    conversation: Any,
    channel: str,
    message: outbox.Outgoing,
    *,
    dedupe_key: str,
    part: Part | None = None,
) -> int | None:
    """Composes a text for its channel and enqueues it; its number, or None when nothing goes out.

    ``part``: what to send, where that is settled already: an approved template.
    A channel that the settings have switched off meanwhile must not stop an escalation: then nothing is said.
    """
    if (speaks := services.channels.get(channel)) is None:
        _log.error("conversation %s: nothing is said, its channel %s is not configured", conversation, channel)
        return None
    parts = [part] if part else speaks.compose(message.text, message.choices)
    return await outbox.enqueue(
        conn, services.vault, conversation, message, parts=parts, dedupe_key=dedupe_key, pulled=channel == "web"
    )
