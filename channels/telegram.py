"""Telegram, through its Bot API. Top to bottom: limits, proof, what comes in, what goes out, errors.

Types and calls are those of ``python-telegram-bot``; they travel through the project's own HTTP client.
Sources: core.telegram.org/bots/api, its sections "Update", "setWebhook", "Making requests", "ResponseParameters",
"InlineKeyboardButton", "InaccessibleMessage" (2026-11).
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
from telegram import (
    Bot,
    CallbackQuery,
    ChatMemberUpdated,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    LinkPreviewOptions,
    Location,
    Message,
    Update,
)

from channels.channel import (
    Ambiguous,
    Choice,
    Inbound,
    Item,
    Limits,
    Media,
    MediaError,
    Pace,
    Part,
    RawRequest,
    Refused,
    SendError,
    Sent,
    Unreadable,
)
from channels.keywords import keyword
from channels.media import Origin, check_status, download
from channels.outgoing import TIMEOUT, sendable, split
from channels.telegram_request import ClientRequest, called, meaning

MAX_TEXT = 4096  # of one message, counted in UTF-16 units to be on the safe side
MAX_CHOICES = 8  # one button a row
MAX_CALLBACK = 64  # bytes that a button gives back
SENDER = Pace(25, burst=5)  # 30 a second of one bot, even in a second that begins after a rest
PAIR = Pace(1, burst=3)  # one a second in a chat; short bursts are let through (core.telegram.org/bots/faq, 2026-11)
ALLOWED_UPDATES = ("message", "edited_message", "callback_query", "my_chat_member")

_ID = re.compile(r"[\x21-\x7e]{1,64}")
_CHOICE = re.compile(r"choice\.[a-z_]{1,50}")
_FILE_ID = re.compile(r"[\x21-\x7e]{1,512}")
_FILE_PATH = re.compile(r"[\w./-]{1,512}", re.ASCII)
_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,100}", re.ASCII)
_COMMAND = re.compile(r"/[a-z0-9_]{1,32}", re.ASCII | re.IGNORECASE)  # "/help I am afraid" is a text, and is read
_START = re.compile(r"/start\s\S*", re.ASCII | re.IGNORECASE)  # by a link with a parameter

# What is read of a message. The rest (quotations, forwards, previews) does not reach the library: a novelty in it
# must not cost us the person's words.
_READ = frozenset(
    "message_id date chat from text caption photo voice audio video video_note animation document sticker location"
    " venue contact reply_markup".split()
)
# field → our kind, content type where the file names none. An animation comes as a document as well: first.
_FILES = {
    "voice": ("voice", "audio/ogg"),
    "audio": ("audio", "audio/mpeg"),
    "animation": ("video", "video/mp4"),
    "video": ("video", "video/mp4"),
    "video_note": ("video", "video/mp4"),
    "sticker": ("sticker", "image/webp"),
    "document": ("document", "application/octet-stream"),
}
# What Telegram itself writes into a private chat; nobody said it, and nobody expects an answer.
_SERVICE = frozenset(
    "pinned_message message_auto_delete_timer_changed write_access_allowed chat_background_set users_shared chat_shared"
    " connected_website boost_added proximity_alert_triggered new_chat_members left_chat_member".split()
)


class Telegram:
    """Channel "telegram". An address is the id of a private chat, up to 64 bits wide."""

    name = "telegram"
    limits = Limits(text=MAX_TEXT, choices=MAX_CHOICES, sender=SENDER, pair=PAIR)

    def __init__(
        self, client: httpx.AsyncClient, *, bot_token: str, secret_token: str, api_url: str, webhook_url: str
    ) -> None:
        self._secret = secret_token
        self._webhook_url = webhook_url
        self._client = client
        self._origin = Origin(api_url)
        self._api, self._token = api_url.rstrip("/"), bot_token
        request = ClientRequest(client)
        # of one's own for both uses: else the library opens a second client for polling, and never closes it
        base_url = f"{api_url.rstrip('/')}/bot"
        self._bot = Bot(bot_token, base_url=base_url, request=request, get_updates_request=request)

    # -- what comes in

    def verify(self, request: RawRequest) -> bool:
        given = request.headers.get("x-telegram-bot-api-secret-token", "")
        if not given.isascii() or not given or not self._secret:
            return False
        return hmac.compare_digest(given.encode("ascii"), self._secret.encode("utf-8"))

    def parse(self, request: RawRequest) -> list[Item]:
        try:
            update, fields, written = _read(request.body)
            return [replace(item, written_at=written) for item in _items(update, fields)]
        except Exception as error:  # the library says nowhere what it raises when a structure is not as it expects
            return [Unreadable(f"not an update that can be read ({type(error).__name__})", request.body)]

    # -- what goes out

    def compose(self, text: str, choices: Sequence[Choice]) -> list[Part]:
        pieces = [fitting for piece in split(sendable(text), MAX_TEXT) for fitting in _halved(piece)]
        if not pieces:
            return []
        fitting = tuple(choice for choice in choices if len(choice.id.encode()) <= MAX_CALLBACK)[:MAX_CHOICES]
        return [*(Part(piece) for piece in pieces[:-1]), Part(pieces[-1], fitting)]

    async def send(self, address: str, part: Part, *, delivery: str) -> Sent:
        try:
            chat = int(address)
        except ValueError as error:
            raise Refused("address") from error
        rows = [[InlineKeyboardButton(choice.label, callback_data=choice.id)] for choice in part.choices]
        message = await called(
            self._bot.send_message(  # no parse_mode: plain text, whatever is in it
                chat,
                part.text,
                reply_markup=InlineKeyboardMarkup(rows) if rows else None,
                link_preview_options=LinkPreviewOptions(is_disabled=True),  # no picture that others notice
            )
        )
        if not isinstance(message, Message) or not _is_number(message.message_id):  # the library checks neither
            raise Ambiguous("answer")
        return Sent(str(message.message_id))

    def failure(self, code: str) -> SendError:
        return meaning(code)

    async def find(self, address: str, part: Part, *, since: float) -> Sent | None:
        raise Ambiguous("lookup")  # a bot cannot read what it has sent

    # -- files

    async def fetch(self, media: str, *, most: int) -> bytes:
        """Asked for without the library: it would put the file's address, with the token in it, into its objects."""
        kept = media.removeprefix("telegram:")
        if kept == media or not _FILE_ID.fullmatch(kept):
            raise MediaError("foreign")
        call = self._client.post(f"{self._api}/bot{self._token}/getFile", data={"file_id": kept}, timeout=TIMEOUT)
        try:
            response = await call
            answer = response.json()
        except (httpx.HTTPError, ValueError):
            raise MediaError("unreachable") from None
        if response.status_code == 400:  # no other is told apart by its code
            raise MediaError("too_large" if "too big" in str(answer) else "gone")
        check_status(response, trusted=True)
        try:
            path, size = answer["result"]["file_path"], answer["result"].get("file_size") or 0
        except (KeyError, TypeError, AttributeError):
            raise MediaError("unreachable") from None
        if not isinstance(path, str) or not _FILE_PATH.fullmatch(path) or ".." in path:
            raise MediaError("foreign")
        if isinstance(size, int) and size > most:
            raise MediaError("too_large")
        url = f"{self._api}/file/bot{self._token}/{path}"
        return await download(self._client, url, self._origin, most=most, credentials={})

    async def forget(self, media: str) -> bool:
        return False  # deleting the message would take it from the person's phone as well

    async def set_webhook(self) -> None:
        """Tells Telegram where updates go, and which. Raises SendError; doing it twice does no harm."""
        await called(
            self._bot.set_webhook(self._webhook_url, secret_token=self._secret, allowed_updates=ALLOWED_UPDATES)
        )


# -- reading an update


def _read(body: bytes) -> tuple[Update, frozenset[str], float | None]:
    """The update, the names of all fields of its message, and when it was written.

    Raises whatever JSON and the library raise; not for a strange time, which must cost nobody their words.
    """
    data = json.loads(body)
    if not _is_number(data["update_id"]):
        raise ValueError("no update_id")
    found = {name: data[name] for name in ALLOWED_UPDATES if name in data}
    if not all(found.values()):
        raise ValueError("empty")
    fields: set[str] = set()
    written: float | None = None
    for name in ("message", "edited_message", "my_chat_member"):
        if name in found:
            written = _time(found[name].get("edit_date" if name == "edited_message" else "date"))
            found[name] = {**found[name], "date": 0}  # read here: the library falls over one that is none
    for name in ("message", "edited_message"):
        if name in found:
            fields |= set(found[name])
            found[name] = _trimmed(found[name])
    if "callback_query" in found and found["callback_query"].get("message") is not None:
        found["callback_query"] = {**found["callback_query"], "message": _trimmed(found["callback_query"]["message"])}
    return Update.de_json({"update_id": data["update_id"], **found}), frozenset(fields), written


def _trimmed(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name in _READ}


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int) and _is_number(value) else None


def _items(update: Update, fields: frozenset[str]) -> list[Inbound]:
    """What one update means to us; of a kind that we do not ask for: nothing."""
    key = str(update.update_id)
    if update.message is not None:
        return [*_message(key, update.message, fields)]
    if update.edited_message is not None:
        return [replace(item, kind="edit") for item in _message(key, update.edited_message, fields)]
    if update.callback_query is not None:
        return _button(key, update.callback_query)
    if update.my_chat_member is not None:
        return _membership(key, update.my_chat_member)
    return []


def _message(key: str, message: Message, fields: frozenset[str]) -> list[Inbound]:
    if message.chat.type != "private":  # in a group others read along, and most of it is not meant for us
        return []
    kind, text, media = _content(message)
    if kind == "unsupported" and _SERVICE & fields:
        kind = "system"
    return [Inbound(key, _address(message.chat.id), kind, text, media=media)]


def _content(message: Message) -> tuple[str, str, tuple[Media, ...]]:
    """Kind, words and files. A place and a contact card are words: only so advocates see them."""
    if message.text is not None:
        text = _text(message.text)
        return _kind(text), text, ()
    caption = _text(message.caption)
    if message.photo:
        largest = max(message.photo, key=lambda size: size.width * size.height)
        return "image", caption, (_reference(largest, "image/jpeg"),)
    for name, (kind, content_type) in _FILES.items():
        if (file := getattr(message, name)) is not None:
            return kind, caption, (_reference(file, content_type),)
    if (venue := message.venue) is not None:
        return "location", _joined(", ", venue.title, venue.address, _place(venue.location)), ()
    if message.location is not None:
        return "location", _place(message.location), ()
    if (card := message.contact) is not None:
        return "contacts", _joined(" ", card.first_name, card.last_name, card.phone_number), ()
    return "unsupported", caption, ()


def _kind(text: str) -> str:
    found = keyword(text)
    if _START.fullmatch(text) or (_COMMAND.fullmatch(text) and (found is None or found[0] == "start")):
        return "command"
    return "keyword" if found else "text"


def _reference(file: Any, content_type: str) -> Media:
    """The file's id, for ``getFile``. Its address would hold the bot's token, and is never made before it is needed."""
    if not isinstance(file.file_id, str) or not _FILE_ID.fullmatch(file.file_id):
        raise ValueError("no file_id")
    named = getattr(file, "mime_type", None)
    if getattr(file, "is_animated", False) is True:  # stickers come in three forms and name none
        named = "application/x-tgsticker"
    elif getattr(file, "is_video", False) is True:
        named = "video/webm"
    known = isinstance(named, str) and _TYPE.fullmatch(named)
    told = getattr(file, "file_size", None)
    size = told if isinstance(told, int) and 0 < told < 2**40 else 0
    return Media(f"telegram:{file.file_id}", str(named) if known else content_type, size)


def _button(key: str, query: CallbackQuery) -> list[Inbound]:
    """A pressed button. The message it hangs on may be gone; then the label is unknown and ``text`` is empty."""
    chat = query.message.chat if query.message is not None else None
    if chat is not None and chat.type != "private":
        return []
    choice = _text(query.data)
    label = ""
    if isinstance(query.message, Message) and query.message.reply_markup is not None:
        buttons = [button for row in query.message.reply_markup.inline_keyboard for button in row]
        label = next((_text(button.text) for button in buttons if button.callback_data == choice), "")
    address = _address(chat.id if chat else query.from_user.id)  # a private chat has the id of the person
    # a choice of ours is not screened, so only what is certainly ours counts as one
    return [Inbound(key, address, "button", label, choice=choice if _CHOICE.fullmatch(choice) else "")]


def _membership(key: str, change: ChatMemberUpdated) -> list[Inbound]:
    """In a private chat: the person has blocked us, or lifted that."""
    if change.chat.type != "private":
        return []
    before, after = change.old_chat_member.status, change.new_chat_member.status
    if after in ("kicked", "left"):
        return [Inbound(key, _address(change.chat.id), "optout")]
    return [Inbound(key, _address(change.chat.id), "optin")] if before in ("kicked", "left") else []


def acknowledgement(body: bytes) -> dict[str, str]:
    """What the webhook answers: a pressed button is told so by the answer itself, which spares a call."""
    try:
        query = json.loads(body)["callback_query"]["id"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return {}
    if not isinstance(query, str) or not _ID.fullmatch(query):
        return {}
    return {"method": "answerCallbackQuery", "callback_query_id": query}


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _address(chat: object) -> str:
    if not _is_number(chat):
        raise ValueError("no chat")
    return str(chat)


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _place(where: Location) -> str:
    return f"({float(where.latitude):.5f}, {float(where.longitude):.5f})"


def _joined(between: str, *parts: object) -> str:
    return between.join(text for part in parts if (text := _text(part).strip()))


def _halved(piece: str) -> list[str]:
    """Emoji and rare scripts count twice."""
    return [piece] if len(piece.encode("utf-16-le")) <= 2 * MAX_TEXT else split(piece, MAX_TEXT // 2)
