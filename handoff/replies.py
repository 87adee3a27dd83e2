"""What reaches a person from the console: an advocate's words, and the fixed texts at joining and leaving.

Locks: always the conversation's row first and its handoff after it, as a turn does, so that accepting and a
turn of the same person wait for each other instead of colliding.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import inbox, outbox, reply
from bot.services import Services
from bot.tables import handoffs, messages
from bot.vault import Vault
from channels.templates import ADVOCATE, MAX_BODY, Template
from handoff import access, queue
from handoff.staff import Member
from translations.render import render

MAX_TEXT = 4000


class Unsent(Exception):
    """Why an advocate's words were not sent, in a sentence for the advocate; ``status`` of the answer."""

    def __init__(self, sentence: str, *, status: int = 409) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Draft:
    """An advocate's words. ``seen``: the newest number on the page; ``client_id``: the same at every retry.

    ``template``: the one that the page said would be sent; no other goes out in place of somebody's words.
    """

    text: str
    seen: int
    client_id: str
    template: str = ""


def draft(text: str, seen: int | None, client_id: str, *, template: str = "") -> Draft:
    """The draft of a form; a page without a usable id gets one, and loses nothing but retries being known."""
    usable = re.fullmatch(r"[\w-]{1,64}", client_id, re.ASCII)
    return Draft(text.strip(), seen or 0, client_id if usable else str(uuid.uuid4()), template)


async def lock_conversation(conn: AsyncConnection, handoff: uuid.UUID) -> None:
    """Holds the row of a handoff's conversation until we commit."""
    conversation = await conn.scalar(sa.select(handoffs.c.conversation_id).where(handoffs.c.id == handoff))
    if conversation is not None:
        await access.conversation_row(conn, conversation, lock=True)


async def send(conn: AsyncConnection, services: Services, member: Member, conversation: uuid.UUID, new: Draft) -> None:
    """Puts an advocate's words into the outbox, once. Raises Unsent."""
    words = new.text
    row = await access.conversation_row(conn, conversation, lock=True)
    handoff = await queue.open_of(conn, conversation)
    if row is None or handoff is None or handoff.accepted_by != member.id:
        raise Unsent("Not sent: only the advocate who accepted this conversation can write in it.")
    window = await reply.window_of(conn, services, row, ADVOCATE)
    template = window.template
    if template is not None:  # what the person will read, and what a retry is known by
        new = replace(new, text=template.text(new.text) if new.text or not template.placeholder else "")
    part = template.part(words) if template else None
    key = f"advocate:{conversation}:{new.client_id}"
    earlier = await _sent_under(conn, services.vault, key)
    if earlier == new.text:
        return  # the answer to the first try was lost
    if earlier is not None:  # and the words were changed before the second
        key += ":" + hashlib.sha256(new.text.encode("utf-8", "replace")).hexdigest()[:16]
    if not await _sent_under(conn, services.vault, key):
        if template is not None:
            _check_template(template, new)
        await _check(conn, services, row, new, shut=window.shut)
        language = template.tag if template else row.language or "und"
        outgoing = outbox.Outgoing(
            author="advocate", text=new.text, language=language, staff=member.id, client_id=new.client_id
        )
        await reply.say(conn, services, conversation, row.channel, outgoing, dedupe_key=key, part=part)
        await access.write_audit(conn, member.name, "wrote", member=member, conversation=conversation)


async def _sent_under(conn: AsyncConnection, vault: Vault, key: str) -> str | None:
    """The words that were put into the outbox under this key."""
    query = sa.select(messages.c.id, messages.c.words).where(messages.c.dedupe_key == key)
    row = (await conn.execute(query)).one_or_none()
    return inbox.open_words(vault, row.id, row.words).get("text", "") if row else None


def _check_template(template: Template, new: Draft) -> None:
    if new.template != template.name:
        raise Unsent(
            "Not sent: the person last wrote more than 24 hours ago, and WhatsApp takes only an approved text now:"
            f" “{template.text('…')}” Keep your words and load this page again to send it."
        )
    if len(new.text) > MAX_BODY:
        room = MAX_BODY - len(template.text())
        raise Unsent(f"Not sent: in this template there is room for {room} characters. Write less.", status=400)


async def _check(conn: AsyncConnection, services: Services, conversation: Any, new: Draft, *, shut: bool) -> None:
    if not new.text:
        raise Unsent("Not sent: the message is empty.", status=400)
    if len(new.text) > MAX_TEXT:
        raise Unsent(f"Not sent: the message is longer than {MAX_TEXT} characters. Send it in pieces.", status=400)
    if conversation.left_at:
        raise Unsent("Not sent: the person left the chat and cannot read what you write here.")
    if conversation.opted_out:
        raise Unsent("Not sent: the person wrote STOP, so nothing more may be sent.")
    if conversation.channel not in services.channels:
        raise Unsent("Not sent: this channel is switched off. Ask whoever runs Passerelle.")
    if shut:
        raise Unsent("Not sent: the person last wrote more than 24 hours ago. Nothing goes out until they write again.")
    if await access.latest_inbound(conn, conversation.id) > new.seen:
        raise Unsent("Not sent yet: the person has written something new. Read it, then send again.")


async def tell(conn: AsyncConnection, services: Services, handoff: Any, key: str, *, dedupe_key: str) -> None:
    """A reviewed text about the handoff itself, in the person's language; nothing that the provider would refuse."""
    conversation = await access.conversation_row(conn, handoff.conversation_id)
    if conversation is None:
        return
    window = await reply.window_of(conn, services, conversation, key)
    if window.shut:
        return
    language = conversation.language or handoff.language or services.settings.default_language
    rendered = render(services.catalog, key, language, drafts=services.settings.demo)
    outgoing = outbox.Outgoing(
        author="service", text=rendered.text, language=rendered.language, response_key=key, drafted=rendered.drafted
    )
    part = None
    if (template := window.template) is not None:  # the organisation's own text, which Meta has approved
        outgoing = replace(outgoing, text=template.text(), language=template.tag, drafted=False)
        part = template.part()
    await reply.say(conn, services, conversation.id, conversation.channel, outgoing, dedupe_key=dedupe_key, part=part)
