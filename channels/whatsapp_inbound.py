"""What comes in by WhatsApp: Meta's batches, walked entry by change by message; pure, and nothing in it raises.

A batch holds up to 1,000 updates, and a bad one must not lose the others: it becomes an Unreadable of its own.
Sources: Meta's pages "messages webhook reference", with its subpages by kind, and "Business-scoped user IDs" (2026-11).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from channels.channel import Inbound, Item, Media, Status, Unreadable
from channels.keywords import keyword

_ID = re.compile(r"[\x21-\x7e]{1,180}")  # a wamid has some sixty; what is no id must not reach a key
_PERSON = re.compile(r"\+?([0-9]{5,20})|[A-Z]{2}\.[A-Za-z0-9.]{1,140}")  # a number, or the id that hides one
_CHOICE = re.compile(r"choice\.[a-z_]{1,50}")  # ours; what is not is read as the person's own words
_SECONDS = re.compile(r"[0-9]{1,12}")
_CODE = re.compile(r"[0-9]{1,9}")
_MIME = re.compile(r"[\x20-\x7e]{1,100}")
_STATES = {"sent": "sent", "delivered": "delivered", "read": "read", "played": "read", "failed": "failed"}


class _Bad(ValueError):
    """An item that cannot be read, and why."""


@dataclass(frozen=True, slots=True)
class _Content:
    """What a message says, whoever wrote it."""

    kind: str
    text: str = ""
    choice: str = ""
    media: tuple[Media, ...] = ()


def parse(body: bytes, numbers: Sequence[str]) -> list[Item]:
    """The messages and statuses of one webhook; ``numbers`` are the ids of the phone numbers that are ours."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return [Unreadable("not JSON", body)]
    entries = event.get("entry") if isinstance(event, dict) else None
    if not isinstance(entries, list):
        return [Unreadable("not an event of WhatsApp", body)]
    items: list[Item] = []
    for entry in entries:
        changes = entry.get("changes") if isinstance(entry, dict) else None
        if not isinstance(changes, list):
            items.append(_aside("an entry without changes", entry, body))
            continue
        for change in changes:
            items += _change(change, numbers, body)
    return items


def _change(change: Any, numbers: Sequence[str], body: bytes) -> list[Item]:
    """Other fields than "messages" (templates, account, quality …) tell nothing about a conversation."""
    value = change.get("value") if isinstance(change, dict) else None
    if not isinstance(value, dict):
        return [_aside("a change without a value", change, body)]
    if change.get("field", "messages") != "messages":
        return []
    metadata = value.get("metadata")
    number = _string(metadata, "phone_number_id") or numbers[0]
    contacts = [contact for contact in _several(value, "contacts") if isinstance(contact, dict)]
    items: list[Item] = []
    for message in _several(value, "messages"):
        try:
            if number not in numbers:
                raise _Bad("a message for a number that is not configured")
            items.append(_message(message, contacts, number))
        except _Bad as bad:
            items.append(_aside(str(bad), {"metadata": metadata, "message": message}, body))
    for status in _several(value, "statuses"):
        try:
            items += _status(status)
        except _Bad as bad:
            items.append(_aside(str(bad), status, body))
    return items + [_aside("an error that the provider reports", error, body) for error in _several(value, "errors")]


def _message(message: Any, contacts: Sequence[dict[str, Any]], number: str) -> Inbound:
    """The address names our number too: the answer must leave from the one that the person wrote to."""
    if not isinstance(message, dict):
        raise _Bad("a message that is none")
    row = _string(message, "id")
    if not _ID.fullmatch(row):
        raise _Bad("a message without a usable id")
    content = _content(message)
    return Inbound(
        provider_id=row,
        address=f"{number}:{_person(message, contacts)}",
        kind=content.kind,
        text=content.text,
        choice=content.choice,
        media=content.media,
        sender=number,
        written_at=_time(message.get("timestamp")),
    )


def _time(value: object) -> float | None:
    """Unix seconds, which Meta writes as a string."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return float(text) if _SECONDS.fullmatch(text) else None


def _person(message: dict[str, Any], contacts: Sequence[dict[str, Any]]) -> str:
    """Whom to answer. Each field may be missing: a person with a username can hide the number.

    A contact that names somebody else is never the sender: the answer would light up a stranger's phone.
    """
    hidden = _string(message, "from_user_id")
    same = [contact for contact in contacts if hidden and contact.get("user_id") == hidden]
    alone = [contact for contact in contacts if len(contacts) == 1 and not (hidden and contact.get("user_id"))]
    contact = (same or alone or [{}])[0]
    for found in (_string(message, "from"), _string(contact, "wa_id"), hidden, _string(contact, "user_id")):
        if known := _PERSON.fullmatch(found):
            return known[1] or found
    raise _Bad("a message without a sender")


# -- by kind


def _content(message: dict[str, Any]) -> _Content:
    """A kind that we do not know is "unsupported": the person is told what does work."""
    kind = message.get("type") or next((name for name in _READERS if name in message), "")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    return read(message.get(kind)) if read else _Content("unsupported")


def _text(body: Any) -> _Content:
    words = body.get("body") if isinstance(body, dict) else None
    if not isinstance(words, str):
        raise _Bad("a text without words")
    return _Content("keyword" if keyword(words) else "text", words)


def _media(kind: str) -> Callable[[Any], _Content]:
    def read(body: Any) -> _Content:
        """The id alone is kept: nothing is fetched before an advocate opens it."""
        row, mime = _string(body, "id"), _string(body, "mime_type")
        mime = mime if _MIME.fullmatch(mime) else "application/octet-stream"
        found = (Media(f"whatsapp:{row}", mime),) if _ID.fullmatch(row) else ()
        spoken = kind == "audio" and isinstance(body, dict) and body.get("voice") is True
        return _Content("voice" if spoken else kind, _string(body, "caption"), media=found)

    return read


def _location(body: Any) -> _Content:
    """As an advocate can read it: the name, the address, and where it is on the map."""
    found = [_string(body, "name"), _string(body, "address")]
    point = [body.get(name) if isinstance(body, dict) else None for name in ("latitude", "longitude")]
    if all(isinstance(number, int | float) and abs(number) <= 180 for number in point):
        found.append(f"({point[0]:.5f}, {point[1]:.5f})")
    return _Content("location", ", ".join(filter(None, found)))


def _contacts(body: Any) -> _Content:
    """Names and numbers of the cards, a line each."""
    lines = []
    for card in body if isinstance(body, list) else [body]:
        name = _string(card.get("name"), "formatted_name") if isinstance(card, dict) else ""
        phones = [_string(phone, "phone") or _string(phone, "wa_id") for phone in _several(card, "phones")]
        lines.append(" ".join(filter(None, (name, *phones))))
    return _Content("contacts", "\n".join(filter(None, lines)))


def _interactive(body: Any) -> _Content:
    for name, kind in (("button_reply", "button"), ("list_reply", "list")):
        if isinstance(body, dict) and isinstance(body.get(name), dict):
            return _chosen(kind, _string(body[name], "id"), _string(body[name], "title"))
    return _form(body.get("nfm_reply")) if isinstance(body, dict) and "nfm_reply" in body else _Content("unsupported")


def _form(body: Any) -> _Content:
    """A filled-in form: what was written into its fields is read like a message."""
    try:
        fields = json.loads(_string(body, "response_json") or "{}")
    except (ValueError, RecursionError):
        fields = {}
    words = [value for value in fields.values() if isinstance(value, str)] if isinstance(fields, dict) else []
    return _Content("button", "\n".join(words) or _string(body, "body"))


def _button(body: Any) -> _Content:
    """A quick reply of a template."""
    return _chosen("button", _string(body, "payload"), _string(body, "text"))


def _chosen(kind: str, row: str, title: str) -> _Content:
    """A choice of ours is not screened, so only what is certainly ours counts as one."""
    return _Content(kind, title, choice=row if _CHOICE.fullmatch(row) else "")


def _edit(body: Any) -> _Content:
    """The new words; none when the message was taken back. What was written first stays."""
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, dict) or message.get("type") == "edit":
        return _Content("edit")
    content = _content(message)
    return _Content("edit", content.text, media=content.media)


def _named(kind: str, field: str) -> Callable[[Any], _Content]:
    return lambda body: _Content(kind, _string(body, field))


_READERS: dict[str, Callable[[Any], _Content]] = {
    "text": _text,
    **{kind: _media(kind) for kind in ("image", "audio", "video", "document", "sticker")},
    "location": _location,
    "contacts": _contacts,
    "interactive": _interactive,
    "button": _button,
    "reaction": _named("reaction", "emoji"),  # none: taken back
    "order": _named("order", "text"),
    "system": _named("system", "body"),  # a changed number, a changed key
    "request_welcome": _named("system", "body"),  # the chat was opened, nothing written
    "edit": _edit,
    "revoke": _edit,
}


# -- statuses


def _status(status: Any) -> list[Status]:
    """How far a part of ours has come; nothing for a word that we do not know."""
    row, word = _string(status, "id"), _string(status, "status")
    if not _ID.fullmatch(row) or not word:
        raise _Bad("a status without a usable id or word")
    if word not in _STATES:
        return []
    errors = _several(status, "errors")
    code = str(errors[0].get("code", "")) if errors and isinstance(errors[0], dict) else ""
    return [Status(row, _STATES[word], delivery=_delivery(status), error=code if _CODE.fullmatch(code) else "")]


def _delivery(status: Any) -> str:
    """Our own id, which Meta gives back. Another program's on the same number is not ours: then the wamid counts."""
    given = _string(status, "biz_opaque_callback_data")
    try:
        return str(uuid.UUID(given)) if len(given) == 36 else ""
    except ValueError:
        return ""


# -- reading what may be missing or of another type


def _string(value: Any, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _several(value: Any, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else [] if found is None else [found]


def _aside(reason: str, item: Any, body: bytes) -> Unreadable:
    """The item alone: a thousand bad ones must not keep the whole batch a thousand times."""
    try:
        return Unreadable(reason, json.dumps(item).encode("ascii"))
    except RecursionError:
        return Unreadable(reason, body)
