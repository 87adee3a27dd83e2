"""WhatsApp: its signature, its kinds of messages, its statuses, its limits and its error codes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import channels.whatsapp
from bot.standin_graph import words
from channels.channel import (
    Ambiguous,
    Choice,
    Inbound,
    Item,
    Media,
    NotSent,
    Part,
    RawRequest,
    Refused,
    SendError,
    Sent,
    Status,
    Unreadable,
)
from channels.outgoing import read_errors
from channels.whatsapp import ENDS, MAX_BODY, MAX_TEXT, VERSION, WhatsApp, sign
from tests.bot.graph import ACCESS, NUMBER, PERSON, SECOND, SECRET, VERIFY, batch, channel, message, status
from tests.channels.whatsapp_examples import BODIES

HOOK = "https://gateway.example/webhooks/whatsapp"
OURS = channel(httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(500))))


def request(body: bytes, **headers: str) -> RawRequest:
    return RawRequest(HOOK, {name.replace("_", "-"): value for name, value in headers.items()}, body)


# -- proof


def test_the_signature_is_hmac_sha256_of_the_raw_body() -> None:
    body = batch(message("é 👍"))
    right = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert OURS.verify(request(body, x_hub_signature_256=right))
    assert not OURS.verify(request(json.dumps(json.loads(body), indent=1).encode(), x_hub_signature_256=right))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_hub_signature_256": ""},
        {"x_hub_signature_256": "sha256="},
        {"x_hub_signature_256": "é" * 71},
        {"x_hub_signature_256": "\udcff"},
        {"x_hub_signature_256": sign(SECRET, b"other")},
        {"x_hub_signature_256": sign("another", b"{}")},
        {"x_hub_signature_256": sign(SECRET, b"{}").swapcase()},
        {"x_hub_signature_256": sign(SECRET, b"{}") + "\n"},
        {"x_hub_signature": "sha1=" + hmac.new(SECRET.encode(), b"{}", hashlib.sha1).hexdigest()},
        {"x_hub_signature": sign(SECRET, b"{}")},
    ],
)
def test_any_other_signature_is_refused(headers: dict[str, str]) -> None:
    assert OURS.verify(request(b"{}", x_hub_signature_256=sign(SECRET, b"{}")))
    assert not OURS.verify(request(b"{}", **headers))


def test_an_empty_secret_or_token_matches_nothing() -> None:
    open_to_all = channel(httpx.AsyncClient(), app_secret="", verify_token="")
    assert not open_to_all.verify(request(b"{}", x_hub_signature_256=sign("", b"{}")))
    assert open_to_all.challenge(f"{HOOK}?hub.mode=subscribe&hub.verify_token=&hub.challenge=1") is None


def test_the_challenge_is_given_back_to_who_knows_the_token() -> None:
    asked = f"{HOOK}?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
    assert OURS.challenge(asked + VERIFY) == "1158201444"
    for wrong in ("", "x", VERIFY + "x", VERIFY.upper(), "%ff", "%00", "%ED%A0%80"):
        assert OURS.challenge(asked + wrong) is None


# -- what comes in


def parsed(body: bytes) -> list[Item]:
    return OURS.parse(request(body))


def one(given: dict[str, Any], **value: Any) -> Inbound:
    (item,) = parsed(batch(given, **value))
    assert isinstance(item, Inbound), item
    return item


def test_a_text_is_read() -> None:
    assert one(message("hello")) == Inbound(
        "wamid.1", f"{NUMBER}:{PERSON}", "text", "hello", sender=NUMBER, written_at=1_764_000_000
    )  # fmt: skip


@pytest.mark.parametrize("time", [None, "", "now", "1e9", "-1", "9" * 40, True, 1.5, [], {}])
def test_a_strange_time_costs_nobody_their_words(time: object) -> None:
    read = one(message("he is coming", timestamp=time))
    assert (read.text, read.written_at) == ("he is coming", None)


def of(kind: str, body: object) -> dict[str, Any]:
    return {"from": PERSON, "id": "wamid.1", "type": kind, kind: body}


def reply(kind: str, row: str, title: str) -> dict[str, Any]:
    return of("interactive", {"type": kind, kind: {"id": row, "title": title, "description": "x"}})


FORM = {"name": "flow", "body": "Sent", "response_json": '{"where": "Oujé", "flow_token": 3, "how": "he hits me"}'}
CARD = {"name": {"formatted_name": "Ana B", "first_name": "Ana"}, "phones": [{"phone": "+1 514 555 0199"}, {}]}
NEW = {"original_message_id": "wamid.0", "message": {"type": "text", "text": {"body": "he hits me"}}}
PIN = {"latitude": 1, "longitude": 2, "name": "A", "address": "B"}
PICTURE = Media("whatsapp:777", "image/jpeg")


@pytest.mark.parametrize(
    ("given", "kind", "text", "choice", "media"),
    [
        (message("STOP"), "keyword", "STOP", "", ()),
        (message("make him stop"), "text", "make him stop", "", ()),
        (of("image", {"id": "777", "mime_type": "image/jpeg"}), "image", "", "", (PICTURE,)),
        (of("image", {"id": "777", "mime_type": "image/jpeg", "caption": "look"}), "image", "look", "", (PICTURE,)),
        (of("audio", {"id": "1", "mime_type": "audio/ogg; codecs=opus", "voice": True}), "voice", "", "", 1),
        (of("audio", {"id": "1", "mime_type": "audio/mpeg", "voice": False}), "audio", "", "", 1),
        (of("audio", {"id": "1"}), "audio", "", "", 1),
        (of("video", {"id": "1", "caption": "there"}), "video", "there", "", 1),
        (of("document", {"id": "1", "filename": "a.pdf"}), "document", "", "", 1),
        (of("sticker", {"id": "1", "animated": True}), "sticker", "", "", 1),
        (of("image", {}), "image", "", "", ()),
        (of("image", {"id": "\x00", "mime_type": 7}), "image", "", "", ()),
        (of("location", {"latitude": 45.5, "longitude": -73.6}), "location", "(45.50000, -73.60000)", "", ()),
        (of("location", PIN), "location", "A, B, (1.00000, 2.00000)", "", ()),
        (of("location", {"latitude": "x", "longitude": 999, "name": "A"}), "location", "A", "", ()),
        (of("contacts", [CARD, CARD]), "contacts", "Ana B +1 514 555 0199\nAna B +1 514 555 0199", "", ()),
        (of("contacts", []), "contacts", "", "", ()),
        (reply("button_reply", "choice.human", "Talk to a person"), "button", "Talk to a person", "choice.human", ()),
        (reply("list_reply", "choice.rights", "My rights"), "list", "My rights", "choice.rights", ()),
        (reply("button_reply", "else", "he hits me"), "button", "he hits me", "", ()),
        (reply("button_reply", "choice.x" * 40, "he hits me"), "button", "he hits me", "", ()),
        (of("interactive", {"type": "nfm_reply", "nfm_reply": FORM}), "button", "Oujé\nhe hits me", "", ()),
        (of("interactive", {"nfm_reply": FORM | {"response_json": "{"}}), "button", "Sent", "", ()),
        (of("interactive", {"type": "something new"}), "unsupported", "", "", ()),
        (of("button", {"payload": "p", "text": "Yes"}), "button", "Yes", "", ()),
        (of("button", {"payload": "choice.human", "text": "Yes"}), "button", "Yes", "choice.human", ()),
        (of("reaction", {"message_id": "wamid.0", "emoji": "😢"}), "reaction", "😢", "", ()),
        (of("reaction", {"message_id": "wamid.0"}), "reaction", "", "", ()),
        (of("order", {"catalog_id": "1", "text": "two please", "product_items": []}), "order", "two please", "", ()),
        (of("system", {"body": "A changed", "type": "user_changed_number"}), "system", "A changed", "", ()),
        (of("request_welcome", None), "system", "", "", ()),
        (of("edit", NEW), "edit", "he hits me", "", ()),
        (of("revoke", {"original_message_id": "wamid.0"}), "edit", "", "", ()),
        (of("unsupported", {"type": "poll"}), "unsupported", "", "", ()),
        (of("unknown", None), "unsupported", "", "", ()),
        (of("hologram", {"id": "1"}), "unsupported", "", "", ()),
        ({"from": PERSON, "id": "wamid.1", "type": 7}, "unsupported", "", "", ()),
        ({"from": PERSON, "id": "wamid.1", "text": {"body": "no type"}}, "text", "no type", "", ()),
        ({"from": PERSON, "id": "wamid.1"}, "unsupported", "", "", ()),
    ],
)  # fmt: skip
def test_every_kind_becomes_one_record(given: dict[str, Any], kind: str, text: str, choice: str, media: Any) -> None:
    item = one(given)
    assert (item.kind, item.text, item.choice) == (kind, text, choice)
    assert len(item.media) == media if isinstance(media, int) else item.media == media


def test_a_reference_names_the_medium_and_no_host() -> None:
    """So nobody can make an advocate's click fetch from elsewhere."""
    item = one(of("image", {"id": "777", "url": "http://169.254.169.254/", "mime_type": "image/jpeg"}))
    assert item.media == (PICTURE,)


@pytest.mark.parametrize(
    ("fields", "contacts", "person"),
    [
        ({"from": PERSON}, [], PERSON),
        ({"from": "+" + PERSON}, [], PERSON),
        ({"from": PERSON, "from_user_id": "CA.1"}, [{"wa_id": "15145550199", "user_id": "CA.1"}], PERSON),
        ({}, [{"wa_id": PERSON}], PERSON),
        ({"from_user_id": "CA.1"}, [{"user_id": "CA.2"}, {"user_id": "CA.1", "wa_id": PERSON}], PERSON),
        ({"from_user_id": "CA.1"}, [{"user_id": "CA.2", "wa_id": PERSON}], "CA.1"),
        ({"from_user_id": "CA.1"}, [{"wa_id": PERSON}], PERSON),
        ({"from_user_id": "CA.13491208655302741918"}, [{"profile": {}}], "CA.13491208655302741918"),
        ({"from_user_id": "US.ENT.11815799212886844830"}, None, "US.ENT.11815799212886844830"),
        ({}, [{"user_id": "CA.77"}], "CA.77"),
        ({"from": None, "from_user_id": 7}, {"user_id": "CA.77"}, "CA.77"),
        ({}, [{"wa_id": PERSON}, {"wa_id": "15145550199"}], None),
        ({}, [], None),
        ({}, None, None),
        ({"from": "a:b"}, ["x"], None),
        ({"from": "1514\x00"}, None, None),
        ({"from": ""}, [{"wa_id": ""}], None),
    ],
)  # fmt: skip
def test_each_name_of_the_sender_may_be_missing(fields: dict[str, Any], contacts: Any, person: str | None) -> None:
    given = {"id": "wamid.1", "type": "text", "text": {"body": "hello"}, **fields}
    (item,) = parsed(batch(given, contacts=contacts))
    if person is None:
        assert isinstance(item, Unreadable)
    else:
        assert isinstance(item, Inbound)
        assert item.address == f"{NUMBER}:{person}"


def test_entries_changes_and_messages_are_all_walked() -> None:
    def change(row: str, number: str) -> Any:
        return json.loads(batch(message(row=row), message(row=row + "b"), number=number))["entry"][0]["changes"][0]

    entries = [
        {"changes": [change("wamid.1", NUMBER), change("wamid.2", SECOND)]},
        {"changes": [change("wamid.3", NUMBER)]},
    ]
    items = parsed(json.dumps({"object": "whatsapp_business_account", "entry": entries}).encode())
    found = [(item.provider_id, item.address) for item in items if isinstance(item, Inbound)]
    assert [row for row, _ in found] == ["wamid.1", "wamid.1b", "wamid.2", "wamid.2b", "wamid.3", "wamid.3b"]
    assert {address for _, address in found} == {f"{NUMBER}:{PERSON}", f"{SECOND}:{PERSON}"}


def test_other_fields_tell_nothing() -> None:
    body = json.loads(batch(message()))
    for field in ("message_template_status_update", "account_update", "smb_message_echoes"):
        body["entry"][0]["changes"][0]["field"] = field
        assert parsed(json.dumps(body).encode()) == []


def test_a_bad_item_is_kept_aside_alone() -> None:
    first, bad, last = parsed(batch(message(row="wamid.1"), message(row="x" * 181), message(row="wamid.3")))
    assert isinstance(first, Inbound)
    assert isinstance(last, Inbound)
    assert isinstance(bad, Unreadable)
    assert json.loads(bad.body)["message"]["id"] == "x" * 181
    assert b"wamid.1" not in bad.body


def test_what_the_provider_reports_is_kept_for_staff() -> None:
    (item,) = parsed(batch(errors=[{"code": 130429, "title": "Rate limit hit"}]))
    assert isinstance(item, Unreadable)
    assert json.loads(item.body)["code"] == 130429


def test_a_message_for_another_number_is_kept_aside() -> None:
    (item,) = parsed(batch(message(), number="999"))
    assert isinstance(item, Unreadable)
    assert "number" in item.reason


OUR_ID = str(uuid.uuid4())


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (status("sent"), Status("wamid.out1", "sent")),
        (status("delivered"), Status("wamid.out1", "delivered")),
        (status("read"), Status("wamid.out1", "read")),
        (status("played"), Status("wamid.out1", "read")),
        (status("failed", errors=[{"code": 131026}]), Status("wamid.out1", "failed", error="131026")),
        (status("failed", errors=[{"code": "131047"}]), Status("wamid.out1", "failed", error="131047")),
        (status("failed", errors=[{"code": "x\x00"}]), Status("wamid.out1", "failed")),
        (status("failed", errors=["x"]), Status("wamid.out1", "failed")),
        (status("sent", biz_opaque_callback_data=OUR_ID), Status("wamid.out1", "sent", delivery=OUR_ID)),
        (status("sent", biz_opaque_callback_data="another's"), Status("wamid.out1", "sent")),
        (status("accepted"), None),
        (status("deleted"), None),
        (status("SENT"), None),
    ],
)
def test_a_status_says_how_far_a_part_has_come(given: dict[str, Any], wanted: Status | None) -> None:
    assert parsed(batch(statuses=[given])) == ([] if wanted is None else [wanted])


@pytest.mark.parametrize(
    "given", [{}, status(""), status("sent", row=""), status("sent", row="a b"), "x", 7, [], {"id": 7}]
)
def test_a_status_that_says_nothing_is_kept_aside(given: Any) -> None:
    (item,) = parsed(batch(statuses=[given]))
    assert isinstance(item, Unreadable)


@given(BODIES)
@example(b'{"entry":' + b"[" * 100_000)
@example(batch(message(text={"body": "x"}), statuses=[status("failed", errors={"code": True})]))
def test_no_body_makes_the_parser_fall(body: bytes) -> None:
    for item in parsed(body):
        if isinstance(item, Unreadable):
            assert item.reason
            continue
        assert item.provider_id.isascii()
        assert item.provider_id.isprintable()
        assert 0 < len(item.provider_id) < 200
        if isinstance(item, Inbound):
            number, _, person = item.address.partition(":")
            assert number in (NUMBER, SECOND)
            assert person.isascii()
            assert 0 < len(person) < 160
            assert item.choice == "" or item.choice.startswith("choice.")


@given(st.lists(st.sampled_from(["good", "bad", "worse"]), max_size=30))
def test_good_items_come_through_whatever_stands_beside_them(shapes: list[str]) -> None:
    made = {"bad": None, "worse": {"id": "wamid.x", "type": "text"}}
    items = [message(row=f"wamid.{number}") if shape == "good" else made[shape] for number, shape in enumerate(shapes)]
    found = parsed(batch(*items)) if items else []
    assert [item.provider_id for item in found if isinstance(item, Inbound)] == [
        f"wamid.{number}" for number, shape in enumerate(shapes) if shape == "good"
    ]
    assert len(found) == len(shapes)


# -- what goes out


async def handed_over(part: Part, *, address: str = f"{NUMBER}:{PERSON}") -> dict[str, Any]:
    """The request's body, after Meta's own checks of it."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"messages": [{"id": "wamid.out1"}]})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        assert await channel(client).send(address, part, delivery="d1") == Sent("wamid.out1")
    (request,) = asked
    number = address.partition(":")[0]
    assert str(request.url) == f"http://graph.test/{VERSION}/{number}/messages"
    assert request.headers["authorization"] == f"Bearer {ACCESS}"
    body: dict[str, Any] = json.loads(request.content)
    words(body)
    return body


async def test_a_text_is_handed_over_as_meta_wants_it() -> None:
    assert await handed_over(Part("bonjour https://example.org")) == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": PERSON,
        "type": "text",
        "text": {"body": "bonjour https://example.org", "preview_url": False},
        "biz_opaque_callback_data": "d1",
    }


async def test_a_hidden_number_is_answered_by_its_id() -> None:
    body = await handed_over(Part("hello"), address=f"{SECOND}:CA.134")
    assert body["recipient"] == "CA.134"
    assert "to" not in body


async def test_nothing_leaves_from_a_number_that_the_person_has_not_written_to() -> None:
    transport = httpx.MockTransport(lambda request: pytest.fail("called"))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(Refused) as refused:
            await channel(client).send(f"999:{PERSON}", Part("hello"), delivery="d1")
    assert (refused.value.code, refused.value.stops) == ("number", False)


def choices(*labels: str) -> tuple[Choice, ...]:
    return tuple(Choice(f"choice.{number}", label) for number, label in enumerate(labels))


async def test_up_to_three_short_choices_are_buttons() -> None:
    (part,) = OURS.compose("Which?", choices("a" * 20, "b", "c"))
    shown = (await handed_over(part))["interactive"]
    assert shown["type"] == "button"
    assert [button["reply"] for button in shown["action"]["buttons"]] == [
        {"id": "choice.0", "title": "a" * 20},
        {"id": "choice.1", "title": "b"},
        {"id": "choice.2", "title": "c"},
    ]


@pytest.mark.parametrize("labels", [("a", "b", "c", "d"), ("a" * 21,), ("y" * 200, "z"), tuple("abcdefghijklm")])
async def test_more_or_longer_choices_are_a_list(labels: tuple[str, ...]) -> None:
    (part,) = OURS.compose("Which?", choices(*labels))
    shown = (await handed_over(part))["interactive"]
    assert shown["type"] == "list"
    rows = shown["action"]["sections"][0]["rows"]
    assert [row["id"] for row in rows] == [f"choice.{number}" for number in range(min(10, len(labels)))]
    for row, label in zip(rows, labels, strict=False):
        assert row.get("description", row["title"]) == label[:72]


async def test_choices_hang_on_the_last_part_which_is_shorter() -> None:
    parts = OURS.compose("x " * 3000, choices("a"))
    assert [bool(part.choices) for part in parts] == [False] * (len(parts) - 1) + [True]
    assert all(len(part.text) <= MAX_TEXT for part in parts)
    assert len(parts[-1].text) <= MAX_BODY
    for part in parts:
        await handed_over(part)


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=9000), st.lists(st.text(min_size=1), max_size=12))
def test_every_part_keeps_metas_limits_and_loses_no_word(text: str, labels: list[str]) -> None:
    parts = OURS.compose(text, choices(*labels))
    assert "".join("".join(part.text for part in parts).split()) == "".join(text.split())
    for part in parts:
        assert 0 < len(part.text) <= (MAX_BODY if part.choices else MAX_TEXT)
    assert [part.choices for part in parts[-1:]] == [choices(*labels)[:10]][: len(parts)]


Answer = Callable[[httpx.Request], httpx.Response]


async def outcome(answer: Answer) -> Sent | SendError:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        return await outcome_of(channel(client))


async def outcome_of(ours: WhatsApp) -> Sent | SendError:
    try:
        return await ours.send(f"{NUMBER}:{PERSON}", Part("hello"), delivery="d1")
    except SendError as error:
        return error


CODES = sorted(read_errors("whatsapp").items())
MEANS: dict[str, tuple[type[SendError], float | None, float]] = {
    "retry": (NotSent, None, 2.0),
    "slower": (NotSent, None, 4.0),
    "back_off": (NotSent, 30.0, 2.0),
    "pause": (NotSent, 900.0, 2.0),
    "final": (Refused, None, 2.0),
    "alarm": (Refused, None, 2.0),
}


@pytest.mark.parametrize(("code", "action"), CODES)
async def test_every_code_of_the_table_means_what_it_says(code: str, action: str) -> None:
    number = int(code.replace("xxx", "015"))
    error = await outcome(lambda request: httpx.Response(400, json={"error": {"code": number}}))
    wanted, wait, growth = MEANS[action]
    assert type(error) is wanted
    assert (error.code, error.retry_after, error.growth, error.stops) == (str(number), wait, growth, False)


@pytest.mark.parametrize(
    ("code", "action"),
    [
        *[(code, "back_off") for code in ("4", "80007", "130429")],
        ("131056", "slower"), ("131048", "pause"), ("190", "alarm"),
        *[(code, "final") for code in ("131047", "131026", "131051", "132xxx")],
        *[(code, "retry") for code in ("131053", "131016", "131000")],
    ],
)  # fmt: skip
def test_the_table_says_what_was_agreed(code: str, action: str) -> None:
    assert (code, action) in CODES


@pytest.mark.parametrize(
    ("code", "body", "headers", "wanted", "named", "wait"),
    [
        (429, "", {"retry-after": "7"}, NotSent, "429", 7.0),
        (429, "", {}, NotSent, "429", 30.0),
        (429, "", {"retry-after": "nan"}, NotSent, "429", 30.0),
        (429, "", {"retry-after": "1e9"}, NotSent, "429", 3600.0),
        (400, {"error": {"code": 130429}}, {"retry-after": "12"}, NotSent, "130429", 12.0),
        (400, {"error": {"code": 777777}}, {}, NotSent, "777777", None),  # unknown: bounded retry
        (400, {"error": {"code": None}}, {}, NotSent, "400", None),
        (400, {"error": "x"}, {}, NotSent, "400", None),
        (400, ["x"], {}, NotSent, "400", None),
        (401, {"error": {"code": 777777}}, {}, Refused, "777777", None),
        (403, "", {}, Refused, "403", None),
        (500, {"error": {"code": 131000}}, {}, NotSent, "131000", None),
        (502, "<html>", {}, NotSent, "502", None),
        (503, "", {}, NotSent, "503", None),
        (302, "", {"location": "http://elsewhere.test/"}, NotSent, "302", None),
    ],
)
async def test_a_refusal_says_whether_trying_again_is_safe(
    code: int, body: object, headers: dict[str, str], wanted: type[SendError], named: str, wait: float | None
) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        content = body if isinstance(body, str) else json.dumps(body)
        return httpx.Response(code, text=content, headers=headers)

    error = await outcome(answer)
    assert type(error) is wanted
    assert (error.code, error.retry_after, error.stops) == (named, wait, False)
    assert ACCESS not in repr(error)


async def test_a_number_that_was_reported_rests_and_the_others_do_not() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.split("/")[2])
        if len(asked) == 1:
            return httpx.Response(400, json={"error": {"code": 131048}})
        return httpx.Response(200, json={"messages": [{"id": "wamid.out1"}]})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        ours = channel(client)
        for _ in range(2):
            error = await outcome_of(ours)
            assert isinstance(error, NotSent)
            assert error.retry_after is not None
            assert 890 < error.retry_after <= 900
        await ours.send(f"{SECOND}:{PERSON}", Part("hello"), delivery="d1")
    assert asked == [NUMBER, SECOND]


@pytest.mark.parametrize("code", [131048, 190])
async def test_what_somebody_must_mend_is_logged_as_an_error(code: int, caplog: pytest.LogCaptureFixture) -> None:
    await outcome(lambda request: httpx.Response(400, json={"error": {"code": code, "message": ACCESS}}))
    (record,) = [record for record in caplog.records if record.name == "passerelle.whatsapp"]
    assert record.levelname == "ERROR"
    assert ACCESS not in record.getMessage()


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[]", b"{}", b'"x"', b'{"messages": []}', b'{"messages": [{"id": 7}]}', b"\xff\xfe\xff"],
)
async def test_taken_but_without_an_id_is_ambiguous(content: bytes) -> None:
    assert isinstance(await outcome(lambda request: httpx.Response(200, content=content)), Ambiguous)


async def test_no_answer_in_time_is_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels.whatsapp, "TIMEOUT", httpx.Timeout(0.3, connect=5.0))
    done = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, httpx.AsyncClient() as client:
        error = await outcome_of(channel(client, api_url=f"http://127.0.0.1:{port}"))
        done.set()
    assert isinstance(error, Ambiguous)


async def test_meta_cannot_tell_what_it_took() -> None:
    with pytest.raises(Ambiguous):
        await OURS.find(f"{NUMBER}:{PERSON}", Part("hello"), since=0.0)


def test_the_pinned_version_has_a_known_end() -> None:
    assert VERSION in ENDS
