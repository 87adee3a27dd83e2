"""Providers' webhooks: verify, parse, store, and only then "received"."""

from __future__ import annotations

import logging
from dataclasses import replace

import psycopg
import sqlalchemy as sa
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import inbox, outbox
from bot.services import Services
from channels import telegram
from channels.channel import Channel, Inbound, Item, RawRequest, Status, Unreadable
from channels.whatsapp import MAX_CALLBACK, WhatsApp
from translations.render import render

MAX_BODY = 256 * 1024
_log = logging.getLogger("passerelle.webhooks")
webhooks = Blueprint("webhooks", url_prefix="/webhooks")


@webhooks.post("/twilio", name="twilio")
async def receive_sms(request: Request) -> HTTPResponse:
    return await receive(request, "sms")


@webhooks.post("/twilio/status", name="twilio_status")
async def receive_sms_status(request: Request) -> HTTPResponse:
    return await receive(request, "sms")


@webhooks.get("/whatsapp", name="whatsapp_verification")
async def verify_whatsapp(request: Request) -> HTTPResponse:
    """Meta asks once, when the webhook is entered there: 200 and its challenge, or 403."""
    services: Services = request.app.ctx.services
    channel = services.channels.get("whatsapp")
    if not isinstance(channel, WhatsApp):
        return text("This channel is not configured.", status=404)
    challenge = channel.challenge(raw_request(request, services.settings.public_url).url)
    if challenge is None:
        return text("The verify token is wrong.", status=403)
    return text(challenge)


@webhooks.post("/whatsapp", name="whatsapp")
async def receive_whatsapp(request: Request) -> HTTPResponse:
    """What cannot be read is kept aside and called received: Meta would send it again for seven days."""
    return await receive(request, "whatsapp", most=MAX_CALLBACK, unreadable=200)


@webhooks.post("/telegram", name="telegram")
async def receive_telegram(request: Request) -> HTTPResponse:
    """Telegram repeats what is not called received, and keeps back what comes after it. The answer may be a call."""
    response = await receive(request, "telegram", unreadable=200)
    return json(telegram.acknowledgement(request.body)) if response.status == 200 else response


async def receive(request: Request, name: str, *, most: int = MAX_BODY, unreadable: int = 400) -> HTTPResponse:
    """The only step that sees Sanic. 403 for a wrong signature, 400 for what cannot be read, 503 without storage."""
    services: Services = request.app.ctx.services
    channel = services.channels.get(name)
    if channel is None:
        return text("This channel is not configured.", status=404)
    if len(request.body) > most:
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
        return text("The request cannot be read.", status=unreadable)
    if name == "sms":  # Twilio reads an answer; the others want the status only
        return text('<?xml version="1.0" encoding="UTF-8"?><Response/>', content_type="text/xml")
    return text("")


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
        for item in sorted(items, key=_lock):
            if isinstance(item, Inbound):
                await inbox.store(conn, services.vault, channel.name, await _labelled(conn, services, channel, item))
            elif isinstance(item, Status):
                await outbox.record_status(conn, channel.name, item)
            else:
                await inbox.keep_aside(conn, services.vault, channel.name, item)
    for reason in {item.reason for item in items if isinstance(item, Unreadable)}:
        _log.warning("%s: kept aside: %s", channel.name, reason)
    return not all(isinstance(item, Unreadable) for item in items)


async def _labelled(conn: AsyncConnection, services: Services, channel: Channel, item: Inbound) -> Inbound:
    """A choice with its words, where the provider gives none back: in the language of the conversation."""
    if not item.choice or item.text:
        return item
    language = await inbox.language_of(conn, services.vault, channel.name, item.address)
    settings = services.settings
    try:
        words = render(services.catalog, item.choice, language or settings.default_language, drafts=settings.demo)
    except KeyError:  # none of ours, or no longer
        return item
    return replace(item, text=words.text)


def _lock(item: Item) -> tuple[int, str]:
    """In which order rows are locked: two batches with the same people must not wait for each other.

    Sorting is stable, so what one person wrote stays in its order.
    """
    if isinstance(item, Inbound):
        return 0, item.address
    return (1, item.delivery or item.provider_id) if isinstance(item, Status) else (2, "")
