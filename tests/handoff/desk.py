"""The console as its users meet it: a real server on a loopback port, a real database, one browser a person."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import sqlalchemy as sa
from sanic import Sanic

from bot import inbox, worker
from bot.services import Services
from bot.tables import handoffs, messages
from channels.channel import Inbound
from handoff import staff
from handoff.console import console
from tests.bot.door import listening
from tests.running import free_port, serving

PASSWORD = "correct horse battery"
DISCLOSURE = "my boss keeps my passport and he locked the door, i cant leave the house"


class Browser:
    """One person's browser: cookies, and the token of the forms on the page it saw last."""

    def __init__(self, base: str) -> None:
        self.client = httpx.AsyncClient(base_url=base, timeout=10)
        self.csrf = ""

    async def get(self, path: str, **query: object) -> httpx.Response:
        return self._look(await self.client.get(path, params=query or None))  # type: ignore[arg-type]

    async def post(self, path: str, **form: str) -> httpx.Response:
        return self._look(await self.client.post(path, data={"csrf": self.csrf, **form}))

    async def log_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        await self.get("/console/login")
        answer = await self.post("/console/login", name=name, password=password)
        if answer.status_code == 303:
            home = await self.get(answer.headers["location"])
            self._look(home)
        return answer

    def _look(self, answer: httpx.Response) -> httpx.Response:
        if found := re.search(r'name="csrf" value="([^"]+)"', answer.text):
            self.csrf = found[1]
        return answer


class Desk:
    """The running console and what happens around it."""

    def __init__(self, services: Services, base: str, stack: AsyncExitStack) -> None:
        self.services = services
        self.base = base
        self._stack = stack

    def browser(self) -> Browser:
        made = Browser(self.base)
        self._stack.push_async_callback(made.client.aclose)
        return made

    async def member(self, name: str, role: str = "advocate") -> Browser:
        """A new account, logged in."""
        async with self.services.database.begin() as conn:
            await staff.add(conn, name=name, display=name.title(), role=role, password=PASSWORD)
        browser = self.browser()
        assert (await browser.log_in(name)).status_code == 303
        return browser

    async def person(self, text: str = DISCLOSURE, *, sender: str = "+15145550123", channel: str = "sms") -> uuid.UUID:
        """Somebody writes, and the turn is worked through; their conversation."""
        item = Inbound(uuid.uuid4().hex, sender, "text", text)
        async with self.services.database.begin() as conn:
            stored = await inbox.store(conn, self.services.vault, channel, item)
        assert stored is not None
        while await worker.run_once(self.services):
            pass
        return stored[0]

    async def rows(self, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> list[sa.Row[tuple[object, ...]]]:
        async with self.services.database.connect() as conn:
            return list(await conn.execute(sa.select(table).where(*conditions)))

    async def execute(self, statement: sa.Executable) -> None:
        async with self.services.database.begin() as conn:
            await conn.execute(statement)

    def words(self, row: sa.Row[tuple[object, ...]]) -> str:
        text: str = inbox.open_words(self.services.vault, row.id, row.words)["text"]
        return text


@asynccontextmanager
async def open_desk(services: Services, *, public_url: str = "") -> AsyncIterator[Desk]:
    """Serves the console in this test's own event loop until the test ends."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    settings = dataclasses.replace(services.settings, public_url=public_url or base)
    services = dataclasses.replace(services, settings=settings)
    app = Sanic(f"desk-{uuid.uuid4().hex}", configure_logging=False)
    app.config.FALLBACK_ERROR_FORMAT = "text"
    app.blueprint(console)
    app.ctx.services = services
    async with serving(app, port), listening(services), AsyncExitStack() as stack:
        yield Desk(services, base, stack)


async def handoff_of(desk: Desk, conversation: uuid.UUID) -> uuid.UUID:
    (row,) = await desk.rows(handoffs, handoffs.c.conversation_id == conversation)
    key: uuid.UUID = row.id
    return key


async def accepted(desk: Desk, browser: Browser, conversation: uuid.UUID) -> uuid.UUID:
    """The handoff after this advocate has accepted it and opened the page."""
    handoff = await handoff_of(desk, conversation)
    answer = await browser.post(f"/console/handoffs/{handoff}/accept")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/console/conversations/{conversation}"
    assert (await browser.get(answer.headers["location"])).status_code == 200
    return handoff


async def newest(desk: Desk, conversation: uuid.UUID) -> int:
    return max(int(row.seq) for row in await desk.rows(messages, messages.c.conversation_id == conversation))


async def written(desk: Desk, author: str) -> list[str]:
    found = await desk.rows(messages, messages.c.author == author)
    return [desk.words(row) for row in sorted(found, key=lambda row: row.seq)]


async def send(
    desk: Desk, browser: Browser, conversation: uuid.UUID, text: str, *, version: int | None = None, client_id: str = ""
) -> tuple[int, str]:
    """(status, page)."""
    seen = await newest(desk, conversation) if version is None else version
    answer = await browser.post(
        f"/console/conversations/{conversation}/send",
        text=text, version=str(seen), client_id=client_id or str(uuid.uuid4()),
    )  # fmt: skip
    return answer.status_code, answer.text
