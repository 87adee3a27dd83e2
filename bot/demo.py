"""/demo: four phones on one page, so that anybody sees the whole product without an account.

A page has its own phones, with fictitious numbers that nobody else has; what it may do with them is sealed into a
token that only this page knows, and nothing is kept of it here but which numbers were given away.
"""

from __future__ import annotations

import base64
import json as jsonlib
import logging
from collections import deque
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from jinja2 import Environment, FileSystemLoader, select_autoescape
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import html, json, text

from bot import demo_phones, inbox
from bot.chat_page import compress, harden, widget_config
from bot.demo_phones import Phones, Pressed
from bot.say_phones import Webhook
from bot.services import Services
from bot.settings import Settings
from bot.tables import conversations
from bot.vault import VaultError

_LONGEST = 4000
_log = logging.getLogger("passerelle.demo")
_pages = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=select_autoescape())


def stands(settings: Settings) -> bool:
    """Whether the demonstration is on and every provider is played by a stand-in of ours."""
    ours = f"http://127.0.0.1:{settings.port}"
    providers = (settings.twilio, settings.whatsapp, settings.telegram)
    return settings.demo and all(provider is not None and provider.api_url == ours for provider in providers)


def make(settings: Settings) -> Blueprint:
    """The page and its phones."""
    demo = Blueprint("demo", url_prefix="/demo")
    given: deque[str] = deque(maxlen=2000)  # numbers of pages that have not written yet; who has is in the database
    loopback = f"http://127.0.0.1:{settings.port}"
    client = httpx.AsyncClient(timeout=30.0)
    demo.middleware(compress, "response")
    demo.middleware(harden, "response")

    async def close(_app: Any) -> None:
        await client.aclose()

    demo.after_server_stop(close)

    @demo.get("", name="page")
    async def page(request: Request) -> HTTPResponse:
        services: Services = request.app.ctx.services
        free = await _free_numbers(services, given, 2)
        if len(free) < 2:
            sentence = "All fictitious numbers are in use: stop Passerelle, remove its VAR_DIR, and start it again."
            return text(sentence, status=503)
        given.extend(free)
        phones = Phones(free[0], free[1], demo_phones.chat_id())
        config = jsonlib.dumps(widget_config(services, request)).replace("<", "\\u003c")
        return html(_pages.get_template("demo.html").render(phones=phones, token=_seal(services, phones), chat=config))

    @demo.get("/phones", name="screens")
    async def screens(request: Request) -> HTTPResponse:
        if (phones := _opened(request)) is None:
            return _unknown()
        try:
            return json(await demo_phones.screens(settings, phones, client))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            _log.error("a stand-in cannot say what the phones show (%s)", type(error).__name__)
            return json({"error": "The stand-ins do not answer."}, status=502)

    @demo.post("/phones/<channel:str>", name="act")
    async def act(request: Request, channel: str) -> HTTPResponse:
        """Somebody writes, presses a button, or has read: the provider's webhook is called as the provider does."""
        if (phones := _opened(request)) is None:
            return _unknown()
        try:
            path, body, headers = _webhook(settings, phones, channel, jsonlib.loads(request.body))
        except (ValueError, KeyError, TypeError, AttributeError):
            return json({"error": "The phone cannot do that."}, status=400)
        try:
            answer = await client.post(loopback + path, content=body, headers=headers)
        except httpx.HTTPError:
            return json({"error": "The gateway does not answer."}, status=502)
        return json({"status": answer.status_code}, status=200 if answer.is_success else 502)

    return demo


def _webhook(settings: Settings, phones: Phones, channel: str, what: dict[str, Any]) -> Webhook:
    """Raises ValueError, KeyError, TypeError, AttributeError for what no phone does."""
    if channel == "whatsapp" and "read" in what:
        return demo_phones.read(settings, phones, [str(row)[:200] for row in what["read"][:50]])
    if "choice" in what:
        choice = Pressed(*(str(what[name])[:200] for name in ("choice", "label", "message")))
        return demo_phones.pressed(settings, phones, channel, choice)
    words = what["text"]
    if not isinstance(words, str) or not words.strip() or len(words) > _LONGEST:
        raise ValueError("text")
    words.encode()  # half a character is no text a phone sends
    return demo_phones.written(settings, phones, channel, words)


async def _free_numbers(services: Services, given: Collection[str], count: int) -> list[str]:
    """Numbers that no page has and nobody has written from."""
    async with services.database.connect() as conn:
        rows = await conn.scalars(
            sa.select(conversations.c.address_lookup).where(conversations.c.channel.in_(("sms", "whatsapp")))
        )
        used = set(rows)
    assert services.settings.whatsapp is not None, "`stands` has looked"
    number_id = services.settings.whatsapp.numbers[0]
    free = []
    for number in demo_phones.numbers():
        lookups = {
            inbox.address_lookup(services.vault, "sms", number),
            inbox.address_lookup(services.vault, "whatsapp", f"{number_id}:{number.lstrip('+')}"),
        }
        if number not in given and not lookups & used:
            free.append(number)
        if len(free) == count:
            break
    return free


def _seal(services: Services, phones: Phones) -> str:
    sealed = services.vault.seal_json(asdict(phones), context="demo")
    return base64.urlsafe_b64encode(sealed).decode("ascii").rstrip("=")


def _opened(request: Request) -> Phones | None:
    """The phones of the page that asks; None for a token that is not ours."""
    token = str(request.headers.get("authorization", "")).removeprefix("Bearer ").strip()
    services: Services = request.app.ctx.services
    try:
        sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        found: Any = services.vault.open_json(sealed, context="demo")
        return Phones(**found)
    except (ValueError, TypeError, VaultError):
        return None


def _unknown() -> HTTPResponse:
    return json({"error": "These phones are not known here. Load the page again."}, status=401)
