"""`passerelle bench`: speed as ratios inside one run, on this machine, against the embedded database.

Absolute times belong to the machine; the ratios are what is compared. Everything runs on loopback.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import httpx
import psycopg

from bot import database, embedded, inbox, supervisor, training, turn, worker
from bot.app import make_services
from bot.bench_chats import open_chats
from bot.bench_intake import CONNECTIONS, free_port, intake
from bot.bench_understanding import TEXTS, Timing, interleaved, lateness, stretched, understanding
from bot.engine import Answer
from bot.inbox import Claim, StoredMessage
from bot.say import ask_once
from bot.services import Services
from bot.settings import Settings
from bot.understanding import understand as understand_as_the_gateway
from bot.vault import Vault
from channels.channel import Inbound
from handoff import queue

CHATS = 2000  # open web chats on one gateway


def run(settings: Settings, *, seconds: float, steady: float) -> int:
    """All measurements; each prints one line."""
    print(f"{os.cpu_count()} cores, {seconds:g} s a load, {CONNECTIONS} connections")
    understanding(settings.language_detector)
    with tempfile.TemporaryDirectory(prefix="passerelle-bench-") as folder:
        asyncio.run(_loads(settings, Path(folder), seconds, steady))
    return 0


async def _loads(settings: Settings, folder: Path, seconds: float, steady: float) -> None:
    running = await asyncio.to_thread(embedded.start, folder)
    try:
        await asyncio.to_thread(database.prepare, running.url, Vault.from_key(settings.data_key))
        gateway = partial(_environment, settings, running.url, folder)
        await intake(running.url, gateway, seconds=seconds, steady_seconds=steady)
        async with httpx.AsyncClient() as client:
            services = make_services(settings, running.url, client)
            try:
                await _to_console(services, running.url)
                await _event_loop(services, seconds)
                await _engine(services, client, folder)
                port = free_port()
                await open_chats(
                    services, _environment(settings, running.url, folder, port), port, CHATS, folder=folder
                )
            finally:
                await services.database.dispose()
    finally:
        await asyncio.to_thread(embedded.stop, running)


def _environment(settings: Settings, url: str, folder: Path, port: int) -> dict[str, str]:
    """Of a gateway of the bench's own, without an engine."""
    return {
        **os.environ,
        "PASSERELLE_DATABASE_URL": url,
        "PASSERELLE_DATA_KEY": settings.data_key,
        "PASSERELLE_VAR_DIR": str(folder / "var"),
        "PASSERELLE_PORT": str(port),
        "PASSERELLE_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "PASSERELLE_ENGINE_URL": "http://127.0.0.1:9",
    }


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
    port, token = free_port(), secrets.token_hex(16)
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
