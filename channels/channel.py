"""What a channel is: the seam between a provider's protocol and the rest.

``verify`` and ``parse`` are pure, ``send`` is the only step that reaches outside. Errors of sending are values
that say whether trying again is safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A webhook as it came: what signatures are made of."""

    url: str  # public URL with path and query, as the provider signed it
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class Choice:
    """A reply offered as a chip, a button or a numbered line."""

    id: str
    label: str


@dataclass(frozen=True, slots=True)
class Media:
    """An attachment kept as a reference; nothing is fetched before an advocate opens it."""

    url: str
    content_type: str
    size: int = 0  # bytes, where the provider tells


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message of a person."""

    provider_id: str
    address: str
    kind: str  # one of the design's message kinds
    text: str = ""
    choice: str = ""  # id of a chip or button
    media: tuple[Media, ...] = ()
    region: str | None = None  # province code, when the provider says so
    client_id: str = ""  # web chat: the page's own id, given back in the acknowledgement
    sender: str = ""  # which of our numbers it was written to, where there are several
    written_at: float | None = None  # Unix seconds, as the provider says; believed only within reason
    answered: bool = False  # by the provider itself: nothing of ours may go out as well


@dataclass(frozen=True, slots=True)
class Status:
    """How far a part of ours has come; not a message."""

    provider_id: str
    state: str  # sent | delivered | read | failed
    delivery: str = ""  # our own id, where the provider echoes it
    error: str = ""
    stops: bool = False  # the person has opted out with the provider


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item that is kept aside instead of losing its neighbours."""

    reason: str
    body: bytes


Item = Inbound | Status | Unreadable


@dataclass(frozen=True, slots=True)
class TemplateCall:
    """A text that the provider has approved, by its name there, and what takes the places left free in it."""

    name: str
    language: str  # the provider's code
    values: tuple[tuple[str, str], ...] = ()  # name or number of the place, words


@dataclass(frozen=True, slots=True)
class Part:
    """What one call to the provider carries."""

    text: str
    choices: tuple[Choice, ...] = ()
    units: int = 1  # how many the provider counts it as
    template: TemplateCall | None = None  # sent in place of ``text``, which is how it reads


@dataclass(frozen=True, slots=True)
class Sent:
    provider_id: str


@dataclass(frozen=True, slots=True)
class Pace:
    """A token bucket: so many units a second in the long run, and so many at once after a rest."""

    per_second: float
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    text: int  # characters of one part
    choices: int  # chips or buttons the channel can show; 0: written into the text
    window: float | None = None  # seconds after the person's last message in which we may write; None: always
    sender: Pace | None = None  # of one number or bot of ours, to everybody
    pair: Pace | None = None  # of one sender to one person


class SendError(Exception):
    """A part that was not sent.

    SendError
    ├── NotSent        certainly not sent: try again after ``retry_after``
    ├── Ambiguous      perhaps sent: never tried again blindly
    └── Refused        will never be sent; ``stops`` when the whole conversation is closed to us
    """

    def __init__(
        self,
        code: str,
        *,
        retry_after: float | None = None,
        stops: bool = False,
        growth: float = 2.0,
        holds_sender: bool = False,
        blocked: bool = False,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after  # seconds
        self.stops = stops
        self.growth = growth  # of the pause from one attempt to the next, where no time is named
        self.holds_sender = holds_sender  # it is too much from this sender: its other parts wait as long
        self.blocked = blocked  # it stops by a switch in the person's app, which they can turn back; not by a word


class NotSent(SendError):
    """Certainly unsent: connection refused, throttled, or the provider's own failure."""


class Ambiguous(SendError):
    """The request may have arrived: a time-out after it was written."""


class Refused(SendError):
    """Final: opted out, blocked, invalid number."""


class MediaError(Exception):
    """A file that could not be had.

    Its code: gone (the provider has it no more), too_large, foreign (not at the provider's), settings (our account is
    refused), or unreachable (later, perhaps). It never holds an address: there may be a token in it.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Channel(Protocol):
    """One provider's protocol."""

    @property
    def name(self) -> str: ...

    @property
    def limits(self) -> Limits: ...

    def verify(self, request: RawRequest) -> bool:
        """Whether the signature is right; constant time, before anything is parsed."""

    def parse(self, request: RawRequest) -> list[Item]:
        """The items of one verified request; a bad item is Unreadable, never an exception."""

    def compose(self, text: str, choices: Sequence[Choice]) -> list[Part]:
        """One rendered text as the parts this channel sends."""

    def failure(self, code: str) -> SendError:
        """What an error code of the provider's means, whether it comes as an answer or later with a status."""

    async def send(self, address: str, part: Part, *, delivery: str) -> Sent:
        """Hands one part to the provider. Raises a SendError."""

    async def find(self, address: str, part: Part, *, since: float) -> Sent | None:
        """After a crash: the part among what the provider has taken since then (Unix seconds), or None.

        Raises SendError when the provider cannot tell.
        """

    async def fetch(self, media: str, *, most: int) -> bytes:
        """A file that a person sent, by its reference, of at most so many bytes. Raises MediaError."""

    async def forget(self, media: str) -> bool:
        """Has the provider delete a file; False where it offers no such thing. Raises MediaError."""
