"""Web chat: our own page and socket. Tokens are issued by the server and prove themselves; nothing is pushed out.

What the person is to read is pulled by the page from the conversation, so ``send`` has nothing to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from channels.channel import (
    Choice,
    Inbound,
    Item,
    Limits,
    MediaError,
    Part,
    RawRequest,
    Refused,
    SendError,
    Sent,
    Unreadable,
)

MAX_TEXT = 4000
_ID = re.compile(r"[\x21-\x7e]{1,64}")  # the page makes UUIDs; NUL and lone surrogates would not reach a key


class WebChat:
    """Channel "web". A RawRequest's header ``token`` is the chat that the frame came from."""

    name = "web"
    limits = Limits(text=MAX_TEXT, choices=6)

    def verify(self, request: RawRequest) -> bool:
        return bool(request.headers.get("token"))  # the socket checked it when it was opened

    def parse(self, request: RawRequest) -> list[Item]:
        token = request.headers.get("token", "")
        try:
            frame = json.loads(request.body)
            text, client_id, choice = frame["text"], frame["client_id"], frame.get("choice") or ""
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return [Unreadable("not a message frame", request.body)]
        if not (isinstance(text, str) and isinstance(client_id, str) and isinstance(choice, str)):
            return [Unreadable("a field is not a text", request.body)]
        if not token or not text.strip() or not _ID.fullmatch(client_id) or len(choice) > 64:
            return [Unreadable("an empty text or a wrong id", request.body)]
        return [
            Inbound(
                provider_id=f"{token[:22]}:{client_id}",  # the public half of the token
                address=token,
                kind="button" if choice else "text",
                text=text[:MAX_TEXT],
                choice=choice,
                client_id=client_id,
            )
        ]

    def compose(self, text: str, choices: Sequence[Choice]) -> list[Part]:
        return [Part(text, tuple(choices))]

    async def send(self, address: str, part: Part, *, delivery: str) -> Sent:
        raise Refused("web chat is pulled")

    def failure(self, code: str) -> SendError:
        return Refused(code)

    async def find(self, address: str, part: Part, *, since: float) -> Sent | None:
        return None

    async def fetch(self, media: str, *, most: int) -> bytes:
        raise MediaError("gone")  # the page sends words only

    async def forget(self, media: str) -> bool:
        return False
