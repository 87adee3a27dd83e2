"""Providers' webhooks: verify, parse, store, and only then "received"."""

from __future__ import annotations

import logging

import psycopg
import sqlalchemy as sa
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import text

from bot import inbox, outbox
from bot.services import Services
from channels.channel import Channel, Inbound, RawRequest, Status, Unreadable

MAX_BODY = 256 * 1024
_log = logging.getLogger("passerelle.webhooks")
webhooks = Blueprint("webhooks", url_prefix="/webhooks")


@webhooks.post("/twilio", name="twilio")
async def receive_sms(request: Request) -> HTTPResponse:
    return await receive(request, "sms")


@webhooks.post("/twilio/status", name="twilio_status")
async def receive_sms_status(request: Request) -> HTTPResponse:
    return await receive(request, "sms")


async def receive(request: Request, name: str) -> HTTPResponse:
    """The only step that sees Sanic. 403 for a wrong signature, 400 for what cannot be read, 503 without storage."""
    services: Services = request.app.ctx.services
    channel = services.channels.get(name)
    if channel is None:
        return text("This channel is not configured.", status=404)
    if len(request.body) > MAX_BODY:
        return text("The request is too large.", status=413)
    raw = raw_request(request, services.settings.public_url)
    if not channel.verify(raw):
        _log.warning("%s: a request with a wrong or missing signature was refused", name)
        return text("The signature is wrong.", status=403)
    try:
        readable = await take_in(services, channel, raw)
    except (sa.exc.SQLAlchemyError, psycopg.Error, OSError, TimeoutError) as error:
        _log.error("%s: nothing could be stored (%s)", name, type(error).__name__)
        return text("The message could not be stored. Please send it again.", status=503)
    if not readable:
        return text("The request cannot be read.", status=400)
    return text('<?xml version="1.0" encoding="UTF-8"?><Response/>', content_type="text/xml")


def raw_request(request: Request, public_url: str) -> RawRequest:
    """The request as the provider signed it: our public URL, path and query untouched."""
    url = public_url + request.path + (f"?{request.query_string}" if request.query_string else "")
    return RawRequest(url, {name.lower(): value for name, value in request.headers.items()}, request.body)


async def take_in(services: Services, channel: Channel, raw: RawRequest) -> bool:
    """Stores every item in one transaction; whether at least one could be read, or there was none."""
    items = channel.parse(raw)
    if not items:
        return True
    async with services.database.begin() as conn:
        for item in items:
            if isinstance(item, Inbound):
                await inbox.store(conn, services.vault, channel.name, item)
            elif isinstance(item, Status):
                await outbox.record_status(conn, channel.name, item)
            else:
                await inbox.keep_aside(conn, services.vault, channel.name, item)
    return not all(isinstance(item, Unreadable) for item in items)
