"""`passerelle channels check`, against the stand-ins and against doubles that say what providers say in trouble."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from datetime import date

import httpx
import pytest

from bot import channels_check
from bot.channels_check import Checked, check_all
from bot.services import Services
from bot.settings import Settings, load
from channels import sms_check, telegram_check, whatsapp_check
from channels.checking import Finding, without
from channels.telegram import ALLOWED_UPDATES
from tests.bot.command import Run
from tests.bot.standins import Standins, with_standins

TODAY = date(2026, 11, 24)
HOOKS = "https://gateway.example/webhooks"
ACCOUNT, TOKEN = "AC" + "1" * 32, "tok" + "5" * 29


@pytest.fixture
async def standins(services: Services) -> AsyncIterator[Standins]:
    async with with_standins(services) as made:
        yield made


def texts(checked: Checked | list[Finding], level: str) -> list[str]:
    found = checked.findings if isinstance(checked, Checked) else checked
    return [finding.text for finding in found if finding.level == level]


async def by_name(settings: Settings, *, repair: bool = True) -> dict[str, Checked]:
    return {checked.channel: checked for checked in await check_all(settings, repair=repair, today=TODAY)}


# -- the whole of it, with the stand-ins


async def test_looking_changes_nothing_and_checking_sets_every_webhook(standins: Standins) -> None:
    for _ in range(2):
        looked = await by_name(standins.settings, repair=False)
        assert [name for name, checked in looked.items() if checked.wrong] == ["sms", "whatsapp", "telegram"]
    found = await by_name(standins.settings)
    assert [texts(checked, "wrong") + texts(checked, "note") for checked in found.values()] == [[]] * 4
    assert f"set just now: what is written to +15005550006 comes to {HOOKS}/twilio" in texts(found["sms"], "good")
    assert f"set just now: the app's webhook is {HOOKS}/whatsapp" in texts(found["whatsapp"], "good")
    assert f"updates come to {HOOKS}/telegram" in texts(found["telegram"], "good")
    again = await by_name(standins.settings, repair=False)
    assert not any(checked.wrong for checked in again.values())
    assert "just now" not in json.dumps([texts(checked, "good") for checked in again.values()])


WRONG: dict[str, tuple[str, dict[str, str], str]] = {
    "Twilio's token": ("twilio", {"auth_token": "wrong-secret-1"}, "PASSERELLE_TWILIO_AUTH_TOKEN again"),
    "another number": ("twilio", {"sender": "+15145550199"}, "set PASSERELLE_TWILIO_FROM to one that is"),
    "Meta's token": ("whatsapp", {"access_token": "wrong-secret-1"}, "does not accept the access token"),
    "the app secret": ("whatsapp", {"app_secret": "wrong-secret-1"}, "copy PASSERELLE_WHATSAPP_APP_SECRET again"),
    "the verify token": ("whatsapp", {"verify_token": "wrong-secret-1"}, "Meta did not take the webhook (error 2200)"),
    "the bot's token": ("telegram", {"bot_token": "1:wrong-secret-1"}, "copy PASSERELLE_TELEGRAM_BOT_TOKEN again"),
    "the bot's secret": ("telegram", {"secret_token": "wrong secret!1"}, "does not take the webhook"),
}


@pytest.mark.parametrize(("part", "change", "said"), WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_setting_is_named_and_no_secret(
    standins: Standins, part: str, change: dict[str, str], said: str
) -> None:
    changed = dataclasses.replace(getattr(standins.settings, part), **change)
    found = await by_name(dataclasses.replace(standins.settings, **{part: changed}))
    name = "sms" if part == "twilio" else part
    assert [other for other, checked in found.items() if checked.wrong] == [name]
    (problem,) = texts(found[name], "wrong")
    assert said in problem
    for secret in [*change.values(), *channels_check._secrets(standins.settings)]:
        assert secret.startswith("+") or secret not in str(found)


async def test_a_number_that_meta_does_not_know(standins: Standins) -> None:
    changed = dataclasses.replace(standins.whatsapp, numbers=("100000000000009",))
    found = await by_name(dataclasses.replace(standins.settings, whatsapp=changed))
    (problem,) = texts(found["whatsapp"], "wrong")
    assert problem.startswith("Meta does not know the number 100000000000009")


# -- what providers say in trouble


Check = Callable[[httpx.AsyncClient, bool], object]


async def sms_with(repair: bool = True, webhook: str = f"{HOOKS}/twilio", **changes: object) -> list[Finding]:
    number = {
        "sid": "PN1", "phone_number": "+15145550100", "sms_url": webhook, "sms_method": "POST",
        "capabilities": {"sms": True},
    } | {name: value for name, value in changes.items() if name not in ("status", "type")}  # fmt: skip
    posted: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/IncomingPhoneNumbers.json"):
            return httpx.Response(200, json={"incoming_phone_numbers": [number]})
        if request.method == "POST":
            posted.append(request.url.path)
            return httpx.Response(400, json={"code": 21402, "message": f"Invalid Url with {TOKEN}"})
        kind = {"status": changes.get("status", "active"), "type": changes.get("type", "Full")}
        return httpx.Response(200, json=kind)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        found = await sms_check.check(
            client, account_sid=ACCOUNT, auth_token=TOKEN, sender="+15145550100",
            api_url="https://api.twilio.example", webhook=webhook, repair=repair,
        )  # fmt: skip
    return [*found, *(Finding("posted", path) for path in posted)]


async def test_sms_in_trouble() -> None:
    assert texts(await sms_with(), "wrong") == []
    assert texts(await sms_with(status="suspended"), "wrong") == [
        "The Twilio account is suspended: see what Twilio's console says."
    ]
    assert "verified" in texts(await sms_with(type="Trial"), "note")[0]
    assert "cannot take SMS" in texts(await sms_with(capabilities={"sms": False}), "wrong")[0]
    found = await sms_with(sms_application_sid="AP1", sms_url="https://elsewhere.example")
    assert "TwiML app" in texts(found, "wrong")[0]
    assert texts(found, "posted") == []
    found = await sms_with(sms_url="https://elsewhere.example")
    assert "error 21402" in texts(found, "wrong")[0]
    assert len(texts(found, "posted")) == 1
    found = await sms_with(sms_method="GET", repair=False)
    assert "--look" in texts(found, "wrong")[0]
    assert texts(found, "posted") == []
    found = await sms_with(webhook="http://127.0.0.1:8000/webhooks/twilio", sms_url="")
    assert "set PASSERELLE_PUBLIC_URL" in texts(found, "wrong")[0]
    assert texts(found, "posted") == []


async def telegram_with(answers: dict[str, tuple[int, object]], **changes: object) -> list[Finding]:
    def answer(request: httpx.Request) -> httpx.Response:
        status, body = answers[request.url.path.rpartition("/")[2]]
        return httpx.Response(status, json=body)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        given = {"webhook": f"{HOOKS}/telegram", "repair": True} | changes
        return await telegram_check.check(
            client, bot_token="1:x", secret_token="s", api_url="https://api.telegram.example", **given  # type: ignore[arg-type]
        )  # fmt: skip


async def test_telegram_in_trouble() -> None:
    me = (200, {"ok": True, "result": {"username": "a_bot"}})
    done = (200, {"ok": True, "result": True})
    info = {"url": f"{HOOKS}/telegram", "allowed_updates": list(ALLOWED_UPDATES), "pending_update_count": 101}
    failed = {"last_error_date": 4_000_000_000, "last_error_message": "Wrong response from the webhook: 502"}
    answers = {"getMe": me, "setWebhook": done, "getWebhookInfo": (200, {"ok": True, "result": info | failed})}
    found = await telegram_with(answers)
    assert texts(found, "wrong") == []
    assert [text[:3] for text in texts(found, "note")] == ["0 m", "101"]
    slow = {**answers, "setWebhook": (429, {"ok": False, "error_code": 429, "description": "Too Many Requests"})}
    assert "in a minute" in texts(await telegram_with(slow), "wrong")[0]
    other = {**answers, "getWebhookInfo": (200, {"ok": True, "result": info | {"allowed_updates": ["message"]}})}
    assert "do not come here" in texts(await telegram_with(other), "wrong")[0]
    found = await telegram_with({"getMe": me}, webhook="http://10.0.0.1/webhooks/telegram")
    assert "set PASSERELLE_PUBLIC_URL" in texts(found, "wrong")[0]
    assert "HTTP 502" in texts(await telegram_with({"getMe": (502, ["proxy"])}), "wrong")[0]


SCOPES = ["whatsapp_business_messaging"]
SUBSCRIBED = {"object": "whatsapp_business_account", "callback_url": f"{HOOKS}/whatsapp", "active": True}


async def whatsapp_with(
    data: dict[str, object], *, version: str = "v25.0", number: object = None, subscriptions: object = None
) -> tuple[list[Finding], list[dict[str, str]]]:
    posted: list[dict[str, str]] = []
    listed = [SUBSCRIBED | {"fields": [{"name": "messages"}]}] if subscriptions is None else subscriptions

    def answer(request: httpx.Request) -> httpx.Response:
        what = request.url.path.rpartition("/")[2]
        if what == "debug_token":
            return httpx.Response(200, json={"data": data})
        if what == "subscriptions" and request.method == "POST":
            posted.append(dict(httpx.QueryParams(request.content.decode())))
            return httpx.Response(200, json={"success": True})
        if what == "subscriptions":
            assert request.headers["authorization"] == "Bearer 200|app-secret"
            return httpx.Response(200, json={"data": listed})
        return httpx.Response(200, json=number or {"display_phone_number": "+1 514-555-0100"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        found = await whatsapp_check.check(
            client, numbers=("100",), access_token="token", app_secret="app-secret", verify_token="verify",
            api_url="https://graph.example", version=version, webhook=f"{HOOKS}/whatsapp", repair=True, today=TODAY,
        )  # fmt: skip
    return found, posted


async def test_whatsapp_in_trouble() -> None:
    valid: dict[str, object] = {"is_valid": True, "app_id": "200", "scopes": SCOPES, "expires_at": 0}
    found, posted = await whatsapp_with(valid)
    assert (texts(found, "wrong"), posted) == ([], [])
    assert "cannot be seen" in texts(found, "note")[0]
    found, _ = await whatsapp_with({"is_valid": False})
    assert "not valid any more" in texts(found, "wrong")[0]
    found, _ = await whatsapp_with(valid | {"scopes": [], "expires_at": 1_000})
    assert [text[:15] for text in texts(found, "wrong")] == ["The token lacks", "The token ends "]
    for version, level in (("v21.0", "note"), ("v26.0", "note"), ("v20.0", "note")):
        found, _ = await whatsapp_with(valid, version=version)
        assert "Graph API" in texts(found, level)[0]
    elsewhere = {"webhook_configuration": {"phone_number": "https://elsewhere.example"}}
    found, _ = await whatsapp_with(valid, number=elsewhere)
    assert "alternate callback" in texts(found, "wrong")[0]
    found, _ = await whatsapp_with(valid, number={"quality_rating": "RED"})
    assert "block or report" in texts(found, "note")[0]


async def test_setting_whatsapps_webhook_keeps_what_else_the_app_has_subscribed() -> None:
    other = [SUBSCRIBED | {"callback_url": "https://elsewhere.example", "fields": [{"name": "calls"}]}]
    found, posted = await whatsapp_with({"is_valid": True, "app_id": "200", "scopes": SCOPES}, subscriptions=other)
    assert posted[0] == {
        "object": "whatsapp_business_account", "callback_url": f"{HOOKS}/whatsapp", "verify_token": "verify",
        "fields": "calls,messages",
    }  # fmt: skip
    assert "did not take the webhook" in texts(found, "wrong")[0]  # this double forgets it: a promise is not believed


# -- time-outs, nobody there, the command


async def test_a_provider_that_never_answers_costs_a_bounded_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    async def never(*_given: object, **_named: object) -> list[Finding]:
        await asyncio.sleep(3600)
        return []

    monkeypatch.setattr(telegram_check, "check", never)
    monkeypatch.setattr(sms_check, "check", never)
    monkeypatch.setattr(whatsapp_check, "check", never)
    checked = await check_all(settings, repair=True, longest=0.05)
    assert ["took longer" in str(channel.findings) for channel in checked] == [False, True, True, True]


def test_the_command_says_what_to_do_and_ends_with_one(run: Run) -> None:
    outcome = run("channels", "check")
    assert outcome.code == 1
    assert outcome.out.count("start it with `passerelle up`, and check again.") == 3
    assert outcome.out.endswith("3 channel(s) to mend.\n")
    report = json.loads(run("channels", "check", "--json", "--look").out)
    assert report["ok"] is False
    assert [(channel["channel"], channel["on"], channel["ok"]) for channel in report["channels"]] == [
        ("web", True, True), ("sms", True, False), ("whatsapp", True, False), ("telegram", True, False),
    ]  # fmt: skip


def test_channels_that_are_off_are_no_trouble(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    given = load({"VAR_DIR": str(tmp_path)})
    off = dataclasses.replace(given, twilio=None, whatsapp=None, telegram=None)
    assert channels_check.run(off, repair=True, as_json=False) == 0
    assert capsys.readouterr().out.count("off: set the PASSERELLE_") == 3


def test_secrets_are_blotted_out_whoever_says_them() -> None:
    said = without("bad\ntoken EAAB1234567890 of 123456:AAabcdefghijklmnopqrstu and s3cret", ["s3cret"])
    assert said == "bad token … of … and …"
