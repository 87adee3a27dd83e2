"""How fast signed WhatsApp webhooks are taken in, durably, against a bare Sanic handler in the same run.

The bare handler verifies nothing and does one INSERT and one commit a request; ours verifies, parses, seals, numbers,
tells the workers, and the workers work meanwhile. One process writes with many connections, by hand: a client with
comforts would be slower than either server.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg

from bot.bench_understanding import Timing
from bot.settings import ROOT
from bot.standin_graph import event
from channels.whatsapp import sign

CONNECTIONS = 32
OFFERED = 1000  # webhooks a second
_NUMBER = "100000000000001"
_PATH = "/webhooks/whatsapp"
_MOST_OPEN = 512  # connections at once, when answers are late

_BARE = """
import sys, psycopg_pool, uuid
from sanic import Sanic
from sanic.response import text
app = Sanic("bare", configure_logging=False)
@app.before_server_start
async def start(app):
    app.ctx.pool = psycopg_pool.AsyncConnectionPool(sys.argv[1], min_size=16, max_size=16, open=False)
    await app.ctx.pool.open()
    async with app.ctx.pool.connection() as conn:
        await conn.execute("CREATE TABLE IF NOT EXISTS bare (id uuid PRIMARY KEY, body bytea)")
@app.post("/webhooks/whatsapp")
async def take(request):
    async with app.ctx.pool.connection() as conn:
        await conn.execute("INSERT INTO bare VALUES (%s, %s)", (uuid.uuid4(), request.body))
    return text("")
app.run(host="127.0.0.1", port=int(sys.argv[2]), single_process=True, access_log=False, motd=False)
"""

Make = Callable[[], bytes]  # one request, ready to be written


class _Connection(asyncio.Protocol):
    """One open connection, one request at a time."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[None] | None = None
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, end, body = self._seen.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        self._seen = b""
        if self._answer is None or self._answer.done():
            return
        if head.startswith(b"HTTP/1.1 200 "):
            self._answer.set_result(None)
        else:
            self._answer.set_exception(RuntimeError(f"the server under test said {head[:12].decode()}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server under test hung up"))

    async def ask(self, request: bytes) -> None:
        """Returns when 200 has come. Raises RuntimeError for another answer, ConnectionError for none."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._answer

    def close(self) -> None:
        self._transport.close()


async def intake(
    url: str, environment: Callable[[int], Mapping[str, str]], *, seconds: float, steady_seconds: float
) -> None:
    """Prints the bare handler, ours, ours at a steady rate, and whether all of it is stored.

    ``environment``: of a gateway on a port.
    """
    async with _bare(url) as port:
        bare = await _closed_loop(port, lambda: _request(_message(), {}), seconds)
    secret = secrets.token_hex(16)

    def make() -> bytes:
        body = _message()
        return _request(body, {"X-Hub-Signature-256": sign(secret, body)})

    async with _gateway(environment, secret) as port:
        ours = await _closed_loop(port, make, seconds)
        print(f"intake, bare Sanic with one INSERT  {bare[0]:.0f} requests/s, {bare[1]}")
        print(f"intake, signed and durable          {ours[0]:.0f} requests/s, {ours[1]} ({ours[0] / bare[0]:.2f} x)")
        acknowledged = len(ours[1].values)
        steady = await _open_loop(port, make, steady_seconds)
        acknowledged += len(steady.values)
        print(f"intake, {OFFERED}/s offered for {steady_seconds:g} s    {steady}, longest {steady.longest:.0f} ms")
    await asyncio.to_thread(_compare, url, acknowledged)


def _compare(url: str, acknowledged: int) -> None:
    """None lost, none doubled: every webhook had an id of its own."""
    with psycopg.connect(url) as conn:
        found = conn.execute("SELECT count(*) FROM messages WHERE direction = 'in' AND channel = 'whatsapp'").fetchone()
    assert found is not None
    print(f"intake, acknowledged and stored     {acknowledged} and {found[0]}")


def _message() -> bytes:
    """Different people write one after the other."""
    sender = f"1514555{secrets.randbelow(10_000):04}"
    said = {"id": "wamid." + secrets.token_hex(20), "from": sender, "timestamp": str(int(time.time())), "type": "text"}
    contact = {"wa_id": sender, "profile": {"name": "A"}}
    return event({"contacts": [contact], "messages": [{**said, "text": {"body": "👍"}}]}, _NUMBER)


def _request(body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"POST {_PATH} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _connect(port: int) -> _Connection:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port)
    return connection


async def _closed_loop(port: int, make: Make, seconds: float) -> tuple[float, Timing]:
    """CONNECTIONS writers, each with its next webhook as soon as the last is acknowledged."""
    values: list[float] = []
    deadline = time.perf_counter() + seconds

    async def write() -> None:
        connection = await _connect(port)
        while (started := time.perf_counter()) < deadline:
            await connection.ask(make())
            values.append((time.perf_counter() - started) * 1000)
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(CONNECTIONS)))
    return len(values) / (time.perf_counter() - started), Timing(values)


async def _open_loop(port: int, make: Make, seconds: float) -> Timing:
    """OFFERED webhooks a second whatever the answers; the time counts from when each was due."""
    values: list[float] = []
    idle = deque([await _connect(port) for _ in range(CONNECTIONS)])
    room = asyncio.Semaphore(_MOST_OPEN)
    running: set[asyncio.Task[None]] = set()

    async def write(due: float) -> None:
        async with room:
            connection = idle.pop() if idle else await _connect(port)
            await connection.ask(make())
            values.append((time.perf_counter() - due) * 1000)
            idle.append(connection)

    first = time.perf_counter()
    for number in range(int(seconds * OFFERED)):
        due = first + number / OFFERED
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(write(due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for connection in idle:
        connection.close()
    return Timing(values)


@asynccontextmanager
async def _bare(url: str) -> AsyncIterator[int]:
    port = free_port()
    async with _serving(["-c", _BARE, url, str(port)], dict(os.environ), port):
        yield port


@asynccontextmanager
async def _gateway(environment: Callable[[int], Mapping[str, str]], secret: str) -> AsyncIterator[int]:
    """The gateway's own process, workers and all."""
    port = free_port()
    whatsapp = {"PASSERELLE_WHATSAPP_APP_SECRET": secret, "PASSERELLE_WHATSAPP_PHONE_NUMBER_ID": _NUMBER}
    async with _serving(["-m", "bot.cli", "serve"], {**environment(port), **whatsapp}, port):
        yield port


@asynccontextmanager
async def _serving(arguments: list[str], environment: Mapping[str, str], port: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _until_open(port)
        await _until_idle(process.pid)
        yield
    finally:
        process.terminate()
        await process.wait()


async def _until_open(port: int) -> None:
    """Raises TimeoutError when nothing listens after half a minute."""
    for _ in range(300):
        try:
            (await _connect(port)).close()
            return
        except OSError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the server under test did not start")


async def _until_idle(pid: int) -> None:
    """A gateway loads its models after it has begun to listen. Raises TimeoutError when that takes a minute."""
    before = -1
    for _ in range(120):
        stat = await asyncio.to_thread(Path(f"/proc/{pid}/stat").read_text)
        fields = stat.rpartition(")")[2].split()
        used = int(fields[11]) + int(fields[12])  # proc(5): utime and stime, in hundredths of a second
        if 0 <= used - before <= 2 and before >= 0:
            return
        before = used
        await asyncio.sleep(0.5)
    raise TimeoutError("the server under test does not come to rest")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
