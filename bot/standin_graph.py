"""A stand-in for Meta's Graph API on loopback: demonstration only, so that WhatsApp works without an account.

It speaks the little of the protocol that we use: send a message, report its status, and what `channels check` asks
(``standin_meta``). It refuses what Meta refuses: another token, another number, texts and titles that are too long,
templates that nobody has approved. Its list of messages is its own, for `say`.
Source: Meta's pages "Messages API", "Error codes" (2026-11).
"""

from __future__ import annotations

import json as jsonlib
import secrets
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

from bot.settings import WhatsAppSettings
from bot.standin_media import add_graph, described
from bot.standin_meta import ACCOUNT, add_administration, allows, error
from bot.standin_phone import KEPT, Phone
from channels import whatsapp as limits
from channels.templates import Template
from channels.whatsapp import sign


def make(whatsapp: WhatsAppSettings, callback: str) -> Blueprint:
    """The stand-in's routes for one account; statuses go to ``callback``."""
    standin = Blueprint("graph_standin")
    kept: deque[dict[str, Any]] = deque(maxlen=KEPT)
    phone = Phone()
    path = f"/{whatsapp.version}/<number:str>/messages"

    def refused(request: Request, number: str) -> HTTPResponse | None:
        if not allows(request, whatsapp.access_token):
            return error(190, "Invalid OAuth access token - Cannot parse access token", status=401)
        unknown = f"Unsupported post request. Object with ID '{number}' does not exist"
        return None if number in whatsapp.numbers else error(100, unknown)

    @standin.post(path, name="send")
    async def send(request: Request, number: str) -> HTTPResponse:
        if answer := refused(request, number):
            return answer
        try:
            asked = jsonlib.loads(request.body)
            whom, said = asked.get("to") or asked["recipient"], words(asked, whatsapp.templates)
        except Refused as wrong:
            return error(wrong.code, str(wrong), details=wrong.details, status=wrong.status)
        except (ValueError, KeyError, TypeError, AttributeError) as wrong:
            return error(131009, "Parameter value is not valid", details=str(wrong))
        row = "wamid." + secrets.token_urlsafe(32)
        message = {"id": row, "number": number, "to": whom, "text": said, "time": time.time(), "status": "accepted"}
        message["interactive"] = asked.get("interactive")  # buttons and lists, for the demonstration's page
        kept.appendleft(message)
        signed = partial(_signed, whatsapp, message, asked.get("biz_opaque_callback_data"))
        phone.ring(callback, message, signed)
        met = {"input": whom, "wa_id": whom} if "to" in asked else {"input": whom, "user_id": whom}
        return json({"messaging_product": "whatsapp", "contacts": [met], "messages": [{"id": row}]})

    files = add_graph(standin, whatsapp)

    def file(name: str) -> dict[str, Any] | None:
        found = files.get(name)
        return described(files, whatsapp.api_url, name, found) if found else None

    add_administration(standin, whatsapp, callback, file)

    @standin.get(path, name="list")
    async def listing(request: Request, number: str) -> HTTPResponse:
        if answer := refused(request, number):
            return answer
        return json({"messages": [message for message in kept if message["to"] == request.args.get("to")]})

    return standin


class Refused(ValueError):
    """What Meta says to a template that it does not take."""

    def __init__(self, code: int, message: str, details: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.details, self.status = code, details, status


def words(asked: dict[str, Any], templates: Sequence[Template] = ()) -> str:
    """What the phone shows. Raises ValueError, KeyError, TypeError for what Meta would not take."""
    if asked["messaging_product"] != "whatsapp":
        raise ValueError("messaging_product")
    if asked["type"] == "text":
        return _short(asked["text"]["body"], limits.MAX_TEXT)
    if asked["type"] == "template":
        return _templated(asked["template"], templates)
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


def _templated(asked: dict[str, Any], templates: Sequence[Template]) -> str:
    """The approved text with what is to take its place. Raises Refused."""
    name, language = asked["name"], asked["language"]["code"]
    known = next((known for known in templates if (known.name, known.language) == (name, language)), None)
    if known is None:
        details = f"template name ({name}) does not exist in {language}"
        raise Refused(132001, "Template name does not exist in the translation", details, status=404)
    bodies = [part for part in asked.get("components", ()) if part["type"].lower() == "body"]
    given = [value for part in bodies for value in part["parameters"]]
    wanted = 1 if known.placeholder else 0
    if len(given) != wanted:
        details = f"body: number of localizable_params ({len(given)}) does not match the expected number ({wanted})"
        raise Refused(132000, "Number of parameters does not match the expected number of params", details)
    if given and given[0].get("parameter_name", "1") != known.placeholder:
        raise Refused(100, "Invalid parameter", f"Parameter name is missing or wrong: {known.placeholder}")
    value = given[0]["text"] if given else ""
    if given and (not value or value != " ".join(value.split())):
        raise Refused(132018, "Invalid parameter value", "Param text cannot have new-line or tab characters")
    return _short(known.text(value), limits.MAX_BODY)


def _choices(choices: list[dict[str, str]], most: int, longest: int) -> list[str]:
    if not 1 <= len(choices) <= most or len({choice["id"] for choice in choices}) < len(choices):
        raise ValueError("number of choices")
    return [f"[{_short(choice['title'], longest)}]" for choice in choices]


def _short(text: str, longest: int) -> str:
    if not 1 <= len(text) <= longest or not text.strip():
        raise ValueError("length")
    return text


def _signed(
    whatsapp: WhatsAppSettings, message: dict[str, Any], echoed: object, state: str
) -> tuple[bytes, dict[str, str]]:
    """A status as Meta posts it."""
    status = {"id": message["id"], "status": state, "timestamp": str(int(time.time())), "recipient_id": message["to"]}
    if isinstance(echoed, str):
        status["biz_opaque_callback_data"] = echoed
    body = event({"contacts": [contact(message["to"])], "statuses": [status]}, message["number"])
    return body, {"x-hub-signature-256": sign(whatsapp.app_secret, body), "content-type": "application/json"}


def contact(person: str) -> dict[str, Any]:
    """Who it is about. Meta's own id of a person comes along, whether or not the number is hidden."""
    if not person.isdecimal():
        return {"profile": {"name": "A"}, "user_id": person}
    return {"profile": {"name": "A"}, "wa_id": person, "user_id": f"CA.1{person}"}


def event(value: dict[str, Any], number: str) -> bytes:
    """The body of a webhook with one change."""
    metadata = {"display_phone_number": "15005550006", "phone_number_id": number}
    change = {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
    return jsonlib.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": ACCOUNT, "changes": [change]}]}
    ).encode("ascii")
