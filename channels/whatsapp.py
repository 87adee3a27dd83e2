"""WhatsApp through Meta's Cloud API. Top to bottom: limits, signature, what comes in, what goes out, errors.

Sources: Meta's pages "Webhooks", "Messages API", "Interactive reply buttons", "Interactive lists", "Error codes",
"Business-scoped user IDs", "Graph API versions" (2026-11). What comes in is read in ``whatsapp_inbound``.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
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
    MediaError,
    NotSent,
    Pace,
    Part,
    RawRequest,
    Refused,
    SendError,
    Sent,
    TemplateCall,
)
from channels.media import Origin, check_status, download
from channels.outgoing import TIMEOUT, handed_over, pause, read_errors, sendable, split

MAX_TEXT = 4096
MAX_BODY = 1024  # of a message with buttons or a list
MAX_BUTTONS, MAX_BUTTON_TITLE = 3, 20
MAX_ROWS, MAX_ROW_TITLE, MAX_ROW_NOTE = 10, 24, 72
MAX_CALLBACK = 3 * 1024 * 1024  # bytes of one webhook, with up to 1,000 updates
WINDOW = 24 * 3600.0  # seconds after the person's last message in which we may write freely

# Meta's pages "Throughput" and "Pair rate limits" (2026-11). 80 a second of one number, even in a second that begins
# after a rest; what comes in counts too, but is not ours to slow.
SENDER = Pace(75, burst=5)
# One in six seconds to the same person. Up to 45 may go at once and are paid for afterwards: we stay well below.
PAIR = Pace(1 / 6, burst=20)

VERSION = "v25.0"  # of the Graph API, unless the settings name another
ENDS = {
    "v21.0": date(2027, 1, 21),
    "v22.0": date(2027, 5, 20),
    "v23.0": date(2027, 10, 8),
    "v24.0": date(2028, 2, 18),
    "v25.0": date(2028, 7, 29),
}  # developers.facebook.com/docs/graph-api/changelog/versions, 2026-11; v26.0 had no date yet

# A media id becomes an address at this host, good for five minutes, which wants our token as well
# (developers.facebook.com/documentation/business-messaging/whatsapp/reference/media/media-api, 2026-11)
MEDIA_HOSTS = ("lookaside.fbsbx.com",)
_MEDIA = re.compile(r"whatsapp:([A-Za-z0-9_-]{1,180})")

_PAUSE = 900.0  # seconds without a call from a number whose messages were reported as spam
_LONGEST_WAIT = 3600.0  # seconds, whatever Meta asks for
_LIST_BUTTON = "☰"  # opens a list; a word would need the person's language
_log = logging.getLogger("passerelle.whatsapp")


class WhatsApp:
    """Channel "whatsapp". An address is our number's id, a colon, and the person's number or hidden id."""

    name = "whatsapp"
    limits = Limits(text=MAX_TEXT, choices=MAX_ROWS, window=WINDOW, sender=SENDER, pair=PAIR)

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
        self._origin = Origin(api_url, own=MEDIA_HOSTS)
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

    def failure(self, code: str) -> SendError:
        return self._meaning(code)

    async def find(self, address: str, part: Part, *, since: float) -> Sent | None:
        """Meta lists no messages. A status that comes later still finds the part by our own id."""
        raise Ambiguous("lookup")

    # -- files

    async def fetch(self, media: str, *, most: int) -> bytes:
        response = await self._node("GET", media)
        try:
            url, size = response.json()["url"], int(response.json().get("file_size") or 0)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise MediaError("unreachable") from None
        if size > most:
            raise MediaError("too_large")
        return await download(self._client, str(url), self._origin, most=most, credentials=self._bearer())

    async def forget(self, media: str) -> bool:
        await self._node("DELETE", media)
        return True

    async def _node(self, method: str, media: str) -> httpx.Response:
        """Meta's answer about a media id. One that is no more is an error 100, whose status is 400."""
        if (known := _MEDIA.fullmatch(media)) is None:
            raise MediaError("foreign")
        call = self._client.request(method, f"{self._api}/{known[1]}", headers=self._bearer(), timeout=TIMEOUT)
        try:
            response = await call
        except httpx.HTTPError:
            raise MediaError("unreachable") from None
        if response.status_code == 400 and _code_of(response) == "100":
            raise MediaError("gone")
        check_status(response, trusted=True)
        return response

    def _bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"}

    def _refusal(self, response: httpx.Response, number: str) -> SendError:
        asked = response.headers.get("retry-after")
        error = self._meaning(_code_of(response), status=response.status_code, asked=asked)
        if self._action(error.code) == "pause":
            self._resume[number] = time.monotonic() + _PAUSE
        return error

    def _action(self, code: str) -> str:
        return self._errors.get(code) or self._errors.get(f"{code[:-3]}xxx", "retry")

    def _meaning(self, code: str, *, status: int = 400, asked: str | None = None) -> SendError:
        action = self._action(code)
        if action == "alarm" or (status in (401, 403) and action == "retry"):
            _log.error("WhatsApp lets us send nothing: error %s. See docs/channels/whatsapp.md.", code)
            return Refused(code)
        if action == "final":
            return Refused(code)
        if action == "pause":
            _log.error("WhatsApp has slowed this number down for spam: nothing is sent for %.0f s.", _PAUSE)
            return NotSent(code, retry_after=_PAUSE, holds_sender=True)
        if action == "slower":
            return NotSent(code, growth=4.0)
        if status == 429 or action == "back_off":
            return NotSent(code, retry_after=pause(asked, longest=_LONGEST_WAIT), holds_sender=True)
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
    if part.template:
        return body | {"type": "template", "template": _template(part.template)}
    if part.choices:
        return body | {"type": "interactive", "interactive": _interactive(part)}
    # no preview: it would fetch the page, and show it large to whoever looks on
    return body | {"type": "text", "text": {"body": part.text, "preview_url": False}}


def _template(call: TemplateCall) -> dict[str, Any]:
    """An approved text. Places have numbers, which only their order tells, or names."""
    body: dict[str, Any] = {"name": call.name, "language": {"code": call.language}}
    if not call.values:
        return body
    values = [
        {"type": "text", "text": words} | ({} if place.isdecimal() else {"parameter_name": place})
        for place, words in call.values
    ]
    return body | {"components": [{"type": "body", "parameters": values}]}


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
