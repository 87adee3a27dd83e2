"""What providers have in common when we send: the error tables, pieces of a text, and what a failed call means."""

from __future__ import annotations

import csv
from collections.abc import Awaitable
from pathlib import Path

import httpx

from channels.channel import Ambiguous, NotSent

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
BACK_OFF = 30.0  # seconds, when it is too much for the provider and it names no time


def read_errors(provider: str) -> dict[str, str]:
    """Provider code → retry, back_off, final, stop …; what is not in the table is retried, though not for ever."""
    path = Path(__file__).parent / "errors" / f"{provider}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {row["code"]: row["action"] for row in csv.DictReader(file)}


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
