"""The advocates' console: the live queue, the conversation, the signal log. Every action is a form post.

``pages.guard`` stands before every route: who is not logged in sees the log-in page and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import empty, redirect
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import inbox, reply
from channels.templates import ADVOCATE
from handoff import access, login, media, pages, queue, replies, screens, signals, typing, undelivered, verdicts
from handoff.pages import field, member_of, message, not_for, number, page, services_of
from handoff.staff import Member

HEARTBEAT = 15.0  # seconds
_SIGNALS = 100  # a page
console = Blueprint("console", url_prefix="/console")
console.static("/static", str(pages.HERE / "static"), name=pages.STATIC)
console.middleware(pages.guard, "request")
console.middleware(pages.harden, "response")
console.add_route(login.show, "/login", methods=["GET"], name="login")
console.add_route(login.log_in, "/login", methods=["POST"], name="log_in")
console.add_route(login.log_out, "/logout", methods=["POST"], name="logout")
console.add_route(typing.tell, "/conversations/<conversation:uuid>/typing", methods=["POST"], name="typing")
console.add_route(media.open_file, "/files/<attachment:uuid>/open", methods=["POST"], name="open_file")
console.add_route(media.show_file, "/files/<attachment:uuid>", methods=["GET"], name="show_file")


# -- the queue


@console.get("", name="queue")
async def show_queue(request: Request) -> HTTPResponse:
    member = member_of(request)
    if member.may("queue"):
        return await _queue_page(request, "queue.html")
    if member.may("signals"):
        return redirect("/console/signals", status=303)
    return message(request, "Nothing here yet", "There is nothing in the console for your role yet.", status=200)


@console.get("/queue", name="queue_fragment")
async def queue_fragment(request: Request) -> HTTPResponse:
    return await _queue_page(request, "_queue.html")


async def _queue_page(request: Request, template: str) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    if not member.may("queue"):
        return not_for(request)
    async with services.database.begin() as conn:
        rows = await queue.list_open(conn)
        seen = [row.conversation_id for row in rows if row.state == "waiting" or row.accepted_by == member.id]
        quoted = await access.access_evidence(conn, services.vault, member, seen)
    return page(request, template, **screens.queue_lists(rows, quoted, member))


@console.get("/events", name="events")
async def events(request: Request) -> HTTPResponse | None:
    """Server-sent events: that something changed, never what was written. Ends with the session."""
    services = services_of(request)
    if not member_of(request).may("queue"):
        return not_for(request)
    response = await request.respond(content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
    with services.hub.subscribe() as coming:
        await response.send(_event("hello"))
        checked = time.monotonic()
        while True:
            frame = await _next_frame(coming)
            if time.monotonic() - checked >= HEARTBEAT:
                if await pages.who(request) is None:
                    return None
                checked = time.monotonic()
            if frame:
                await response.send(frame)


async def _next_frame(coming: asyncio.Queue[dict[str, Any]]) -> str:
    """The next event as the browser reads it; a comment when there was none, so that nobody cuts the line."""
    try:
        async with asyncio.timeout(HEARTBEAT):
            return _frame(await coming.get())
    except TimeoutError:
        return ": still here\n\n"


def _frame(event: dict[str, Any]) -> str:
    kind = event["kind"]
    if kind == "missed":
        return _event("hello")
    if kind == "queue":
        return _event("queue", **{name: event.get(name) for name in ("handoff", "state", "severity")})
    if kind in ("inbound", "outbound", "delivery", "ended") and "conversation" in event:
        # Some name no message: without a number the page asks only for what may have changed.
        return _event("conversation", **{name: event[name] for name in ("conversation", "seq") if name in event})
    return ""


def _event(name: str, **details: object) -> str:
    return f"event: {name}\ndata: {json.dumps(details)}\n\n"


# -- one handoff


@console.post("/handoffs/<handoff:uuid>/accept", name="accept")
async def accept(request: Request, handoff: uuid.UUID) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    if not member.may("converse"):
        return not_for(request)
    try:
        async with services.database.begin() as conn:
            await replies.lock_conversation(conn, handoff)
            row = await queue.accept(conn, handoff, staff=member.id)
            await replies.tell(conn, services, row, "handoff.accepted", dedupe_key=f"accepted:{handoff}")
    except queue.Refused as refusal:
        return message(request, "Not accepted", str(refusal), status=409)
    return redirect(f"/console/conversations/{row.conversation_id}", status=303)


@console.post("/handoffs/<handoff:uuid>/close", name="close")
async def close(request: Request, handoff: uuid.UUID) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    if not member.may("converse"):
        return not_for(request)
    try:
        async with services.database.begin() as conn:
            await replies.lock_conversation(conn, handoff)
            row = await queue.close(
                conn,
                services.vault,
                handoff,
                staff=member.id,
                classification=field(request, "classification") or None,
                writer=field(request, "writer") or "not_said",
                note=field(request, "note")[: replies.MAX_TEXT],
            )
            await replies.tell(conn, services, row, "handoff.closed", dedupe_key=f"closed:{handoff}")
            # an advocate has seen to the safety of writing: the assistant need not be discreet any more
            await inbox.learn(conn, row.conversation_id, maybe_watched=False)
    except queue.Refused as refusal:
        return message(request, "Not closed", str(refusal), status=409)
    except ValueError:
        return message(request, "Not closed", "Choose one of the classifications that are offered.", status=400)
    return redirect("/console", status=303)


# -- the conversation


@console.get("/conversations/<conversation:uuid>", name="conversation")
async def show_conversation(request: Request, conversation: uuid.UUID) -> HTTPResponse:
    return await _conversation_page(request, conversation)


async def _conversation_page(
    request: Request, conversation: uuid.UUID, *, error: str = "", text: str = "", status: int = 200
) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    try:
        async with services.database.begin() as conn:
            row = await access.access_conversation(conn, member, conversation, purpose="read")
            if row is None:
                return message(request, "Not found", "There is no such conversation.", status=404)
            handoff = await queue.latest_of(conn, conversation)
            transcript = await access.access_messages(conn, services.vault, member, conversation)
            quoted = await access.access_evidence(conn, services.vault, member, [conversation])
            judged = await verdicts.given_by(conn, member, conversation)
            lost = await _undelivered(conn, member, row, handoff, transcript)
            files = await media.items(conn, member, conversation, [item.id for item in transcript])
            window = await reply.window_of(conn, services, row, ADVOCATE)
    except access.Denied:
        return not_for(request)
    return page(
        request, "conversation.html", status=status, error=error, text=text, client_id=str(uuid.uuid4()),
        conversation={**screens.conversation_item(row), "window": screens.window_item(window)},
        handoff=screens.handoff_item(handoff, member, quoted.get(conversation, [])) if handoff else None,
        messages=[
            screens.message_item(item, judged.get(item.id), lost.get(item.id), files.get(item.id, ()))
            for item in transcript
        ],
    )  # fmt: skip


async def _undelivered(
    conn: AsyncConnection, member: Member, row: Any, handoff: Any, transcript: list[access.TranscriptMessage]
) -> dict[uuid.UUID, dict[str, Any]]:
    """Why messages did not arrive, with a button where it can help."""
    found = await undelivered.of_messages(conn, [item.id for item in transcript if item.author != "person"])
    may = undelivered.may_send_again(member, handoff) and not row.opted_out and not row.left_at
    return {message: screens.undelivered_item(one, may=may) for message, one in found.items()}


@console.get("/conversations/<conversation:uuid>/messages", name="messages")
async def messages_fragment(request: Request, conversation: uuid.UUID) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    after = number(request.args.get("after")) or 0
    try:
        async with services.database.begin() as conn:
            await access.continue_reading(conn, member, conversation)
            row = await access.conversation_row(conn, conversation)
            transcript = await access.access_messages(conn, services.vault, member, conversation, after=after)
            judged = await verdicts.given_by(conn, member, conversation)
            handoff = await queue.open_of(conn, conversation)
            lost = await _undelivered(conn, member, row, handoff, transcript) if row else {}
            files = await media.items(conn, member, conversation, [item.id for item in transcript])
    except access.Denied:
        return not_for(request)
    items = [
        screens.message_item(item, judged.get(item.id), lost.get(item.id), files.get(item.id, ()))
        for item in transcript
    ]
    return page(request, "_messages.html", messages=items, left_at=row.left_at if row else None)


@console.post("/conversations/<conversation:uuid>/send", name="send")
async def send(request: Request, conversation: uuid.UUID) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    if not member.may("converse"):
        return not_for(request)
    draft = replies.draft(
        field(request, "text"), number(field(request, "version")), field(request, "client_id"),
        template=field(request, "template"),
    )  # fmt: skip
    try:
        async with services.database.begin() as conn:
            await replies.send(conn, services, member, conversation, draft)
    except replies.Unsent as refusal:
        return await _conversation_page(
            request, conversation, error=str(refusal), text=draft.text, status=refusal.status
        )
    if _from_script(request):
        return empty()
    return redirect(f"/console/conversations/{conversation}", status=303)


@console.post("/messages/<message_id:uuid>/verdict", name="verdict")
async def give_verdict(request: Request, message_id: uuid.UUID) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    try:
        async with services.database.begin() as conn:
            place = await verdicts.give(conn, member, message_id, field(request, "verdict"))
    except access.Denied:
        return not_for(request)
    except verdicts.Refused as refusal:
        return message(request, "Not kept", str(refusal), status=refusal.status)
    if _from_script(request):
        return empty()
    return redirect(f"/console/conversations/{place.conversation}#m-{place.seq}", status=303)


def _from_script(request: Request) -> bool:
    """Our script asks for what is new by itself; a form without it wants a page."""
    return request.headers.get("sec-fetch-dest") == "empty"


# -- what did not arrive


@console.get("/undelivered", name="undelivered")
async def show_undelivered(request: Request) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    if not member.may("send_again"):
        return not_for(request)
    async with services.database.connect() as conn:
        found = await undelivered.listed(conn)
    return page(
        request, "undelivered.html", rows=[screens.undelivered_row(row, one, may=True) for row, one in found]
    )  # fmt: skip


@console.post("/messages/<message_id:uuid>/again", name="send_again")
async def send_again(request: Request, message_id: uuid.UUID) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    seen = number(field(request, "again")) or 0
    try:
        async with services.database.begin() as conn:
            place = await undelivered.send_again(conn, services, member, message_id, seen=seen)
    except access.Denied:
        return not_for(request)
    except undelivered.Refused as refusal:
        return message(request, "Not sent again", str(refusal), status=refusal.status)
    back = field(request, "back") == "list" and member.may("send_again")
    return redirect(
        "/console/undelivered" if back else f"/console/conversations/{place.conversation}#m-{place.seq}", status=303
    )


# -- the signal log


@console.get("/signals", name="signals")
async def show_signals(request: Request) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    if not member.may("signals"):
        return not_for(request)
    before = number(request.args.get("before"), most=2**63 - 1)
    async with services.database.connect() as conn:
        rows = await signals.page(conn, before=before, size=_SIGNALS)
    older = f"/console/signals?before={rows[-1].number}" if len(rows) == _SIGNALS else ""
    return page(request, "signals.html", rows=[screens.signal_item(row) for row in rows], next=older)
