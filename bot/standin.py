"""A stand-in for Twilio's API on loopback: demonstration only, so that the whole way works without an account.

It speaks the little of the protocol that we use: create a message, list messages, report its status.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections import deque
from email.utils import formatdate
from functools import partial
from urllib.parse import urlencode

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

from bot.settings import TwilioSettings
from bot.standin_phone import KEPT, Phone
from channels.channel import RawRequest
from channels.segments import segment
from channels.sms import sign


def make(twilio: TwilioSettings) -> Blueprint:
    """The stand-in's routes for one account."""
    standin = Blueprint("twilio_standin")
    kept: deque[dict[str, object]] = deque(maxlen=KEPT)
    phone = Phone()
    path = "/2010-04-01/Accounts/<account:str>/Messages.json"

    def refused(request: Request, account: str) -> HTTPResponse | None:
        wanted = base64.b64encode(f"{twilio.account_sid}:{twilio.auth_token}".encode()).decode()
        given = request.headers.get("authorization", "").removeprefix("Basic ")
        if account == twilio.account_sid and hmac.compare_digest(wanted.encode(), given.encode()):
            return None
        return json({"code": 20003, "message": "Authenticate", "status": 401}, status=401)

    def field(form: dict[str, list[str]], name: str) -> str:
        return (dict.get(form, name) or [""])[0]

    @standin.post(path, name="create")
    async def create(request: Request, account: str) -> HTTPResponse:
        if answer := refused(request, account):
            return answer
        form: dict[str, list[str]] = request.get_form(keep_blank_values=True) or {}
        body, to = field(form, "Body"), field(form, "To")
        if not body or not to:
            return json({"code": 21602, "message": "A text is required", "status": 400}, status=400)
        now = time.time()
        message: dict[str, object] = {
            "sid": "SM" + secrets.token_hex(16),
            "account_sid": account,
            "status": "queued",
            "direction": "outbound-api",
            "to": to,
            "from": field(form, "From"),
            "body": body,
            "num_segments": str(len(segment(body).parts)),
            "date_created": formatdate(now),
        }
        kept.appendleft(message)
        if callback := field(form, "StatusCallback"):
            signed = partial(_signed, twilio, callback, message["sid"])
            phone.ring(callback, message, signed)
        return json(message, status=201)

    @standin.get(path, name="list")
    async def listing(request: Request, account: str) -> HTTPResponse:
        if answer := refused(request, account):
            return answer
        to = request.args.get("To")
        size = min(1000, int(request.args.get("PageSize", "50")))
        return json({"messages": [m for m in kept if to in (None, m["to"])][:size]})

    return standin


def _signed(twilio: TwilioSettings, callback: str, sid: object, state: str) -> tuple[bytes, dict[str, str]]:
    """A status as Twilio posts it."""
    body = urlencode({"MessageSid": str(sid), "MessageStatus": state}).encode()
    signature = sign(twilio.auth_token, RawRequest(callback, {}, body))
    return body, {"x-twilio-signature": signature or "", "content-type": "application/x-www-form-urlencoded"}
