"""`passerelle bench`: speed as ratios inside one run, on this machine, against the embedded database.

Absolute times belong to the machine; the ratios are what is compared. Everything runs on loopback.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import urlencode

import httpx
import psycopg

from bot import database, embedded, inbox, supervisor, training, turn, worker
from bot.app import make_services
from bot.bench_understanding import TEXTS, Timing, interleaved, lateness, stretched, understanding
from bot.engine import Answer
from bot.inbox import Claim, StoredMessage
from bot.say import ask_once
from bot.services import Services
from bot.settings import ROOT, Settings
from bot.understanding import understand as understand_as_the_gateway
from bot.vault import Vault
from channels.channel import Inbound, RawRequest
from channels.sms import sign
from handoff import queue

CONNECTIONS = 32


def run(settings: Settings, *, seconds: float) -> int:
    """All measurements; each prints one line."""
    print(f"{os.cpu_count()} cores, {seconds:g} s a load, {CONNECTIONS} connections")
    understanding(settings.language_detector)
    with tempfile.TemporaryDirectory(prefix="passerelle-bench-") as folder:
        asyncio.run(_loads(settings, Path(folder), seconds))
    return 0


async def _loads(settings: Settings, folder: Path, seconds: float) -> None:
    running = await asyncio.to_thread(embedded.start, folder)
    try:
        await asyncio.to_thread(database.prepare, running.url, Vault.from_key(settings.data_key))
        bare = await _bare_intake(running.url, seconds)
        ours = await _our_intake(settings, running.url, folder, seconds)
        print(f"intake, bare Sanic with one INSERT  {bare:.0f} requests/s")
        print(f"intake, signed and durable          {ours:.0f} requests/s ({ours / bare:.2f} x the bare one)")
        async with httpx.AsyncClient() as client:
            services = make_services(settings, running.url, client)
            try:
                await _to_console(services, running.url)
                await _event_loop(services, seconds)
                await _engine(services, client, folder)
            finally:
                await services.database.dispose()
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


async def _to_console(services: Services, url: str) -> None:
    """From storing a message that discloses to the event that a console redraws on."""
    services.encoder.encode(["warm"])
    services = replace(services, engine=Mute())  # for what the load has left; a disclosure does not ask it
    values = []
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as listener:
        await listener.execute("LISTEN passerelle")
        for number in range(40):
            while await worker.run_once(services):
                pass
            started = time.perf_counter()
            item = Inbound(f"SMbench{number}", f"+1514556{number:04}", "text", "my boss keeps my passport")
            async with services.database.begin() as conn:
                await inbox.store(conn, services.vault, "sms", item)
            working = asyncio.create_task(worker.run_once(services))
            async for notice in listener.notifies(timeout=10):
                if '"queue"' in notice.payload:
                    values.append((time.perf_counter() - started) * 1000)
                    break
            await working
    async with services.database.connect() as conn:
        waiting = len(await queue.list_open(conn))
    print(f"message → console's event           {Timing(values)} ({waiting} handoffs waiting)")


class Mute:
    """A dialogue engine with nothing to say."""

    async def respond(
        self, conversation: str, text: str, *, language: str, vector: bytes | None, place: str | None, asked: str | None
    ) -> Sequence[Answer]:
        return ()

    async def ready(self) -> bool:
        return True


async def understand(services: Services, text: str) -> None:
    """One message as a turn understands it, without its storing."""
    message = StoredMessage(uuid.uuid4(), 1, "text", text, "", (), "received", None, None)
    claim = Claim(
        conversation=uuid.uuid4(), channel="sms", fence=1, language=None, language_chosen=False, place=None,
        region=None, opted_out=False, maybe_watched=False, failures=0, messages=(message,),
    )  # fmt: skip
    await understand_as_the_gateway(services, message, claim, turn.Situation(None, "none", None, None, "en", ()))


async def _event_loop(services: Services, seconds: float) -> None:
    """How long the loop that takes messages stands still while others are understood, by all workers at once."""
    texts = [*TEXTS, *stretched(300), *stretched(4000)]
    for text in texts:
        await understand(services, text)
    count = 0

    async def one(first: int) -> None:
        nonlocal count
        deadline = time.perf_counter() + seconds
        for text in islice(cycle(texts), first, None):
            if time.perf_counter() > deadline:
                return
            await understand(services, text)
            count += 1

    async def all_of_them() -> None:
        await asyncio.gather(*(one(3 * number) for number in range(worker.TURN_WORKERS)))

    idle, busy = await lateness(asyncio.sleep(seconds)), await lateness(all_of_them())
    print(
        f"event loop while understanding      longest stall {busy.longest:.1f} ms, p99 {busy.p99:.1f} ms "
        f"(idle: {idle.longest:.1f} ms, {idle.p99:.1f} ms); {count / seconds:.0f} messages/s, long ones among them"
    )


async def _engine(services: Services, client: httpx.AsyncClient, folder: Path) -> None:
    """Against the running engine: a whole turn, and its understanding; needs `passerelle up`."""
    if not await services.engine.ready():
        print("a whole turn                        not measured: start `passerelle up` beside this")
        return
    await _turn(services)
    async with _parser(services.settings, client, folder) as url:
        if url is None:
            print("Rasa's understanding                not measured: no engine offers /model/parse")
        else:
            await _parse(services, client, url)


async def _turn(services: Services) -> None:
    """A whole turn through the running gateway against Rasa's REST channel alone."""
    texts = [text for text in TEXTS if "passport" not in text and "paie" not in text]

    async def alone(text: str) -> None:
        await services.engine.respond(secrets.token_hex(8), text, language="en", vector=None, place=None, asked=None)

    async def whole(text: str) -> None:
        await ask_once(services.settings, text)

    rasa, ours = await interleaved([alone, whole], texts, rounds=9)
    print(f"Rasa's REST channel alone           {rasa}")
    print(f"a whole turn by web chat            {ours} ({ours.p50 / rasa.p50:.2f} x Rasa alone)")


async def _parse(services: Services, client: httpx.AsyncClient, url: str) -> None:
    """Rasa's /model/parse, which finds an intent, against language, risk and vector of the same texts."""

    async def parse(text: str) -> None:
        (await client.post(url, json={"text": text})).raise_for_status()

    async def ours(text: str) -> None:
        await understand(services, text)

    parsed, understood = await interleaved([parse, ours], TEXTS, rounds=15)
    print(f"Rasa's /model/parse                 {parsed} ({parsed.p50 / understood.p50:.2f} x our understanding)")
    print(f"our whole understanding             {understood}")


@asynccontextmanager
async def _parser(settings: Settings, client: httpx.AsyncClient, folder: Path) -> AsyncIterator[str | None]:
    """Where texts can be parsed: at the running engine, else at one of our own with the same model.

    Ours does not offer it: whoever may parse may also read conversations, so the engine runs without that API.
    """
    running = f"{settings.engine_urls[0]}/model/parse?token={settings.engine_token}"
    if await _parses(client, running):
        yield running
        return
    model = training.model_path(settings)
    if not (model.exists() and supervisor.ENGINE_PYTHON.exists()):
        yield None
        return
    port, token = _free_port(), secrets.token_hex(16)
    process = await asyncio.create_subprocess_exec(
        str(supervisor.ENGINE_PYTHON), "-m", "rasa", "run", "--enable-api", "--model", str(model),
        "--interface", "127.0.0.1", "--port", str(port), "--auth-token", token,
        env=supervisor.engine_environment(settings, ""), cwd=folder, preexec_fn=supervisor.die_with_parent,
        start_new_session=True, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        own = f"http://127.0.0.1:{port}/model/parse?token={token}"
        yield own if await _until_parses(client, own, process) else None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the helpers that it starts
        await process.wait()


async def _until_parses(client: httpx.AsyncClient, url: str, process: asyncio.subprocess.Process) -> bool:
    """Waits while the engine loads; False when it ended, or takes too long."""
    for _ in range(180):
        if process.returncode is not None:
            return False
        if await _parses(client, url):
            return True
        await asyncio.sleep(0.5)
    return False


async def _parses(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.post(url, json={"text": "hello"}, timeout=10)).is_success
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
