"""Files that people sent, in the console: opened by a press, fetched once, shown to whoever pressed.

The press is what is audited, and the audit row is what lets this member see the file: who has not pressed "Open" gets
nothing, on the page or by the file's address, even if a colleague has opened it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sanic import HTTPResponse, Request
from sanic.response import raw, redirect
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import attachments
from bot.services import Services
from bot.tables import audit
from channels.channel import MediaError
from handoff import access, queue
from handoff.filetypes import file_name, may_hold_pictures, shown_as
from handoff.pages import member_of, message, not_for, page, services_of
from handoff.staff import Member

OPENED = "opened a file"
CSP = "default-src 'none'; sandbox; frame-ancestors 'none'"
_PATIENCE = 70.0  # seconds that a second press waits for the first one's fetch
_RANGE = re.compile(r"bytes=([0-9]{1,12})-([0-9]{0,12})", re.ASCII)
_log = logging.getLogger("passerelle.media")


async def may_open(conn: AsyncConnection, member: Member, conversation: uuid.UUID) -> bool:
    """A supervisor, or the advocate who has accepted the conversation."""
    if member.may("open_files"):
        return True
    handoff = await queue.open_of(conn, conversation)
    mine = handoff is not None and handoff.state == "accepted" and handoff.accepted_by == member.id
    return member.may("converse") and mine


async def items(
    conn: AsyncConnection, member: Member, conversation: uuid.UUID, messages: Sequence[uuid.UUID]
) -> dict[uuid.UUID, list[dict[str, Any]]]:
    """The files of messages as the page shows them to this member."""
    found = await attachments.of_messages(conn, messages)
    if not found:
        return {}
    may = await may_open(conn, member, conversation)
    opened = await _opened_by(conn, member, conversation) if may else set()
    return {
        message: [_item(row, may=may, opened=str(row.id) in opened) for row in rows] for message, rows in found.items()
    }


async def _opened_by(conn: AsyncConnection, member: Member, conversation: uuid.UUID) -> set[str]:
    """Ids of the files of a conversation that this member has pressed "Open" for."""
    purposes = await conn.scalars(
        sa.select(audit.c.purpose).where(
            audit.c.staff_id == member.id, audit.c.action == OPENED, audit.c.conversation_id == conversation
        )
    )
    return {purpose.removeprefix("file ") for purpose in purposes}


def _item(row: Any, *, may: bool, opened: bool) -> dict[str, Any]:
    shown = row.state == "stored" and opened
    return {
        "id": str(row.id),
        "kind": row.kind,
        "size": row.size,
        "state": row.state,
        "error": row.error or "",
        "button": may and not shown and row.state in ("kept", "fetching", "stored"),
        "may": may,
        "shown": shown,
        "shown_as": (row.shown_as or "").partition("/")[0],
        "deleted_at": row.deleted_at.isoformat() if row.deleted_at else None,
    }


# -- the press


async def open_file(request: Request, attachment: uuid.UUID) -> HTTPResponse:
    """Audited first, then fetched if nobody has; the answer is the file's place on the page, new."""
    services, member = services_of(request), member_of(request)
    async with services.database.begin() as conn:
        row = await attachments.find(conn, attachment)
        if row is None:
            return message(request, "Not found", "There is no such file.", status=404)
        if not await may_open(conn, member, row.conversation_id):
            return not_for(request)
        await access.write_audit(
            conn, member.name, OPENED, member=member, conversation=row.conversation_id, purpose=f"file {row.id}"
        )
    await _fetched(services, row)
    if request.headers.get("sec-fetch-dest") != "empty":
        return redirect(f"/console/conversations/{row.conversation_id}#m-{row.seq}", status=303)
    async with services.database.connect() as conn:
        found = await items(conn, member, row.conversation_id, [row.message_id])
    return page(request, "_files.html", files=found[row.message_id])


async def _fetched(services: Services, row: sa.Row[Any]) -> None:
    """Returns when the file is here or cannot be had. One of many fetches it; the others wait for that one."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        async with services.database.begin() as conn:
            fence = await attachments.claim(conn, row.id)
            now = await attachments.find(conn, row.id)
        if fence is not None:
            await _fetch(services, row, fence)
            return
        if now is None or now.state != "fetching":
            return
        await asyncio.sleep(0.2)
        if not await _still_fetching(services, row.id):
            return  # the other one has ended, well or not: this press does not begin again


async def _still_fetching(services: Services, attachment: uuid.UUID) -> bool:
    async with services.database.connect() as conn:
        row = await attachments.find(conn, attachment)
    return row is not None and row.state == "fetching"


async def _fetch(services: Services, row: sa.Row[Any], fence: int) -> None:
    """Fetches and stores; what goes wrong is kept with the row, for whoever looks at it."""
    media = services.settings.media
    error, state = "unreachable", "kept"
    try:
        async with services.database.connect() as conn:
            where = await attachments.reference(conn, services.vault, row.message_id, row.part)
        if (channel := services.channels.get(where.channel)) is None:
            raise MediaError("settings")
        body = await channel.fetch(where.media, most=media.most)
        if not media.pictures and may_hold_pictures(row.content_type, body):
            raise MediaError("picture")
        async with services.database.begin() as conn:
            await attachments.store(
                conn, services.vault, row, body, fence=fence, shown_as=shown_as(row.content_type, body)
            )
        return
    except MediaError as failure:
        error = failure.code
        state = {"gone": "gone", "picture": "refused"}.get(error, "kept")
        _log.warning("file %s was not fetched: %s", row.id, error)
    except Exception:
        _log.exception("file %s was not fetched", row.id)
    async with services.database.begin() as conn:
        await attachments.give_back(conn, row.id, fence=fence, error=error, state=state)


# -- the file itself


async def show_file(request: Request, attachment: uuid.UUID) -> HTTPResponse:
    """The bytes, for the player or the picture on the page, or for saving. Nothing in them may run or be guessed at."""
    services, member = services_of(request), member_of(request)
    async with services.database.connect() as conn:
        row = await attachments.find(conn, attachment)
        if row is None or row.state != "stored":
            return message(request, "Not found", "There is no such file here.", status=404)
        allowed = await may_open(conn, member, row.conversation_id)
        if not allowed or str(row.id) not in await _opened_by(conn, member, row.conversation_id):
            return not_for(request)
        part = _part(request.headers.get("range", ""), row.size)
        if part is None:
            return raw(b"", status=416, headers={"Content-Range": f"bytes */{row.size}"})
        start, end = part
        body = await attachments.read(conn, services.vault, row, start, end)
    whole = end - start == row.size
    manner = "inline" if row.shown_as else "attachment"
    headers = {
        "Content-Disposition": f'{manner}; filename="{file_name(row.shown_as or row.content_type, row.part + 1)}"',
        "Content-Security-Policy": CSP,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Accept-Ranges": "bytes",
        **({} if whole else {"Content-Range": f"bytes {start}-{end - 1}/{row.size}"}),
    }
    content_type = row.shown_as or "application/octet-stream"
    return raw(body, status=200 if whole else 206, headers=headers, content_type=content_type)


def _part(asked: str, size: int) -> tuple[int, int] | None:
    """What a player asks for; all of it for everything but one plain range. None: beyond the end."""
    if (found := _RANGE.fullmatch(asked)) is None:
        return 0, size
    start, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
    return (start, end) if start < end else None
