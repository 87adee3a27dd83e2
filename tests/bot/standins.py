"""The demonstration's stand-ins beside the gateway's own door, on loopback ports, in this test's event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from sanic import Sanic

from bot import standin, standin_graph, standin_telegram
from bot.app import make_channels
from bot.services import Services
from bot.settings import Settings, TelegramSettings, TwilioSettings, WhatsAppSettings
from tests.bot.door import Door, open_door
from tests.running import free_port, serving


@dataclasses.dataclass(frozen=True)
class Standins:
    """The door, and the settings under which the stand-ins know it."""

    door: Door
    settings: Settings
    twilio: TwilioSettings
    whatsapp: WhatsAppSettings
    telegram: TelegramSettings
    url: str


@asynccontextmanager
async def with_standins(services: Services, **changes: Any) -> AsyncIterator[Standins]:
    """Both listening: what the channels send goes to the stand-ins. ``changes`` replace settings."""
    url = f"http://127.0.0.1:{free_port()}"
    given = dataclasses.replace(services.settings, **changes)
    assert given.twilio is not None
    assert given.whatsapp is not None
    assert given.telegram is not None
    settings = dataclasses.replace(
        given,
        twilio=dataclasses.replace(given.twilio, api_url=url),
        whatsapp=dataclasses.replace(given.whatsapp, api_url=url),
        telegram=dataclasses.replace(given.telegram, api_url=url),
    )
    assert settings.twilio is not None
    assert settings.whatsapp is not None
    assert settings.telegram is not None
    async with httpx.AsyncClient() as client, AsyncExitStack() as stack:
        channels = make_channels(settings, client)
        ours = dataclasses.replace(services, settings=settings, channels=channels)
        door = await stack.enter_async_context(open_door(ours))
        app: Sanic[Any, Any] = Sanic(f"standins-{uuid.uuid4().hex}", configure_logging=False)
        app.blueprint(standin.make(settings.twilio))
        app.blueprint(standin_graph.make(settings.whatsapp, f"{door.base}/webhooks/whatsapp"))
        app.blueprint(standin_telegram.make(settings.telegram))
        await stack.enter_async_context(serving(app, int(url.rpartition(":")[2])))
        yield Standins(door, settings, settings.twilio, settings.whatsapp, settings.telegram, url)
        await _reported()


async def _reported() -> None:
    """The stand-ins' phones have told the gateway of every message: no report is left for the next test."""
    reports = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "_report"]
    await asyncio.gather(*reports)
