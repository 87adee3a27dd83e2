"""Telegram over HTTP and through the whole way: webhook with its secret, turn, outbox, Bot API; blocked and lifted."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as examples

from bot import app, database, worker
from bot.services import Services
from bot.tables import conversations, deliveries, handoffs, messages, quarantine
from channels.telegram import Telegram
from tests.bot.door import Door, open_door, turns, work
from tests.channels.telegram_examples import (
    BODIES,
    CHAT,
    FILE,
    GROUP,
    PERSON,
    SECRET,
    TOKEN,
    encoded,
    member,
    message,
    pressed,
)
from tests.running import Gateway, free_port, running, until

HOOK = "/webhooks/telegram"
PROOF = "x-telegram-bot-api-secret-token"


@dataclass
class BotApi:
    """A double of the Bot API; ``failures`` are answered first."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    webhooks: list[dict[str, str]] = field(default_factory=list)
    failures: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.failures:
            status, more = self.failures.pop(0)
            return httpx.Response(status, json={"ok": False, "error_code": status, "description": "x"} | more)
        assert request.url.path.startswith(f"/bot{TOKEN}/")
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        if request.url.path.endswith("/setWebhook"):
            self.webhooks.append(form)
            return httpx.Response(200, json={"ok": True, "result": True})
        assert request.url.path.endswith("/sendMessage")
        self.sent.append(form | {"buttons": json.loads(form.get("reply_markup", "{}")).get("inline_keyboard", [])})
        made = {"message_id": len(self.sent), "date": 1, "chat": {"id": int(form["chat_id"]), "type": "private"}}
        return httpx.Response(200, json={"ok": True, "result": made})

    @property
    def texts(self) -> list[str]:
        return [form["text"] for form in self.sent]


@pytest.fixture
def api() -> BotApi:
    return BotApi()


@pytest.fixture
async def ours(services: Services, api: BotApi) -> AsyncIterator[Services]:
    """The services with Telegram, whose Bot API is a double."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(api.answer)) as client:
        channel = Telegram(
            client, bot_token=TOKEN, secret_token=SECRET, api_url="http://telegram.test",
            webhook_url=f"https://gateway.example{HOOK}",
        )  # fmt: skip
        yield dataclasses.replace(services, channels={**services.channels, "telegram": channel})


@pytest.fixture
async def door(ours: Services) -> AsyncIterator[Door]:
    async with open_door(ours) as opened:
        yield opened


async def hook(door: Door, update: object, *, secret: str = SECRET) -> httpx.Response:
    """Posts an update as Telegram does."""
    body = update if isinstance(update, bytes) else encoded(update)
    headers = {PROOF: secret.encode(), "content-type": b"application/json; charset=utf-8"}
    return await door.client.post(HOOK, content=body, headers=[(k.encode(), v) for k, v in headers.items()])


async def say(door: Door, update: object) -> None:
    assert (await hook(door, update)).status_code == 200
    await work(door.services)


def english(door: Door, key: str) -> str:
    return door.services.catalog.texts["en"][key].text


# -- the way of a message


async def test_a_question_is_answered_with_buttons(door: Door, api: BotApi) -> None:
    await say(door, message("what are the signs of trafficking?", update=11))
    (sent,) = api.sent
    assert (sent["chat_id"], sent["text"]) == (str(PERSON), english(door, "info.signs"))
    assert [row[0]["callback_data"] for row in sent["buttons"]] == ["choice.human", "choice.rights", "choice.services"]
    (part,) = await door.rows(deliveries)
    assert (part.state, part.provider_id) == ("sent", "1")
    (conversation,) = await door.rows(conversations)
    assert conversation.channel == "telegram"


async def test_a_disclosure_calls_a_human(door: Door, api: BotApi) -> None:
    await say(door, message("my boss keeps my passport and i cannot leave the house, he locked the door"))
    (handoff,) = await door.rows(handoffs)
    assert (handoff.state, handoff.severity) == ("waiting", "high")
    assert api.texts == [english(door, "handoff.high")]


async def test_the_start_button_is_answered_with_a_welcome(door: Door, api: BotApi) -> None:
    await say(door, message("/start"))
    assert api.texts == [english(door, "welcome")]
    assert await door.rows(handoffs) == []


async def test_start_after_stop_begins_again(door: Door, api: BotApi) -> None:
    await say(door, message("/stop", update=1))
    assert (await door.rows(conversations))[0].opted_out
    await say(door, message("/start", update=2))
    assert not (await door.rows(conversations))[0].opted_out
    assert api.texts == [english(door, "keyword.stop"), english(door, "keyword.start")]


async def test_help_is_also_a_plea(door: Door, api: BotApi) -> None:
    await say(door, message("/help"))
    assert api.texts == [english(door, "keyword.help")]
    assert len(await door.rows(handoffs)) == 1


@pytest.mark.parametrize("under", [{}, {"message": {"chat": CHAT, "message_id": 1, "date": 0}}, {"message": None}])
async def test_a_pressed_button_is_told_so_and_understood(door: Door, api: BotApi, under: dict[str, Any]) -> None:
    answer = await hook(door, pressed(**under))
    assert answer.json() == {"method": "answerCallbackQuery", "callback_query_id": "4382bfdwdsb323b2d9"}
    await work(door.services)
    (handoff,) = await door.rows(handoffs)
    assert handoff.indicators == ["human_requested"]
    assert len(api.sent) == 1


async def test_a_button_whose_message_is_gone_gets_its_words_in_the_persons_language(door: Door) -> None:
    await hook(door, message("bonjour", update=1))
    async with door.services.database.begin() as conn:
        await conn.execute(conversations.update().values(language="fr"))
    await hook(door, pressed("choice.rights", update=2, message=None))
    await hook(door, pressed("choice.unknown", update=3, message=None))
    words = door.services.catalog.texts["fr"]["choice.rights"].text
    assert await door.words() == ["bonjour", words, ""]


async def test_a_voice_message_always_calls_a_human(door: Door, api: BotApi) -> None:
    await say(door, message(None, voice=FILE))
    assert len(await door.rows(handoffs)) == 1
    assert api.texts == [english(door, "kind.voice")]


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"photo": [FILE]}, "kind.no_pictures"),
        ({"dice": {"value": 1}}, "kind.unsupported"),
        ({"pinned_message": {}}, None),
    ],
)
async def test_a_person_is_told_what_cannot_be_read(
    door: Door, api: BotApi, fields: dict[str, Any], key: str | None
) -> None:
    await say(door, message(None, **fields))
    assert api.texts == ([english(door, key)] if key else [])
    assert len(await door.rows(messages, messages.c.direction == "in")) == 1


async def test_an_edit_is_screened_and_not_answered(door: Door, api: BotApi) -> None:
    await say(door, message("he keeps my passport and locked me in", name="edited_message"))
    assert len(await door.rows(handoffs)) == 1
    assert api.sent == []


# -- blocked, throttled


async def test_who_blocks_us_gets_nothing_more_until_that_is_lifted(door: Door, api: BotApi) -> None:
    await hook(door, message("what are the signs of trafficking?", update=1))
    await turns(door.services)
    await hook(door, member("member", "kicked", update=2))
    await work(door.services)
    (conversation,) = await door.rows(conversations)
    assert conversation.opted_out
    assert api.sent == []
    assert [row.state for row in await door.rows(deliveries)] == ["cancelled"]
    await say(door, member("kicked", "member", update=3))
    await say(door, message("what are the signs of trafficking?", update=4))
    assert api.texts == [english(door, "info.signs")]


async def test_lifting_the_block_does_not_undo_a_stop_that_was_written(door: Door, api: BotApi) -> None:
    await say(door, message("stop", update=1))
    await say(door, member("member", "kicked", update=2))
    await say(door, member("kicked", "member", update=3))
    (conversation,) = await door.rows(conversations)
    assert (conversation.opted_out, conversation.stopped_by) == (True, "person")
    await say(door, message("what are the signs of trafficking?", update=4))
    assert api.texts == [english(door, "keyword.stop")]
    await say(door, message("start", update=5))  # a word undoes what a word has done
    (conversation,) = await door.rows(conversations)
    assert (conversation.opted_out, conversation.stopped_by) == (False, None)


async def test_lifting_the_block_undoes_what_a_refusal_told_us(door: Door, api: BotApi) -> None:
    api.failures.append((403, {"description": "Forbidden: bot was blocked by the user"}))
    await say(door, message("what are the signs of trafficking?", update=1))
    await say(door, member("kicked", "member", update=2))
    await say(door, message("what are the signs of trafficking?", update=3))
    assert api.texts == [english(door, "info.signs")]


async def test_a_message_that_comes_hours_late_is_screened_and_answered_with_a_word_about_it(
    door: Door, api: BotApi
) -> None:
    for update in (1, 2):  # held up together
        words = "my boss keeps my passport and locked the door" if update == 2 else "what are the signs?"
        await hook(door, message(words, update=update, date=int(time.time()) - 3 * 3600))
    await work(door.services)
    (handoff,) = await door.rows(handoffs)
    assert handoff.severity == "high"
    assert api.texts[:2] == [english(door, "notice.late"), english(door, "handoff.high")]
    assert api.texts.count(english(door, "notice.late")) == 1


@pytest.mark.parametrize("seconds", [0, -60, 30, 400 * 86400], ids=["now", "to-come", "just-now", "last-year"])
async def test_a_time_that_is_near_or_nonsense_is_no_lateness(door: Door, api: BotApi, seconds: int) -> None:
    await say(door, message("what are the signs of trafficking?", date=int(time.time()) - seconds))
    assert api.texts == [english(door, "info.signs")]
    (row,) = await door.rows(messages, messages.c.direction == "in")
    if seconds > 10**6:
        assert row.written_at is None
    else:  # never after it came
        assert abs(row.created_at - row.written_at) < timedelta(seconds=40)


async def test_a_refusal_because_of_blocking_ends_it(door: Door, api: BotApi) -> None:
    api.failures.append((403, {"description": "Forbidden: bot was blocked by the user"}))
    await say(door, message("what are the signs of trafficking?"))
    (part,) = await door.rows(deliveries)
    (conversation,) = await door.rows(conversations)
    assert (part.state, part.error, conversation.opted_out) == ("failed", "403", True)


async def test_a_throttled_part_waits_as_long_as_telegram_says(door: Door, api: BotApi) -> None:
    api.failures.append((429, {"parameters": {"retry_after": 77}}))
    await say(door, message("what are the signs of trafficking?"))
    (part,) = await door.rows(deliveries)
    assert (part.state, part.error) == ("queued", "429")
    assert 60 < (part.next_at - part.created_at).total_seconds() < 100
    assert api.sent == []


async def test_after_a_crash_in_the_middle_a_part_is_not_sent_again(door: Door, api: BotApi) -> None:
    await hook(door, message("what are the signs of trafficking?"))
    await turns(door.services)
    async with door.services.database.begin() as conn:
        long_ago = sa.func.now() - sa.text("interval '1 hour'")
        await conn.execute(deliveries.update().values(state="sending", attempts=1, lease_until=long_ago))
    assert await worker.recover_once(door.services)
    (part,) = await door.rows(deliveries)
    assert (part.state, part.error) == ("unknown", "lookup")
    assert api.sent == []


# -- the webhook


async def test_what_is_not_proven_is_refused_and_uses_up_no_number(door: Door) -> None:
    for secret in ("", "wrong", "é", SECRET[:-1], TOKEN, "x" * 5000):
        assert (await hook(door, message("forged"), secret=secret)).status_code == 403
    assert (await door.client.post(HOOK, json=message("forged"))).status_code == 403
    assert await door.nothing_stored()
    assert (await hook(door, message("real"))).status_code == 200
    assert await door.words() == ["real"]


async def test_twenty_copies_at_once_are_one_message(door: Door) -> None:
    answers = await asyncio.gather(*(hook(door, message("help me")) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert await door.words() == ["help me"]
    await hook(door, message("help me", update=2))
    assert await door.words() == ["help me", "help me"]


async def test_numbers_may_start_anew(door: Door) -> None:
    for update in (900, 3, 901, 2):
        assert (await hook(door, message(str(update), update=update))).status_code == 200
    assert await door.words() == ["900", "3", "901", "2"]


async def test_what_cannot_be_read_is_kept_aside_and_not_asked_for_again(door: Door) -> None:
    bodies = [b"", b"hello", b"\xff\xfe", b"[]", encoded({"update_id": 1, "message": {}}), encoded(message(text=7))]
    for body in bodies:
        answer = await hook(door, body)
        assert (answer.status_code, answer.json()) == (200, {})
    vault, kept = door.services.vault, await door.rows(quarantine)
    assert sorted(vault.open(row.body, context=f"quarantine:{row.id}") for row in kept) == sorted(bodies)
    assert await door.rows(messages) == []


async def test_what_is_not_for_us_leaves_no_trace(door: Door) -> None:
    for update in ({"update_id": 1, "poll": {"id": "1"}}, message(chat=GROUP), {"update_id": 2}):
        assert (await hook(door, update)).status_code == 200
    assert await door.nothing_stored()


async def test_what_a_person_writes_is_stored_unchanged(door: Door) -> None:
    texts = ["a\x00b", "\u202eabc\u202c", "lone \ud83d", "e\u0301 👩‍👩‍👧", "مرحبا", " \r\n", "<b>*_`"]
    for number, text in enumerate(texts):
        assert (await hook(door, message(text, update=number))).status_code == 200
    assert await door.words() == texts


async def test_without_telegram_in_the_settings_there_is_no_webhook(services: Services) -> None:
    channels = {name: channel for name, channel in services.channels.items() if name != "telegram"}
    async with open_door(dataclasses.replace(services, channels=channels)) as door:
        assert (await hook(door, message())).status_code == 404


async def test_without_storage_nothing_is_called_received(ours: Services) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    gone = dataclasses.replace(ours, database=database.engine_for(url))
    ours.settings.spool.write_text("in the way")  # and no spool either
    async with open_door(gone) as door:
        for update in (message(), pressed(), {"update_id": 1, "message": {}}):
            assert (await hook(door, update)).status_code == 503
    await gone.database.dispose()


@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
async def test_no_update_is_a_failure_of_ours(door: Door, body: bytes) -> None:
    assert (await hook(door, body)).status_code == 200


async def test_the_log_names_neither_words_nor_people_nor_secrets(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="passerelle")
    await hook(door, message("zebra crossing"), secret="wrong")
    await hook(door, message("zebra crossing"))
    await hook(door, message(text=["zebra"]))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("passerelle")]
    assert len(said) >= 2
    for secret in ("zebra", str(PERSON), SECRET, TOKEN):
        assert not any(secret in line for line in said)


# -- the start


@pytest.mark.slow
def test_the_gateway_tells_telegram_where_it_is_when_it_starts(database_url: str, tmp_path: Path) -> None:
    with running(Gateway(database_url, tmp_path / "var")) as gateway:
        token = (tmp_path / "var" / "secrets" / "telegram_bot_token").read_text()
        info = f"{gateway.base}/bot{token}/getWebhookInfo"
        until(lambda: httpx.get(info).json()["result"]["url"] == f"{gateway.base}{HOOK}", what="setWebhook")


async def test_the_webhook_is_set_again_after_429(ours: Services, api: BotApi) -> None:
    api.failures += [(429, {"parameters": {"retry_after": 0.3}}), (429, {"parameters": {"retry_after": 0}})]
    channel = ours.channels["telegram"]
    assert isinstance(channel, Telegram)
    begun = time.monotonic()
    await asyncio.wait_for(app.register(channel), 20)
    assert 0.3 <= time.monotonic() - begun < 2  # as long as Telegram said, not twice as long each time
    (webhook,) = api.webhooks
    assert (webhook["url"], webhook["secret_token"]) == (f"https://gateway.example{HOOK}", SECRET)


async def test_a_wrong_token_is_said_and_not_tried_for_ever(
    ours: Services, api: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    api.failures += [(401, {})] * 2
    channel = ours.channels["telegram"]
    assert isinstance(channel, Telegram)
    await asyncio.wait_for(app.register(channel), 20)
    assert len(api.failures) == 1
    (record,) = [record for record in caplog.records if record.name == "passerelle.app"]
    assert record.levelname == "ERROR"
    assert "the webhook is refused (401)" in record.getMessage()
    assert TOKEN not in record.getMessage()
