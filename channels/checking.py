"""What the checks of the providers have in common: a finding in plain words, and one careful question to an API."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

TIMEOUT = httpx.Timeout(10.0, connect=5.0)  # of one question; a check asks less than ten


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report: good, worth knowing ("note"), or wrong."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider said; ``status`` is 0 when nobody answered."""

    status: int
    body: Mapping[str, Any]
    reason: str = ""  # why nobody answered

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def rows(self, name: str) -> list[Mapping[str, Any]]:
        """The objects of a list in the body; none when it is no such list."""
        found = self.body.get(name)
        return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []

    def text(self, name: str) -> str:
        found = self.body.get(name)
        return str(found) if isinstance(found, str | int) else ""


async def ask(client: httpx.AsyncClient, method: str, url: str, **more: Any) -> Reply:
    """One question. Never raises, and the reason never holds the address, which may hold a token."""
    try:
        answer = await client.request(method, url, timeout=TIMEOUT, **more)
    except httpx.TimeoutException:
        return Reply(0, {}, "it did not answer in time")
    except httpx.HTTPError as error:
        return Reply(0, {}, f"no connection ({type(error).__name__})")
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    return Reply(answer.status_code, body if isinstance(body, dict) else {})


def unreachable(provider: str, api_url: str, reply: Reply) -> Finding:
    """When nobody answered, or not what the provider answers."""
    if reply.status == 0 and _on_loopback(api_url):
        return Finding(
            "wrong", f"The stand-in at {api_url} does not answer: start it with `passerelle up`, and check again."
        )
    said = reply.reason or f"it answered HTTP {reply.status}"
    return Finding("wrong", f"{provider} cannot be asked: {said}. Look at this machine's network, then check again.")


def can_be_reached(webhook: str, api_url: str) -> Finding | None:
    """None when a provider may be told this address: https, or the stand-in's own machine."""
    if webhook.startswith("https://") or _on_loopback(api_url):
        return None
    return Finding(
        "wrong",
        f"The webhook would be {webhook}, which no provider reaches: set PASSERELLE_PUBLIC_URL to this gateway's"
        " address on the internet, with https://.",
    )


def without(text: str, secrets: Iterable[str]) -> str:
    """The text on one line, with every secret and what looks like a bearer of one blotted out."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "…")
    text = re.sub(r"\bEAA\w{8,}|\b\d{6,}:[\w-]{20,}", "…", text)
    return " ".join(text.split())[:400]


def _on_loopback(url: str) -> bool:
    return re.match(r"https?://(127\.0\.0\.1|localhost|\[::1\])([:/]|$)", url) is not None
