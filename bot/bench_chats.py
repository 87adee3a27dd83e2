"""Open web chats: what one costs in memory, and how the event loop fares when all of them have something to hear.

The gateway runs in a process of its own, the pages in this one. Every chat waits for an advocate, so a change of the
queue concerns each: its place is another one.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import uuid
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx
import sqlalchemy as sa
import websockets
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import chat_session, events, inbox
from bot.bench_understanding import Timing
from bot.services import Services
from bot.settings import ROOT
from bot.tables import conversations, messages
from channels.channel import Inbound
from handoff import queue

_AT_ONCE = 50  # sockets that are opened at a time
_SETTLE = 3.0  # seconds until nothing of the opening is under way any more

# The gateway as it is, with a witness in its own loop: what it holds, and by how much a sleep of 5 ms was too long.
_GATEWAY = """
import asyncio, gc, json, sys, time
from bot.app import make_app
from bot.settings import load, read_environment
from sanic.response import json as answer
settings = load(read_environment())
app = make_app(settings, settings.database_url)
late = []
async def witness(app):
    while True:
        started = time.perf_counter()
        await asyncio.sleep(0.005)
        late.append((time.perf_counter() - started - 0.005) * 1000)
@app.get("/bench")
async def tell(request):
    found = list(late)
    gc.collect()
    await asyncio.sleep(0.05)  # the witness notes that stall: it is this look's own, and forgotten below
    with open("/proc/self/status") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    late.clear()
    return answer({"resident": resident, "late": found})
app.add_task(witness)
app.run(host="127.0.0.1", port=settings.port, single_process=True, access_log=False, motd=False)
"""


async def open_chats(services: Services, environment: dict[str, str], port: int, count: int, *, folder: Path) -> None:
    """Prints one line for the memory and one for the stalls."""
    lift_limit(count)
    handoffs, tokens = await _waiting(services, count)
    with (folder / "chats.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _GATEWAY, env=environment, cwd=ROOT, stdout=log, stderr=log
        )
    try:
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
            AsyncExitStack() as stack,
        ):
            await _until_live(client)
            before = await _look(client)
            sockets = await _open(stack, port, tokens)
            after = await _look(client)
            each = (after.resident - before.resident) / count
            print(f"open web chats                      {count}, each {each:.1f} kB of the gateway's memory")
            heard, stalls, seconds = await _broadcast(services, client, handoffs, sockets)
            print(
                f"a place in the queue moves          {heard} chats told within {seconds:.1f} s; "
                f"longest stall of the event loop {stalls.longest:.0f} ms, p99 {stalls.p99:.1f} ms"
            )
    finally:
        process.terminate()
        await process.wait()


def lift_limit(count: int) -> None:
    """Every socket is an open file, here and in the gateway, which inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count + 500:
        wanted = count + 500 if hard == resource.RLIM_INFINITY else min(hard, count + 500)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _waiting(services: Services, count: int) -> tuple[list[uuid.UUID], list[str]]:
    """As many chats whose person waits for an advocate; (handoffs, tokens). Nothing of them is left for a worker."""
    handoffs, tokens = [], [chat_session.issue(services) for _ in range(count)]
    async with services.database.begin() as conn:
        for token in tokens:
            handoffs.append(await _one(conn, services, token))
        await conn.execute(messages.update().values(state="done"))
        await conn.execute(conversations.update().values(pending=False))
    return handoffs, tokens


async def _one(conn: AsyncConnection, services: Services, token: str) -> uuid.UUID:
    stored = await inbox.store(conn, services.vault, "web", Inbound(uuid.uuid4().hex, token, "text", "hello"))
    assert stored is not None, "a new id is never a copy"
    opened = await queue.open_handoff(
        conn, conversation=stored[0], message=uuid.uuid4(), severity="high", indicators=["documents_taken"],
        language="en", channel="web",
    )  # fmt: skip
    return opened.id


async def _open(stack: AsyncExitStack, port: int, tokens: list[str]) -> list[websockets.ClientConnection]:
    """The sockets, each after its page has read the conversation and its state."""

    async def one(token: str) -> websockets.ClientConnection:
        connecting = websockets.connect(f"ws://127.0.0.1:{port}/chat/ws", compression=None, ping_interval=None)
        socket = await stack.enter_async_context(connecting)
        await socket.send(json.dumps({"type": "hello", "token": token, "after": 0}))
        while json.loads(await socket.recv())["type"] != "state":
            pass
        return socket

    found: list[websockets.ClientConnection] = []
    for first in range(0, len(tokens), _AT_ONCE):
        found += await asyncio.gather(*(one(token) for token in tokens[first : first + _AT_ONCE]))
    await asyncio.sleep(_SETTLE)
    return found


class _Seen:
    """What the gateway says of itself."""

    def __init__(self, told: dict[str, object]) -> None:
        self.resident = int(str(told["resident"]))  # kB
        self.late = [float(str(value)) for value in told["late"]] if isinstance(told["late"], list) else []


async def _look(client: httpx.AsyncClient) -> _Seen:
    return _Seen((await client.get("/bench")).raise_for_status().json())


async def _broadcast(
    services: Services, client: httpx.AsyncClient, handoffs: list[uuid.UUID], sockets: list[websockets.ClientConnection]
) -> tuple[int, Timing, float]:
    """The first of the queue is accepted; (chats that heard it, stalls meanwhile, seconds until the last had)."""
    await _look(client)  # forgets what was before
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def hear(socket: websockets.ClientConnection) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                while json.loads(await socket.recv())["type"] != "state":
                    pass
                return True
        return False

    hearing = [asyncio.create_task(hear(socket)) for socket in sockets]
    async with services.database.begin() as conn:
        await conn.execute(
            sa.text("UPDATE handoffs SET state = 'closed', closed_at = now() WHERE id = :id"), {"id": handoffs[0]}
        )
        await events.notify(conn, "queue", handoff=handoffs[0], state="closed", severity="high")
    heard = sum(await asyncio.gather(*hearing))
    seconds = loop.time() - started
    return heard, Timing((await _look(client)).late), seconds


async def _until_live(client: httpx.AsyncClient) -> None:
    for _ in range(600):
        with suppress(httpx.HTTPError):
            if (await client.get("/health/live")).is_success:
                await asyncio.sleep(_SETTLE)  # the models load beside it
                return
        await asyncio.sleep(0.1)
    raise TimeoutError("the gateway did not start")
