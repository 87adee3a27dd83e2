"""One web chat: its token, its conversation, what its page has still to read."""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from bot import events, inbox
from bot.services import Services
from bot.tables import conversations, messages
from handoff import queue
from translations.render import OWN_NAMES, render

_FROM = {"person": "you", "assistant": "assistant", "advocate": "person", "service": "service"}
_PAGE = 200  # messages read at once
PLACES_LAST = 30.0  # seconds: waiting alone moves a handoff forward as well
_NOBODY = {"human": False, "waiting": False}


@dataclass(slots=True)
class Session:
    """``conversation`` is None until the first message is stored."""

    token: str
    conversation: uuid.UUID | None
    seq: int
    language: str | None
    chosen: str | None = None  # a language chosen before there was a conversation


def issue(services: Services) -> str:
    """A new token: 128 random bits and our mark on them, so that it is known without being stored."""
    half = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
    return f"{half}.{_mark(services, half)}"


def _mark(services: Services, half: str) -> str:
    return services.vault.lookup(half, context="web-token").hex()[:32]


def genuine(services: Services, token: str) -> bool:
    half, _, mark = token.partition(".")
    return token.isascii() and len(half) == 22 and hmac.compare_digest(_mark(services, half), mark)


async def open_session(services: Services, hello: dict[str, Any]) -> Session:
    """The chat of a token of ours, or a new one: a client never chooses its own."""
    token = hello.get("token")
    found = await known(services, token) if isinstance(token, str) else None
    if found is None:
        found = Session(issue(services), None, 0, None)
    language = hello.get("language")
    if found.language is None and isinstance(language, str) and language in services.catalog.languages:
        found.language = language
    return found


async def known(services: Services, token: str) -> Session | None:
    """The session of a genuine token that was not ended."""
    if not genuine(services, token):
        return None
    found = Session(token, None, 0, None)
    await attach(services, found)
    return None if await ended(services, found) else found


async def attach(services: Services, session: Session) -> None:
    """Looks the conversation up, and applies what was chosen before it existed."""
    if session.conversation is not None:
        return
    lookup = inbox.address_lookup(services.vault, "web", session.token)
    async with services.database.begin() as conn:
        row = (
            await conn.execute(
                sa.select(conversations.c.id, conversations.c.language, conversations.c.next_seq).where(
                    conversations.c.channel == "web", conversations.c.address_lookup == lookup
                )
            )
        ).one_or_none()
        if row is None:
            return
        session.conversation, session.seq = row.id, row.next_seq - 1
        session.language = row.language or session.language
        if session.chosen:
            await inbox.learn(conn, row.id, language=session.chosen, language_chosen=True)


async def choose_language(services: Services, session: Session, language: str) -> None:
    """The person's own choice: it outranks detection from now on."""
    if language not in OWN_NAMES:
        return
    session.language = session.chosen = language
    if session.conversation is not None:
        async with services.database.begin() as conn:
            await inbox.learn(conn, session.conversation, language=language, language_chosen=True)


async def end(services: Services, session: Session) -> None:
    """Quick exit: this token reads nothing any more; advocates keep the conversation, and are told.

    The keyed hash of the token stays, so that words which come late still reach this conversation.
    """
    await attach(services, session)
    if session.conversation is None or await ended(services, session):
        return
    async with services.database.begin() as conn:
        await inbox.learn(
            conn,
            session.conversation,
            address_sealed=services.vault.seal(b"ended", context="address:web"),
            left_at=sa.func.now(),
        )
        await events.notify(conn, "ended", conversation=session.conversation)


async def ended(services: Services, session: Session) -> bool:
    """Whether the exit was taken, here or in another tab with the same token."""
    lookup = inbox.address_lookup(services.vault, "web", session.token)
    async with services.database.connect() as conn:
        found = await conn.scalar(
            sa.select(conversations.c.id).where(
                conversations.c.channel == "web",
                conversations.c.address_lookup == lookup,
                conversations.c.left_at.is_not(None),
            )
        )
    return found is not None


async def seq_of(services: Services, provider_id: str) -> int:
    """The number of a message that was stored before."""
    async with services.database.connect() as conn:
        found = await conn.scalar(
            sa.select(messages.c.seq).where(messages.c.channel == "web", messages.c.provider_id == provider_id)
        )
    return int(found or 0)


async def messages_after(services: Services, session: Session, after: int) -> list[dict[str, object]]:
    """Frames of the messages after a number, in order."""
    await attach(services, session)
    if session.conversation is None:
        return []
    async with services.database.connect() as conn:
        rows = await conn.execute(
            sa.select(messages)
            .where(messages.c.conversation_id == session.conversation, messages.c.seq > after)
            .order_by(messages.c.seq)
            .limit(_PAGE)
        )
    return [_frame(services, row) for row in rows]


def _frame(services: Services, row: Any) -> dict[str, object]:
    words = inbox.open_words(services.vault, row.id, row.words)
    frame = {
        "seq": row.seq,
        "from": _FROM[row.author],
        "text": words.get("text", ""),
        "choices": words.get("choices", []),
        "time": row.created_at.isoformat(),
        "client_id": words.get("client_id") or None,
        "language": row.language,
    }
    if services.settings.demo and words.get("drafted"):  # the page shows it once a language
        frame["notice"] = draft_notice(services, row.language)
    return frame


def draft_notice(services: Services, language: str) -> str:
    """The demonstration's remark that a text is a draft."""
    return render(services.catalog, "notice.draft", language, drafts=True).text


class Places:
    """How many wait before whom: read once for all open chats of this process, and anew after the queue has changed."""

    def __init__(self) -> None:
        self._reading = asyncio.Lock()
        self._turn = -1
        self._read_at = 0.0
        self._found: dict[uuid.UUID, int] = {}

    async def before(self, services: Services, conversation: uuid.UUID) -> int | None:
        """None when the conversation does not wait."""
        async with self._reading:
            if services.hub.turn != self._turn or time.monotonic() - self._read_at > PLACES_LAST:
                self._turn, self._read_at = services.hub.turn, time.monotonic()
                async with services.database.connect() as conn:
                    self._found = await queue.places(conn)
        return self._found.get(conversation)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the conversation shows. ``newest``: its last number."""

    ended: bool
    newest: int
    state: dict[str, object]


async def look(services: Services, session: Session, places: Places) -> Look:
    """All that an open chat wants to know but the messages themselves; one connection, two short queries."""
    await attach(services, session)
    if session.conversation is None:
        return Look(False, 0, dict(_NOBODY))
    async with services.database.connect() as conn:
        row = (
            await conn.execute(
                sa.select(conversations.c.left_at, conversations.c.next_seq, conversations.c.maybe_watched).where(
                    conversations.c.id == session.conversation
                )
            )
        ).one_or_none()
        handoff = await queue.open_of(conn, session.conversation)
    if row is None:  # erased meanwhile
        return Look(True, 0, dict(_NOBODY))
    found = handoff.state if handoff else None
    state: dict[str, object] = {"human": found == "accepted", "waiting": found == "waiting" and not row.maybe_watched}
    if state["waiting"]:
        state["ahead"] = await places.before(services, session.conversation)
    return Look(row.left_at is not None, row.next_seq - 1, state)


async def state(services: Services, session: Session) -> dict[str, object]:
    """Whether a human is here, or one is awaited and by how many others first; neither the waiting nor the place is
    shown to whoever may be reading along.
    """
    return (await look(services, session, Places())).state


def key_of(services: Services, session: Session) -> str:
    """What a chat without a conversation is called in events: the keyed hash of its token."""
    return inbox.address_lookup(services.vault, "web", session.token).hex()
