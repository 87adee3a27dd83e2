"""The dialogue engine's seam: a text to response keys. Whatever goes wrong there becomes a key too."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import httpx

DEADLINE = 5.0  # seconds a person may wait for the engine
STARTING = 40.0  # seconds after our start in which an engine that never answered is still loading
STARTING_DEADLINE = 20.0
_log = logging.getLogger("passerelle.engine")


@dataclass(frozen=True, slots=True)
class Answer:
    """One response of the engine: a key of the catalogs, and its slots."""

    key: str
    slots: Mapping[str, str] = field(default_factory=dict)


ENGINE_DOWN = (Answer("fallback.engine_down"),)


class DialogueEngine(Protocol):
    """Never raises: failures are answers."""

    async def respond(
        self, conversation: str, text: str, *, language: str, vector: bytes | None, place: str | None, asked: str | None
    ) -> Sequence[Answer]:
        """``asked``: "human" when our last words offered one, so that a bare "yes" is understood."""

    async def ready(self) -> bool: ...


class RasaEngine:
    """Rasa's REST channel on loopback. A conversation always meets the same engine."""

    def __init__(self, urls: Sequence[str], client: httpx.AsyncClient) -> None:
        self._urls = urls
        self._client = client
        self._started = time.monotonic()
        self._has_answered = False

    def _url(self, conversation: str) -> str:
        return self._urls[zlib.crc32(conversation.encode()) % len(self._urls)]

    async def respond(
        self, conversation: str, text: str, *, language: str, vector: bytes | None, place: str | None, asked: str | None
    ) -> Sequence[Answer]:
        metadata: dict[str, str] = {"language": language}
        if vector is not None:
            metadata["vector"] = base64.b64encode(vector).decode("ascii")
        if place:
            metadata["place"] = place
        if asked:
            metadata["asked"] = asked
        words = text.encode("utf-8", "replace").decode().lstrip("/ ")  # a leading slash is a command to Rasa
        body = {"sender": conversation, "message": words, "metadata": metadata}
        loading = not self._has_answered and time.monotonic() - self._started < STARTING
        try:
            async with asyncio.timeout(STARTING_DEADLINE if loading else DEADLINE):
                return await self._ask(conversation, body, patient=loading)
        except (TimeoutError, httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            _log.warning("the engine did not answer: %s", type(error).__name__)
            return ENGINE_DOWN

    async def _ask(self, conversation: str, body: object, *, patient: bool) -> Sequence[Answer]:
        url = f"{self._url(conversation)}/webhooks/rest/webhook"
        while True:
            try:
                response = await self._client.post(url, json=body)
            except httpx.ConnectError:
                if not patient:
                    raise
                await asyncio.sleep(0.3)
                continue
            response.raise_for_status()
            self._has_answered = True
            return _answers(response.json())

    async def ready(self) -> bool:
        try:
            response = await self._client.get(self._urls[0] + "/", timeout=1.0)
        except httpx.HTTPError:
            return False
        return response.is_success


def _answers(messages: list[dict[str, dict[str, object]]]) -> Sequence[Answer]:
    found = []
    for message in messages:
        custom = message.get("custom")
        if custom:
            slots = custom.get("slots") or {}
            assert isinstance(slots, dict)
            found.append(Answer(str(custom["key"]), {str(k): str(v) for k, v in slots.items() if v is not None}))
    return found or (Answer("fallback.unclear"),)
