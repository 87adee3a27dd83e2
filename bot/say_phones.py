"""The phones of `passerelle say`: how a text comes in at each provider's webhook, signed, and what the person sees.

What comes in has the providers' own shape. What the phone shows is asked of the demonstration's stand-ins: of the real
providers only Twilio lists messages.
Sources: Twilio's "Messaging webhooks", Meta's "messages webhook reference", Telegram's "Update" (2026-11).
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx

from bot.settings import Settings, SettingsError, TelegramSettings, TwilioSettings, WhatsAppSettings
from bot.standin_graph import contact, event
from channels.channel import RawRequest
from channels.sms import sign
from channels.whatsapp import sign as meta_sign

Webhook = tuple[str, bytes, dict[str, str]]  # path, body, headers


class Phone(Protocol):
    """One person's phone at one provider."""

    @property
    def api_url(self) -> str: ...

    def webhook(self, text: str) -> Webhook:
        """What the provider posts to us when the person writes this."""

    async def shown(self, client: httpx.AsyncClient) -> list[tuple[str, str]]:
        """(id, text) of what was sent to the phone, oldest first. Raises what httpx and broken JSON raise."""


def phone_of(settings: Settings, channel: str, sender: str) -> Phone:
    """The phone for a channel. Raises SettingsError when the channel is off, or its provider is the real one."""
    made: Phone | None = None
    if channel == "sms" and settings.twilio:
        made = SmsPhone(settings.twilio, settings.public_url, sender)
    if channel == "whatsapp" and settings.whatsapp:
        made = WhatsAppPhone(settings.whatsapp, sender)
    if channel == "telegram" and settings.telegram:
        made = TelegramPhone(settings.telegram, sender)
    name, prefix = {
        "sms": ("SMS", "TWILIO"),
        "whatsapp": ("WhatsApp", "WHATSAPP"),
        "telegram": ("Telegram", "TELEGRAM"),
    }[channel]
    if made is None:
        raise SettingsError([f"{name} is not configured: set the PASSERELLE_{prefix}_… settings."])
    if channel != "sms" and not re.match(r"http://(127\.0\.0\.1|localhost)\b", made.api_url):
        remedy = f"remove PASSERELLE_{prefix}_API_URL to try it here"
        raise SettingsError([f"{name} goes to {made.api_url}, which lists no messages: {remedy}."])
    return made


@dataclass(frozen=True, slots=True)
class SmsPhone:
    """A phone with SMS."""

    twilio: TwilioSettings
    public_url: str
    number: str

    @property
    def api_url(self) -> str:
        return self.twilio.api_url

    def webhook(self, text: str) -> Webhook:
        fields = {
            "MessageSid": "SM" + secrets.token_hex(16),
            "AccountSid": self.twilio.account_sid,
            "From": self.number,
            "To": self.twilio.sender,
            "Body": text,
            "NumMedia": "0",
        }
        body = urlencode(fields).encode()
        path = "/webhooks/twilio"
        signature = sign(self.twilio.auth_token, RawRequest(self.public_url + path, {}, body)) or ""
        return path, body, {"x-twilio-signature": signature, "content-type": "application/x-www-form-urlencoded"}

    async def shown(self, client: httpx.AsyncClient) -> list[tuple[str, str]]:
        url = f"{self.api_url}/2010-04-01/Accounts/{self.twilio.account_sid}/Messages.json"
        auth = (self.twilio.account_sid, self.twilio.auth_token)
        answer = await client.get(url, params={"To": self.number}, auth=auth)
        listed = answer.raise_for_status().json()["messages"]
        return [(str(message["sid"]), str(message["body"])) for message in reversed(listed)]


@dataclass(frozen=True, slots=True)
class WhatsAppPhone:
    """A phone with WhatsApp, which writes to the first of our numbers."""

    whatsapp: WhatsAppSettings
    number: str

    @property
    def api_url(self) -> str:
        return self.whatsapp.api_url

    @property
    def person(self) -> str:
        """Meta's id of a person with a number: its digits. Raises SettingsError."""
        return _digits(self.number, "the person's number, like +15145550100")

    def webhook(self, text: str) -> Webhook:
        message: dict[str, Any] = {
            "from": self.person,
            "id": "wamid." + secrets.token_urlsafe(32),
            "timestamp": str(int(time.time())),
            "type": "text",
            "text": {"body": text},
        }
        known = contact(self.person)
        message["from_user_id"] = known["user_id"]
        body = event({"contacts": [known], "messages": [message]}, self.whatsapp.numbers[0])
        signature = meta_sign(self.whatsapp.app_secret, body)
        return "/webhooks/whatsapp", body, {"x-hub-signature-256": signature, "content-type": "application/json"}

    async def shown(self, client: httpx.AsyncClient) -> list[tuple[str, str]]:
        url = f"{self.api_url}/{self.whatsapp.version}/{self.whatsapp.numbers[0]}/messages"
        headers = {"authorization": f"Bearer {self.whatsapp.access_token}"}
        answer = await client.get(url, params={"to": self.person}, headers=headers)
        listed = answer.raise_for_status().json()["messages"]
        return [(str(message["id"]), str(message["text"])) for message in reversed(listed)]


@dataclass(frozen=True, slots=True)
class TelegramPhone:
    """A phone with Telegram: a private chat, whose id is the person's."""

    telegram: TelegramSettings
    number: str

    @property
    def api_url(self) -> str:
        return self.telegram.api_url

    @property
    def chat(self) -> int:
        return int(_digits(self.number, "the id of the person's chat, a number"))

    def webhook(self, text: str) -> Webhook:
        person: dict[str, Any] = {"id": self.chat, "first_name": "A"}
        message = {
            "message_id": secrets.randbelow(2**31 - 1) + 1,
            "date": int(time.time()),
            "chat": {**person, "type": "private"},
            "from": {**person, "is_bot": False},
            "text": text,
        }
        update = {"update_id": secrets.randbelow(2**31 - 1) + 1, "message": message}
        headers = {"x-telegram-bot-api-secret-token": self.telegram.secret_token, "content-type": "application/json"}
        return "/webhooks/telegram", json.dumps(update).encode("ascii"), headers

    async def shown(self, client: httpx.AsyncClient) -> list[tuple[str, str]]:
        answer = await client.get(f"{self.api_url}/bot{self.telegram.bot_token}/sent", params={"chat_id": self.chat})
        listed = answer.raise_for_status().json()["result"]
        return [(str(message["message_id"]), _with_buttons(message)) for message in listed]


def _with_buttons(message: dict[str, Any]) -> str:
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return with_choices(message["text"], [button["text"] for row in rows for button in row])


def with_choices(text: str, labels: Sequence[str]) -> str:
    """A message as a phone shows it: the buttons below, a line each."""
    return "\n".join([text, *(f"[{label}]" for label in labels)])


def _digits(number: str, wanted: str) -> str:
    digits = re.sub(r"[+ ()-]", "", number)
    if not re.fullmatch(r"[0-9]{5,16}", digits, re.ASCII):
        raise SettingsError([f"--from is {number!r}: give {wanted}."])
    return digits
