"""The bench of open chats, with a handful of them: each is told when its place moves, and the gateway is measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.bench_chats import open_chats
from bot.services import Services
from tests.running import Gateway

pytestmark = pytest.mark.slow
encoder = screen = detector = pytest.fixture(scope="session")(lambda: None)  # the gateway has its own
COUNT = 7


async def test_every_open_chat_is_told_and_what_it_costs_is_measured(
    services: Services, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = Gateway(database_url, tmp_path)
    await open_chats(services, gateway.environment, gateway.port, COUNT, folder=tmp_path)
    memory, stalls = capsys.readouterr().out.splitlines()
    cost = re.fullmatch(rf"open web chats +{COUNT}, each (-?[\d.]+) kB of the gateway's memory", memory)
    assert cost, memory
    told = re.fullmatch(
        rf"a place in the queue moves +{COUNT} chats told within ([\d.]+) s; "
        r"longest stall of the event loop (\d+) ms, p99 ([\d.]+) ms",
        stalls,
    )
    assert told, stalls
    assert float(told[3]) <= float(told[2]) + 0.5
