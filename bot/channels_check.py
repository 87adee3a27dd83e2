"""`passerelle channels check`: asks each provider whether its channel is set up, and mends what it can."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import date

import httpx

from bot.settings import Settings
from channels import more, sms_check, telegram_check, whatsapp_check
from channels.checking import Finding, without

_MARK = {"good": "✓", "note": "·", "wrong": "✗"}
_LONGEST = 60.0  # seconds for one channel, whatever its provider does
_OFF = "off: set the PASSERELLE_{}_… settings to turn it on."


@dataclass(frozen=True, slots=True)
class Checked:
    """One channel and what was found."""

    channel: str
    on: bool
    findings: Sequence[Finding]

    @property
    def wrong(self) -> bool:
        return any(finding.level == "wrong" for finding in self.findings)


def run(settings: Settings, *, repair: bool, as_json: bool) -> int:
    """Prints the report; 0 when nothing is wrong, else 1."""
    checked = asyncio.run(check_all(settings, repair=repair))
    wrong = sum(channel.wrong for channel in checked)
    if as_json:
        print(json.dumps({"ok": not wrong, "channels": [_as_json(channel) for channel in checked]}, ensure_ascii=False))
        return 1 if wrong else 0
    for channel in checked:
        print(channel.channel)
        for finding in channel.findings:
            print(f"  {_MARK[finding.level]} {finding.text}")
    print(f"{wrong} channel(s) to mend." if wrong else "All is well.")
    return 1 if wrong else 0


async def check_all(
    settings: Settings, *, repair: bool, today: date | None = None, longest: float = _LONGEST
) -> list[Checked]:
    """Every channel, asked at the same time. No text holds a secret of the settings."""
    async with httpx.AsyncClient() as client:
        asked = _questions(settings, client, repair=repair, today=today or date.today())
        answers = await asyncio.gather(
            *(_in_time(question, longest) if question else _nothing() for question in asked.values())
        )
        answers += await asyncio.gather(*(_in_time(question, longest) for question in _more(settings, client, repair)))
    secrets = _secrets(settings)
    checked = [Checked("web", True, [Finding("good", f"nothing to set up: {settings.public_url}/chat")])]
    on = {name: question is not None for name, question in asked.items()}
    on |= {module.NAME: True for module in _modules(settings)}
    for (name, is_on), found in zip(on.items(), answers, strict=True):
        off = Finding("note", _OFF.format("TWILIO" if name == "sms" else name.upper()))
        findings = [Finding(item.level, without(item.text, secrets)) for item in found] if is_on else [off]
        checked.append(Checked(name, is_on, findings))
    return checked


def _modules(settings: Settings) -> list[more.Module]:
    """The channels of ``channels.more`` that are on."""
    return [module for module in more.MODULES if more.is_on(module, settings.more)]


def _more(settings: Settings, client: httpx.AsyncClient, repair: bool) -> list[Awaitable[list[Finding]]]:
    return [
        module.check(client, settings.more, f"{settings.public_url}/webhooks/{module.NAME}", repair=repair)
        for module in _modules(settings)
    ]


def _questions(
    settings: Settings, client: httpx.AsyncClient, *, repair: bool, today: date
) -> dict[str, Awaitable[list[Finding]] | None]:
    twilio, whatsapp, telegram = settings.twilio, settings.whatsapp, settings.telegram
    hooks = f"{settings.public_url}/webhooks"
    return {
        "sms": sms_check.check(
            client,
            account_sid=twilio.account_sid,
            auth_token=twilio.auth_token,
            sender=twilio.sender,
            api_url=twilio.api_url,
            webhook=f"{hooks}/twilio",
            repair=repair,
        )
        if twilio
        else None,
        "whatsapp": whatsapp_check.check(
            client,
            numbers=whatsapp.numbers,
            access_token=whatsapp.access_token,
            app_secret=whatsapp.app_secret,
            verify_token=whatsapp.verify_token,
            api_url=whatsapp.api_url,
            version=whatsapp.version,
            webhook=f"{hooks}/whatsapp",
            repair=repair,
            today=today,
            templates=whatsapp.templates,
        )
        if whatsapp
        else None,
        "telegram": telegram_check.check(
            client,
            bot_token=telegram.bot_token,
            secret_token=telegram.secret_token,
            api_url=telegram.api_url,
            webhook=f"{hooks}/telegram",
            repair=repair,
        )
        if telegram
        else None,
    }


async def _in_time(question: Awaitable[list[Finding]], longest: float) -> list[Finding]:
    try:
        return await asyncio.wait_for(question, longest)
    except TimeoutError:
        return [Finding("wrong", f"The provider took longer than {longest:.0f} seconds: check again later.")]


async def _nothing() -> list[Finding]:
    return []


def _secrets(settings: Settings) -> list[str]:
    """What must be in no report, the longest first."""
    found = [settings.data_key, settings.engine_token, settings.database_url, *settings.more.values()]
    if settings.twilio:
        found.append(settings.twilio.auth_token)
    if settings.whatsapp:
        found += [settings.whatsapp.access_token, settings.whatsapp.app_secret, settings.whatsapp.verify_token]
    if settings.telegram:
        found += [settings.telegram.bot_token, settings.telegram.secret_token]
    return sorted(found, key=len, reverse=True)


def _as_json(channel: Checked) -> dict[str, object]:
    findings = [{"level": finding.level, "text": finding.text} for finding in channel.findings]
    return {"channel": channel.channel, "on": channel.on, "ok": not channel.wrong, "findings": findings}
