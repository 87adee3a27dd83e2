"""SMS through Twilio. Top to bottom: limits, signature, what comes in, what goes out, errors.

Sources: Twilio's pages "Webhooks security", "Messaging webhooks", "Message resource", "Error dictionary" (2026-11).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx

from channels.channel import (
    Ambiguous,
    Choice,
    Inbound,
    Item,
    Limits,
    Media,
    MediaError,
    NotSent,
    Pace,
    Part,
    RawRequest,
    Refused,
    SendError,
    Sent,
    Status,
    Unreadable,
)
from channels.keywords import keyword
from channels.media import Origin, asked, download, same_place
from channels.outgoing import TIMEOUT, handed_over, pause, read_errors, sendable, split
from channels.segments import segment

MAX_TEXT = 1600  # Twilio's own limit for one message
RATE = 1.0  # segments a second of a long code to Canada and the US; what is more, Twilio queues behind our backs

_STATES = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}  # accepted, scheduled, queued, sending and unknown ones tell us nothing new
_ID = re.compile(r"[\x21-\x7e]{1,64}")  # Twilio's are 34 letters and digits; what is no id must not reach a key
_LONGEST_WAIT = 3600.0  # seconds, whatever the provider asks for
# MediaUrl wants our account and leads on to a signed address at one of these, which wants nothing
# (twilio.com/docs/messaging/api/media-resource; help.twilio.com, "Prevent Unauthorized Access to Your Media", 2026-11)
MEDIA_HOSTS = ("twiliocdn.com", "s3-external-1.amazonaws.com")
_PROVINCES = {"AB", "BC", "MB", "NB", "NL", "NS", "NT", "NU", "ON", "PE", "QC", "SK", "YT"}


class Sms:
    """Channel "sms"."""

    name = "sms"

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        account_sid: str,
        auth_token: str,
        sender: str,
        api_url: str,
        status_url: str,
        rate: float = RATE,
    ) -> None:
        self.limits = Limits(text=MAX_TEXT, choices=0, sender=Pace(rate))
        self._client = client
        self._account = account_sid
        self._token = auth_token
        self._sender = sender
        self._messages_url = f"{api_url.rstrip('/')}/2010-04-01/Accounts/{account_sid}/Messages.json"
        self._status_url = status_url
        self._origin = Origin(api_url, others=MEDIA_HOSTS)
        self._errors = read_errors("twilio")

    # -- what comes in

    def verify(self, request: RawRequest) -> bool:
        given = request.headers.get("x-twilio-signature", "")
        if not given.isascii() or not given:
            return False
        wanted = [sign(self._token, spelling) for spelling in _spellings(request)]
        return any(mark is not None and hmac.compare_digest(mark, given) for mark in wanted)

    def parse(self, request: RawRequest) -> list[Item]:
        fields = dict(_form(request.body))
        sid = fields.get("MessageSid") or fields.get("SmsSid", "")
        if sid and not _ID.fullmatch(sid):
            return [Unreadable("a MessageSid that is none", request.body)]
        if urlsplit(request.url).path.endswith("/status"):
            return self._status(request, fields, sid)
        if not sid or not fields.get("From"):
            return [Unreadable("no MessageSid or no From", request.body)]
        text = fields.get("Body", "")
        media = _media(fields)
        return [
            Inbound(
                provider_id=sid,
                address=fields["From"],
                kind=_kind(fields, text, media),
                text=text,
                media=media,
                region=_region(fields),
                answered=_opt_out(fields) != "",
            )
        ]

    def _status(self, request: RawRequest, fields: dict[str, str], sid: str) -> list[Item]:
        word = fields.get("MessageStatus") or fields.get("SmsStatus", "")
        if not sid or not word:
            return [Unreadable("a status without MessageSid or MessageStatus", request.body)]
        if word not in _STATES:
            return []
        delivery = parse_qs(urlsplit(request.url).query).get("delivery", [""])[0]
        error = fields.get("ErrorCode", "")
        error = error if _ID.fullmatch(error) else ""
        return [Status(sid, _STATES[word], delivery=delivery, error=error, stops=self._errors.get(error) == "stop")]

    # -- what goes out

    def compose(self, text: str, choices: Sequence[Choice]) -> list[Part]:
        return [Part(piece, units=len(segment(piece).parts)) for piece in split(sendable(text), MAX_TEXT)]

    async def send(self, address: str, part: Part, *, delivery: str) -> Sent:
        form = {
            "To": address,
            "From": self._sender,
            "Body": part.text,
            "StatusCallback": f"{self._status_url}?delivery={delivery}",
        }
        response = await handed_over(
            self._client.post(self._messages_url, data=form, auth=(self._account, self._token), timeout=TIMEOUT)
        )
        if response.is_success:
            return Sent(_sid_of(response))
        raise self._refusal(response)

    def failure(self, code: str) -> SendError:
        return self._meaning(code)

    async def find(self, address: str, part: Part, *, since: float) -> Sent | None:
        query = {"To": address, "PageSize": "50", "DateSent>": _day(since)}
        try:
            response = await self._client.get(
                self._messages_url, params=query, auth=(self._account, self._token), timeout=TIMEOUT
            )
            for message in response.raise_for_status().json()["messages"]:
                made = parsedate_to_datetime(message["date_created"]).timestamp()
                if message["body"] == part.text and made >= since - 5 and message["direction"].startswith("outbound"):
                    return Sent(message["sid"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Ambiguous("lookup") from error
        return None

    # -- files

    async def fetch(self, media: str, *, most: int) -> bytes:
        token = base64.b64encode(f"{self._account}:{self._token}".encode()).decode("ascii")
        credentials = {"authorization": f"Basic {token}"}
        return await download(self._client, self._file(media), self._origin, most=most, credentials=credentials)

    async def forget(self, media: str) -> bool:
        await asked(
            self._client.delete(f"{self._file(media)}.json", auth=(self._account, self._token), timeout=TIMEOUT)
        )
        return True

    def _file(self, media: str) -> str:
        """The file's address at the API that the settings name; a file of our account, and nothing else of it."""
        api = httpx.URL(self._messages_url)
        try:
            url = httpx.URL(media)
        except (httpx.InvalidURL, ValueError):
            raise MediaError("foreign") from None
        real = url.scheme == "https" and url.host.endswith(".twilio.com") and url.port is None
        account = f"/2010-04-01/Accounts/{re.escape(self._account)}"
        path = re.fullmatch(rf"{account}/Messages/\w{{1,64}}/Media/\w{{1,64}}", url.path, re.ASCII)
        if url.userinfo or not (real or same_place(url, api)) or path is None:
            raise MediaError("foreign")
        return str(api.copy_with(path=path[0]))

    def _refusal(self, response: httpx.Response) -> SendError:
        try:
            code = str(response.json().get("code", response.status_code))
        except (ValueError, AttributeError):
            code = str(response.status_code)
        return self._meaning(code, status=response.status_code, asked=response.headers.get("retry-after"))

    def _meaning(self, code: str, *, status: int = 400, asked: str | None = None) -> SendError:
        action = self._errors.get(code, "retry")
        if action == "stop":
            return Refused(code, stops=True)
        if action == "final" or (status in (401, 403) and action == "retry"):
            return Refused(code)
        if status == 429 or action == "back_off":
            return NotSent(code, retry_after=pause(asked, longest=_LONGEST_WAIT), holds_sender=True)
        return NotSent(code)


def sign(token: str, request: RawRequest) -> str | None:
    """Twilio's signature of a request; None when a JSON body is not the one that the URL vouches for.

    Forms: HMAC-SHA1 over the URL and the sorted fields, blank values included. JSON: over the URL alone, which
    holds the body's SHA-256.
    """
    signed = request.url
    body_hash = parse_qs(urlsplit(request.url).query).get("bodySHA256", [""])[0]
    if body_hash:
        if not hmac.compare_digest(
            hashlib.sha256(request.body).hexdigest(), body_hash.lower().encode("ascii", "replace").decode()
        ):
            return None
    else:
        signed += "".join(name + value for name, value in sorted(set(_form(request.body))))
    digest = hmac.new(token.encode(), signed.encode("utf-8", "surrogateescape"), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")


def _spellings(request: RawRequest) -> Iterator[RawRequest]:
    """The address as configured, without its port and with the default one: Twilio is not consistent in this, and
    its own libraries try all of them."""
    scheme, mark, rest = request.url.partition("://")
    host, slash, path = rest.partition("/")
    bare = re.sub(r":\d+$", "", host)
    standard = "443" if scheme == "https" else "80"
    for spelled in dict.fromkeys((host, bare, f"{bare}:{standard}")):
        yield RawRequest(scheme + mark + spelled + slash + path, request.headers, request.body)


def _form(body: bytes) -> list[tuple[str, str]]:
    """The fields as sent: blank values and spaces at the end are part of what is signed."""
    try:
        return parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=200, errors="replace")
    except ValueError:
        return []


_OPT_OUT_KINDS = {"STOP": "optout", "START": "optin", "HELP": "keyword"}


def _opt_out(fields: dict[str, str]) -> str:
    """Which keyword the provider has answered itself, if it has: one of its own list, not only of ours."""
    named = fields.get("OptOutType", "").upper()
    return named if named in _OPT_OUT_KINDS else ""


def _kind(fields: dict[str, str], text: str, media: tuple[Media, ...]) -> str:
    if opt_out := _opt_out(fields):
        return _OPT_OUT_KINDS[opt_out]
    if keyword(text):
        return "keyword"
    if media and not text.strip():
        return _MEDIA_KINDS.get(media[0].content_type.split("/")[0], "document")
    return "text"


_MEDIA_KINDS = {"image": "image", "audio": "audio", "video": "video"}


def _media(fields: dict[str, str]) -> tuple[Media, ...]:
    """NumMedia is not to be trusted: what counts is which URLs are there."""
    found = []
    for number in range(10):
        if url := fields.get(f"MediaUrl{number}"):
            found.append(Media(url, fields.get(f"MediaContentType{number}", "application/octet-stream")))
    return tuple(found)


def _region(fields: dict[str, str]) -> str | None:
    state = fields.get("FromState", "").upper()
    return state if state in _PROVINCES and fields.get("FromCountry", "CA").upper() == "CA" else None


def _sid_of(response: httpx.Response) -> str:
    try:
        sid = response.json()["sid"]
    except (ValueError, KeyError, TypeError) as error:
        raise Ambiguous("answer") from error
    if not isinstance(sid, str):
        raise Ambiguous("answer")
    return sid


def _day(since: float) -> str:
    return datetime.fromtimestamp(since - 86400, tz=timezone.utc).strftime("%Y-%m-%d")
