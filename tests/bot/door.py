"""The gateway's public door as the outside meets it: the real routes on a loopback port, in this test's event loop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlencode

import httpx
import sqlalchemy as sa

from bot import inbox, outbox, worker
from bot.app import make_app
from bot.intake import Intake
from bot.services import Services
from bot.spool import Spool
from bot.tables import conversations, messages, quarantine
from channels.channel import Part, RawRequest
from channels.sms import sign
from tests.conftest import TOKEN
from tests.running import free_port, serving

HOOK = "/webhooks/twilio"
STATUS = "/webhooks/twilio/status"
PERSON = "+15145550123"


class Door:
    """The running gateway without its workers: what is stored stays as it came."""

    def __init__(self, services: Services, base: str, client: httpx.AsyncClient) -> None:
        self.services = services
        self.base = base
        self.client = client

    async def hook(self, body: bytes, *, path: str = HOOK, signature: str | None = None) -> httpx.Response:
        """A form as the provider posts it; signed rightly unless a signature is given."""
        if signature is None:
            url = self.services.settings.public_url + path
            signature = sign(TOKEN, RawRequest(url, {}, body)) or ""
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "x-twilio-signature": signature.encode("utf-8"),
        }
        return await self.client.post(path, content=body, headers=headers)

    async def rows(self, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> Sequence[sa.Row[tuple[object, ...]]]:
        async with self.services.database.connect() as conn:
            return (await conn.execute(sa.select(table).where(*conditions))).all()

    async def words(self) -> list[str]:
        """What people wrote, in order."""
        found = await self.rows(messages, messages.c.direction == "in")
        vault = self.services.vault
        return [inbox.open_words(vault, row.id, row.words)["text"] for row in sorted(found, key=lambda row: row.seq)]

    async def nothing_stored(self) -> bool:
        return not any([await self.rows(table) for table in (messages, conversations, quarantine)])

    async def answer(
        self, conversation: uuid.UUID, text: str, *, author: str = "advocate", pulled: bool = True
    ) -> None:
        """A message to the person."""
        message = outbox.Outgoing(author=author, text=text, language="en")
        async with self.services.database.begin() as conn:
            await outbox.enqueue(
                conn, self.services.vault, conversation, message,
                parts=[Part(text)], dedupe_key=uuid.uuid4().hex, pulled=pulled,
            )  # fmt: skip


def sms(text: str = "hello", *, sid: str = "SM1", **more: str) -> bytes:
    """The body of an inbound message."""
    fields = {"MessageSid": sid, "From": PERSON, "To": "+15005550006", "Body": text, "NumMedia": "0", **more}
    return urlencode(fields).encode("ascii")


async def turns(services: Services) -> None:
    """Everything that came in is worked through."""
    while await worker.run_once(services):
        pass


async def work(services: Services) -> None:
    """And everything that is due goes out."""
    await turns(services)
    while await worker.send_once(services):
        pass


@asynccontextmanager
async def open_door(services: Services, *, port: int | None = None) -> AsyncIterator[Door]:
    """Serves until the test ends."""
    port = port or free_port()
    base = f"http://127.0.0.1:{port}"
    app = make_app(services.settings, "", name=f"door-{uuid.uuid4().hex}")
    app.ctx.services = services  # instead of the listener that makes them, and starts the workers
    app.ctx.intake = Intake(services, Spool(services.settings.spool, services.vault))
    intake = [asyncio.create_task(app.ctx.intake.write()), asyncio.create_task(app.ctx.intake.replay())]
    try:
        async with serving(app, port), httpx.AsyncClient(base_url=base, timeout=30) as client:
            yield Door(services, base, client)
    finally:
        for task in intake:
            task.cancel()
        await asyncio.gather(*intake, return_exceptions=True)


@asynccontextmanager
async def listening(services: Services) -> AsyncIterator[None]:
    """The hub hears what the database tells, and open chats with it."""
    with services.hub.subscribe() as told:
        hub = asyncio.create_task(services.hub.run())
        await asyncio.wait_for(told.get(), 20)  # the hub's first word is that it listens
    try:
        yield
    finally:
        hub.cancel()
        with suppress(asyncio.CancelledError):
            await hub
