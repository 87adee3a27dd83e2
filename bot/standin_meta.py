"""The stand-in for Meta's Graph API, second half: what `channels check` asks. One app, one account, its numbers.

Sources: Meta's pages "Debug-Token", "App subscriptions", "Subscribed Apps API", "WhatsApp Business phone number",
"Webhook overrides" (2026-11).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Any

import httpx
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

from bot.settings import WhatsAppSettings

APP, ACCOUNT = "200000000000001", "300000000000001"


def error(code: int, message: str, *, status: int = 400, details: str = "") -> HTTPResponse:
    """An error in Meta's shape; errors of messages carry details."""
    body: dict[str, Any] = {"message": f"(#{code}) {message}", "type": "OAuthException", "code": code}
    if details:
        body["error_data"] = {"messaging_product": "whatsapp", "details": details}
    return json({"error": {**body, "fbtrace_id": secrets.token_urlsafe(8)}}, status=status)


def bearer(request: Request) -> str:
    """The token of a request: in its address, its form, or its header, as Meta takes all three."""
    form: dict[str, list[str]] = request.form or {}
    given = request.args.get("access_token") or (dict.get(form, "access_token") or [""])[0]
    return given or request.headers.get("authorization", "").removeprefix("Bearer ")


def allows(request: Request, token: str) -> bool:
    return hmac.compare_digest(bearer(request).encode("utf-8", "replace"), token.encode())


def add_administration(
    standin: Blueprint,
    whatsapp: WhatsAppSettings,
    callback: str,
    file: Callable[[str], dict[str, Any] | None],
) -> None:
    """The routes; ``file`` describes a media id, which is asked for like a number.

    A webhook is verified at ``callback``, our own address: the stand-in calls nobody else.
    """
    own = f"{APP}|{whatsapp.app_secret}"
    subscribed: dict[str, Any] = {}
    accounts = {"subscribed": False}
    start = f"/{whatsapp.version}"

    @standin.get(f"{start}/debug_token", name="debug_token")
    async def debug_token(request: Request) -> HTTPResponse:
        if not (allows(request, whatsapp.access_token) or allows(request, own)):
            return error(190, "Invalid OAuth access token - Cannot parse access token", status=401)
        if request.args.get("input_token") != whatsapp.access_token:
            return json({"data": {"error": {"code": 190, "message": "Malformed access token"}, "is_valid": False}})
        scopes = ["whatsapp_business_management", "whatsapp_business_messaging", "public_profile"]
        granular = [{"scope": scope, "target_ids": [ACCOUNT]} for scope in scopes[:2]]
        return json(
            {
                "data": {
                    "app_id": APP,
                    "type": "SYSTEM_USER",
                    "application": "Passerelle's stand-in",
                    "expires_at": 0,
                    "data_access_expires_at": 0,
                    "is_valid": True,
                    "issued_at": 1764000000,
                    "scopes": scopes,
                    "granular_scopes": granular,
                    "user_id": "400000000000001",
                }
            }
        )

    @standin.get(f"{start}/oauth/access_token", name="app_token")
    async def app_token(request: Request) -> HTTPResponse:
        given = f"{request.args.get('client_id')}|{request.args.get('client_secret')}"
        if not hmac.compare_digest(given.encode("utf-8", "replace"), own.encode()):
            return error(1, "Error validating client secret.")
        return json({"access_token": own, "token_type": "bearer"})

    @standin.get(f"{start}/{APP}/subscriptions", name="subscriptions")
    async def subscriptions(request: Request) -> HTTPResponse:
        if not allows(request, own):
            return error(190, "Invalid OAuth access token signature.")
        return json({"data": [subscribed] if subscribed else []})

    @standin.post(f"{start}/{APP}/subscriptions", name="subscribe")
    async def subscribe(request: Request) -> HTTPResponse:
        if not allows(request, own):
            return error(190, "Invalid OAuth access token signature.")
        form: dict[str, list[str]] = request.form or {}
        asked = {name: values[0] for source in (request.args, form) for name, values in dict.items(source)}
        if asked.get("object") != "whatsapp_business_account" or not asked.get("callback_url"):
            return error(100, "Invalid parameter")
        if not await _answers(callback, asked.get("verify_token", "")):
            return error(2200, "Callback verification failed")
        fields = [{"name": name, "version": whatsapp.version} for name in asked.get("fields", "").split(",") if name]
        row = {"object": asked["object"], "callback_url": asked["callback_url"], "active": True, "fields": fields}
        subscribed.update(row)
        return json({"success": True})

    @standin.get(f"{start}/{ACCOUNT}/subscribed_apps", name="subscribed_apps")
    @standin.post(f"{start}/{ACCOUNT}/subscribed_apps", name="subscribe_app")
    async def subscribed_apps(request: Request) -> HTTPResponse:
        if not allows(request, whatsapp.access_token):
            return error(190, "Invalid OAuth access token - Cannot parse access token", status=401)
        if request.method == "POST":
            accounts["subscribed"] = True
            return json({"success": True})
        link = f"https://www.facebook.com/games/?app_id={APP}"
        row = {"whatsapp_business_api_data": {"id": APP, "name": "Passerelle's stand-in", "link": link}}
        return json({"data": [row] if accounts["subscribed"] else []})

    @standin.get(f"{start}/{ACCOUNT}/message_templates", name="templates")
    async def templates(request: Request) -> HTTPResponse:
        if not allows(request, whatsapp.access_token):
            return error(190, "Invalid OAuth access token - Cannot parse access token", status=401)
        named = request.args.get("name")
        return json(
            {
                "data": [
                    {
                        "id": str(500000000000001 + number),
                        "name": template.name,
                        "language": template.language,
                        "status": "APPROVED",
                        "category": "UTILITY",
                        "components": [{"type": "BODY", "text": template.body}],
                    }
                    for number, template in enumerate(whatsapp.templates)
                    if named in (None, template.name)
                ]
            }
        )

    @standin.get(f"{start}/<number:str>", name="node")
    async def node(request: Request, number: str) -> HTTPResponse:
        if not allows(request, whatsapp.access_token):
            return error(190, "Invalid OAuth access token - Cannot parse access token", status=401)
        if found := file(number):
            return json(found)
        if number not in whatsapp.numbers:
            return error(100, f"Unsupported get request. Object with ID '{number}' does not exist")
        known = {
            "display_phone_number": "+1 500-555-0006",
            "verified_name": "Passerelle",
            "quality_rating": "GREEN",
            "code_verification_status": "VERIFIED",
            "platform_type": "CLOUD_API",
            "webhook_configuration": {"application": subscribed.get("callback_url", "")},
        }
        usual = "verified_name,code_verification_status,display_phone_number,quality_rating,platform_type"
        wanted = request.args.get("fields", usual).split(",")
        return json({**{name: known[name] for name in wanted if name in known}, "id": number})


async def _answers(callback: str, token: str) -> bool:
    """Whether our webhook gives the challenge back, as Meta tries before it takes an address."""
    challenge = str(secrets.randbelow(10**9))
    asked = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": token}
    try:
        async with httpx.AsyncClient(timeout=5.0) as client:
            answer = await client.get(callback, params=asked)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.text == challenge
