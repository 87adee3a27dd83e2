"""A stand-in for Telegram's Bot API on loopback: demonstration and tests only, so that it works without an account.

It speaks the little of the protocol that we use, as Telegram's own clients expect it, and refuses what Telegram
refuses: another token, empty and too long texts, buttons that give back too much. Its method
``sent`` is its own, for reading along.
Source: core.telegram.org/bots/api (2026-11).
"""

from __future__ import annotations

import hmac
import json as jsonlib
import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

from bot.settings import TelegramSettings
from bot.standin_media import add_telegram
from bot.standin_phone import KEPT
from channels.telegram import MAX_CALLBACK, MAX_TEXT

_ID = 1_000_000_001


class _Refused(Exception):
    """What Telegram would say to a request with an error in it."""

    def __init__(self, description: str, code: int = 400) -> None:
        super().__init__(description)
        self.code = code


def make(telegram: TelegramSettings) -> Blueprint:
    """The stand-in's routes for one bot."""
    standin = Blueprint("telegram_standin")
    bot = _Bot()
    file = add_telegram(standin, telegram.bot_token)

    # GET and POST, and the fields in the address, a form or JSON: "Making requests"
    @standin.get("/<token:bot[^/]+>/<method:str>", name="get")
    @standin.post("/<token:bot[^/]+>/<method:str>", name="post")
    async def call(request: Request, token: str, method: str) -> HTTPResponse:
        given = token.removeprefix("bot")
        try:
            if not hmac.compare_digest(given.encode(), telegram.bot_token.encode()):
                raise _Refused("Unauthorized", 401)
            if isinstance(about := file(method, request), str):
                raise _Refused(about)
            if about is not None:
                return json({"ok": True, "result": about})
            return json({"ok": True, "result": bot.call(method, _fields(request))})
        except _Refused as refused:
            return json({"ok": False, "error_code": refused.code, "description": str(refused)}, status=refused.code)

    return standin


def _fields(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {name: values[0] for name, values in dict.items(request.args)}
    if request.headers.get("content-type", "").startswith("application/json"):
        body = jsonlib.loads(request.body)
        return {**found, **body} if isinstance(body, dict) else found
    form: dict[str, list[str]] = request.get_form(keep_blank_values=True) or {}
    return {**found, **{name: values[0] for name, values in dict.items(form)}}


class _Bot:
    """One bot as Telegram knows it."""

    def __init__(self) -> None:
        self._sent: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._count = 0
        self._webhook: dict[str, Any] = {"url": "", "has_custom_certificate": False, "pending_update_count": 0}

    def call(self, method: str, fields: Mapping[str, Any]) -> Any:
        """The result of a method. Raises _Refused."""
        if method == "getMe":
            return _me()
        if method == "sendMessage":
            return self._send(fields)
        if method == "setWebhook":
            return self._set_webhook(fields)
        if method == "getWebhookInfo":
            return self._webhook
        if method == "deleteWebhook":
            self._webhook = {**self._webhook, "url": ""}
            return True
        if method == "getUpdates":
            if self._webhook["url"]:
                raise _Refused("Conflict: can't use getUpdates method while webhook is active; use deleteWebhook", 409)
            return []  # everything goes to the webhook
        if method == "answerCallbackQuery" and fields.get("callback_query_id"):
            return True
        if method == "sent":
            return [message for message in self._sent if str(message["chat"]["id"]) == str(fields.get("chat_id"))]
        raise _Refused("Not Found", 404)

    def _send(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        text = str(fields.get("text", "")).strip()
        if not text:
            raise _Refused("Bad Request: message text is empty")
        if len(text) > MAX_TEXT:
            raise _Refused("Bad Request: message is too long")
        if not re.fullmatch(r"[0-9]{1,16}", str(fields.get("chat_id", ""))):
            raise _Refused("Bad Request: chat not found")
        self._count += 1
        message: dict[str, Any] = {
            "message_id": self._count,
            "date": int(time.time()),
            "chat": {"id": int(fields["chat_id"]), "type": "private", "first_name": "A"},
            "from": _me(),
            "text": text,
        }
        if markup := _object(fields.get("reply_markup")):
            message["reply_markup"] = _checked(markup)
        self._sent.append(message)
        return message

    def _set_webhook(self, fields: Mapping[str, Any]) -> bool:
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,256}", str(fields.get("secret_token", ""))):
            raise _Refused("Bad Request: secret token contains unallowed characters")
        url = str(fields.get("url", ""))
        if url and not re.match(r"https://|http://127\.0\.0\.1(:\d+)?/", url):  # the demonstration has no certificate
            raise _Refused("Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
        self._webhook = {**self._webhook, "url": url}
        self._webhook["allowed_updates"] = _object(fields.get("allowed_updates")) or []
        return True


def _me() -> dict[str, Any]:
    return {"id": _ID, "is_bot": True, "first_name": "Passerelle", "username": "passerelle_standin_bot"}


def _object(value: Any) -> Any:
    """A field of a form that holds JSON."""
    if not isinstance(value, str):
        return value
    try:
        return jsonlib.loads(value)
    except ValueError as error:
        raise _Refused("Bad Request: can't parse a JSON object") from error


def _checked(markup: Any) -> Any:
    try:
        buttons = [button for row in markup["inline_keyboard"] for button in row]
        if all(button["text"] and 1 <= len(button["callback_data"].encode()) <= MAX_CALLBACK for button in buttons):
            return markup
    except (KeyError, TypeError, AttributeError) as error:
        raise _Refused("Bad Request: can't parse inline keyboard") from error
    raise _Refused("Bad Request: BUTTON_DATA_INVALID")
