"""The person sees that an advocate is writing. It is told and forgotten: nothing of it is stored."""

from __future__ import annotations

import uuid

from sanic import HTTPResponse, Request
from sanic.response import empty

from bot import events
from handoff import queue
from handoff.pages import member_of, not_for, services_of


async def tell(request: Request, conversation: uuid.UUID) -> HTTPResponse:
    """The console's page says so every few seconds while words are being written into it."""
    services, member = services_of(request), member_of(request)
    async with services.database.begin() as conn:
        handoff = await queue.open_of(conn, conversation)
        if not member.may("converse") or handoff is None or handoff.accepted_by != member.id:
            return not_for(request)
        await events.notify(conn, "typing", conversation=conversation)
    return empty()
