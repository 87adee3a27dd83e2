"""`passerelle up`: the database, the gateway and the engine as one; what falls is lifted up again.

The children die with us (the kernel sends them SIGKILL when we are gone), so that nothing is left running.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from bot import database, demo, embedded, training
from bot.seed import seed
from bot.settings import ROOT, Settings, SettingsError
from bot.vault import Vault

_BACK_OFF = (0.2, 1.0, 5.0, 15.0)  # seconds before a child that keeps falling is started again
_LOOK = 0.5  # seconds between two looks at the embedded database
_STEADY = 60.0  # seconds after which a child counts as steady again
ENGINE_PYTHON = ROOT / ".venv-rasa" / "bin" / "python"


@dataclass(slots=True)
class Child:
    """One supervised process."""

    name: str
    command: list[str]
    environment: dict[str, str]


def tell(line: str) -> None:
    print(line, flush=True)


async def up(settings: Settings) -> None:
    """Everything, until Ctrl-C. Raises SettingsError for what stands in the way."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    with embedded.alone(settings):
        ensure_port_free(settings.host, settings.port)
        if settings.generated:
            made_up = ", ".join(settings.generated)
            tell(f"! Made up for this demonstration, and kept in {settings.var_dir / 'secrets'}: {made_up}.")
        if "DATA_KEY" in settings.generated:
            tell("!!! The data key lies beside the data it protects: for trying out only, never for real people.")
        await _with_database(settings, stopping)


async def _with_database(settings: Settings, stopping: asyncio.Event) -> None:
    running = None
    url = settings.database_url
    try:
        if not url:
            tell("Starting the database …")
            running = await asyncio.to_thread(embedded.start, settings.var_dir)
            url = running.url
        await asyncio.to_thread(database.prepare, url, Vault.from_key(settings.data_key))
        if settings.demo:
            await announce_accounts(settings, url)
        await _run(settings, url, stopping)
    finally:
        if running is not None:
            await asyncio.to_thread(embedded.stop, running)
        tell("Stopped. Nothing is left running.")


async def announce_accounts(settings: Settings, url: str) -> None:
    """Seeds the demonstration and prints its accounts."""
    accounts = await seed(settings, url)
    tell("Demonstration accounts (name / password):")
    for name, password in accounts.items():
        tell(f"  {name:<12} {password}")


async def _run(settings: Settings, url: str, stopping: asyncio.Event) -> None:
    environment = {**os.environ, **child_environment(settings, url)}
    gateway = Child("gateway", [sys.executable, "-m", "bot.cli", "serve"], environment)
    engine = Child("engine", [sys.executable, "-m", "bot.cli", "engine"], environment)
    tasks = [asyncio.create_task(_keep(gateway, stopping)), asyncio.create_task(_announce(settings, stopping))]

    async def start_engine() -> None:
        if await training.ensure_trained(settings, tell):
            await _keep(engine, stopping)

    tasks.append(asyncio.create_task(start_engine()))
    if not settings.database_url:
        tasks.append(asyncio.create_task(_keep_database(settings.var_dir, stopping)))
    await stopping.wait()
    tell("\nStopping …")
    await asyncio.gather(*tasks, return_exceptions=True)


def child_environment(settings: Settings, url: str) -> dict[str, str]:
    """What the children must agree on, made-up secrets included."""
    return {
        "PASSERELLE_DATABASE_URL": url,
        "PASSERELLE_DATA_KEY": settings.data_key,
        "PASSERELLE_ENGINE_TOKEN": settings.engine_token,
        "PASSERELLE_VAR_DIR": str(settings.var_dir),
        "PYTHONUNBUFFERED": "1",
    }


async def _keep(child: Child, stopping: asyncio.Event) -> None:
    """Runs a child, and runs it again when it falls, until we stop."""
    falls = 0
    while not stopping.is_set():
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *child.command, env=child.environment, cwd=ROOT, preexec_fn=die_with_parent, start_new_session=True
        )
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({ended, asyncio.ensure_future(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            await _end(process, ended)
            return
        falls = 0 if time.monotonic() - started > _STEADY else falls + 1
        pause = _BACK_OFF[min(falls, len(_BACK_OFF)) - 1] if falls else _BACK_OFF[0]
        tell(f"! the {child.name} stopped (code {process.returncode}); it is started again in {pause:g} s")
        await _wait(stopping, pause)


async def _keep_database(var_dir: Path, stopping: asyncio.Event) -> None:
    """Starts the embedded database again when it is gone, until we stop. It is no child of ours, so we look."""
    pauses = iter(_BACK_OFF)
    while not stopping.is_set():
        if embedded.is_running(var_dir):
            pauses = iter(_BACK_OFF)
            await _wait(stopping, _LOOK)
            continue
        tell("! the database stopped; it is started again")
        try:
            await asyncio.to_thread(embedded.revive, var_dir)
        except SettingsError as error:
            pause = next(pauses, _BACK_OFF[-1])
            tell(f"! {error.problems[0]}\n! It is tried again in {pause:g} s.")
            await _wait(stopping, pause)


async def _wait(stopping: asyncio.Event, seconds: float) -> None:
    """That long, or until we stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    """A friendly request first; after eight seconds the hard way. The engine starts helpers of its own."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    done, _ = await asyncio.wait({ended}, timeout=8)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if not done:
        await ended


def die_with_parent() -> None:
    """In the child: the kernel kills it when its parent dies (Linux: prctl PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


async def _announce(settings: Settings, stopping: asyncio.Event) -> None:
    """Prints the URLs when the gateway answers, and again a line when the engine does."""
    base = f"http://127.0.0.1:{settings.port}"
    await _until(lambda: _answers(f"{base}/health/live"), stopping)
    tell("Ready: messages are taken." + "".join(f"\n  {name:<9} {url}" for name, url in addresses(settings).items()))
    tell("The assistant is loading (ten to twenty seconds; escalations work already) …")
    await _until(lambda: _engine_answers(f"{base}/health/ready"), stopping)
    tell("The assistant is ready. Ctrl-C stops everything.")


def addresses(settings: Settings) -> dict[str, str]:
    """What can be opened in a browser on this machine; first the quickest look at all of it, where there is one."""
    base = f"http://127.0.0.1:{settings.port}"
    pages = {"phones": "/demo"} if demo.stands(settings) else {}
    pages |= {"chat": "/chat", "console": "/console"}
    return {name: base + path for name, path in pages.items()}


async def _until(check: Callable[[], Awaitable[bool]], stopping: asyncio.Event) -> None:
    while not stopping.is_set() and not await check():
        await _wait(stopping, 0.3)


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2) as client:
            return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False


async def _engine_answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=4) as client:
            return bool((await client.get(url)).json().get("engine"))
    except (httpx.HTTPError, ValueError):
        return False


def ensure_port_free(host: str, port: int) -> None:
    """Raises SettingsError when somebody else listens there."""
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError) as error:
            if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
                raise SettingsError([f"This machine has no address {host}: correct PASSERELLE_HOST."]) from error
            raise SettingsError(
                [
                    f"Port {port} on {host} cannot be used ({error.strerror}): stop what uses it, or set "
                    "PASSERELLE_PORT (and PASSERELLE_VAR_DIR for a second Passerelle)."
                ]
            ) from error


def engine_port(settings: Settings) -> int:
    """Where the engine that we start listens; others of the list are somebody else's."""
    return urlsplit(settings.engine_urls[0]).port or 80


def engine_command(settings: Settings, model: Path) -> list[str]:
    """Rasa's own command line, on loopback."""
    return [
        str(ENGINE_PYTHON), "-m", "bot.rasa_command", "run", "--model", str(model), "--endpoints", "endpoints.yml",
        "--credentials", "credentials.yml", "--interface", "127.0.0.1", "--port", str(engine_port(settings)),
        "--auth-token", settings.engine_token,
    ]  # fmt: skip


def engine_environment(settings: Settings, url: str) -> dict[str, str]:
    """What the engine must know. One thread for numpy: more spin on for some 20 ms after each answer, and took from
    the gateway beside it half of its speed (a message understood in 22 ms instead of 10) without being quicker.
    """
    return {
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        **os.environ,  # whoever has set them knows better
        "PYTHONPATH": str(ROOT),
        "PASSERELLE_ENGINE_DATABASE_URL": url,
        "PASSERELLE_DATA_KEY": settings.data_key,
        "RASA_TELEMETRY_ENABLED": "false",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "SQLALCHEMY_SILENCE_UBER_WARNING": "1",
        "PYTHONWARNINGS": "ignore",  # bot.rasa_command does the rest
    }
