"""A stand-in for Twilio's API on loopback: demonstration only, so that the whole way works without an account.

It speaks the little of the protocol that we use, as Twilio's own client expects it: create, list and fetch messages,
report their status; the account and its one number, for `channels check`.
Sources: Twilio's pages "Message resource", "Account resource", "IncomingPhoneNumber resource" (2026-11).
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
from bot.standin_media import add_twilio
from bot.standin_phone import KEPT, Phone
from channels.channel import RawRequest
from channels.segments import segment
from channels.sms import sign


def make(twilio: TwilioSettings) -> Blueprint:
    """The stand-in's routes for one account."""
    standin = Blueprint("twilio_standin")
    kept: deque[dict[str, object]] = deque(maxlen=KEPT)
    phone = Phone()
    start = "/2010-04-01/Accounts/<account:str>"
    path = f"{start}/Messages.json"
    number: dict[str, object] = {
        "sid": "PN" + "0" * 31 + "1",
        "account_sid": twilio.account_sid,
        "phone_number": twilio.sender,
        "friendly_name": "Passerelle",
        "capabilities": {"voice": True, "sms": True, "mms": True, "fax": False},
        "sms_url": "",
        "sms_method": "POST",
        "sms_application_sid": "",
    }

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
        if not to:
            return json({"code": 21604, "message": "A 'To' phone number is required.", "status": 400}, status=400)
        if not body:
            return json({"code": 21602, "message": "Message body is required.", "status": 400}, status=400)
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
            "num_media": "0",
            "error_code": None,
            "error_message": None,
            "price_unit": "USD",
            "api_version": "2010-04-01",
            "date_created": formatdate(now),
            "date_updated": formatdate(now),
        }
        message["uri"] = f"/2010-04-01/Accounts/{account}/Messages/{message['sid']}.json"
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
        return _page(request, "messages", [m for m in kept if to in (None, m["to"])][:size], size)

    @standin.get(start + r"/Messages/<sid:(?P<sid>\w+)\.json>", name="fetch")
    async def fetch(request: Request, account: str, sid: str) -> HTTPResponse:
        if answer := refused(request, account):
            return answer
        found = next((message for message in kept if message["sid"] == sid), None)
        return json(found) if found else _missing(request)

    @standin.get(r"/2010-04-01/Accounts/<account:(?P<account>\w+)\.json>", name="account")
    async def own_account(request: Request, account: str) -> HTTPResponse:
        if answer := refused(request, account):
            return answer
        return json({"sid": account, "friendly_name": "Passerelle's stand-in", "status": "active", "type": "Full"})

    @standin.get(f"{start}/IncomingPhoneNumbers.json", name="numbers")
    async def numbers(request: Request, account: str) -> HTTPResponse:
        if answer := refused(request, account):
            return answer
        asked = request.args.get("PhoneNumber")
        return _page(request, "incoming_phone_numbers", [number] if asked in (None, twilio.sender) else [], 50)

    @standin.get(start + r"/IncomingPhoneNumbers/<sid:(?P<sid>\w+)\.json>", name="number")
    @standin.post(start + r"/IncomingPhoneNumbers/<sid:(?P<sid>\w+)\.json>", name="update_number")
    async def one_number(request: Request, account: str, sid: str) -> HTTPResponse:
        if answer := refused(request, account):
            return answer
        if sid != number["sid"]:
            return _missing(request)
        form: dict[str, list[str]] = request.get_form(keep_blank_values=True) or {}
        for given, name in (("SmsUrl", "sms_url"), ("SmsMethod", "sms_method")):
            if given in form:
                number[name] = field(form, given)
        return json(number)

    add_twilio(standin, twilio.api_url, refused)
    return standin


def _page(request: Request, name: str, rows: list[dict[str, object]], size: int) -> HTTPResponse:
    """A list as Twilio gives it; ours has one page."""
    this = request.path + (f"?{request.query_string}" if request.query_string else "")
    return json(
        {
            name: rows,
            "page": 0,
            "page_size": size,
            "start": 0,
            "end": max(0, len(rows) - 1),
            "uri": this,
            "first_page_uri": this,
            "next_page_uri": None,
            "previous_page_uri": None,
        }
    )


def _missing(request: Request) -> HTTPResponse:
    text = f"The requested resource {request.path} was not found"
    return json({"code": 20404, "message": text, "status": 404}, status=404)


def _signed(twilio: TwilioSettings, callback: str, sid: object, state: str) -> tuple[bytes, dict[str, str]]:
    """A status as Twilio posts it."""
    body = urlencode({"MessageSid": str(sid), "MessageStatus": state}).encode()
    signature = sign(twilio.auth_token, RawRequest(callback, {}, body))
    return body, {"x-twilio-signature": signature or "", "content-type": "application/x-www-form-urlencoded"}
