"""The intake's bench: its client hears answers whole, sees refusals, and counts time from when a webhook was due."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bot import bench_intake
from bot.bench_intake import _closed_loop, _message, _open_loop, _request
from channels.whatsapp_inbound import parse


@asynccontextmanager
async def answering(answer: bytes, *, after: float = 0.0) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says the same to every request; its port, and the bodies it got."""
    bodies: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                bodies.append(await reader.readexactly(length))
                await asyncio.sleep(after)
                for piece in (answer[:20], answer[20:]):
                    writer.write(piece)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], bodies


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def make() -> bytes:
    return _request(_message(), {})


async def test_every_connection_writes_again_when_it_is_answered() -> None:
    async with answering(GOOD, after=0.01) as (port, bodies):
        rate, timing = await _closed_loop(port, make, 0.3)
    assert len(bodies) == len(timing.values) > bench_intake.CONNECTIONS
    assert timing.p50 >= 10
    assert rate == pytest.approx(len(bodies) / 0.3, rel=0.5)


async def test_an_offered_rate_does_not_wait_for_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_intake, "OFFERED", 100)
    monkeypatch.setattr(bench_intake, "_MOST_OPEN", 1)  # so that they queue, which must count
    async with answering(GOOD, after=0.03) as (port, bodies):
        timing = await _open_loop(port, make, 0.2)
    assert len(bodies) == len(timing.values) == 20
    assert timing.longest > 300


async def test_a_refusal_ends_the_measurement() -> None:
    async with answering(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") as (port, _):
        with pytest.raises(RuntimeError, match="503"):
            await _closed_loop(port, make, 0.3)


def test_every_webhook_is_a_message_of_its_own() -> None:
    found = [parse(_message(), [bench_intake._NUMBER]) for _ in range(50)]
    assert {item.text for (item,) in found} == {"👍"}
    assert len({item.provider_id for (item,) in found}) == 50
    assert json.loads(_message())["object"] == "whatsapp_business_account"
