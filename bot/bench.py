"""`passerelle bench`: speed as ratios inside one run, on this machine, against the embedded database.

Absolute times belong to the machine; the ratios are what is compared. Everything runs on loopback.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx
import psycopg

from bot import database, embedded, inbox
from bot.settings import ROOT, Settings
from bot.vault import Vault
from channels.channel import Inbound, RawRequest
from channels.sms import sign
from handoff import queue
from nlu import language, risk
from nlu.encoder import E5Encoder

CONNECTIONS = 32
_TEXTS = (
    "my boss keeps my passport and says i owe him for the flight",
    "what are the signs of trafficking?",
    "mon patron ne me paie pas depuis deux mois et je ne peux pas partir",
    "saan ako pwede matulog ngayong gabi",
    "मुझे मदद कहाँ मिलेगी",
    "mera passport malik ke paas hai",
)


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of many repetitions."""

    values: list[float]

    def __str__(self) -> str:
        ordered = sorted(self.values)
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        return f"p50 {statistics.median(ordered):.2f} ms, p99 {p99:.2f} ms"


def run(settings: Settings, *, seconds: float) -> int:
    """All measurements; each prints one line."""
    print(f"{os.cpu_count()} cores, {seconds:g} s a load, {CONNECTIONS} connections")
    understanding()
    with tempfile.TemporaryDirectory(prefix="passerelle-bench-") as folder:
        asyncio.run(_loads(settings, Path(folder), seconds))
    return 0


def understanding() -> None:
    """`screen` and `language` per message, in this process."""
    encoder = E5Encoder()
    screen, detector = risk.load(encoder), language.load()
    for text in _TEXTS:
        screen.screen(text)
        detector.detect(text)
    encoded = _time(lambda text: encoder.encode([text]), 20)
    print(f"encoder alone        {encoded}")
    screened = _time(screen.screen, 20)
    share = statistics.median(screened.values) / statistics.median(encoded.values)
    print(f"screen               {screened} ({share:.2f} x the encoder alone)")
    print(f"language             {_time(detector.detect, 100)}")


def _time(call: Callable[[str], object], rounds: int) -> Timing:
    values = []
    for _ in range(rounds):
        for text in _TEXTS:
            started = time.perf_counter()
            call(text)
            values.append((time.perf_counter() - started) * 1000)
    return Timing(values)


async def _loads(settings: Settings, folder: Path, seconds: float) -> None:
    running = await asyncio.to_thread(embedded.start, folder)
    try:
        await asyncio.to_thread(database.prepare, running.url, Vault.from_key(settings.data_key))
        bare = await _bare_intake(running.url, seconds)
        ours = await _our_intake(settings, running.url, folder, seconds)
        print(f"intake, bare Sanic with one INSERT  {bare:.0f} requests/s")
        print(f"intake, signed and durable          {ours:.0f} requests/s ({ours / bare:.2f} x the bare one)")
        await _to_console(settings, running.url)
        await _turn(settings)
    finally:
        await asyncio.to_thread(embedded.stop, running)


_BARE = """
import sys, asyncio, psycopg_pool, uuid
from sanic import Sanic
from sanic.response import text
app = Sanic("bare", configure_logging=False)
@app.before_server_start
async def start(app):
    app.ctx.pool = psycopg_pool.AsyncConnectionPool(sys.argv[1], min_size=16, max_size=16, open=False)
    await app.ctx.pool.open()
    async with app.ctx.pool.connection() as conn:
        await conn.execute("CREATE TABLE IF NOT EXISTS bare (id uuid PRIMARY KEY, body bytea)")
@app.post("/webhooks/twilio")
async def take(request):
    async with app.ctx.pool.connection() as conn:
        await conn.execute("INSERT INTO bare VALUES (%s, %s)", (uuid.uuid4(), request.body))
    return text("<Response/>")
@app.get("/health/live")
async def live(request):
    return text("ok")
app.run(host="127.0.0.1", port=int(sys.argv[2]), single_process=True, access_log=False, motd=False)
"""


async def _bare_intake(url: str, seconds: float) -> float:
    port = _free_port()
    process = await _start(["-c", _BARE, url, str(port)], dict(os.environ))
    try:
        return await _load(port, lambda: (b"From=%2B15145550100&Body=hello", {}), seconds)
    finally:
        process.kill()
        await process.wait()


async def _our_intake(settings: Settings, url: str, folder: Path, seconds: float) -> float:
    """The gateway's own process, workers and all; different people write."""
    port = _free_port()
    public = f"http://127.0.0.1:{port}"
    token = secrets.token_hex(16)
    environment = {
        **os.environ,
        "PASSERELLE_DATABASE_URL": url,
        "PASSERELLE_DATA_KEY": settings.data_key,
        "PASSERELLE_VAR_DIR": str(folder / "var"),
        "PASSERELLE_PORT": str(port),
        "PASSERELLE_PUBLIC_URL": public,
        "PASSERELLE_TWILIO_AUTH_TOKEN": token,
        "PASSERELLE_ENGINE_URL": "http://127.0.0.1:9",
    }
    process = await _start(["-m", "bot.cli", "serve"], environment)

    def make() -> tuple[bytes, dict[str, str]]:
        number = secrets.randbelow(9000) + 1000
        fields = {"MessageSid": "SM" + secrets.token_hex(16), "From": f"+1514555{number}", "Body": "👍"}
        body = urlencode(fields).encode()
        signature = sign(token, RawRequest(f"{public}/webhooks/twilio", {}, body))
        return body, {"x-twilio-signature": signature or ""}

    try:
        return await _load(port, make, seconds)
    finally:
        process.terminate()
        await process.wait()


async def _start(arguments: list[str], environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL
    )


async def _load(port: int, make: Callable[[], tuple[bytes, dict[str, str]]], seconds: float) -> float:
    """Requests per second with CONNECTIONS writers."""
    base = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=CONNECTIONS), timeout=30) as client:
        await _until_live(client, base)
        count = 0
        deadline = time.perf_counter() + seconds

        async def write() -> None:
            nonlocal count
            while time.perf_counter() < deadline:
                body, headers = make()
                headers["content-type"] = "application/x-www-form-urlencoded"
                answer = await client.post(f"{base}/webhooks/twilio", content=body, headers=headers)
                answer.raise_for_status()
                count += 1

        started = time.perf_counter()
        await asyncio.gather(*(write() for _ in range(CONNECTIONS)))
        return count / (time.perf_counter() - started)


async def _until_live(client: httpx.AsyncClient, base: str) -> None:
    for _ in range(300):
        try:
            if (await client.get(f"{base}/health/live")).is_success:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.1)
    raise TimeoutError("the server under test did not start")


async def _to_console(settings: Settings, url: str) -> None:
    """From storing a message that discloses to the event that a console redraws on."""
    from bot.app import make_services
    from bot.worker import run_once

    vault = Vault.from_key(settings.data_key)
    async with httpx.AsyncClient() as client:
        services = make_services(settings, url, client)
        services.encoder.encode(["warm"])
        values = []
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as listener:
            await listener.execute("LISTEN passerelle")
            for number in range(40):
                while await run_once(services):
                    pass
                started = time.perf_counter()
                item = Inbound(f"SMbench{number}", f"+1514556{number:04}", "text", "my boss keeps my passport")
                async with services.database.begin() as conn:
                    await inbox.store(conn, vault, "sms", item)
                worker = asyncio.create_task(run_once(services))
                async for notice in listener.notifies(timeout=10):
                    if '"queue"' in notice.payload:
                        values.append((time.perf_counter() - started) * 1000)
                        break
                await worker
        async with services.database.connect() as conn:
            waiting = len(await queue.list_open(conn))
        await services.database.dispose()
    print(f"message → console's event           {Timing(values)} ({waiting} handoffs waiting)")


async def _turn(settings: Settings) -> None:
    """A whole turn through the running gateway against Rasa's REST channel alone; needs `passerelle up`."""
    from bot.engine import RasaEngine
    from bot.say import ask_once

    async with httpx.AsyncClient() as client:
        engine = RasaEngine(settings.engine_urls, client)
        if not await engine.ready():
            print("a whole turn                        not measured: start `passerelle up` beside this")
            return
        texts = [text for text in _TEXTS if "passport" not in text and "paie" not in text]

        async def alone(text: str) -> None:
            await engine.respond(secrets.token_hex(8), text, language="en", vector=None, place=None, asked=None)

        async def whole(text: str) -> None:
            await ask_once(settings, text)

        rasa, turn = await _time_async(alone, texts), await _time_async(whole, texts)
    share = statistics.median(turn.values) / statistics.median(rasa.values)
    print(f"Rasa's REST channel alone           {rasa}")
    print(f"a whole turn by web chat            {turn} ({share:.2f} x Rasa alone)")


async def _time_async(call: Callable[[str], Awaitable[None]], texts: list[str]) -> Timing:
    values = []
    for _ in range(10):
        for text in texts:
            started = time.perf_counter()
            await call(text)
            values.append((time.perf_counter() - started) * 1000)
    return Timing(values[len(texts) :])


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
