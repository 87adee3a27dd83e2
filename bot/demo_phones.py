"""The phones of the demonstration's page: fictitious addresses, what is on their screens, and what is pressed there.

Everything a visitor does comes in by the provider's own signed webhook, and everything shown is asked of the
stand-in of the provider's API. What a phone writes is made in ``say_phones``; here are the buttons and the read marks.
Sources: Meta's "messages webhook reference", core.telegram.org/bots/api "CallbackQuery" (2026-11).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from bot.say_phones import SmsPhone, TelegramPhone, Webhook, WhatsAppPhone
from bot.settings import Settings
from bot.standin_graph import event
from channels.whatsapp import sign

# Canada's area codes; with 555-01xx they are numbers that are nobody's (CNAC and NANPA, 2026-11)
_AREAS = (
    "204 226 236 249 250 263 289 306 343 354 365 367 368 382 403 416 418 428 431 437 438 450 468 474 506 514 519 548 "
    "579 581 584 587 604 613 639 647 672 683 705 709 742 753 778 780 782 807 819 825 867 873 879 902 905"
).split()
CHANNELS = ("sms", "whatsapp", "telegram")


@dataclass(frozen=True, slots=True)
class Phones:
    """One visitor's phones. ``sms`` and ``whatsapp`` are numbers, ``telegram`` the id of a chat."""

    sms: str
    whatsapp: str
    telegram: str


@dataclass(frozen=True, slots=True)
class Pressed:
    """A button or a row of a list, and the message it stands under."""

    choice: str
    label: str
    message: str


def numbers() -> Iterator[str]:
    """All fictitious numbers, in a random order that differs at every call."""
    all_of_them = [f"+1{area}5550{last}" for area in _AREAS for last in range(100, 200)]
    secrets.SystemRandom().shuffle(all_of_them)
    yield from all_of_them


def chat_id() -> str:
    """Telegram's ids have no fictitious ones, but nobody is asked outside."""
    return str(10**10 + secrets.randbelow(9 * 10**10))


def written(settings: Settings, phones: Phones, channel: str, text: str) -> Webhook:
    """What the provider posts when the person writes. Raises KeyError for a channel that has no phone."""
    return _made(settings, phones)[channel].webhook(text)


def _made(settings: Settings, phones: Phones) -> dict[str, SmsPhone | WhatsAppPhone | TelegramPhone]:
    made: dict[str, SmsPhone | WhatsAppPhone | TelegramPhone] = {}
    if settings.twilio:
        made["sms"] = SmsPhone(settings.twilio, settings.public_url, phones.sms)
    if settings.whatsapp:
        made["whatsapp"] = WhatsAppPhone(settings.whatsapp, phones.whatsapp)
    if settings.telegram:
        made["telegram"] = TelegramPhone(settings.telegram, phones.telegram)
    return made


def pressed(settings: Settings, phones: Phones, channel: str, what: Pressed) -> Webhook:
    """What the provider posts when a button is pressed. Raises KeyError where there are none."""
    if channel == "whatsapp" and settings.whatsapp:
        # up to three choices are buttons, more are a list; the answer to either is read alike
        reply = {"type": "button_reply", "button_reply": {"id": what.choice, "title": what.label}}
        message = {
            "from": phones.whatsapp.lstrip("+"),
            "id": "wamid." + secrets.token_urlsafe(32),
            "timestamp": str(int(time.time())),
            "type": "interactive",
            "context": {"from": "15005550006", "id": what.message},
            "interactive": reply,
        }
        contact = {"profile": {"name": "A"}, "wa_id": message["from"]}
        return _meta(settings, {"contacts": [contact], "messages": [message]})
    if channel == "telegram" and settings.telegram:
        return _callback(settings, phones, what)
    raise KeyError(channel)


def _callback(settings: Settings, phones: Phones, what: Pressed) -> Webhook:
    assert settings.telegram is not None, "`pressed` has looked"
    person = {"id": int(phones.telegram), "first_name": "A"}
    button = {"text": what.label, "callback_data": what.choice}
    under = {
        "message_id": int(what.message) if what.message.isdecimal() else 1,
        "date": int(time.time()),
        "chat": {**person, "type": "private"},
        "text": "…",
        "reply_markup": {"inline_keyboard": [[button]]},
    }
    query = {
        "id": secrets.token_hex(8),
        "from": {**person, "is_bot": False},
        "message": under,
        "chat_instance": phones.telegram,
        "data": what.choice,
    }
    update = {"update_id": secrets.randbelow(2**31 - 1) + 1, "callback_query": query}
    headers = {
        "x-telegram-bot-api-secret-token": settings.telegram.secret_token,
        "content-type": "application/json",
    }
    return "/webhooks/telegram", json.dumps(update).encode("ascii"), headers


def read(settings: Settings, phones: Phones, messages: list[str]) -> Webhook:
    """What Meta posts when the person has opened the chat; the others report no reading."""
    now, person = str(int(time.time())), phones.whatsapp.lstrip("+")
    statuses = [{"id": row, "status": "read", "timestamp": now, "recipient_id": person} for row in messages]
    return _meta(settings, {"statuses": statuses})


def _meta(settings: Settings, value: dict[str, Any]) -> Webhook:
    assert settings.whatsapp is not None, "there is a phone for it"
    body = event(value, settings.whatsapp.numbers[0])
    signature = sign(settings.whatsapp.app_secret, body)
    return "/webhooks/whatsapp", body, {"x-hub-signature-256": signature, "content-type": "application/json"}


async def screens(settings: Settings, phones: Phones, client: httpx.AsyncClient) -> dict[str, list[dict[str, object]]]:
    """What every phone shows, oldest first: id, text, buttons, state. Raises what httpx and broken JSON raise."""
    found: dict[str, list[dict[str, object]]] = {}
    if twilio := settings.twilio:
        url = f"{twilio.api_url}/2010-04-01/Accounts/{twilio.account_sid}/Messages.json"
        auth = (twilio.account_sid, twilio.auth_token)
        answer = await client.get(url, params={"To": phones.sms}, auth=auth)
        found["sms"] = [_shown(row["sid"], row["body"], [], row["status"]) for row in reversed(_of(answer)["messages"])]
    if whatsapp := settings.whatsapp:
        url = f"{whatsapp.api_url}/{whatsapp.version}/{whatsapp.numbers[0]}/messages"
        headers = {"authorization": f"Bearer {whatsapp.access_token}"}
        answer = await client.get(url, params={"to": phones.whatsapp.lstrip("+")}, headers=headers)
        found["whatsapp"] = [_whatsapp(row) for row in reversed(_of(answer)["messages"])]
    if telegram := settings.telegram:
        url = f"{telegram.api_url}/bot{telegram.bot_token}/sent"
        answer = await client.get(url, params={"chat_id": phones.telegram})
        found["telegram"] = [_telegram(row) for row in _of(answer)["result"]]
    return found


def _of(answer: httpx.Response) -> Any:
    return answer.raise_for_status().json()


def _shown(row: object, text: object, buttons: list[dict[str, object]], state: object) -> dict[str, object]:
    return {"id": str(row), "text": text, "buttons": buttons, "state": state}


def _whatsapp(row: dict[str, Any]) -> dict[str, object]:
    shown = row.get("interactive")
    if not shown:
        return _shown(row["id"], row["text"], [], row["status"])
    action = shown["action"]
    buttons = [button["reply"] for button in action.get("buttons", [])]
    buttons += [entry for section in action.get("sections", []) for entry in section["rows"]]
    found = [{"id": one["id"], "label": one["title"], "note": one.get("description", "")} for one in buttons]
    return {**_shown(row["id"], shown["body"]["text"], found, row["status"]), "list": action.get("button", "")}


def _telegram(row: dict[str, Any]) -> dict[str, object]:
    keys = [key for line in row.get("reply_markup", {}).get("inline_keyboard", []) for key in line]
    buttons = [{"id": key["callback_data"], "label": key["text"], "note": ""} for key in keys]
    return _shown(row["message_id"], row["text"], buttons, "sent")
