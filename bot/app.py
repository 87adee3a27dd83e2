"""The sole wiring: settings → services → Sanic app with its routes and workers."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import sqlalchemy as sa
from sanic import HTTPResponse, Request, Sanic
from sanic.config import Config
from sanic.response import json, redirect

from bot import database, inbox, standin, worker
from bot.chat import chat
from bot.engine import RasaEngine
from bot.events import Hub
from bot.services import Services
from bot.settings import Settings
from bot.vault import Vault
from bot.webhooks import webhooks
from channels.channel import Channel
from channels.sms import Sms
from channels.webchat import WebChat
from handoff import staff
from handoff.console import console
from nlu import language, risk
from nlu.encoder import E5Encoder
from translations import catalog


def make_services(settings: Settings, database_url: str, client: httpx.AsyncClient) -> Services:
    """Every part, made once."""
    encoder = E5Encoder()
    channels: dict[str, Channel] = {"web": WebChat()}
    if settings.twilio is not None:
        channels["sms"] = Sms(
            client,
            account_sid=settings.twilio.account_sid,
            auth_token=settings.twilio.auth_token,
            sender=settings.twilio.sender,
            api_url=settings.twilio.api_url,
            status_url=f"{settings.public_url}/webhooks/twilio/status",
        )
    return Services(
        settings=settings,
        vault=Vault.from_key(settings.data_key),
        database=database.engine_for(database_url),
        hub=Hub(database_url),
        catalog=catalog.load(),
        encoder=encoder,
        language=language.load(settings.language_detector),
        risk=risk.load(encoder),
        engine=RasaEngine(settings.engine_urls, client),
        channels=channels,
    )


def make_app(settings: Settings, database_url: str, *, name: str = "passerelle") -> Sanic[Config, Any]:
    """The gateway. Its services are made when the server starts, on the server's own event loop."""
    app: Sanic[Config, Any] = Sanic(name, configure_logging=False)
    app.config.REQUEST_MAX_SIZE = 4_000_000
    app.config.FALLBACK_ERROR_FORMAT = "text"
    app.config.GRACEFUL_SHUTDOWN_TIMEOUT = 3.0
    app.config.WEBSOCKET_MAX_SIZE = 32_768
    app.blueprint(webhooks)
    app.blueprint(chat)
    app.blueprint(console)
    twilio = settings.twilio
    if settings.demo and twilio and twilio.api_url == f"http://127.0.0.1:{settings.port}":
        app.blueprint(standin.make(twilio))
    app.add_route(live, "/health/live")
    app.add_route(ready, "/health/ready")
    app.add_route(home, "/")

    async def start(app: Sanic[Config, Any]) -> None:
        client = httpx.AsyncClient()
        services = make_services(settings, database_url, client)
        app.ctx.services, app.ctx.client = services, client
        async with services.database.begin() as conn:
            await inbox.free_leases(conn)
            if not settings.demo:
                await staff.retire_demonstration(conn)
        app.ctx.tasks = [asyncio.create_task(services.hub.run()), asyncio.create_task(worker.recovery(services))]
        app.ctx.tasks += [asyncio.create_task(worker.turns(services)) for _ in range(worker.TURN_WORKERS)]
        app.ctx.tasks += [asyncio.create_task(worker.deliveries(services)) for _ in range(worker.SEND_WORKERS)]
        app.ctx.tasks.append(asyncio.create_task(_warm(services)))

    async def stop(app: Sanic[Config, Any]) -> None:
        for task in app.ctx.tasks:
            task.cancel()
        await asyncio.gather(*app.ctx.tasks, return_exceptions=True)
        await app.ctx.client.aclose()
        await app.ctx.services.database.dispose()

    app.before_server_start(start)
    app.after_server_stop(stop)
    return app


async def _warm(services: Services) -> None:
    """Loads the models before the first person needs them."""
    await asyncio.to_thread(services.encoder.encode, ["hello"])
    await asyncio.to_thread(services.language.detect, "where can I get help")


async def live(_request: Request) -> HTTPResponse:
    return json({"live": True})


async def ready(request: Request) -> HTTPResponse:
    """Ready means: messages are stored. A sleeping engine does not stop that, and is told apart."""
    services: Services = request.app.ctx.services
    try:
        async with asyncio.timeout(3), services.database.connect() as conn:
            await conn.execute(sa.text("SELECT 1"))
        stored = True
    except (sa.exc.SQLAlchemyError, OSError, TimeoutError):
        stored = False
    body = {"database": stored, "events": services.hub.connected, "engine": await services.engine.ready()}
    return json(body, status=200 if stored else 503)


async def home(_request: Request) -> HTTPResponse:
    return redirect("/chat")
