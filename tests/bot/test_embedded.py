"""The embedded PostgreSQL: whoever leaves last stops it, and who was killed leaves nothing in the way."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from bot import embedded, supervisor
from bot.settings import SettingsError
from tests.running import Gateway, until

pytestmark = pytest.mark.slow
PASSWORD = "a long enough password"


@pytest.fixture
def var() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="passerelle-embedded-"))  # not pytest's: see the fixture `postgres`
    folder.chmod(0o755)
    yield folder
    embedded.stop(embedded.start(folder))  # takes over what a failed test has left
    shutil.rmtree(folder)


def answers(running: embedded.Embedded) -> bool:
    with psycopg.connect(running.url) as conn:
        return conn.execute("SELECT 1").fetchone() == (1,)


def kill(var: Path) -> int:
    """`kill -9`; the number it had."""
    os.kill(number := mark(var), signal.SIGKILL)
    return number


def mark(var: Path) -> int:
    return int((var / "postgres" / "postmaster.pid").read_text().split()[0])


def test_whoever_leaves_last_stops_it(var: Path) -> None:
    first, second = embedded.start(var), embedded.start(var)
    embedded.stop(first)  # it started the server, and another one uses it
    assert answers(second)
    embedded.stop(second)
    assert not embedded.is_running(var)


def test_a_command_leaves_it_to_a_gateway_that_came_meanwhile(var: Path) -> None:
    gateway = Gateway("", var)
    del gateway.environment["PASSERELLE_DATABASE_URL"]
    running = embedded.start(var)  # as `up` does, and what it started is gone when the command comes
    kill(var)
    added = gateway.command("staff", "add", "amira", "--role", "advocate", text=PASSWORD)
    assert added.returncode == 0, added.stderr
    assert answers(running)
    assert gateway.command("staff", "list").returncode == 0
    assert gateway.command("log", "--jsonl").returncode == 0
    assert gateway.command("doctor").returncode in (0, 1)
    assert answers(running)
    embedded.stop(running)
    assert not embedded.is_running(var)


def test_an_orphan_is_taken_over_and_stopped_in_the_end(var: Path) -> None:
    os.close(embedded.start(var).lock)  # what the kernel does for somebody who is killed
    assert embedded.is_running(var)
    running = embedded.start(var)
    assert answers(running)
    embedded.stop(running)
    assert not embedded.is_running(var)


def test_the_mark_of_a_dead_one_is_not_taken_for_a_running_one(var: Path) -> None:
    """After a loss of power its number belongs to somebody else."""
    running = embedded.start(var)
    left = (var / "postgres" / "postmaster.pid").read_text().splitlines()
    embedded.stop(running)
    (var / "postgres" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *left[1:]]) + "\n")
    assert not embedded.is_running(var)
    again = embedded.start(var)
    assert answers(again)
    embedded.stop(again)


async def test_the_supervisor_starts_it_again(var: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running = embedded.start(var)
    stopping = asyncio.Event()
    watching = asyncio.create_task(supervisor._keep_database(var, stopping))
    for _ in range(2):
        dead = kill(var)
        until_back = partial(until, lambda dead=dead: embedded.is_running(var) and mark(var) != dead, what="its return")
        await asyncio.to_thread(until_back)
    stopping.set()
    await watching
    assert answers(running)
    assert capsys.readouterr().out.count("! the database stopped; it is started again\n") >= 2
    embedded.stop(running)
    assert not embedded.is_running(var)


async def test_one_that_does_not_start_again_is_tried_again(
    var: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopping = asyncio.Event()
    tried = 0

    def revive(_var: Path) -> None:
        nonlocal tried
        tried += 1
        if tried == 3:
            stopping.set()
        raise SettingsError(["The embedded PostgreSQL does not start."])

    monkeypatch.setattr(embedded, "revive", revive)
    monkeypatch.setattr(supervisor, "_BACK_OFF", (0.01, 0.02))
    async with asyncio.timeout(10):
        await supervisor._keep_database(var, stopping)
    assert tried == 3
    assert "! The embedded PostgreSQL does not start.\n! It is tried again in 0.02 s.\n" in capsys.readouterr().out
    monkeypatch.undo()
