"""The advocates' console: log in, the live queue, the conversation, the signal log. Every action is a form post."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import empty, redirect
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import outbox
from bot.services import Services
from handoff import access, pages, queue, signals, staff
from handoff.access import TranscriptMessage
from handoff.pages import field, member_of, message, page, services_of
from handoff.staff import Member
from translations.render import direction, language_name, render

MAX_TEXT = 4000
HEARTBEAT = 15.0  # seconds
console = Blueprint("console", url_prefix="/console")
console.static("/static", str(pages.HERE / "static"), name="console_static")
console.middleware(pages.guard, "request")
console.middleware(pages.harden, "response")


# -- logging in and out


@console.get("/login", name="login")
async def login(request: Request) -> HTTPResponse:
    return pages.login_form(request)


@console.post("/login", name="log_in")
async def log_in(request: Request) -> HTTPResponse:
    services = services_of(request)
    if not pages.csrf_fits(request, request.cookies.get(pages.LOGIN_COOKIE) or ""):
        return pages.login_form(request, error="The page was too old. Please try again.", status=403)
    name, password = field(request, "name")[:100], field(request, "password")[:1000]
    async with services.database.begin() as conn:
        found = await staff.find_login(conn, name)
    fits = await asyncio.to_thread(staff.password_fits, found.password_hash if found else None, password)
    if found is not None and found.locked:
        return pages.login_form(request, error="Too many wrong passwords. Try again in some minutes.", status=429)
    async with services.database.begin() as conn:
        if found is None or not fits:
            if found is not None:
                await staff.record_failure(conn, found.id)
            return pages.login_form(request, error="This name and password do not fit.", status=401)
        token = await staff.open_session(conn, services.vault, found.id)
        await access.write_audit(conn, name.lower(), "login")
    response = redirect("/console", status=303)
    pages.set_cookie(request, response, pages.COOKIE, token, max_age=staff.SESSION_HOURS * 3600)
    pages.drop_cookie(response, pages.LOGIN_COOKIE)
    return response


@console.post("/logout", name="logout")
async def logout(request: Request) -> HTTPResponse:
    services = services_of(request)
    async with services.database.begin() as conn:
        await staff.close_session(conn, services.vault, request.cookies.get(pages.COOKIE) or "")
    response = redirect("/console/login", status=303)
    pages.drop_cookie(response, pages.COOKIE)
    return response


# -- the queue


@console.get("", name="queue")
async def show_queue(request: Request) -> HTTPResponse:
    member = member_of(request)
    if not member.may("queue"):
        if member.may("signals"):
            return redirect("/console/signals", status=303)
        return _not_for(request)
    return page(request, "queue.html", **await _queue(services_of(request), member))


@console.get("/queue", name="queue_fragment")
async def queue_fragment(request: Request) -> HTTPResponse:
    member = member_of(request)
    if not member.may("queue"):
        return _not_for(request)
    return page(request, "_queue.html", **await _queue(services_of(request), member))


def _not_for(request: Request) -> HTTPResponse:
    return message(request, "Not for your role", "Your account may not open this page. Ask a supervisor.", status=403)


async def _queue(services: Services, member: Member) -> dict[str, Any]:
    async with services.database.begin() as conn:
        rows = await queue.list_open(conn)
        quoted = await access.access_evidence(
            conn, services.vault, member, [row.conversation_id for row in rows if _may_see(row, member)]
        )
    items = [_queue_item(row, quoted.get(row.conversation_id, [])) for row in rows]
    waiting = [item for item in items if item["state"] == "waiting"]
    taken = [(row, item) for row, item in zip(rows, items, strict=True) if item["state"] == "accepted"]
    mine = [item for row, item in taken if row.accepted_by == member.id]
    return {
        "waiting": waiting,
        "mine": mine,
        "others": [item for row, item in taken if row.accepted_by != member.id],
    }


def _may_see(row: Any, member: Member) -> bool:
    return bool(row.state == "waiting" or row.accepted_by == member.id)


def _queue_item(row: Any, evidence: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "conversation": str(row.conversation_id),
        "severity": row.severity,
        "indicators": row.indicators,
        "evidence": evidence,
        "language": row.language,
        "language_name": language_name(row.language),
        "direction": direction(row.language),
        "channel": row.channel,
        "opened_at": row.opened_at.isoformat(),
        "waiting_seconds": float(row.waiting),
        "state": row.state,
        "accepted_by": row.accepted_display,
        "accepted_at": row.accepted_at.isoformat() if row.accepted_at else None,
        "unread": int(row.unread),
    }


@console.get("/events", name="events")
async def events(request: Request) -> None:
    """Server-sent events: that something changed, never what was written."""
    services = services_of(request)
    response = await request.respond(content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
    with services.hub.subscribe() as coming:
        await response.send("event: hello\ndata: {}\n\n")
        while True:
            try:
                event = await asyncio.wait_for(coming.get(), HEARTBEAT)
            except TimeoutError:
                await response.send(": still here\n\n")
                continue
            if frame := _frame(event):
                await response.send(frame)


def _frame(event: dict[str, Any]) -> str:
    kind = event["kind"]
    if kind == "missed":
        return "event: hello\ndata: {}\n\n"
    if kind == "queue":
        details = {name: event.get(name) for name in ("handoff", "state", "severity")}
        return f"event: queue\ndata: {json.dumps(details)}\n\n"
    if kind in ("inbound", "outbound", "delivery") and "conversation" in event:
        details = {"conversation": event["conversation"], "seq": event.get("seq", 0)}
        return f"event: conversation\ndata: {json.dumps(details)}\n\n"
    return ""


# -- one handoff


@console.post("/handoffs/<handoff:uuid>/accept", name="accept")
async def accept(request: Request, handoff: uuid.UUID) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    if not member.may("converse"):
        return _not_for(request)
    try:
        async with services.database.begin() as conn:
            row = await queue.accept(conn, handoff, staff=member.id)
            await _tell_person(conn, services, row, "handoff.accepted", f"accepted:{handoff}")
    except queue.Refused as refusal:
        return message(request, "Not accepted", str(refusal), status=409)
    return redirect(f"/console/conversations/{row.conversation_id}", status=303)


@console.post("/handoffs/<handoff:uuid>/close", name="close")
async def close(request: Request, handoff: uuid.UUID) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    try:
        async with services.database.begin() as conn:
            row = await queue.close(
                conn,
                services.vault,
                handoff,
                staff=member.id,
                classification=field(request, "classification") or None,
                writer=field(request, "writer") or "not_said",
                note=field(request, "note")[:MAX_TEXT],
            )
            await _tell_person(conn, services, row, "handoff.closed", f"closed:{handoff}")
    except queue.Refused as refusal:
        return message(request, "Not closed", str(refusal), status=409)
    except ValueError:
        return message(request, "Not closed", "Choose one of the classifications that are offered.", status=400)
    return redirect("/console", status=303)


async def _tell_person(conn: AsyncConnection, services: Services, handoff: Any, key: str, dedupe_key: str) -> None:
    """A reviewed text about the handoff itself, in the person's language."""
    conversation = await access.conversation_row(conn, handoff.conversation_id)
    if conversation is None or conversation.opted_out:
        return
    language = conversation.language or handoff.language or services.settings.default_language
    rendered = render(services.catalog, key, language, drafts=services.settings.demo)
    outgoing = outbox.Outgoing(
        author="service", text=rendered.text, language=rendered.language, response_key=key, drafted=rendered.drafted
    )
    await _enqueue(conn, services, conversation, outgoing, dedupe_key)


async def _enqueue(
    conn: AsyncConnection, services: Services, conversation: Any, outgoing: outbox.Outgoing, dedupe_key: str
) -> None:
    parts = services.channels[conversation.channel].compose(outgoing.text, outgoing.choices)
    await outbox.enqueue(
        conn, services.vault, conversation.id, outgoing, parts=parts, dedupe_key=dedupe_key,
        pulled=conversation.channel == "web",
    )  # fmt: skip


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
    except access.Denied:
        return _not_for(request)
    return page(
        request, "conversation.html", status=status, error=error, text=text, client_id=str(uuid.uuid4()),
        conversation=_conversation_item(row),
        handoff=_handoff_item(handoff, member, quoted.get(conversation, [])) if handoff else None,
        messages=[_message_item(item) for item in transcript],
    )  # fmt: skip


def _conversation_item(row: Any) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "channel": row.channel,
        "language": row.language,
        "language_name": language_name(row.language),
        "direction": direction(row.language),
        "opted_out": row.opted_out,
        "maybe_watched": row.maybe_watched,
        "region": row.region,
    }


def _handoff_item(row: Any, member: Member, evidence: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "state": row.state,
        "severity": row.severity,
        "indicators": row.indicators,
        "evidence": evidence,
        "opened_at": row.opened_at.isoformat(),
        "accepted_by": row.accepted_display,
        "accepted_by_me": row.accepted_by == member.id,
        "waiting_seconds": float(row.waiting),
    }


def _message_item(item: TranscriptMessage) -> dict[str, Any]:
    source = {"person": "person_writing", "assistant": "assistant", "service": "assistant"}.get(item.author, "advocate")
    return {
        "seq": item.seq,
        "from": source,
        "author": item.author_display,
        "text": item.text,
        "kind": item.kind,
        "parts": cut_at_evidence(item.text, item.evidence),
        "time": item.time.isoformat(),
        "state": item.state,
        "language": item.language if item.language != "und" else None,
        "direction": direction(item.language) if item.language else "auto",
    }


def cut_at_evidence(text: str, evidence: tuple[dict[str, Any], ...]) -> list[dict[str, str | None]]:
    """The text in pieces, those that led to an indicator with its name; a pattern's exact words are shown
    rather than the whole message that the model judged; of overlapping ones the first."""
    parts: list[dict[str, str | None]] = []
    end = 0
    exact = [item for item in evidence if not item["source"].startswith("model")]
    for item in sorted(exact or evidence, key=lambda found: (found["start"], -found["end"])):
        start, stop = max(0, item["start"]), min(len(text), item["end"])
        if start < end or start >= stop:
            continue
        if start > end:
            parts.append({"text": text[end:start], "indicator": None})
        parts.append({"text": text[start:stop], "indicator": item["indicator"]})
        end = stop
    if end < len(text):
        parts.append({"text": text[end:], "indicator": None})
    return parts


@console.get("/conversations/<conversation:uuid>/messages", name="messages")
async def messages_fragment(request: Request, conversation: uuid.UUID) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    after = request.args.get("after", "0")
    try:
        async with services.database.begin() as conn:
            await access.continue_reading(conn, member, conversation)
            transcript = await access.access_messages(
                conn, services.vault, member, conversation, after=int(after) if after.isdigit() else 0
            )
    except access.Denied:
        return _not_for(request)
    return page(request, "_messages.html", messages=[_message_item(item) for item in transcript])


@console.post("/conversations/<conversation:uuid>/send", name="send")
async def send(request: Request, conversation: uuid.UUID) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    text = field(request, "text").strip()
    async with services.database.begin() as conn:
        problem, row = await _why_not_send(conn, services, member, conversation, text, field(request, "version"))
        if not problem and row is not None:
            client_id = field(request, "client_id")[:64] or str(uuid.uuid4())
            outgoing = outbox.Outgoing(
                author="advocate", text=text, language=row.language or "und", staff=member.id, client_id=client_id
            )
            await _enqueue(conn, services, row, outgoing, f"advocate:{conversation}:{client_id}")
            await access.write_audit(conn, member.name, "wrote", member=member, conversation=conversation)
    if problem:
        return await _conversation_page(request, conversation, error=problem, text=text, status=409)
    if request.headers.get("x-requested-with"):
        return empty()
    return redirect(f"/console/conversations/{conversation}", status=303)


async def _why_not_send(
    conn: AsyncConnection, services: Services, member: Member, conversation: uuid.UUID, text: str, version: str
) -> tuple[str, Any]:
    """(what stands in the way, the conversation). Locks the conversation: the answer holds until we commit."""
    row = await access.conversation_row(conn, conversation, lock=True)
    handoff = await queue.open_of(conn, conversation)
    if row is None or not member.may("converse") or handoff is None or handoff.accepted_by != member.id:
        return "Not sent: only the advocate who accepted this conversation can write in it.", row
    if row.opted_out:
        return "Not sent: the person wrote STOP, so nothing more may be sent.", row
    if not text:
        return "Not sent: the message is empty.", row
    if len(text) > MAX_TEXT:
        return f"Not sent: the message is longer than {MAX_TEXT} characters. Send it in pieces.", row
    if await access.latest_inbound(conn, conversation) > (int(version) if version.isdigit() else 0):
        return "Not sent yet: the person has written something new. Read it, then send again.", row
    return "", row


# -- the signal log


@console.get("/signals", name="signals")
async def show_signals(request: Request) -> HTTPResponse:
    services, member = services_of(request), member_of(request)
    if not member.may("signals"):
        return _not_for(request)
    before = request.args.get("before", "")
    async with services.database.connect() as conn:
        rows = await signals.page(conn, before=int(before) if before.isdigit() else None)
    items = [
        {
            "time": row.created_at.isoformat(),
            "kind": row.kind,
            "severity": row.severity,
            "indicator": row.indicator,
            "language": row.language,
            "channel": row.channel,
            "conversation": str(row.conversation_id)[:8],
            "handoff": str(row.handoff_id or ""),
            "details": _details(row),
        }
        for row in rows
    ]
    older = f"/console/signals?before={rows[-1].number}" if len(rows) == 100 else ""
    return page(request, "signals.html", rows=items, next=older)


def _details(row: Any) -> str:
    shown = {name: value for name, value in row.details.items() if name != "staff"}
    facts = [f"{name} {value}" for name, value in shown.items()]
    return ", ".join(([row.source] if row.source else []) + facts)
