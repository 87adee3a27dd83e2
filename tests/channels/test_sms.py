"""SMS through Twilio: its signature as its own library makes it, its fields, its codes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate
from urllib.parse import parse_qs, quote_plus, urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

import channels.sms
from channels.channel import Ambiguous, Inbound, Media, NotSent, Part, RawRequest, Refused, SendError, Sent, Status
from channels.channel import Unreadable as Kept
from channels.outgoing import read_errors, split
from channels.sms import MAX_TEXT, Sms
from tests.channels.actions import MEANS
from tests.conftest import TOKEN

HOOK = "https://gateway.example/webhooks/twilio"
STATUS = f"{HOOK}/status"
PERSON = "+15145550123"
Pairs = Sequence[tuple[str, str]]


def channel(client: httpx.AsyncClient | None = None, *, api_url: str = "http://twilio.test", token: str = TOKEN) -> Sms:
    return Sms(
        client or httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(500))),
        account_sid="AC1",
        auth_token=token,
        sender="+15005550006",
        api_url=api_url,
        status_url=STATUS,
    )


OURS = channel()

# -- the signature


class Repeated(dict[str, list[str]]):
    """A form in which a field may come twice, in a shape that the provider's library reads."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


def twilios(pairs: Pairs, url: str = HOOK, token: str = TOKEN) -> str:
    """The signature by the provider's own library."""
    form = Repeated()
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return str(RequestValidator(token).compute_signature(url, form))


def posted(pairs: Pairs, signature: str | None, url: str = HOOK) -> RawRequest:
    headers = {} if signature is None else {"x-twilio-signature": signature}
    return RawRequest(url, headers, urlencode(list(pairs)).encode("ascii"))


MESSAGE = [("MessageSid", "SM1"), ("From", PERSON), ("To", "+15005550006"), ("Body", "hello"), ("NumMedia", "0")]


@pytest.mark.parametrize(
    ("pairs", "url"),
    [
        pytest.param(MESSAGE, HOOK, id="a message"),
        pytest.param([*MESSAGE, ("FromCity", ""), ("FromZip", "")], HOOK, id="blank values"),
        pytest.param([("Body", "hello  "), ("From", " ")], HOOK, id="spaces at the end"),
        pytest.param([("Body", "\n\ttab and line\r\n")], HOOK, id="white space"),
        pytest.param([("Body", "ਮੇਰਾ ਪਾਸਪੋਰਟ 帮助 👩‍👩‍👧 é")], HOOK, id="not ASCII"),
        pytest.param([("Körper", "ü"), ("Body", "x")], HOOK, id="a name that is not ASCII"),
        pytest.param([("Body", "a&b=c+d%20e;f#g?h")], HOOK, id="characters with a meaning"),
        pytest.param([("b", "2"), ("B", "1"), ("a", "3"), ("A1", "4"), ("A", "5")], HOOK, id="order of capitals"),
        pytest.param([("MediaUrl0", "x"), ("MediaUrl10", "y"), ("MediaUrl1", "z")], HOOK, id="order of numbers"),
        pytest.param([("x", "b"), ("x", "a"), ("y", "c")], HOOK, id="a field twice"),
        pytest.param([("x", "a"), ("x", "a")], HOOK, id="the same field and value twice"),
        pytest.param(MESSAGE, f"{HOOK}?tenant=1&empty=&b=%20a+b", id="a query"),
        pytest.param(MESSAGE, f"{STATUS}?delivery=0b0e4a6e-0d4e-4a51-8f6b-b2f0c5f9a3a1", id="our own query"),
        pytest.param(MESSAGE, "https://gateway.example:8443/webhooks/twilio", id="a port"),
        pytest.param([("", "no name"), ("x", "")], HOOK, id="no name"),
        pytest.param([], HOOK, id="no fields"),
    ],
)
def test_the_providers_own_signature_is_accepted(pairs: Pairs, url: str) -> None:
    right = twilios(pairs, url)
    assert OURS.verify(posted(pairs, right, url))
    assert OURS.verify(posted(list(reversed(pairs)), right, url))
    assert not OURS.verify(posted([*pairs, ("Extra", "1")], right, url))
    assert not OURS.verify(posted(pairs, right, url.replace("twilio", "twillio")))
    assert not OURS.verify(posted(pairs, twilios(pairs, url, token="another"), url))


def test_the_example_of_the_providers_documentation_is_accepted() -> None:
    pairs = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675309"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
        ("To", "+18005551212"),
    ]
    request = posted(pairs, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", "https://mycompany.com/myapp.php?foo=1&bar=2")
    assert channel(token="12345").verify(request)
    assert not OURS.verify(request)


FORM = st.lists(
    st.tuples(
        st.text(st.characters(blacklist_categories=["Cs"]), max_size=8),
        st.text(st.characters(blacklist_categories=["Cs"]), max_size=20),
    ),
    max_size=8,
)


@given(FORM, st.randoms())
def test_any_form_is_signed_as_the_provider_does(pairs: list[tuple[str, str]], chance: object) -> None:
    right = twilios(pairs)
    shuffled = list(pairs)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert OURS.verify(posted(shuffled, right))


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        " ",
        "wrong",
        "=" * 28,
        "é" * 28,
        "\udcff" * 28,
        "\x00",
        twilios(MESSAGE)[:-1],
        twilios(MESSAGE) + "\n",
        twilios(MESSAGE).swapcase(),
        twilios([]),
        twilios(MESSAGE, token=""),
        twilios(MESSAGE, "http://gateway.example/webhooks/twilio"),
        twilios(MESSAGE, "https://elsewhere.example/webhooks/twilio"),
        twilios([(name, value.strip() or "0") for name, value in MESSAGE[1:]]),
    ],
)
def test_any_other_signature_is_refused(signature: str | None) -> None:
    assert not OURS.verify(posted(MESSAGE, signature))


@pytest.mark.parametrize(
    ("ours", "signed"),
    [
        ("https://gateway.example", "https://gateway.example:443"),
        ("https://gateway.example:443", "https://gateway.example"),
        ("https://gateway.example:8443", "https://gateway.example"),
        ("http://gateway.example", "http://gateway.example:80"),
        ("http://[::1]:8000", "http://[::1]"),
    ],
)
def test_the_port_may_be_signed_or_not(ours: str, signed: str) -> None:
    path = "/webhooks/twilio?a=b:9"
    assert OURS.verify(posted(MESSAGE, twilios(MESSAGE, signed + path), ours + path))
    assert not OURS.verify(posted(MESSAGE, twilios(MESSAGE, "https://gateway.example:9" + path), ours + path))


def test_a_json_body_is_vouched_for_by_its_hash_in_the_address() -> None:
    body = '{"MessageSid": "é"}'.encode()
    url = f"{HOOK}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    right = str(RequestValidator(TOKEN).compute_signature(url, {}))
    assert RequestValidator(TOKEN).validate(url, body.decode(), right)
    assert OURS.verify(RawRequest(url, {"x-twilio-signature": right}, body))
    assert not OURS.verify(RawRequest(url, {"x-twilio-signature": right}, body + b" "))
    assert not OURS.verify(RawRequest(HOOK, {"x-twilio-signature": right}, body))
    (item,) = OURS.parse(RawRequest(url, {}, body))
    assert isinstance(item, Kept)


# -- what comes in


def parsed(pairs: Pairs | dict[str, str], url: str = HOOK) -> object:
    items = OURS.parse(RawRequest(url, {}, urlencode(pairs).encode("ascii")))
    assert len(items) <= 1
    return items[0] if items else None


def message(**fields: str) -> Inbound:
    item = parsed({**dict(MESSAGE), **fields})
    assert isinstance(item, Inbound)
    return item


def test_a_text_is_read() -> None:
    assert message() == Inbound("SM1", PERSON, "text", "hello")


PICTURE = {"MediaUrl0": "https://api.twilio.com/ME1", "MediaContentType0": "image/jpeg"}
VOICE = {"MediaUrl0": "https://api.twilio.com/ME2", "MediaContentType0": "audio/amr"}


@pytest.mark.parametrize(
    ("fields", "kind", "media"),
    [
        ({"Body": "", "NumMedia": "1", **PICTURE}, "image", 1),
        ({"Body": "   ", "NumMedia": "1", **VOICE}, "audio", 1),
        ({"Body": "", "NumMedia": "1", "MediaUrl0": "u", "MediaContentType0": "video/3gpp"}, "video", 1),
        ({"Body": "", "NumMedia": "1", "MediaUrl0": "u", "MediaContentType0": "text/vcard"}, "document", 1),
        ({"Body": "", "NumMedia": "1", "MediaUrl0": "u"}, "document", 1),
        ({"Body": "look", "NumMedia": "1", **PICTURE}, "text", 1),
        ({"Body": "", "NumMedia": "0", **PICTURE}, "image", 1),  # NumMedia says none
        ({"Body": "", "NumMedia": "10", **PICTURE}, "image", 1),  # and here ten
        ({"Body": "", "NumMedia": "-1", **PICTURE}, "image", 1),
        ({"Body": "", "NumMedia": "many", **PICTURE}, "image", 1),
        ({"Body": "hello", "NumMedia": "3"}, "text", 0),
        ({"Body": "", "NumMedia": "1"}, "text", 0),
        ({"Body": "", "NumMedia": "2", **PICTURE, "MediaUrl1": "https://api.twilio.com/ME9"}, "image", 2),
        ({"Body": "", "NumMedia": "1", "MediaUrl3": "https://api.twilio.com/ME3"}, "document", 1),
        ({"Body": "x", "MediaUrl0": ""}, "text", 0),
    ],
)
def test_media_count_by_their_addresses(fields: dict[str, str], kind: str, media: int) -> None:
    item = message(**fields)
    assert (item.kind, len(item.media)) == (kind, media)


def test_media_are_kept_as_references() -> None:
    assert message(Body="", **PICTURE).media == (Media("https://api.twilio.com/ME1", "image/jpeg"),)


@pytest.mark.parametrize(
    ("text", "provider", "kind"),
    [
        ("STOP", "STOP", "optout"),
        ("cancel", "STOP", "optout"),  # a word of the provider's own list
        ("START", "START", "optin"),
        ("HELP", "HELP", "keyword"),
        ("stop", "stop", "optout"),
        ("STOP", "", "keyword"),
        ("arrêt", "", "keyword"),
        ("make him stop", "", "text"),
        ("hello", "LATER", "text"),
    ],
)
def test_the_providers_own_opt_out_is_known(text: str, provider: str, kind: str) -> None:
    item = message(Body=text, OptOutType=provider)
    assert item.kind == kind
    assert item.answered == (provider.upper() in ("STOP", "START", "HELP"))


@pytest.mark.parametrize(
    ("fields", "region"),
    [
        ({"FromState": "QC", "FromCountry": "CA"}, "QC"),
        ({"FromState": "qc", "FromCountry": "ca"}, "QC"),
        ({"FromState": "NL"}, "NL"),
        ({"FromState": "NY", "FromCountry": "US"}, None),
        ({"FromState": "NL", "FromCountry": "NL"}, None),
        ({"FromState": "", "FromCountry": "CA"}, None),
        ({"FromState": "Québec\x00"}, None),
        ({}, None),
    ],
)
def test_only_a_canadian_province_is_a_region(fields: dict[str, str], region: str | None) -> None:
    assert message(**fields).region == region


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"MessageSid": "SM1"},
        {"From": PERSON},
        {"MessageSid": "", "From": PERSON},
        {"MessageSid": "SM1", "From": ""},
        {"MessageSid": "SM\x001", "From": PERSON},
        {"MessageSid": "S" * 65, "From": PERSON},
        {"MessageSid": "SM 1", "From": PERSON},
        {"MessageSid": "ＳＭ１", "From": PERSON},
        {"MessageSid": "SM1\n", "From": PERSON},
    ],
)
def test_a_message_without_id_or_sender_is_kept_aside(fields: dict[str, str]) -> None:
    item = parsed(fields)
    assert isinstance(item, Kept)
    assert item.body == urlencode(fields).encode()


def test_the_older_name_of_the_id_is_known() -> None:
    item = parsed({"SmsSid": "SM7", "From": PERSON, "Body": "x"})
    assert isinstance(item, Inbound)
    assert item.provider_id == "SM7"


def test_a_lone_surrogate_on_the_wire_spoils_only_itself() -> None:
    body = "MessageSid=SM1&From=%2B1&Body=" + quote_plus("before \ud83d after", errors="surrogatepass")
    (item,) = OURS.parse(RawRequest(HOOK, {}, body.encode("ascii")))
    assert isinstance(item, Inbound)
    assert item.text.startswith("before \ufffd")
    assert item.text.endswith(" after")


def test_more_fields_than_a_message_has_are_kept_aside() -> None:
    item = parsed([*MESSAGE, *((f"x{number}", "") for number in range(300))])
    assert isinstance(item, Kept)


# -- statuses


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("accepted", None),
        ("scheduled", None),
        ("queued", None),
        ("sending", None),
        ("sent", "sent"),
        ("delivered", "delivered"),
        ("read", "read"),
        ("undelivered", "failed"),
        ("failed", "failed"),
        ("canceled", "failed"),
        ("receiving", None),
        ("partially_delivered", None),
        ("DELIVERED", None),
        ("\x00", None),
    ],
)
def test_a_status_says_how_far_a_part_has_come(word: str, state: str | None) -> None:
    item = parsed({"MessageSid": "SM1", "MessageStatus": word}, f"{STATUS}?delivery=d1")
    assert item == (None if state is None else Status("SM1", state, delivery="d1"))
    older = parsed({"SmsSid": "SM1", "SmsStatus": word}, STATUS)
    assert older == (None if state is None else Status("SM1", state))


@pytest.mark.parametrize(
    ("code", "kept", "stops"),
    [
        ("21610", "21610", True),
        ("30007", "30007", False),
        ("99999", "99999", False),
        ("", "", False),
        ("3\x000", "", False),
        ("9" * 500, "", False),
    ],
)
def test_a_status_carries_its_error(code: str, kept: str, stops: bool) -> None:
    item = parsed({"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": code}, STATUS)
    assert item == Status("SM1", "failed", error=kept, stops=stops)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"MessageSid": "SM1"},
        {"MessageStatus": "sent"},
        {"MessageSid": "SM1", "MessageStatus": ""},
        {"MessageSid": "\x00", "MessageStatus": "sent"},
    ],
)
def test_a_status_that_says_nothing_is_kept_aside(fields: dict[str, str]) -> None:
    assert isinstance(parsed(fields, STATUS), Kept)


# -- what goes out


Answer = Callable[[httpx.Request], httpx.Response]


@asynccontextmanager
async def sending(answer: Answer) -> AsyncIterator[Sms]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        yield channel(client)


async def outcome(answer: Answer) -> Sent | SendError:
    async with sending(answer) as ours:
        return await outcome_of(ours)


async def outcome_of(ours: Sms) -> Sent | SendError:
    try:
        return await ours.send(PERSON, Part("bonjour, ça va?"), delivery="d1")
    except SendError as error:
        return error


async def test_a_part_is_handed_over_as_the_provider_wants_it() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(201, json={"sid": "SMout1", "status": "queued"})

    assert await outcome(answer) == Sent("SMout1")
    (request,) = asked
    assert str(request.url) == "http://twilio.test/2010-04-01/Accounts/AC1/Messages.json"
    assert request.headers["authorization"].startswith("Basic ")
    assert TOKEN not in str(request.url)
    assert parse_qs(request.content.decode()) == {
        "To": [PERSON],
        "From": ["+15005550006"],
        "Body": ["bonjour, ça va?"],
        "StatusCallback": [f"{STATUS}?delivery=d1"],
    }


CODES = sorted(read_errors("twilio").items())


@pytest.mark.parametrize(("code", "action"), CODES)
async def test_every_code_of_the_table_means_what_it_says(code: str, action: str) -> None:
    error = await outcome(lambda request: httpx.Response(400, json={"code": int(code), "message": "x", "status": 400}))
    wanted, stops, wait = MEANS[action]
    assert type(error) is wanted
    assert (error.code, error.stops, error.retry_after) == (code, stops, wait)


@pytest.mark.parametrize(
    ("status", "body", "headers", "wanted", "code", "stops", "wait"),
    [
        (401, {"code": 20003}, {}, Refused, "20003", False, None),
        (401, {"code": 99999}, {}, Refused, "99999", False, None),
        (401, "no JSON", {}, Refused, "401", False, None),
        (403, {"code": 99999}, {}, Refused, "99999", False, None),
        (400, {"code": 21610}, {}, Refused, "21610", True, None),
        (400, {"code": 30003}, {}, NotSent, "30003", False, None),
        (400, {"code": 30007}, {}, Refused, "30007", False, None),
        (400, {"code": "30007"}, {}, Refused, "30007", False, None),
        (429, {"code": 20429}, {"retry-after": "7"}, NotSent, "20429", False, 7.0),
        (429, {"code": 20429}, {}, NotSent, "20429", False, 30.0),
        (429, {"code": 99999}, {"retry-after": "0.5"}, NotSent, "99999", False, 0.5),
        (429, "no JSON", {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, NotSent, "429", False, 30.0),
        (429, {"code": 20429}, {"retry-after": "-5"}, NotSent, "20429", False, 0.0),
        (429, {"code": 20429}, {"retry-after": "nan"}, NotSent, "20429", False, 30.0),
        (429, {"code": 20429}, {"retry-after": "inf"}, NotSent, "20429", False, 3600.0),
        (429, {"code": 20429}, {"retry-after": "1e9"}, NotSent, "20429", False, 3600.0),
        (400, {"code": 99999}, {}, NotSent, "99999", False, None),  # unknown: bounded retry
        (400, {"message": "no code"}, {}, NotSent, "400", False, None),
        (400, ["a", "list"], {}, NotSent, "400", False, None),
        (404, "no JSON", {}, NotSent, "404", False, None),
        (500, {"code": 20500}, {}, NotSent, "20500", False, None),
        (502, "<html>", {}, NotSent, "502", False, None),
        (503, "", {}, NotSent, "503", False, None),
        (302, "", {"location": "http://twilio.test/elsewhere"}, NotSent, "302", False, None),
    ],
)
async def test_a_refusal_says_whether_trying_again_is_safe(
    status: int,
    body: object,
    headers: dict[str, str],
    wanted: type[SendError],
    code: str,
    stops: bool,
    wait: float | None,
) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        if isinstance(body, str):
            return httpx.Response(status, text=body, headers=headers)
        return httpx.Response(status, json=body, headers=headers)

    error = await outcome(answer)
    assert type(error) is wanted
    assert (error.code, error.stops, error.retry_after) == (code, stops, wait)
    assert TOKEN not in repr(error)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'"x"', b"null", b'{"sid": null}', b"\xff\xfe\xff"])
async def test_taken_but_without_an_id_is_ambiguous(content: bytes) -> None:
    assert isinstance(await outcome(lambda request: httpx.Response(201, content=content)), Ambiguous)


@asynccontextmanager
async def loopback(talk: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Sms]:
    """A server that reads a whole request and then does as told."""

    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            await talk(writer)
        finally:
            writer.close()
            await writer.wait_closed()
            done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, httpx.AsyncClient() as client:
        yield channel(client, api_url=f"http://127.0.0.1:{port}")
        await asyncio.wait_for(done.wait(), 20)


async def test_no_answer_in_time_is_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels.sms, "TIMEOUT", httpx.Timeout(0.3, connect=5.0))
    answered = asyncio.Event()

    async def never(_writer: asyncio.StreamWriter) -> None:
        await answered.wait()

    async with loopback(never) as ours:
        error = await outcome_of(ours)
        answered.set()
    assert isinstance(error, Ambiguous)
    assert error.code == "ReadTimeout"


async def test_a_line_cut_after_the_request_is_ambiguous() -> None:
    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 201 Created\r\ncontent-le")

    async with loopback(cut) as ours:
        assert isinstance(await outcome_of(ours), Ambiguous)


# -- finding a part after a crash


def listed(**changes: object) -> dict[str, object]:
    return {
        "sid": "SMout1",
        "body": "bonjour",
        "date_created": formatdate(1000),
        "direction": "outbound-api",
        **changes,
    }


async def found(answer: Answer) -> Sent | SendError | None:
    async with sending(answer) as ours:
        try:
            return await ours.find(PERSON, Part("bonjour"), since=1000.0)
        except SendError as error:
            return error


@pytest.mark.parametrize(
    ("taken", "wanted"),
    [
        ([], None),
        ([listed()], Sent("SMout1")),
        ([listed(body="another"), listed(sid="SMout2")], Sent("SMout2")),
        ([listed(direction="inbound")], None),
        ([listed(date_created=formatdate(100))], None),
        ([listed(body=None)], None),
    ],
)
async def test_a_part_is_found_among_what_the_provider_took(taken: list[object], wanted: Sent | None) -> None:
    assert await found(lambda request: httpx.Response(200, json={"messages": taken})) == wanted


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"messages": []}),
        (401, {"code": 20003}),
        (200, {}),
        (200, []),
        (200, {"messages": None}),
        (200, {"messages": ["x"]}),
        (200, {"messages": [{}]}),
        (200, {"messages": [listed(date_created=None)]}),
        (200, {"messages": [listed(date_created="yesterday")]}),
        (200, {"messages": [listed(direction=None)]}),
    ],
)
async def test_a_provider_that_cannot_tell_leaves_it_ambiguous(status: int, body: object) -> None:
    assert isinstance(await found(lambda request: httpx.Response(status, json=body)), Ambiguous)


# -- cutting


@given(st.text(max_size=400), st.integers(5, 60))
def test_pieces_are_short_enough_and_lose_no_word(text: str, limit: int) -> None:
    pieces = split(text, limit)
    assert all(0 < len(piece) <= limit for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("short", ["short"]),
        ("One sentence. Another one.", ["One sentence.", "Another one."]),
        ("nothing but words here and there", ["nothing but words", "here and there"]),
        ("x" * 45, ["x" * 20, "x" * 20, "x" * 5]),
        ("क्या आप ठीक हैं। मुझे बताइए।", ["क्या आप ठीक हैं।", "मुझे बताइए।"]),
    ],
)
def test_it_cuts_after_a_sentence_or_between_words(text: str, pieces: list[str]) -> None:
    assert split(text, 20) == pieces


def test_one_part_carries_at_most_what_the_provider_takes() -> None:
    assert [len(part.text) for part in OURS.compose("y" * (MAX_TEXT + 1), ())] == [MAX_TEXT, 1]
