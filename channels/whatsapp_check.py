"""Is WhatsApp set up at Meta? The version of the API, each number, the token, the app and where its webhooks go.

The app is known by its token, and the app's secret opens the app's own settings: so the whole chain from a person's
message to our webhook can be looked at, and mended.
Sources: Meta's pages "Debug-Token", "App subscriptions", "Webhook overrides", "Subscribed Apps API",
"WhatsApp Business phone number", "Graph API versions" (2026-11).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import httpx

from channels.checking import Finding, Reply, ask, can_be_reached, unreachable
from channels.templates import Template
from channels.whatsapp import ENDS

_WARNED_BEFORE = 180  # days before a version of the Graph API, or a token, ends
_SEND, _MANAGE = "whatsapp_business_messaging", "whatsapp_business_management"
_OBJECT, _FIELD = "whatsapp_business_account", "messages"


@dataclass(frozen=True, slots=True)
class _Meta:
    """The Graph API of one account."""

    client: httpx.AsyncClient
    api_url: str
    version: str
    token: str
    secret: str
    verify_token: str
    webhook: str

    async def ask(self, method: str, path: str, *, token: str = "", **more: Any) -> Reply:
        url = f"{self.api_url.rstrip('/')}/{self.version}/{path}"
        headers = {"authorization": f"Bearer {token or self.token}"}
        return await ask(self.client, method, url, headers=headers, **more)


async def check(
    client: httpx.AsyncClient,
    *,
    numbers: Sequence[str],
    access_token: str,
    app_secret: str,
    verify_token: str,
    api_url: str,
    version: str,
    webhook: str,
    repair: bool,
    today: date,
    templates: Sequence[Template] = (),
) -> list[Finding]:
    """What is right and what is wrong; with ``repair`` the app's webhook and its subscription are set."""
    meta = _Meta(client, api_url, version, access_token, app_secret, verify_token, webhook)
    found = [version_end(version, today)]
    token = await meta.ask("GET", "debug_token", params={"input_token": access_token})
    data = token.body.get("data")
    if not token.good or not isinstance(data, dict):
        return [*found, _refusal(meta, token, "the access token")]
    found += _token(data, today)
    if data.get("is_valid") is not True:
        return found
    for number in numbers:
        found.append(await _number(meta, number))
    app = str(data.get("app_id", ""))
    if not app.isdecimal():
        return [*found, Finding("note", "Meta does not say which app the token is of: look at its webhook there.")]
    accounts = _accounts_of(data)
    found += await _subscription(meta, app, repair=repair)
    found += await _accounts(meta, app, accounts, repair=repair)
    return found + [await _template(meta, template, accounts) for template in templates if accounts]


def version_end(version: str, today: date) -> Finding:
    """How long a version of the Graph API still lives."""
    end = ENDS.get(version)
    if end is None:
        return Finding("note", f"when the Graph API's {version} ends is not known here: see Meta's changelog.")
    if end <= today:
        return Finding("wrong", f"The Graph API's {version} ended on {end}: set PASSERELLE_WHATSAPP_API_VERSION.")
    if (end - today).days <= _WARNED_BEFORE:
        return Finding("note", f"the Graph API's {version} ends on {end}: set PASSERELLE_WHATSAPP_API_VERSION soon.")
    return Finding("good", f"the Graph API's {version} lives until {end}")


def _token(data: Mapping[str, Any], today: date) -> list[Finding]:
    if data.get("is_valid") is not True:
        text = "The access token is not valid any more: make a new one and set PASSERELLE_WHATSAPP_ACCESS_TOKEN."
        return [Finding("wrong", text)]
    found = [Finding("good", "Meta accepts the access token")]
    scopes = data.get("scopes") if isinstance(data.get("scopes"), list) else []
    if _SEND not in (scopes or []):
        found.append(Finding("wrong", f"The token lacks the permission {_SEND}: make it anew with it."))
    ends = data.get("expires_at")
    if isinstance(ends, int) and not isinstance(ends, bool) and ends > 0:
        days = (ends - time.time()) / 86400
        level = "wrong" if days < 7 else "note"
        text = f"The token ends in {max(0, int(days))} days: make one for a system user that does not end."
        found.append(Finding(level, text))
    return found


async def _number(meta: _Meta, number: str) -> Finding:
    fields = "display_phone_number,verified_name,quality_rating,webhook_configuration"
    reply = await meta.ask("GET", number, params={"fields": fields})
    if not reply.good:
        return _refusal(meta, reply, f"the number {number}")
    shown = reply.text("display_phone_number") or number
    led = reply.body.get("webhook_configuration")
    led = led if isinstance(led, dict) else {}
    other = led.get("phone_number") or led.get("whatsapp_business_account")
    if isinstance(other, str) and other != meta.webhook:
        text = f"An alternate callback leads what is written to {shown} elsewhere: remove it at Meta."
        return Finding("wrong", text)
    if reply.text("quality_rating") == "RED":
        return Finding("note", f"{shown}: people block or report it, and Meta may slow it down.")
    return Finding("good", f"the number {shown} is there")


async def _subscription(meta: _Meta, app: str, *, repair: bool) -> list[Finding]:
    """The app's webhook. It is asked for in the app's own name, which proves the app's secret as well."""
    own = f"{app}|{meta.secret}"
    before = await meta.ask("GET", f"{app}/subscriptions", token=own)
    if not before.good:
        if _code(before) in (190, 1, 100, 101) or before.status in (400, 401, 403):
            text = "The app secret is not that of the token's app: copy PASSERELLE_WHATSAPP_APP_SECRET again from Meta."
            return [Finding("wrong", text)]
        return [_refusal(meta, before, "the app")]
    good = [Finding("good", "the app secret is right")]
    if _is_ours(before, meta.webhook):
        return [*good, Finding("good", f"the app's webhook is {meta.webhook}")]
    if problem := can_be_reached(meta.webhook, meta.api_url):
        return [*good, problem]
    if not repair:
        return [
            *good,
            Finding("wrong", "The app's webhook is another: run `passerelle channels check` without --look."),
        ]
    form = {
        "object": _OBJECT,
        "callback_url": meta.webhook,
        "verify_token": meta.verify_token,
        "fields": ",".join(sorted({_FIELD, *_fields(before)})),  # what somebody else has subscribed stays
    }
    set_ = await meta.ask("POST", f"{app}/subscriptions", token=own, data=form)
    after = await meta.ask("GET", f"{app}/subscriptions", token=own)
    if set_.good and _is_ours(after, meta.webhook):
        return [*good, Finding("good", f"set just now: the app's webhook is {meta.webhook}")]
    text = (
        f"Meta did not take the webhook (error {_code(set_)}): is the gateway running, and reached at {meta.webhook}?"
    )
    return [*good, Finding("wrong", text)]


def _accounts_of(data: Mapping[str, Any]) -> list[str]:
    """The ids of the WhatsApp accounts that the token is for."""
    return [
        str(account)
        for scope in data.get("granular_scopes") or ()
        if isinstance(scope, dict) and scope.get("scope") == _MANAGE
        for account in scope.get("target_ids") or ()
    ]


async def _template(meta: _Meta, template: Template, accounts: Sequence[str]) -> Finding:
    """Whether Meta has approved a template of ours, with the same text."""
    name = f"The template {template.name} ({template.language})"
    for account in accounts:
        fields = {"name": template.name, "fields": "name,language,status,components"}
        reply = await meta.ask("GET", f"{account}/message_templates", params=fields)
        for row in reply.rows("data"):
            if (row.get("name"), row.get("language")) != (template.name, template.language):
                continue
            if row.get("status") != "APPROVED":
                return Finding("wrong", f"{name} is {row.get('status')} at Meta: it cannot be sent.")
            texts = [part.get("text") for part in row.get("components") or () if part.get("type") == "BODY"]
            if texts != [template.body]:
                return Finding("wrong", f"{name} has another text at Meta: copy it into the file of templates.")
            return Finding("good", f"the template {template.name} ({template.language}) is approved")
    return Finding("wrong", f"{name} is not at Meta: make it there, or take it out of the file of templates.")


async def _accounts(meta: _Meta, app: str, accounts: Sequence[str], *, repair: bool) -> list[Finding]:
    """The app must be subscribed to each WhatsApp account of the token, else nothing comes."""
    if not accounts:
        text = f"whether the app is subscribed to the WhatsApp account cannot be seen: the token lacks {_MANAGE}."
        return [Finding("note", text)]
    found = []
    for account in accounts:
        path = f"{account}/subscribed_apps"
        reply = await meta.ask("GET", path)
        if not reply.good:
            found.append(_refusal(meta, reply, f"the WhatsApp account {account}"))
            continue
        if not _subscribed(reply, app) and repair:
            await meta.ask("POST", path)
            reply = await meta.ask("GET", path)
        if _subscribed(reply, app):
            found.append(Finding("good", f"the app gets what comes to the WhatsApp account {account}"))
        else:
            text = f"The app is not subscribed to the WhatsApp account {account}: nothing comes. Subscribe it at Meta."
            found.append(Finding("wrong", text))
    return found


def _subscribed(reply: Reply, app: str) -> bool:
    named = [row.get("whatsapp_business_api_data") for row in reply.rows("data")]
    return any(isinstance(row, dict) and str(row.get("id")) == app for row in named)


def _ours(reply: Reply) -> list[Mapping[str, Any]]:
    return [row for row in reply.rows("data") if row.get("object") == _OBJECT]


def _fields(reply: Reply) -> set[str]:
    """Names of the subscribed fields: objects with a name, or plain names in old versions."""
    listed = [field for row in _ours(reply) for field in row.get("fields") or ()]
    names = [field.get("name") if isinstance(field, dict) else field for field in listed]
    return {name for name in names if isinstance(name, str)}


def _is_ours(reply: Reply, webhook: str) -> bool:
    rows = _ours(reply)
    right = any(row.get("callback_url") == webhook and row.get("active") is not False for row in rows)
    return right and _FIELD in _fields(reply)


def _code(reply: Reply) -> int:
    """Meta's error code, else the HTTP status."""
    error = reply.body.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else reply.status


def _refusal(meta: _Meta, reply: Reply, what: str) -> Finding:
    code = _code(reply)
    if code == 190:
        text = "Meta does not accept the access token: make a new one and set PASSERELLE_WHATSAPP_ACCESS_TOKEN."
    elif code in (100, 33):
        text = (
            f"Meta does not know {what}, or the token may not see it: copy the id again, give the token's user access."
        )
    elif code in (3, 10) or 200 <= code < 300:
        text = f"The token lacks a permission for {what}: make it anew with {_SEND} and {_MANAGE}."
    elif code == 2635:
        text = f"Meta no longer takes the Graph API's {meta.version}: set PASSERELLE_WHATSAPP_API_VERSION."
    elif code in (4, 80007):
        text = "Meta asks us to wait: check again in some minutes."
    else:
        return unreachable("Meta", meta.api_url, reply)
    return Finding("wrong", text)
