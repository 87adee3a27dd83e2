"""Telegram: updates as it posts them, its proof, its answers, and its own library against the stand-in."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import telegram
import telegram.error
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sanic import Sanic

import channels.telegram_request
from bot import standin_telegram
from bot.settings import TelegramSettings
from channels.channel import Ambiguous, Choice, Inbound, Media, NotSent, Part, RawRequest, Refused, SendError, Sent
from channels.channel import Unreadable as Kept
from channels.outgoing import read_errors
from channels.telegram import MAX_CALLBACK, MAX_CHOICES, MAX_TEXT, Telegram, acknowledgement
from tests.channels.actions import MEANS
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
from tests.running import free_port

HOOK = "https://gateway.example/webhooks/telegram"
PROOF = "x-telegram-bot-api-secret-token"
ADDRESS = str(PERSON)
CHOICES = (Choice("choice.human", "Une personne"), Choice("choice.more", "Autre chose"))
Answer = Callable[[httpx.Request], httpx.Response]


def channel(client: httpx.AsyncClient | None = None, **changes: str) -> Telegram:
    given = {"bot_token": TOKEN, "secret_token": SECRET, "api_url": "http://telegram.test", "webhook_url": HOOK}
    never = httpx.MockTransport(lambda request: httpx.Response(500))
    return Telegram(client or httpx.AsyncClient(transport=never), **given | changes)


OURS = channel()

# -- the proof


def with_proof(given: str | None) -> RawRequest:
    return RawRequest(HOOK, {} if given is None else {PROOF: given}, encoded(message()))


def test_the_secret_of_the_settings_is_accepted() -> None:
    assert OURS.verify(with_proof(SECRET))
    headers = {PROOF: SECRET, "content-type": "application/json; charset=utf-8"}
    assert OURS.verify(RawRequest(HOOK, headers, b"whatever it is"))


@pytest.mark.parametrize(
    "given", [None, "", " ", "wrong", SECRET[:-1], SECRET + " ", SECRET.upper(), "é" * 16, "\udcff", "\x00", TOKEN]
)
def test_any_other_secret_is_refused(given: str | None) -> None:
    assert not OURS.verify(with_proof(given))


def test_without_a_secret_of_ours_nothing_is_accepted() -> None:
    assert not channel(secret_token="").verify(with_proof(""))


# -- what comes in


def parsed(update: object) -> object:
    """The only item of an update, or None."""
    items = OURS.parse(RawRequest(HOOK, {}, encoded(update)))
    assert len(items) <= 1
    return items[0] if items else None


def inbound(update: object) -> Inbound:
    item = parsed(update)
    assert isinstance(item, Inbound), item
    return item


def test_a_text_is_read() -> None:
    assert inbound(message("ça va?", update=17)) == Inbound("17", ADDRESS, "text", "ça va?", written_at=1_764_000_000)


@pytest.mark.parametrize("update", [0, 1, 2**31, 2**52, 2**63 - 1])
def test_an_update_is_known_by_exactly_its_number(update: int) -> None:
    assert inbound(message(update=update)).provider_id == str(update)


@pytest.mark.parametrize("person", [1, 2**31, 2**52 - 1, 2**63 - 1])
def test_a_person_is_known_by_an_id_of_64_bits(person: int) -> None:
    assert inbound(message(chat=CHAT | {"id": person})).address == str(person)


VOICE = FILE | {"mime_type": "audio/ogg"}
STICKER = FILE | {"type": "regular", "is_animated": False, "is_video": False}
PHOTO = [FILE | {"file_id": "small", "width": 90}, FILE | {"file_id": "big", "width": 900}, FILE]


def file(content_type: str, file_id: str = "AgADBA") -> tuple[Media, ...]:
    return (Media(f"telegram:{file_id}", content_type),)


@pytest.mark.parametrize(
    ("fields", "kind", "text", "media"),
    [
        ({"photo": PHOTO}, "image", "", file("image/jpeg", "big")),
        ({"photo": PHOTO, "caption": "my passport"}, "image", "my passport", file("image/jpeg", "big")),
        ({"voice": VOICE}, "voice", "", file("audio/ogg")),
        ({"voice": VOICE, "caption": "hear"}, "voice", "hear", file("audio/ogg")),
        ({"voice": FILE}, "voice", "", file("audio/ogg")),
        ({"audio": FILE | {"mime_type": "audio/mp4"}}, "audio", "", file("audio/mp4")),
        ({"video": FILE | {"mime_type": "video/mp4"}, "caption": "see"}, "video", "see", file("video/mp4")),
        ({"video_note": FILE}, "video", "", file("video/mp4")),
        ({"animation": FILE, "document": FILE}, "video", "", file("video/mp4")),
        ({"document": FILE | {"mime_type": "application/pdf"}}, "document", "", file("application/pdf")),
        ({"document": FILE}, "document", "", file("application/octet-stream")),
        ({"document": FILE | {"mime_type": "<b>\x00"}}, "document", "", file("application/octet-stream")),
        ({"sticker": STICKER}, "sticker", "", file("image/webp")),
        ({"sticker": STICKER | {"is_animated": True}}, "sticker", "", file("application/x-tgsticker")),
        ({"sticker": STICKER | {"is_video": True}}, "sticker", "", file("video/webm")),
        ({"location": {"latitude": 45.50884, "longitude": -73.58781}}, "location", "(45.50884, -73.58781)", ()),
        (
            {
                "venue": {"location": {"latitude": 1, "longitude": 2}, "title": "Bus station", "address": "1 Main St"},
                "location": {"latitude": 1, "longitude": 2},
            },
            "location",
            "Bus station, 1 Main St, (1.00000, 2.00000)",
            (),
        ),
        (
            {"contact": {"phone_number": "+15145550123", "first_name": "Ana", "last_name": "B"}},
            "contacts",
            "Ana B +15145550123",
            (),
        ),
        ({"contact": {"phone_number": "+15145550123", "first_name": "Ana"}}, "contacts", "Ana +15145550123", ()),
        ({"dice": {"emoji": "🎲", "value": 3}}, "unsupported", "", ()),
        ({"poll": {"id": "1"}}, "unsupported", "", ()),
        ({"something_new": {"a": 1}}, "unsupported", "", ()),
        ({"something_new": {"a": 1}, "caption": "help"}, "unsupported", "help", ()),
        ({"pinned_message": {"a": 1}}, "system", "", ()),
        ({"message_auto_delete_timer_changed": {"message_auto_delete_time": 86400}}, "system", "", ()),
    ],
)
def test_every_kind_is_read(fields: dict[str, Any], kind: str, text: str, media: tuple[Media, ...]) -> None:
    then = 1_764_000_000
    assert inbound(message(None, **fields)) == Inbound("1", ADDRESS, kind, text, media=media, written_at=then)
    edited = inbound(message(None, name="edited_message", edit_date=then + 9, **fields))
    assert edited == Inbound("1", ADDRESS, "edit", text, media=media, written_at=then + 9)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("STOP", "keyword"),
        ("arrêt", "keyword"),
        ("/stop", "keyword"),
        ("/help", "keyword"),
        ("/Aide", "keyword"),
        ("START", "keyword"),
        ("/start", "command"),
        ("/start poster-7", "command"),
        ("/START", "command"),
        ("/settings", "command"),
        ("/help me he has a knife", "text"),
        ("/start he has a knife", "text"),
        ("make him stop", "text"),
        ("/", "text"),
        ("//stop", "text"),
        ("/usr/bin", "text"),
        ("", "text"),
    ],
)
def test_commands_and_keywords_are_the_whole_message(text: str, kind: str) -> None:
    assert inbound(message(text)).kind == kind


def test_an_edit_says_the_new_words() -> None:
    assert inbound(message("he took it", update=4, name="edited_message")) == Inbound(
        "4", ADDRESS, "edit", "he took it"
    )


def test_what_we_do_not_need_may_be_of_any_shape() -> None:
    """A novelty around them must not cost us the words."""
    odd: dict[str, Any] = {
        "reply_to_message": 5,
        "entities": "x",
        "forward_origin": {"type": "new"},
        "quote": [],
        "via_bot": "?",
    }
    assert inbound(message("help me", **odd)).text == "help me"


# -- buttons

INACCESSIBLE = {"chat": CHAT, "message_id": 8, "date": 0}


@pytest.mark.parametrize(
    ("update", "label"),
    [
        (pressed(update=5), "Une personne"),
        (pressed(update=5, message=INACCESSIBLE), ""),
        (pressed(update=5, message=None), ""),
        (pressed(update=5, message=INACCESSIBLE | {"date": 9, "text": "no keyboard any more"}), ""),
    ],
)
def test_a_pressed_button_is_a_choice(update: object, label: str) -> None:
    assert inbound(update) == Inbound("5", ADDRESS, "button", label, choice="choice.human")


@pytest.mark.parametrize(
    "data", ["human", "choice.", "choice.HUMAN", "choice.human\n", "choice." + "x" * 60, "\x00", None]
)
def test_only_a_choice_of_ours_counts_as_one(data: str | None) -> None:
    """A choice is not screened; what a changed client sends is read as words, if at all."""
    item = inbound(pressed(data=data))
    assert (item.kind, item.choice) == ("button", "")


def test_the_webhook_answers_a_pressed_button_with_a_call() -> None:
    wanted = {"method": "answerCallbackQuery", "callback_query_id": "4382bfdwdsb323b2d9"}
    assert acknowledgement(encoded(pressed())) == wanted
    other: object
    for other in (message(), pressed(id=7), pressed(id="a b"), pressed(id=None), [], {"callback_query": 3}, None):
        assert acknowledgement(encoded(other)) == {}
    for body in (b"", b"\xff", b"[" * 100_000):
        assert acknowledgement(body) == {}


# -- who may write, and to whom we may


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("member", "kicked", "optout"),
        ("member", "left", "optout"),
        ("kicked", "member", "optin"),
        ("kicked", "kicked", "optout"),
        ("member", "member", None),
    ],
)
def test_a_person_who_blocks_us_has_opted_out(before: str, after: str, kind: str | None) -> None:
    assert parsed(member(before, after, update=6)) == (kind and Inbound("6", ADDRESS, kind, written_at=1_764_000_000))


@pytest.mark.parametrize("date", [None, "now", True, 1.5, 10**18, 2**70, -1, [], {}])
def test_a_strange_time_costs_nobody_their_words(date: object) -> None:
    read = inbound(message("he is coming", date=date))
    assert read.text == "he is coming"
    assert read.written_at in (None, 10**18, -1)  # what is no time of day is told from one where it is stored
    assert inbound(pressed()).written_at is None  # the time there is that of our own message


@pytest.mark.parametrize(
    "update",
    [
        message(chat=GROUP),
        message(chat=GROUP, name="edited_message"),
        message("/start", chat=GROUP | {"type": "group"}),
        pressed(message={"chat": GROUP, "message_id": 1, "date": 0}),
        member("member", "kicked", chat=GROUP),
        message(name="channel_post", chat=GROUP | {"type": "channel"}),
        message(name="business_message"),
        {"update_id": 1},
        {"update_id": 1, "poll": {"id": "1"}},
        {"update_id": 1, "something_new": 5},
    ],
)
def test_what_is_not_said_to_us_is_left_alone(update: object) -> None:
    assert parsed(update) is None


@pytest.mark.parametrize(
    "update",
    [
        None,
        7,
        [],
        {},
        [message()],
        {"update_id": "1", "message": message()["message"]},
        {"update_id": True, "message": message()["message"]},
        {"update_id": 2**63, "message": message()["message"]},
        {"update_id": 1.0, "message": message()["message"]},
        {"message": message()["message"]},
        {"update_id": 1, "message": None},
        {"update_id": 1, "message": {}},
        {"update_id": 1, "message": "hello"},
        {"update_id": 1, "callback_query": {}},
        {"update_id": 1, "my_chat_member": {"chat": CHAT}},
        message(chat=None),
        message(chat={"type": "private"}),
        message(chat=CHAT | {"id": "5"}),
        message(chat=CHAT | {"id": True}),
        message(chat=CHAT | {"id": 2**63}),
        message(text=5),
        message(None, caption=["a"], photo=PHOTO),
        message(None, photo="x"),
        message(None, photo=[FILE | {"width": "wide"}, FILE]),
        message(None, voice={}),
        message(None, voice=FILE | {"file_id": ""}),
        message(None, voice=FILE | {"file_id": "a\x00"}),
        message(None, location={"latitude": "north", "longitude": 2}),
        {"update_id": 1, "callback_query": {"id": "1", "chat_instance": "1", "data": "choice.human"}},
    ],
)
def test_what_cannot_be_read_is_kept_aside(update: object) -> None:
    item = parsed(update)
    assert isinstance(item, Kept)
    assert item.body == encoded(update)


@examples(deadline=None)
@given(BODIES)
def test_no_update_makes_it_fall(body: bytes) -> None:
    for item in OURS.parse(RawRequest(HOOK, {}, body)):
        if isinstance(item, Kept):
            assert (item.body, bool(item.reason)) == (body, True)
            continue
        assert isinstance(item, Inbound)
        assert -(2**63) <= int(item.provider_id) < 2**63
        assert -(2**63) <= int(item.address) < 2**63
        assert all(media.url.isascii() and media.url.isprintable() for media in item.media)
        assert all(media.content_type.isascii() and media.content_type.isprintable() for media in item.media)
    assert isinstance(acknowledgement(body), dict)


@examples(deadline=None)
@given(st.text(st.characters(), min_size=1), st.integers(0, 2**63 - 1), st.integers(1, 2**52))
def test_any_words_of_anybody_come_through(text: str, update: int, person: int) -> None:
    item = inbound(message(text, update=update, chat=CHAT | {"id": person}))
    assert (item.provider_id, item.address, item.text) == (str(update), str(person), text)


def test_no_reference_to_a_file_holds_the_token() -> None:
    item = inbound(message(None, document=FILE | {"file_path": f"https://api.telegram.org/file/bot{TOKEN}/a"}))
    assert TOKEN not in repr(item)


# -- what goes out


def taken(request: httpx.Request, **changes: object) -> httpx.Response:
    """As Telegram answers a message it has taken."""
    if request.url.path.endswith("/setWebhook"):
        return httpx.Response(200, json={"ok": True, "result": True})
    made = {"message_id": 41, "date": 1_764_000_000, "chat": CHAT, "text": "x"} | changes
    return httpx.Response(200, json={"ok": True, "result": made})


def refused(code: int, description: str = "x", **parameters: object) -> Answer:
    body: dict[str, object] = {"ok": False, "error_code": code, "description": description}
    return lambda request: httpx.Response(code, json=body | ({"parameters": parameters} if parameters else {}))


BONJOUR = Part("bonjour")


async def outcome(answer: Answer, part: Part = BONJOUR, address: str = ADDRESS) -> Sent | SendError:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        try:
            return await channel(client).send(address, part, delivery="d1")
        except SendError as error:
            return error


async def test_a_part_is_handed_over_as_plain_text() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return taken(request)

    assert await outcome(answer, Part("*bonjour* <b>ça</b> _va_?", CHOICES)) == Sent("41")
    (request,) = asked
    assert str(request.url) == f"http://telegram.test/bot{TOKEN}/sendMessage"
    form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
    keyboard = json.loads(form.pop("reply_markup"))
    assert json.loads(form.pop("link_preview_options")) == {"is_disabled": True}
    assert form == {"chat_id": ADDRESS, "text": "*bonjour* <b>ça</b> _va_?"}  # and no parse_mode
    assert keyboard == {
        "inline_keyboard": [
            [{"text": "Une personne", "callback_data": "choice.human"}],
            [{"text": "Autre chose", "callback_data": "choice.more"}],
        ]
    }


async def test_without_choices_there_is_no_keyboard() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert b"reply_markup" not in request.content
        return taken(request)

    assert await outcome(answer) == Sent("41")


async def test_an_address_that_is_none_is_refused_without_a_call() -> None:
    error = await outcome(lambda request: pytest.fail("called"), address="@somebody")
    assert isinstance(error, Refused)
    assert not error.stops


CODES = sorted((int(code), action) for code, action in read_errors("telegram").items())


@pytest.mark.parametrize(("code", "action"), CODES)
async def test_every_code_of_the_table_means_what_it_says(code: int, action: str) -> None:
    error = await outcome(refused(code))
    assert isinstance(error, SendError)
    wanted, stops, wait = MEANS[action]
    assert (type(error), error.code, error.stops, error.retry_after) == (wanted, str(code), stops, wait)


@pytest.mark.parametrize(
    ("answer", "wanted", "code", "stops", "wait"),
    [
        (refused(403, "Forbidden: bot was blocked by the user"), Refused, "403", True, None),
        (refused(403, "Forbidden: user is deactivated"), Refused, "403", True, None),
        (refused(401, "Unauthorized"), Refused, "401", False, None),
        (refused(400, "Bad Request: chat not found"), Refused, "400", False, None),
        (refused(400, "x", migrate_to_chat_id=-100123), Refused, "400", False, None),
        (refused(429, "Too Many Requests: retry after 7", retry_after=7), NotSent, "429", False, 7.0),
        (refused(429, retry_after=0.5), NotSent, "429", False, 0.5),
        (refused(429, retry_after=-5), NotSent, "429", False, 0.0),
        (refused(429, retry_after=10**9), NotSent, "429", False, 86400.0),
        (refused(429, retry_after="soon"), NotSent, "429", False, 30.0),
        (refused(429, retry_after=True), NotSent, "429", False, 30.0),
        (refused(429), NotSent, "429", False, 30.0),
        (refused(409), NotSent, "409", False, None),  # unknown: bounded retry
        (refused(500), NotSent, "500", False, None),
        (refused(502), NotSent, "502", False, None),
        (lambda request: httpx.Response(502, text="<html>"), NotSent, "502", False, None),
        (lambda request: httpx.Response(429, text="<html>"), NotSent, "429", False, 30.0),
        (lambda request: httpx.Response(403, json=["x"]), Refused, "403", True, None),
        (lambda request: httpx.Response(429, json={"parameters": None}), NotSent, "429", False, 30.0),
        (lambda request: httpx.Response(302, headers={"location": "/x"}), NotSent, "302", False, None),
        (lambda request: httpx.Response(200, text="<html>"), Ambiguous, "answer", False, None),
        (lambda request: httpx.Response(200, json=[]), Ambiguous, "answer", False, None),
        (lambda request: httpx.Response(200, json={"ok": True}), Ambiguous, "answer", False, None),
        (lambda request: httpx.Response(200, json={"ok": True, "result": True}), Ambiguous, "answer", False, None),
        (lambda request: httpx.Response(200, json={"ok": True, "result": {}}), Ambiguous, "answer", False, None),
        (lambda request: httpx.Response(200, json={"ok": True, "result": "x"}), Ambiguous, "answer", False, None),
        (lambda request: taken(request, message_id="41"), Ambiguous, "answer", False, None),
    ],
)
async def test_an_answer_says_whether_trying_again_is_safe(
    answer: Answer, wanted: type[SendError], code: str, stops: bool, wait: float | None
) -> None:
    error = await outcome(answer)
    assert isinstance(error, SendError)
    assert (type(error), error.code, error.stops, error.retry_after) == (wanted, code, stops, wait)
    assert TOKEN not in repr(error)


async def test_no_answer_in_time_is_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels.telegram_request, "TIMEOUT", httpx.Timeout(0.3, connect=5.0))
    over = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, httpx.AsyncClient() as client:
        ours = channel(client, api_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Ambiguous, match="ReadTimeout"):
            await ours.send(ADDRESS, Part("x"), delivery="d1")
        over.set()


async def test_a_bot_cannot_look_up_what_it_has_sent() -> None:
    with pytest.raises(Ambiguous):
        await OURS.find(ADDRESS, Part("bonjour"), since=0.0)


async def test_what_was_said_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.WARNING, "httpx")  # as `bot.logs` sets it: httpx logs addresses
    for answer in (taken, refused(403), lambda request: httpx.Response(200, text="not JSON: zebra")):
        await outcome(answer, Part("zebra"))
    assert not [record for record in caplog.records if "zebra" in record.getMessage() or TOKEN in record.getMessage()]


# -- composing


def test_the_buttons_come_under_the_last_piece() -> None:
    parts = OURS.compose("a" * MAX_TEXT + " end", CHOICES)
    assert [(len(part.text), part.choices) for part in parts] == [(MAX_TEXT, ()), (3, CHOICES)]
    assert OURS.compose("", CHOICES) == []


def test_a_button_that_gives_back_too_much_is_left_out() -> None:
    long = Choice("choice." + "x" * 58, "too long")
    assert len(long.id) == MAX_CALLBACK + 1
    (part,) = OURS.compose("a", (long, *CHOICES))
    assert part.choices == CHOICES
    (part,) = OURS.compose("a", CHOICES * MAX_CHOICES)
    assert len(part.choices) == MAX_CHOICES


@examples(deadline=None)
@given(st.text(st.characters(blacklist_categories=["Cs"]) | st.sampled_from("😀𐐷 .\n"), max_size=12_000))
def test_no_piece_is_longer_than_telegram_takes(text: str) -> None:
    pieces = [part.text for part in OURS.compose(text * 3, ())]
    assert all(0 < len(piece.encode("utf-16-le")) <= 2 * MAX_TEXT for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join((text * 3).split())


def test_an_emoji_counts_twice() -> None:
    assert [len(part.text) for part in OURS.compose("😀" * MAX_TEXT, ())] == [MAX_TEXT // 2, MAX_TEXT // 2]
    assert len(OURS.compose("é" * MAX_TEXT, ())) == 1


# -- the webhook is announced


async def test_the_webhook_is_set_with_its_secret_and_the_updates_we_read() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return taken(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        await channel(client).set_webhook()
    form = {name: values[0] for name, values in parse_qs(asked[0].content.decode()).items()}
    assert (form["url"], form["secret_token"]) == (HOOK, SECRET)
    assert json.loads(form["allowed_updates"]) == ["message", "edited_message", "callback_query", "my_chat_member"]
    assert TOKEN not in form["url"]


# -- the library, as others use it, against the stand-in


@asynccontextmanager
async def standin() -> AsyncIterator[str]:
    """The demonstration's stand-in, alone on a port."""
    port = free_port()
    app: Sanic[Any, Any] = Sanic(f"standin-{uuid.uuid4().hex}", configure_logging=False)
    app.config.TOUCHUP = False
    app.blueprint(standin_telegram.make(TelegramSettings(TOKEN, SECRET, f"http://127.0.0.1:{port}")))
    server = await app.create_server(host="127.0.0.1", port=port, return_asyncio_server=True, access_log=False)
    assert server is not None
    await server.startup()  # type: ignore[no-untyped-call]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.close()  # type: ignore[no-untyped-call]
        for connection in list(server.connections):
            connection.abort()
        app.shutdown_tasks(timeout=0)


async def test_the_librarys_own_client_takes_the_stand_in_for_telegram() -> None:
    async with standin() as url, telegram.Bot(TOKEN, base_url=f"{url}/bot") as bot:  # with the library's own requests
        assert bot.username == "passerelle_standin_bot"
        assert await bot.set_webhook(HOOK, secret_token=SECRET, allowed_updates=["message"])
        info = await bot.get_webhook_info()
        assert (info.url, info.allowed_updates) == (HOOK, ("message",))
        button = telegram.InlineKeyboardButton("Une personne", callback_data="choice.human")
        sent = await bot.send_message(PERSON, "ça va?", reply_markup=telegram.InlineKeyboardMarkup([[button]]))
        assert (sent.text, sent.chat.id) == ("ça va?", PERSON)
        assert sent.reply_markup is not None
        assert await bot.answer_callback_query("4382")
        for text in ("", " ", "x" * (MAX_TEXT + 1)):
            with pytest.raises(telegram.error.BadRequest):
                await bot.send_message(PERSON, text)
        with pytest.raises(telegram.error.BadRequest):
            await bot.send_message("@nobody", "x")
        long = telegram.InlineKeyboardButton("x", callback_data="x" * (MAX_CALLBACK + 1))
        with pytest.raises(telegram.error.BadRequest, match=r"(?i)button"):
            await bot.send_message(PERSON, "x", reply_markup=telegram.InlineKeyboardMarkup([[long]]))
        with pytest.raises(telegram.error.BadRequest):
            await bot.set_webhook(HOOK, secret_token="not allowed!")
        with pytest.raises(telegram.error.InvalidToken):
            async with telegram.Bot("1:wrong", base_url=f"{url}/bot"):  # asks who it is
                pass


async def test_our_channel_speaks_to_the_stand_in() -> None:
    async with standin() as url, httpx.AsyncClient() as client:
        ours = channel(client, api_url=url)
        await ours.set_webhook()
        for number, part in enumerate(ours.compose("bonjour " * 1000, CHOICES), start=1):
            assert await ours.send(ADDRESS, part, delivery="d1") == Sent(str(number))
        sent = (await client.get(f"{url}/bot{TOKEN}/sent", params={"chat_id": PERSON})).json()["result"]
        assert " ".join(row["text"] for row in sent) == ("bonjour " * 1000).strip()
        assert [len(row.get("reply_markup", {}).get("inline_keyboard", [])) for row in sent] == [0, 2]
        with pytest.raises(Refused, match="401"):
            await channel(client, api_url=url, bot_token="1:wrong").send(ADDRESS, Part("x"), delivery="d1")
