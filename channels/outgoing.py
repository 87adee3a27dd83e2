"""What providers have in common when we send: the error tables, pieces of a text, and what a failed call means."""

from __future__ import annotations

import csv
from collections.abc import Awaitable
from functools import cache
from pathlib import Path

import httpx

from channels.channel import Ambiguous, NotSent

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_ERRORS = Path(__file__).parent / "errors"
BACK_OFF = 30.0  # seconds, when it is too much for the provider and it names no time


def read_errors(provider: str) -> dict[str, str]:
    """Provider code → retry, back_off, final, stop …; what is not in the table is retried, though not for ever."""
    return _read("action", provider)


@cache
def _read(column: str, provider: str) -> dict[str, str]:
    path = _ERRORS / f"{provider}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {row["code"]: row[column] for row in csv.DictReader(file)}


# Why a part did not arrive, as far as staff can do anything about it; here for codes of our own.
_OWN = {"connect": "connection", "off": "off", "number": "settings", "address": "number"}
_HTTP = {"401": "settings", "403": "settings"}  # an answer without a code of the provider's own
_TABLES = {"sms": "twilio", "whatsapp": "whatsapp", "telegram": "telegram"}
HOPELESS = frozenset({"stopped", "number", "blocked", "refused", "window"})  # the same words would meet the same end


def why(channel: str, code: str) -> str:
    """The reason behind the code of a part that failed, one of a few that the console has words for.

    "provider" where the code is in no table: it was tried again as often as makes sense.
    """
    if code in _OWN:
        return _OWN[code]
    table = _TABLES.get(channel, channel)  # a channel of ``more`` has a table of its own name, the web chat none
    reasons = _read("why", table) if (_ERRORS / f"{table}.csv").is_file() else {}
    return reasons.get(code) or reasons.get(f"{code[:-3]}xxx") or _HTTP.get(code, "provider")


async def handed_over(call: Awaitable[httpx.Response]) -> httpx.Response:
    """The provider's answer. Raises NotSent when the request certainly never left, Ambiguous when it may have."""
    try:
        return await call
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise NotSent("connect") from error
    except httpx.HTTPError as error:  # written, and no answer
        raise Ambiguous(type(error).__name__) from error


def pause(value: object, *, longest: float) -> float:
    """Seconds that the provider asks us to wait, from 0 to ``longest``; BACK_OFF when that cannot be read."""
    try:
        asked = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else BACK_OFF
    except (ValueError, OverflowError):
        return BACK_OFF
    return min(max(0.0, asked), longest) if asked == asked else BACK_OFF  # NaN is equal to nothing


def sendable(text: str) -> str:
    """The text without lone surrogates, which have no form in a request."""
    return text.encode("utf-8", "replace").decode("utf-8")


def split(text: str, limit: int) -> list[str]:
    """Pieces of at most ``limit`` characters, cut after a sentence, else at a space, else where it must be."""
    pieces = []
    while len(text) > limit:
        head = text[:limit]
        cut = max(head.rfind(mark) + 1 for mark in ("\n", ". ", "। ", "。", "؟ ", "? ", "! "))
        cut = cut if cut > limit // 2 else head.rfind(" ") + 1 or limit
        pieces.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [*pieces, text] if text else pieces
