"""Telegram's updates as it posts them, and webhooks of every shape, for the property-based tests."""

from __future__ import annotations

import json
from typing import Any

import httpx
from hypothesis import strategies as st

PERSON = 5_000_000_001  # wider than 32 bits
TOKEN = "1000000001:AAE-standin_bot-token"
SECRET = "a-Secret_token-1"
CHAT = {"id": PERSON, "type": "private", "first_name": "A"}
SENDER = {"id": PERSON, "is_bot": False, "first_name": "A", "language_code": "fr"}
GROUP = {"id": -1_001_234_567_890, "type": "supergroup", "title": "Workers"}


def message(text: Any = "hello", *, update: int = 1, name: str = "message", **fields: Any) -> dict[str, Any]:
    """An update with a message; ``fields`` replace or add, and without a text they are all there is."""
    made: dict[str, Any] = {"message_id": 7, "date": 1_764_000_000, "chat": CHAT, "from": SENDER}
    return {"update_id": update, name: made | ({} if text is None else {"text": text}) | fields}


def pressed(choice: str = "choice.human", *, update: int = 1, **fields: Any) -> dict[str, Any]:
    """An update for a button of ours; ``message`` in the fields is what it hangs on."""
    rows = [[{"text": "Une personne", "callback_data": choice}], [{"text": "Autre", "callback_data": "choice.more"}]]
    under = {"message_id": 8, "date": 1_764_000_000, "chat": CHAT, "text": "…"}
    under["reply_markup"] = {"inline_keyboard": rows}
    made = {"id": "4382bfdwdsb323b2d9", "from": SENDER, "chat_instance": "-3", "data": choice, "message": under}
    return {"update_id": update, "callback_query": {k: v for k, v in (made | fields).items() if v is not None}}


def member(before: str, after: str, *, update: int = 1, chat: dict[str, Any] = CHAT) -> dict[str, Any]:
    """An update for a person who has blocked the bot, or lifted that."""
    bot = {"id": 1, "is_bot": True, "first_name": "Passerelle", "username": "passerelle_bot"}
    made: dict[str, Any] = {"chat": chat, "from": SENDER, "date": 1_764_000_000}
    for name, word in (("old_chat_member", before), ("new_chat_member", after)):
        made[name] = {"status": word, "user": bot} | ({"until_date": 0} if word == "kicked" else {})
    return {"update_id": update, "my_chat_member": made}


def encoded(update: object) -> bytes:
    return json.dumps(update).encode("ascii")


def answer(_request: httpx.Request) -> httpx.Response:
    """As Telegram answers a message that it has taken."""
    made = {"message_id": 41, "date": 1_764_000_000, "chat": CHAT, "text": "x"}
    return httpx.Response(200, json={"ok": True, "result": made})


# -- anything

NAMES = (
    "update_id message edited_message callback_query my_chat_member channel_post poll chat from id type date message_id"
    " text caption photo voice audio video video_note animation document sticker location venue contact file_id"
    " file_unique_id width height duration mime_type is_animated is_video latitude longitude title address first_name"
    " last_name phone_number data reply_markup inline_keyboard callback_data old_chat_member new_chat_member status"
    " user until_date is_bot pinned_message dice chat_instance length"
).split()
WILD = st.text(st.characters(), max_size=60)  # with lone surrogates and NUL
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | WILD
    | st.sampled_from(["private", "group", "choice.human", "/start", "kicked", "member", "x" * 5000, 2**63, PERSON])
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | WILD, inner, max_size=6),
    max_leaves=12,
)
FILE = {"file_id": "AgADBA", "file_unique_id": "u1", "width": 9, "height": 9, "duration": 1, "length": 9}
RIGHT = [
    message(),
    message(name="edited_message"),
    message(None, photo=[FILE, FILE], caption="look"),
    message(None, voice=FILE),
    message(None, document=FILE),
    message(None, sticker=FILE | {"is_animated": False, "is_video": False, "type": "regular"}),
    message(None, venue={"location": {"latitude": 1, "longitude": 2}, "title": "a", "address": "b"}),
    message(None, contact={"phone_number": "+15145550123", "first_name": "A"}),
    pressed(),
    member("member", "kicked"),
]


@st.composite
def spoiled(draw: st.DrawFn) -> Any:
    """A right update with anything at any place."""
    made = json.loads(json.dumps(draw(st.sampled_from(RIGHT))))
    for _ in range(draw(st.integers(1, 3))):
        inner = made
        while isinstance(inner, dict | list) and inner:
            key = draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
            if not isinstance(inner[key], dict | list) or draw(st.integers(0, 3)) == 0:
                if isinstance(inner, dict) and draw(st.booleans()):
                    del inner[key]
                else:
                    inner[key] = draw(ANYTHING)
                break
            inner = inner[key]
    return made


BODIES = spoiled().map(encoded) | ANYTHING.map(encoded) | st.integers(1, 100_000).map(lambda deep: b"[" * deep)
