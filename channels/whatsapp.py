"""WhatsApp through Meta's Cloud API. Top to bottom: limits, signature, what comes in, what goes out, errors.

Sources: Meta's pages "Webhooks", "Messages API", "Interactive reply buttons", "Interactive lists", "Error codes",
"Business-scoped user IDs", "Graph API versions" (2026-11). What comes in is read in ``whatsapp_inbound``.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Sequence
from datetime import date
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from channels import whatsapp_inbound
from channels.channel import (
    Ambiguous,
    Choice,
    Item,
    Limits,
    NotSent,
    Part,
    RawRequest,
    Refused,
    SendError,
    Sent,
)
from channels.outgoing import TIMEOUT, handed_over, pause, read_errors, sendable, split

MAX_TEXT = 4096
MAX_BODY = 1024  # of a message with buttons or a list
MAX_BUTTONS, MAX_BUTTON_TITLE = 3, 20
MAX_ROWS, MAX_ROW_TITLE, MAX_ROW_NOTE = 10, 24, 72
MAX_CALLBACK = 3 * 1024 * 1024  # bytes of one webhook, with up to 1,000 updates
WINDOW = 24 * 3600.0  # seconds after the person's last message in which we may write freely

VERSION = "v25.0"  # of the Graph API, unless the settings name another
ENDS = {
    "v21.0": date(2027, 1, 21),
    "v22.0": date(2027, 5, 20),
    "v23.0": date(2027, 10, 8),
    "v24.0": date(2028, 2, 18),
    "v25.0": date(2028, 7, 29),
}  # developers.facebook.com/docs/graph-api/changelog/versions, 2026-11; v26.0 had no date yet

_PAUSE = 900.0  # seconds without a call from a number whose messages were reported as spam
_LONGEST_WAIT = 3600.0  # seconds, whatever Meta asks for
_LIST_BUTTON = "☰"  # opens a list; a word would need the person's language
_log = logging.getLogger("passerelle.whatsapp")


class WhatsApp:
    """Channel "whatsapp". An address is our number's id, a colon, and the person's number or hidden id."""

    name = "whatsapp"
    limits = Limits(text=MAX_TEXT, choices=MAX_ROWS, window=WINDOW)

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        numbers: Sequence[str],
        access_token: str,
        app_secret: str,
        verify_token: str,
        api_url: str,
        version: str = VERSION,
    ) -> None:
        self._client = client
        self._numbers = tuple(numbers)
        self._token = access_token
        self._secret = app_secret
        self._verify_token = verify_token
        self._api = f"{api_url.rstrip('/')}/{version}"
        self._errors = read_errors("whatsapp")
        self._resume: dict[str, float] = {}  # by number, on the monotonic clock

    # -- what comes in

    def verify(self, request: RawRequest) -> bool:
        """SHA-256 only: the older SHA-1 header proves nothing any more."""
        given = request.headers.get("x-hub-signature-256", "")
        if not self._secret or not given.isascii():
            return False
        return hmac.compare_digest(given, sign(self._secret, request.body))

    def challenge(self, url: str) -> str | None:
        """What Meta is to read when the webhook is entered there; None unless it knows our token."""
        asked = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True, errors="replace"))
        given = asked.get("hub.verify_token", "").encode("utf-8", "replace")
        right = hmac.compare_digest(given, self._verify_token.encode("utf-8", "replace"))
        if not (self._verify_token and right and asked.get("hub.mode") == "subscribe"):
            return None
        return asked.get("hub.challenge")

    def parse(self, request: RawRequest) -> list[Item]:
        return whatsapp_inbound.parse(request.body, self._numbers)

    # -- what goes out

    def compose(self, text: str, choices: Sequence[Choice]) -> list[Part]:
        """The choices hang on the last part, whose text must then be shorter."""
        pieces = split(sendable(text), MAX_TEXT)
        if not pieces or not choices:
            return [Part(piece) for piece in pieces]
        pieces[-1:] = split(pieces[-1], MAX_BODY)
        return [*(Part(piece) for piece in pieces[:-1]), Part(pieces[-1], tuple(choices[:MAX_ROWS]))]

    async def send(self, address: str, part: Part, *, delivery: str) -> Sent:
        number, _, person = address.rpartition(":")
        if number not in self._numbers:  # from another of ours it would be a new chat on the person's phone
            raise Refused("number")
        if (left := self._resume.get(number, 0.0) - time.monotonic()) > 0:
            raise NotSent("131048", retry_after=left)
        response = await handed_over(
            self._client.post(
                f"{self._api}/{number}/messages",
                json=_payload(person, part, delivery),
                headers={"authorization": f"Bearer {self._token}"},
                timeout=TIMEOUT,
            )
        )
        if response.is_success:
            return Sent(_id_of(response))
        raise self._refusal(response, number)

    async def find(self, address: str, part: Part, *, since: float) -> Sent | None:
        """Meta lists no messages. A status that comes later still finds the part by our own id."""
        raise Ambiguous("lookup")

    def _refusal(self, response: httpx.Response, number: str) -> SendError:
        code = _code_of(response)
        action = self._errors.get(code) or self._errors.get(f"{code[:-3]}xxx", "retry")
        if action == "alarm" or (response.status_code in (401, 403) and action == "retry"):
            _log.error("WhatsApp lets us send nothing: error %s. See docs/channels/whatsapp.md.", code)
            return Refused(code)
        if action == "final":
            return Refused(code)
        if action == "pause":
            _log.error("WhatsApp has slowed this number down for spam: nothing is sent for %.0f s.", _PAUSE)
            self._resume[number] = time.monotonic() + _PAUSE
            return NotSent(code, retry_after=_PAUSE)
        if action == "slower":
            return NotSent(code, growth=4.0)
        if response.status_code == 429 or action == "back_off":
            return NotSent(code, retry_after=pause(response.headers.get("retry-after"), longest=_LONGEST_WAIT))
        return NotSent(code)


def sign(secret: str, body: bytes) -> str:
    """Meta's signature of a webhook."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _payload(person: str, part: Part, delivery: str) -> dict[str, Any]:
    """The request's body. A person who hides the number is named in a field of its own."""
    whom = "to" if person.removeprefix("+").isdecimal() else "recipient"
    body: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        whom: person,
        "biz_opaque_callback_data": delivery,  # comes back with every status
    }
    if part.choices:
        return body | {"type": "interactive", "interactive": _interactive(part)}
    # no preview: it would fetch the page, and show it large to whoever looks on
    return body | {"type": "text", "text": {"body": part.text, "preview_url": False}}


def _interactive(part: Part) -> dict[str, Any]:
    """Buttons where they fit, else a list."""
    body = {"text": part.text}
    if len(part.choices) <= MAX_BUTTONS and all(len(choice.label) <= MAX_BUTTON_TITLE for choice in part.choices):
        buttons = [{"type": "reply", "reply": {"id": choice.id, "title": choice.label}} for choice in part.choices]
        return {"type": "button", "body": body, "action": {"buttons": buttons}}
    sections = [{"rows": [_row(choice) for choice in part.choices]}]
    return {"type": "list", "body": body, "action": {"button": _LIST_BUTTON, "sections": sections}}


def _row(choice: Choice) -> dict[str, str]:
    if len(choice.label) <= MAX_ROW_TITLE:
        return {"id": choice.id, "title": choice.label}
    short = choice.label[: MAX_ROW_TITLE - 1].rstrip() + "…"
    return {"id": choice.id, "title": short, "description": choice.label[:MAX_ROW_NOTE]}


def _id_of(response: httpx.Response) -> str:
    try:
        row = response.json()["messages"][0]["id"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise Ambiguous("answer") from error
    if not isinstance(row, str):
        raise Ambiguous("answer")
    return row


def _code_of(response: httpx.Response) -> str:
    """The code in the answer, else the HTTP status."""
    try:
        code = response.json()["error"]["code"]
    except (ValueError, KeyError, IndexError, TypeError):
        code = None
    return str(code) if isinstance(code, int | str) else str(response.status_code)
