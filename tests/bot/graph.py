"""A double of Meta's Graph API, which refuses what the demonstration's does; WhatsApp's webhooks as Meta posts them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from bot.services import Services
from bot.standin_graph import event, words
from channels.templates import Template
from channels.whatsapp import VERSION, WhatsApp, sign
from tests.bot.door import Door

HOOK = "/webhooks/whatsapp"
SECRET = "fedcba9876543210fedcba9876543210"
ACCESS = "EAAtoken"
VERIFY = "verify-me"
NUMBER, SECOND = "100000000000001", "100000000000002"
PERSON = "15145550123"


@dataclass
class Graph:
    """What it was asked to send; ``failures`` are answered first."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    templates: Sequence[Template] = ()

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.failures:
            status, error = self.failures.pop(0)
            return httpx.Response(status, json={"error": error})
        number = request.url.path.split("/")[2]
        assert request.url.path == f"/{VERSION}/{number}/messages"
        assert number in (NUMBER, SECOND)
        assert request.headers["authorization"] == f"Bearer {ACCESS}"
        asked = json.loads(request.content)
        try:
            self.sent.append({**asked, "number": number, "words": words(asked, self.templates)})
        except ValueError as error:
            return httpx.Response(400, json={"error": {"code": 131009, "message": str(error)}})
        row = f"wamid.out{len(self.sent)}"
        return httpx.Response(200, json={"messaging_product": "whatsapp", "messages": [{"id": row}]})


def channel(client: httpx.AsyncClient, **changes: Any) -> WhatsApp:
    given: dict[str, Any] = {
        "numbers": (NUMBER, SECOND),
        "access_token": ACCESS,
        "app_secret": SECRET,
        "verify_token": VERIFY,
        "api_url": "http://graph.test",
    }
    return WhatsApp(client, **given | changes)


@asynccontextmanager
async def with_whatsapp(services: Services, meta: Graph) -> AsyncIterator[Services]:
    """The services with WhatsApp, whose Graph API is a double."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(meta.answer)) as client:
        yield dataclasses.replace(services, channels={**services.channels, "whatsapp": channel(client)})


async def hook(door: Door, body: bytes, *, signature: str | None = None) -> int:
    """Posts a webhook, signed rightly unless a signature is given; the status of the answer."""
    proof = sign(SECRET, body) if signature is None else signature
    headers = {"x-hub-signature-256": proof.encode(), "content-type": "application/json"}
    return (await door.client.post(HOOK, content=body, headers=headers)).status_code


def message(text: str = "hello", *, row: str = "wamid.1", sender: str = PERSON, **more: Any) -> dict[str, Any]:
    """A text; ``more`` replaces or adds fields."""
    return {"from": sender, "id": row, "timestamp": "1764000000", "type": "text", "text": {"body": text}} | more


def status(word: str, *, row: str = "wamid.out1", **more: Any) -> dict[str, Any]:
    return {"id": row, "status": word, "timestamp": "1764000000", "recipient_id": PERSON} | more


def batch(*messages: Any, statuses: Any = (), number: str = NUMBER, **more: Any) -> bytes:
    """A webhook's body: one change with these messages or statuses."""
    value: dict[str, Any] = {"contacts": [{"profile": {"name": "A"}, "wa_id": PERSON}], **more}
    if messages:
        value["messages"] = list(messages)
    if statuses:
        value["statuses"] = list(statuses)
    return event(value, number)
