"""The sole wiring: settings → services → Sanic app with its routes and workers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import sqlalchemy as sa
from sanic import HTTPResponse, Request, Sanic
from sanic.config import Config
from sanic.response import json, redirect

from bot import database, demo, inbox, retention, standin, standin_graph, standin_telegram, worker
from bot.chat import RATE, chat
from bot.chat_page import chat_page
from bot.chat_session import Places
from bot.engine import RasaEngine
from bot.events import Hub
from bot.intake import Intake
from bot.rate import Rate
from bot.services import Services
from bot.settings import Settings
from bot.spool import Spool, contents
from bot.vault import Vault
from bot.webhooks import webhooks
from channels import more
from channels.channel import Channel, Refused, SendError
from channels.sms import Sms
from channels.telegram import Telegram
from channels.webchat import WebChat
from channels.whatsapp import WhatsApp
from handoff import staff
from handoff.console import console
from nlu import language, risk
from nlu.encoder import E5Encoder
from translations import catalog

_log = logging.getLogger("passerelle.app")


def make_channels(settings: Settings, client: httpx.AsyncClient) -> dict[str, Channel]:
    """The channels that the settings turn on, by name."""
    channels: dict[str, Channel] = {"web": WebChat()}
    if settings.twilio is not None:
        channels["sms"] = Sms(
            client,
            account_sid=settings.twilio.account_sid,
            auth_token=settings.twilio.auth_token,
            sender=settings.twilio.sender,
            api_url=settings.twilio.api_url,
            status_url=f"{settings.public_url}/webhooks/twilio/status",
            rate=settings.twilio.rate,
        )
    if (whatsapp := settings.whatsapp) is not None:
        channels["whatsapp"] = WhatsApp(
            client,
            numbers=whatsapp.numbers,
            access_token=whatsapp.access_token,
            app_secret=whatsapp.app_secret,
            verify_token=whatsapp.verify_token,
            api_url=whatsapp.api_url,
            version=whatsapp.version,
        )
    if settings.telegram is not None:
        channels["telegram"] = Telegram(
            client,
            bot_token=settings.telegram.bot_token,
            secret_token=settings.telegram.secret_token,
            api_url=settings.telegram.api_url,
            webhook_url=f"{settings.public_url}/webhooks/telegram",
        )
    for module in more.MODULES:
        if more.is_on(module, settings.more):
            webhook = f"{settings.public_url}/webhooks/{module.NAME}"
            channels[module.NAME] = module.make(client, settings.more, webhook)
    return channels


def make_services(settings: Settings, database_url: str, client: httpx.AsyncClient) -> Services:
    """Every part, made once."""
    encoder = E5Encoder()
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
        channels=make_channels(settings, client),
    )


def make_app(settings: Settings, database_url: str, *, name: str = "passerelle") -> Sanic[Config, Any]:
    """The gateway. Its services are made when the server starts, on the server's own event loop."""
    app: Sanic[Config, Any] = Sanic(name, configure_logging=False)
    app.config.REQUEST_MAX_SIZE = 4_000_000
    app.config.FALLBACK_ERROR_FORMAT = "text"
    app.config.GRACEFUL_SHUTDOWN_TIMEOUT = 3.0
    app.config.WEBSOCKET_MAX_SIZE = 32_768
    app.ctx.chat_rate = Rate(*RATE)
    app.ctx.places = Places()
    app.blueprint(webhooks)
    app.blueprint(chat)
    app.blueprint(chat_page)
    app.blueprint(console)
    twilio = settings.twilio
    if settings.demo and twilio and twilio.api_url == f"http://127.0.0.1:{settings.port}":
        app.blueprint(standin.make(twilio))
    whatsapp = settings.whatsapp
    if settings.demo and whatsapp and whatsapp.api_url == f"http://127.0.0.1:{settings.port}":
        app.blueprint(standin_graph.make(whatsapp, f"{whatsapp.api_url}/webhooks/whatsapp"))
    telegram = settings.telegram
    if settings.demo and telegram and telegram.api_url == f"http://127.0.0.1:{settings.port}":
        app.blueprint(standin_telegram.make(telegram))
    if demo.stands(settings):
        app.blueprint(demo.make(settings))
    app.add_route(live, "/health/live")
    app.add_route(ready, "/health/ready")
    app.add_route(home, "/")

    async def start(app: Sanic[Config, Any]) -> None:
        client = httpx.AsyncClient()
        services = make_services(settings, database_url, client)
        app.ctx.services, app.ctx.client = services, client
        app.ctx.intake = Intake(services, Spool(settings.spool, services.vault))
        async with services.database.begin() as conn:
            await inbox.free_leases(conn)
            if not settings.demo:
                await staff.retire_demonstration(conn)
        app.ctx.tasks = [asyncio.create_task(app.ctx.intake.write()), asyncio.create_task(app.ctx.intake.replay())]
        app.ctx.tasks += [asyncio.create_task(services.hub.run()), asyncio.create_task(worker.recovery(services))]
        app.ctx.tasks += [asyncio.create_task(worker.turns(services)), asyncio.create_task(worker.deliveries(services))]
        # one of each always works; the others stand back while more comes in than can be stored at leisure
        held = app.ctx.intake.pressed
        app.ctx.tasks += [asyncio.create_task(worker.turns(services, held)) for _ in range(worker.TURN_WORKERS - 1)]
        app.ctx.tasks += [
            asyncio.create_task(worker.deliveries(services, held)) for _ in range(worker.SEND_WORKERS - 1)
        ]
        app.ctx.tasks.append(asyncio.create_task(retention.keep_ending(services)))
        app.ctx.tasks.append(asyncio.create_task(_warm(services)))

    async def announce(app: Sanic[Config, Any]) -> None:
        if isinstance(telegram := app.ctx.services.channels.get("telegram"), Telegram):
            app.ctx.tasks.append(asyncio.create_task(register(telegram)))

    async def stop(app: Sanic[Config, Any]) -> None:
        for task in app.ctx.tasks:
            task.cancel()
        await asyncio.gather(*app.ctx.tasks, return_exceptions=True)
        await app.ctx.client.aclose()
        await app.ctx.services.database.dispose()

    app.before_server_start(start)
    app.after_server_start(announce)
    app.after_server_stop(stop)
    return app


async def _warm(services: Services) -> None:
    """Loads the models before the first person needs them."""
    await asyncio.to_thread(services.encoder.encode, ["hello"])
    await asyncio.to_thread(services.language.detect, "where can I get help")


async def register(telegram: Telegram) -> None:
    """Tells Telegram where updates go, again and again until it is taken; the start does not wait for that."""
    attempts = 0
    while True:
        try:
            await telegram.set_webhook()
            _log.info("telegram: updates come to this gateway")
            return
        except Refused as error:
            _log.error("telegram: the webhook is refused (%s): check the token and PASSERELLE_PUBLIC_URL", error.code)
            return
        except SendError as error:
            attempts += 1
            delay = min(300.0, 2.0**attempts) if error.retry_after is None else error.retry_after
            _log.warning("telegram: the webhook is not set yet (%s); again in %.0f s", error.code, delay)
            await asyncio.sleep(delay)


async def live(_request: Request) -> HTTPResponse:
    return json({"live": True})


async def ready(request: Request) -> HTTPResponse:
    """Ready means: messages are stored. A sleeping engine does not stop that, and is told apart.

    ``spool``: bytes that wait for the database; webhooks are still called received while they find room there.
    """
    services: Services = request.app.ctx.services
    try:
        async with asyncio.timeout(3), services.database.connect() as conn:
            await conn.execute(sa.text("SELECT 1"))
        stored = True
    except (sa.exc.SQLAlchemyError, OSError, TimeoutError):
        stored = False
    body = {
        "database": stored,
        "spool": contents(services.settings.spool).bytes,
        "events": services.hub.connected,
        "engine": await services.engine.ready(),
    }
    return json(body, status=200 if stored else 503)


async def home(_request: Request) -> HTTPResponse:
    return redirect("/chat")
