"""Is the Telegram bot set up? Its token, where its updates go, and what Telegram says of our webhook.

Source: core.telegram.org/bots/api, "getMe", "setWebhook", "WebhookInfo" (2026-11).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx

from channels.checking import Finding, Reply, ask, can_be_reached, unreachable
from channels.telegram import ALLOWED_UPDATES

_RECENT = 3600  # seconds in which a failed delivery is worth a line
_MANY = 100  # updates that wait


async def check(
    client: httpx.AsyncClient, *, bot_token: str, secret_token: str, api_url: str, webhook: str, repair: bool
) -> list[Finding]:
    """What is right and what is wrong. With ``repair`` the webhook is set in any case: nobody can read back which
    secret Telegram has, and setting it twice does no harm."""
    base = f"{api_url.rstrip('/')}/bot{bot_token}"
    me = await ask(client, "GET", f"{base}/getMe")
    if me.status in (401, 404):
        text = "Telegram does not accept the token: copy PASSERELLE_TELEGRAM_BOT_TOKEN again from @BotFather."
        return [Finding("wrong", text)]
    name = _result(me).get("username")
    if not me.good or not isinstance(name, str):
        return [unreachable("Telegram", api_url, me)]
    found = [Finding("good", f"Telegram accepts the token of @{name}")]
    if problem := can_be_reached(webhook, api_url):
        return [*found, problem]
    if repair:
        wanted = {"url": webhook, "secret_token": secret_token, "allowed_updates": list(ALLOWED_UPDATES)}
        set_ = await ask(client, "POST", f"{base}/setWebhook", json=wanted)
        if not set_.good:
            return [*found, _not_set(set_, webhook, api_url)]
    info = await ask(client, "GET", f"{base}/getWebhookInfo")
    if not info.good:
        return [*found, unreachable("Telegram", api_url, info)]
    return [*found, *_webhook(_result(info), webhook)]


def _webhook(info: Mapping[str, Any], webhook: str) -> list[Finding]:
    if info.get("url") != webhook or set(info.get("allowed_updates") or ()) != set(ALLOWED_UPDATES):
        return [Finding("wrong", "Updates do not come here: run `passerelle channels check` without --look.")]
    found = [Finding("good", f"updates come to {webhook}")]
    failed = info.get("last_error_date")
    if isinstance(failed, int) and time.time() - failed < _RECENT:
        minutes = max(0, int(time.time() - failed) // 60)
        text = f"{minutes} minutes ago Telegram could not bring an update: {info.get('last_error_message')}."
        found.append(Finding("note", f"{text} If it goes on, look at the proxy before the gateway."))
    waiting = info.get("pending_update_count")
    if isinstance(waiting, int) and waiting > _MANY:
        found.append(Finding("note", f"{waiting} updates wait at Telegram: they come when the gateway takes them."))
    return found


def _not_set(answer: Reply, webhook: str, api_url: str) -> Finding:
    if answer.status == 429:
        return Finding("wrong", "Telegram asks us to wait before the webhook is set: check again in a minute.")
    if 400 <= answer.status < 500:
        said = answer.text("description") or answer.status
        return Finding(
            "wrong", f"Telegram does not take the webhook {webhook} ({said}): set PASSERELLE_PUBLIC_URL right."
        )
    return unreachable("Telegram", api_url, answer)


def _result(answer: Reply) -> Mapping[str, Any]:
    found = answer.body.get("result")
    return found if isinstance(found, dict) else {}
