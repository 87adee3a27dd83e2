"""A running gateway for end-to-end and crash tests: the real process, its own database, killed when the test ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from sanic import Sanic
from twilio.request_validator import RequestValidator

from bot import database
from bot.settings import ROOT
from handoff import staff
from tests.conftest import DATA_KEY, TOKEN


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def serving(app: Sanic[Any, Any], port: int) -> AsyncIterator[None]:
    """The app on a loopback port, in the test's own event loop."""
    app.config.TOUCHUP = False  # it rewrites the server once a process, and a test is not the last one to need it
    server = await app.create_server(host="127.0.0.1", port=port, return_asyncio_server=True, access_log=False)
    assert server is not None
    await server.startup()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        await server.close()  # type: ignore[no-untyped-call]
        for connection in list(server.connections):
            connection.abort()
        app.shutdown_tasks(timeout=0)


def until(check: Callable[[], Any], *, seconds: float = 20.0, what: str = "it") -> Any:
    """The first true answer; AssertionError when the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds:g} s")


class Gateway:
    """`passerelle serve` as a child process."""

    def __init__(self, database_url: str, folder: Path, *, engine_url: str = "http://127.0.0.1:9") -> None:
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PASSERELLE_")},
            "PASSERELLE_DATABASE_URL": database_url,
            "PASSERELLE_DATA_KEY": DATA_KEY,
            "PASSERELLE_VAR_DIR": str(folder),
            "PASSERELLE_PORT": str(self.port),
            "PASSERELLE_TWILIO_ACCOUNT_SID": "AC1",
            "PASSERELLE_TWILIO_AUTH_TOKEN": TOKEN,
            "PASSERELLE_ENGINE_URL": engine_url,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bot.cli", "serve"], env=self.environment, cwd=ROOT, stdout=log, stderr=log
            )
        until(self.answers, seconds=40, what="the gateway's start")

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError((self.folder / "gateway.log").read_text()[-3000:])
        try:
            return httpx.get(f"{self.base}/health/live", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def sms(self, text: str, *, sid: str, sender: str = "+15145550123") -> httpx.Response:
        """A webhook signed by the provider's own library."""
        url = f"{self.base}/webhooks/twilio"
        fields = {"MessageSid": sid, "From": sender, "To": "+15005550006", "Body": text, "NumMedia": "0"}
        signature = RequestValidator(TOKEN).compute_signature(url, fields)
        return httpx.post(url, data=fields, headers={"X-Twilio-Signature": signature}, timeout=10)

    def phone(self, number: str = "+15145550123") -> list[str]:
        """What the stand-in of Twilio's API was asked to send to a number, oldest first."""
        url = f"{self.base}/2010-04-01/Accounts/AC1/Messages.json"
        answer = httpx.get(url, params={"To": number}, auth=("AC1", TOKEN), timeout=10)
        return [message["body"] for message in reversed(answer.raise_for_status().json()["messages"])]

    def account(self, name: str, role: str, password: str) -> None:
        """As `staff add` would, without a process of its own and with the tests' quick passwords."""

        async def add() -> None:
            engine = database.engine_for(self.environment["PASSERELLE_DATABASE_URL"])
            async with engine.begin() as conn:
                await staff.add(conn, name=name, display=name.title(), role=role, password=password)
            await engine.dispose()

        with ThreadPoolExecutor(1) as aside:  # a browser's test has an event loop in its own thread
            aside.submit(asyncio.run, add()).result()

    def command(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bot.cli", *arguments],
            env=self.environment, cwd=ROOT, input=text, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.command("log", "--jsonl", "--words").stdout.splitlines()]


@contextmanager
def running(gateway: Gateway) -> Iterator[Gateway]:
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()
