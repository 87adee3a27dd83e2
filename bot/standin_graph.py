"""A stand-in for Meta's Graph API on loopback: demonstration only, so that WhatsApp works without an account.

It speaks the little of the protocol that we use: send a message, report its status. It refuses what Meta refuses:
another token, another number, texts and titles that are too long. Its list of messages is its own, for `say`.
"""

from __future__ import annotations

import hmac
import json as jsonlib
import secrets
import time
from collections import deque
from functools import partial
from typing import Any

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

from bot.settings import WhatsAppSettings
from bot.standin_phone import KEPT, Phone
from channels import whatsapp as limits
from channels.whatsapp import sign


def make(whatsapp: WhatsAppSettings, callback: str) -> Blueprint:
    """The stand-in's routes for one account; statuses go to ``callback``."""
    standin = Blueprint("graph_standin")
    kept: deque[dict[str, Any]] = deque(maxlen=KEPT)
    phone = Phone()
    path = f"/{whatsapp.version}/<number:str>/messages"

    def refused(request: Request, number: str) -> HTTPResponse | None:
        given = request.headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, f"Bearer {whatsapp.access_token}".encode()):
            return _error(190, "Invalid OAuth access token", status=401)
        return None if number in whatsapp.numbers else _error(33, "Unknown phone number id")

    @standin.post(path, name="send")
    async def send(request: Request, number: str) -> HTTPResponse:
        if answer := refused(request, number):
            return answer
        try:
            asked = jsonlib.loads(request.body)
            whom, said = asked.get("to") or asked["recipient"], words(asked)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return _error(131009, f"Parameter value is not valid: {error}")
        row = "wamid." + secrets.token_urlsafe(32)
        message = {"id": row, "number": number, "to": whom, "text": said, "time": time.time(), "status": "accepted"}
        kept.appendleft(message)
        signed = partial(_signed, whatsapp, message, asked.get("biz_opaque_callback_data"))
        phone.ring(callback, message, signed)
        contact = {"input": whom, "wa_id": whom} if "to" in asked else {"input": whom, "user_id": whom}
        return json({"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": row}]})

    @standin.get(path, name="list")
    async def listing(request: Request, number: str) -> HTTPResponse:
        if answer := refused(request, number):
            return answer
        return json({"messages": [message for message in kept if message["to"] == request.args.get("to")]})

    return standin


def words(asked: dict[str, Any]) -> str:
    """What the phone shows. Raises ValueError, KeyError, TypeError for what Meta would not take."""
    if asked["messaging_product"] != "whatsapp":
        raise ValueError("messaging_product")
    if asked["type"] == "text":
        return _short(asked["text"]["body"], limits.MAX_TEXT)
    if asked["type"] != "interactive":
        raise ValueError("type")
    shown = asked["interactive"]
    lines = [_short(shown["body"]["text"], limits.MAX_BODY)]
    if shown["type"] == "button":
        buttons = [button["reply"] for button in shown["action"]["buttons"]]
        lines += _choices(buttons, limits.MAX_BUTTONS, limits.MAX_BUTTON_TITLE)
    else:
        _short(shown["action"]["button"], limits.MAX_BUTTON_TITLE)
        rows = [row for section in shown["action"]["sections"] for row in section["rows"]]
        lines += _choices(rows, limits.MAX_ROWS, limits.MAX_ROW_TITLE)
        for row in rows:
            _short(row.get("description", "-"), limits.MAX_ROW_NOTE)
    return "\n".join(lines)


def _choices(choices: list[dict[str, str]], most: int, longest: int) -> list[str]:
    if not 1 <= len(choices) <= most or len({choice["id"] for choice in choices}) < len(choices):
        raise ValueError("number of choices")
    return [f"[{_short(choice['title'], longest)}]" for choice in choices]


def _short(text: str, longest: int) -> str:
    if not 1 <= len(text) <= longest or not text.strip():
        raise ValueError("length")
    return text


def _error(code: int, message: str, *, status: int = 400) -> HTTPResponse:
    return json({"error": {"message": message, "type": "OAuthException", "code": code}}, status=status)


def _signed(
    whatsapp: WhatsAppSettings, message: dict[str, Any], echoed: object, state: str
) -> tuple[bytes, dict[str, str]]:
    """A status as Meta posts it."""
    status = {"id": message["id"], "status": state, "timestamp": str(int(time.time())), "recipient_id": message["to"]}
    if isinstance(echoed, str):
        status["biz_opaque_callback_data"] = echoed
    body = event({"statuses": [status]}, message["number"])
    return body, {"x-hub-signature-256": sign(whatsapp.app_secret, body), "content-type": "application/json"}


def event(value: dict[str, Any], number: str) -> bytes:
    """The body of a webhook with one change."""
    metadata = {"display_phone_number": "15005550006", "phone_number_id": number}
    change = {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
    return jsonlib.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}).encode(
        "ascii"
    )
