"""The web chat's routes: the page, its socket, and plain HTTP where sockets are blocked.

A reader listens first and reads then, in the order of the conversation's numbers: after a lost connection or a
restart of the server the page gets what it missed, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as jsonlib
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, select_autoescape
from sanic import Blueprint, HTTPResponse, Request, Websocket
from sanic.exceptions import WebsocketClosed
from sanic.response import html, json, text

from bot import chat_session, inbox
from bot.chat_session import Session
from bot.rate import Rate
from bot.services import Services
from channels.channel import Inbound, RawRequest
from translations.render import OWN_NAMES, direction, render

HERE = Path(__file__).parent
MAX_FRAME = 32_768  # as the socket's own limit in `app`: what gets through is answered
RATE = (30, 10.0)  # messages, seconds; of one conversation
PING = 20.0
POLL = 25.0
MAX_LAST_WORDS = 30  # messages that an exit may bring; what is too much for the rate is refused
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
chat = Blueprint("chat", url_prefix="/chat")
chat.static("/static", str(HERE / "static"), name="chat_static")
_pages = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=select_autoescape())


def services_of(request: Request) -> Services:
    found: Services = request.app.ctx.services
    return found


async def harden(_request: Request, response: HTTPResponse) -> None:
    response.headers.setdefault("Content-Security-Policy", CSP)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"  # of the page's files too: a cache on the disk tells of the visit


chat.middleware(harden, "response")


@chat.get("", name="page")
async def page(request: Request) -> HTTPResponse:
    services = services_of(request)
    language = _language(services, request.args.get("lang"), request.headers.get("accept-language", ""))
    texts = chat_texts(services, language)
    body = _pages.get_template("chat.html").render(
        language=language,
        direction=direction(language),
        languages=[{"tag": tag, "name": OWN_NAMES.get(tag, tag)} for tag in services.catalog.languages],
        texts=texts,
        texts_json=jsonlib.dumps(texts).replace("<", "\\u003c"),
        notice=_notice(services, language),
        exit_url=services.settings.exit_url,
        longest=services.channels["web"].limits.text,
    )
    return html(body)


def _language(services: Services, asked: str | None, accepted: str) -> str:
    """The page's language: as asked, else as the browser says, else the default."""
    known = services.catalog.languages
    wanted = [asked or ""] + [item.split(";")[0].strip() for item in accepted.split(",")]
    for tag in wanted:
        folded = {"zh-tw": "zh-Hant", "zh-hk": "zh-Hant", "zh": "zh-Hans", "zh-cn": "zh-Hans", "fil": "tl"}.get(
            tag.lower(), tag
        )
        for candidate in (folded, folded.split("-")[0]):
            if candidate in known:
                return candidate
    return services.settings.default_language


def chat_texts(services: Services, language: str) -> dict[str, str]:
    """The page's own texts and the chips'."""
    keys = [key for key in services.catalog.texts["en"] if key.startswith(("chat.", "choice."))]
    drafts = services.settings.demo
    return {key: render(services.catalog, key, language, drafts=drafts).text for key in keys}


def _notice(services: Services, language: str) -> str:
    """What stands above a page whose own texts are drafts."""
    if not services.settings.demo or not render(services.catalog, "welcome", language, drafts=True).drafted:
        return ""
    return chat_session.draft_notice(services, language)


@chat.get("/texts/<name:str>", name="texts")
async def texts_of(request: Request, name: str) -> HTTPResponse:
    services = services_of(request)
    tag = name.removesuffix(".json")
    if tag not in services.catalog.languages:
        return json({"error": "There is no such language."}, status=404)
    texts, notice = chat_texts(services, tag), _notice(services, tag)
    return json({"language": tag, "direction": direction(tag), "texts": texts, "notice": notice})


# -- the socket


@dataclass(slots=True)
class Link:
    """One open socket."""

    services: Services
    session: Session
    socket: Websocket
    rate: Rate
    after: int = 0

    async def tell(self, **frame: object) -> None:
        await self.socket.send(jsonlib.dumps(frame, ensure_ascii=True))


async def socket(request: Request, ws: Websocket) -> None:
    services = services_of(request)
    if not _origin_allowed(request, services):
        await ws.close(4403, "origin")
        return
    with contextlib.suppress(WebsocketClosed, TimeoutError):
        hello = _frame(await asyncio.wait_for(ws.recv(), 20))
        session = await chat_session.open_session(services, hello)
        link = Link(services, session, ws, request.app.ctx.chat_rate, after=_number(hello.get("after")))
        await link.tell(type="welcome", token=session.token, seq=session.seq, language=session.language)
        await _until_either_ends(_receive(link), _push(link))


async def _until_either_ends(*loops: Coroutine[Any, Any, None]) -> None:
    """A socket that is only half alive must close, so that the page opens another one."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


chat.add_websocket_route(socket, "/ws", name="socket")


async def _receive(link: Link) -> None:
    """What the page sends, until it closes."""
    while True:
        raw = await link.socket.recv()
        if raw is None:
            return
        frame = _frame(raw)
        kind = frame.get("type")
        if kind == "message":
            # whoever leaves at once closes the socket behind the words: they are stored all the same
            answer = await asyncio.shield(take_message(link.services, link.session, frame, link.rate))
            await link.tell(**answer)
            if answer["type"] == "ended":
                return
        elif kind == "language":
            await chat_session.choose_language(link.services, link.session, str(frame.get("language")))
        elif kind == "end":
            await chat_session.end(link.services, link.session)
            await link.tell(type="ended")
            return


async def take_message(services: Services, session: Session, frame: dict[str, Any], rate: Rate) -> dict[str, object]:
    """Stores a message, and only then acknowledges it; or says why not."""
    client_id = frame.get("client_id")
    if len(str(frame.get("text", ""))) > services.channels["web"].limits.text:
        return {"type": "error", "key": "chat.too_long", "client_id": client_id}
    raw = RawRequest("", {"token": session.token}, jsonlib.dumps(frame, ensure_ascii=True).encode("ascii"))
    item = services.channels["web"].parse(raw)[0]
    if not isinstance(item, Inbound):
        return {"type": "error", "key": "chat.not_sent", "client_id": client_id}
    if not rate.allows(session.token):  # of one person, through however many tabs and requests
        return {"type": "error", "key": "chat.not_sent", "client_id": client_id, "retry_after": RATE[1]}
    if await chat_session.ended(services, session):
        return {"type": "ended"}
    async with services.database.begin() as conn:
        stored = await inbox.store(conn, services.vault, "web", item)
    seq = stored[1] if stored else await chat_session.seq_of(services, item.provider_id)
    await chat_session.attach(services, session)
    return {"type": "ack", "client_id": client_id, "seq": seq}


async def _push(link: Link) -> None:
    """What the person is to read, as it comes."""
    state: dict[str, object] = {}
    with link.services.hub.subscribe() as events:
        while True:
            if await chat_session.ended(link.services, link.session):
                await link.tell(type="ended")
                return
            for message in await chat_session.messages_after(link.services, link.session, link.after):
                await link.tell(type="message", **message)
                link.after = max(link.after, int(str(message["seq"])))
            current = await chat_session.state(link.services, link.session)
            if current != state:
                state = current
                await link.tell(type="state", **state)
            if not await _something_new(events, link.session, PING):
                await link.tell(type="ping")


async def _something_new(events: asyncio.Queue[dict[str, Any]], session: Session, seconds: float) -> bool:
    """Waits for an event of this conversation; False when the time is over."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            event = await asyncio.wait_for(events.get(), left)
        except TimeoutError:
            return False
        if event["kind"] in ("missed", "queue") or event.get("conversation") == str(session.conversation):
            return True
        if session.conversation is None and event["kind"] == "inbound":
            return True
    return False


# -- plain HTTP


@chat.post("/session", name="session")
async def session(request: Request) -> HTTPResponse:
    services = services_of(request)
    if not _origin_allowed(request, services):
        return json({"error": "This page may not open the chat."}, status=403)
    hello = _frame(request.body)
    opened = await chat_session.open_session(services, hello)
    if hello.get("language") and hello.get("chosen"):
        await chat_session.choose_language(services, opened, str(hello["language"]))
    return json({"type": "welcome", "token": opened.token, "seq": opened.seq, "language": opened.language})


@chat.post("/messages", name="post_message")
async def post_message(request: Request) -> HTTPResponse:
    services = services_of(request)
    found = await chat_session.known(services, _bearer(request))
    if found is None:
        return json({"error": "The chat has ended. Open it again."}, status=401)
    if len(request.body) > MAX_FRAME:
        return json({"type": "error", "key": "chat.too_long"}, status=413)
    answer = await take_message(services, found, _frame(request.body), request.app.ctx.chat_rate)
    if answer["type"] == "ended":
        return json({"error": "The chat has ended. Open it again."}, status=401)
    if "retry_after" in answer:
        return json(answer, status=429, headers={"Retry-After": f"{answer['retry_after']:.0f}"})
    return json(answer, status=200 if answer["type"] == "ack" else 400)


@chat.get("/messages", name="get_messages")
async def get_messages(request: Request) -> HTTPResponse:
    services = services_of(request)
    found = await chat_session.known(services, _bearer(request))
    if found is None:
        return json({"error": "The chat has ended. Open it again."}, status=401)
    after = _number(request.args.get("after"))
    deadline = time.monotonic() + POLL
    with services.hub.subscribe() as events:
        while True:
            if await chat_session.ended(services, found):
                return json({"messages": [], "ended": True})
            messages = await chat_session.messages_after(services, found, after)
            left = deadline - time.monotonic()
            if messages or left <= 0 or request.args.get("wait") == "0":
                return json({"messages": messages, "state": await chat_session.state(services, found)})
            await _something_new(events, found, left)


@chat.post("/end", name="end")
async def end(request: Request) -> HTTPResponse:
    """The quick exit. It brings along what was written and not acknowledged yet: it may overtake those words, and
    the browser drops a socket that is left, with whatever it still held.
    """
    services = services_of(request)
    left = _frame(request.body, deep=True)
    token = _bearer(request) or str(left.get("token") or "")
    written = left.get("messages")
    frames = [frame for frame in written if isinstance(frame, dict)] if isinstance(written, list) else []
    found = await chat_session.known(services, token)
    if found is not None:
        for frame in frames[:MAX_LAST_WORDS]:
            await take_message(services, found, frame, request.app.ctx.chat_rate)
        await chat_session.end(services, found)
    return text("", status=204)


def _bearer(request: Request) -> str:
    return str(request.headers.get("authorization", "")).removeprefix("Bearer ").strip()


def _frame(raw: str | bytes | None, *, deep: bool = False) -> dict[str, Any]:
    """A JSON object, of single values unless ``deep``; else an empty one: a hostile client is told nothing."""
    if raw is None or len(raw) > (2 * MAX_FRAME if deep else MAX_FRAME):
        return {}
    try:
        found = jsonlib.loads(raw)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if deep or not isinstance(value, dict | list)}


def _number(value: object) -> int:
    try:
        return max(0, min(2**31 - 1, int(str(value))))
    except ValueError:
        return 0


def _origin_allowed(request: Request, services: Services) -> bool:
    """Our own pages, and those the settings name; clients that are no browsers send no origin."""
    origin = request.headers.get("origin")
    if not origin or origin.rstrip("/") in (services.settings.public_url, *services.settings.chat_origins):
        return True
    try:
        return bool(urlsplit(origin).netloc == request.headers.get("host"))
    except ValueError:
        return False
