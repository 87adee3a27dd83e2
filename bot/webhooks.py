"""Providers' webhooks: verify, hand to the intake, and say "received" when that has kept them."""

from __future__ import annotations

import logging

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json, text

from bot.intake import NotKept
from bot.services import Services
from channels import more, telegram
from channels.channel import RawRequest
from channels.whatsapp import MAX_CALLBACK, WhatsApp

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


async def receive_more(request: Request, name: str) -> HTTPResponse:
    """The channels that need no address of their own; those above keep theirs, and no second one."""
    if name not in {module.NAME for module in more.MODULES}:
        return text("This channel is not configured.", status=404)
    return await receive(request, name)


webhooks.add_route(receive_more, "/<name:str>", methods=["POST"], name="more")


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
        readable = await request.app.ctx.intake.take(channel, raw)
    except NotKept as error:
        _log.error("%s: nothing could be stored (%s)", name, error)
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
