"""The web chat's routes: its socket, and plain HTTP where sockets are blocked. What it loads is in ``chat_page``.

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
from typing import Any

from sanic import Blueprint, HTTPResponse, Request, Websocket
from sanic.exceptions import WebsocketClosed
from sanic.response import json, text

from bot import chat_origins, chat_session, events, inbox
from bot.chat_page import harden
from bot.chat_session import Places, Session
from bot.events import Event, Following
from bot.rate import Rate
from bot.services import Services
from channels.channel import Inbound, RawRequest
from translations.render import OWN_NAMES

MAX_FRAME = 32_768  # as the socket's own limit in `app`: what gets through is answered
RATE = (30, 10.0)  # messages, seconds; of one conversation
PING = 20.0
LOOK = 3  # every so many quiet pings the chat looks all the same: nothing is lost for ever
POLL = 25.0
MAX_LAST_WORDS = 30  # messages that an exit may bring; what is too much for the rate is refused
chat = Blueprint("chat", url_prefix="/chat")


def services_of(request: Request) -> Services:
    found: Services = request.app.ctx.services
    return found


for _step in (chat_origins.permit, harden):
    chat.middleware(_step, "response")
for _path in ("/session", "/messages"):
    chat.add_route(chat_origins.preflight, _path, methods=["OPTIONS"], name=f"preflight_{_path[1:]}")


# -- the socket


@dataclass(slots=True)
class Link:
    """One open socket."""

    services: Services
    session: Session
    socket: Websocket
    rate: Rate
    places: Places
    after: int = 0

    async def tell(self, **frame: object) -> None:
        await self.socket.send(jsonlib.dumps(frame, ensure_ascii=True))


async def socket(request: Request, ws: Websocket) -> None:
    services = services_of(request)
    if not chat_origins.allowed(request, services):
        await ws.close(4403, "origin")
        return
    with contextlib.suppress(WebsocketClosed, TimeoutError):
        hello = _frame(await asyncio.wait_for(ws.recv(), 20))
        session = await chat_session.open_session(services, hello)
        after = _number(hello.get("after"))
        link = Link(services, session, ws, request.app.ctx.chat_rate, request.app.ctx.places, after)
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
    first = session.conversation is None
    chosen = session.chosen or str(frame.get("language") or "")
    async with services.database.begin() as conn:
        stored = await inbox.store(conn, services.vault, "web", item)
        if stored and first:
            if chosen in OWN_NAMES:  # in the menu, before the first word: the first answer is in it already
                await inbox.learn(conn, stored[0], language=chosen, language_chosen=True)
            await events.notify(conn, "began", chat=chat_session.key_of(services, session))  # for other tabs
    if stored and first:
        session.chosen = None  # it stands with the message already
    seq = stored[1] if stored else await chat_session.seq_of(services, item.provider_id)
    await chat_session.attach(services, session)
    return {"type": "ack", "client_id": client_id, "seq": seq}


async def _push(link: Link) -> None:
    """What the person is to read, as it comes. Who sleeps asks nothing: events of others do not wake a chat."""
    services, session, state = link.services, link.session, None
    quiet = 0
    with services.hub.following() as news:
        _follow(services, session, news, state)
        while True:
            if quiet % LOOK == 0:
                found = await chat_session.look(services, session, link.places)
                if found.ended:
                    await link.tell(type="ended")
                    return
                if found.newest > link.after:
                    await _tell_messages(link)
                if found.state != state:
                    state = found.state
                    await link.tell(type="state", **state)
                if _follow(services, session, news, state):
                    continue  # what happened before that is read now
            event = await _something_new(news.queue, PING)
            if event is None:
                quiet += 1
                await link.tell(type="ping")
            elif event["kind"] == "typing":
                quiet = 1
                await link.tell(type="typing")
            else:
                quiet = 0


def _follow(services: Services, session: Session, news: Following, state: dict[str, object] | None) -> bool:
    """A chat follows its conversation, and the whole queue only while it waits in it. Whether it follows more now."""
    before = news.keys
    if session.conversation is None:
        news.follow(chat_session.key_of(services, session))
    else:
        news.follow(str(session.conversation))
    if state and state["waiting"]:
        news.follow("queue")
    else:
        news.leave("queue")
    return not set(news.keys) <= set(before)


async def _tell_messages(link: Link) -> None:
    for message in await chat_session.messages_after(link.services, link.session, link.after):
        await link.tell(type="message", **message)
        link.after = max(link.after, int(str(message["seq"])))


async def _something_new(queue: asyncio.Queue[Event], seconds: float) -> Event | None:
    """The newest of what has happened; None when the time is over. One look answers all that waited."""
    try:
        async with asyncio.timeout(seconds):  # wait_for of Python 3.11 forgets a cancel that comes with an event
            event = await queue.get()
    except TimeoutError:
        return None
    while not queue.empty():
        later = queue.get_nowait()
        event = event if later["kind"] == "typing" else later
    return event


# -- plain HTTP


@chat.post("/session", name="session")
async def session(request: Request) -> HTTPResponse:
    services = services_of(request)
    if not chat_origins.allowed(request, services):
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
    with services.hub.following() as news:
        _follow(services, found, news, None)
        while True:
            seen = await chat_session.look(services, found, request.app.ctx.places)
            if seen.ended:
                return json({"messages": [], "ended": True})
            messages = await chat_session.messages_after(services, found, after) if seen.newest > after else []
            left = deadline - time.monotonic()
            if messages or left <= 0 or request.args.get("wait") == "0":
                return json({"messages": messages, "state": seen.state})
            if not _follow(services, found, news, None):
                await _something_new(news.queue, left)


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
