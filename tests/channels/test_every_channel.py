"""What every channel must do: refuse what is not proven, read anything without falling, lose no word."""

from __future__ import annotations

import asyncio
import csv
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import channels
from channels import more
from channels.channel import (
    Ambiguous,
    Channel,
    Inbound,
    Item,
    NotSent,
    Part,
    RawRequest,
    SendError,
    Sent,
    Status,
    Unreadable,
)
from channels.outgoing import BACK_OFF, pause
from channels.sms import Sms, sign
from channels.telegram import Telegram
from channels.webchat import WebChat
from channels.whatsapp import WhatsApp
from channels.whatsapp import sign as meta_sign
from tests.bot import graph
from tests.channels import telegram_examples as telegram
from tests.conftest import TOKEN
from tests.running import free_port

HOOK = "https://gateway.example/webhooks/twilio"
ERRORS = Path(*channels.__path__) / "errors"


def answer(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(201, json={"sid": "SMout1"})


@dataclass(frozen=True)
class Sample:
    """One channel and how its requests look."""

    channel: Channel
    proof: str  # the header that proves where a request comes from
    make: Callable[[httpx.AsyncClient, str], Channel] | None = None  # with the provider at this address
    address: str = "+15145550123"
    urls: tuple[str, ...] = ("",)
    asked: Callable[[str, str], RawRequest] | None = None  # a text and the message's id, as the provider posts it

    def made(self, client: httpx.AsyncClient, api_url: str) -> Channel:
        assert self.make is not None, "the web chat has no provider"
        return self.make(client, api_url)

    def request(self, text: str, *, message: str = "m1") -> RawRequest:
        if self.asked is not None:
            return self.asked(text, message)
        if self.channel.name == "web":
            body = json.dumps({"type": "message", "client_id": message, "text": text}).encode()
            return RawRequest("", {"token": "T" * 22 + ".mark"}, body)
        if self.channel.name == "telegram":
            number = int("".join(c for c in message if c.isdigit()))
            body = telegram.encoded(telegram.message(text, update=number))
            return RawRequest("", {self.proof: telegram.SECRET}, body)
        if self.channel.name == "whatsapp":
            body = graph.batch(graph.message(text, row=message))
            return RawRequest("", {self.proof: meta_sign(graph.SECRET, body)}, body)
        body = urlencode({"MessageSid": message, "From": "+15145550123", "Body": text}).encode()
        return RawRequest(HOOK, {self.proof: sign(TOKEN, RawRequest(HOOK, {}, body)) or ""}, body)


def twilio(client: httpx.AsyncClient, api_url: str) -> Sms:
    return Sms(
        client,
        account_sid="AC1",
        auth_token=TOKEN,
        sender="+15005550006",
        api_url=api_url,
        status_url=f"{HOOK}/status",
    )


def bot(client: httpx.AsyncClient, api_url: str) -> Telegram:
    return Telegram(
        client,
        bot_token=telegram.TOKEN,
        secret_token=telegram.SECRET,
        api_url=api_url,
        webhook_url="https://gateway.example/webhooks/telegram",
    )


def meta(client: httpx.AsyncClient, api_url: str) -> WhatsApp:
    return graph.channel(client, api_url=api_url)


def sample(
    make: Callable[[httpx.AsyncClient, str], Channel],
    answered: Callable[[httpx.Request], httpx.Response],
    proof: str,
    address: str,
    *urls: str,
) -> Sample:
    client = httpx.AsyncClient(transport=httpx.MockTransport(answered))
    return Sample(make(client, "http://provider.test"), proof, make, address, urls or ("",))


SIGNED = (HOOK, f"{HOOK}/status", f"{HOOK}?a=b&bodySHA256=0")
PERSON = f"{graph.NUMBER}:{graph.PERSON}"
SAMPLES = [
    pytest.param(sample(twilio, answer, "x-twilio-signature", "+15145550123", *SIGNED), id="sms"),
    pytest.param(Sample(WebChat(), "token"), id="web"),
    pytest.param(sample(bot, telegram.answer, "x-telegram-bot-api-secret-token", str(telegram.PERSON)), id="telegram"),
    pytest.param(sample(meta, graph.Graph().answer, "x-hub-signature-256", PERSON), id="whatsapp"),
]
for module in more.MODULES:  # each has its table of cases: docs/develop/new-channel.md
    cases = importlib.import_module(f"tests.channels.cases_{module.NAME}")
    of_it = sample(cases.made, cases.answered, cases.PROOF, cases.ADDRESS)
    SAMPLES.append(pytest.param(replace(of_it, asked=cases.request), id=module.NAME))
every_channel = pytest.mark.parametrize("sample", SAMPLES)


def cases_of_more() -> list[Any]:
    found = []
    for module in more.MODULES:
        table = importlib.import_module(f"tests.channels.cases_{module.NAME}")
        channel = sample(table.made, table.answered, table.PROOF, table.ADDRESS).channel
        found += [pytest.param(channel, *row, id=f"{module.NAME}-{name}") for name, row in table.CASES.items()]
    return found


if more.MODULES:

    @pytest.mark.parametrize(("channel", "request_", "wanted"), cases_of_more())
    def test_a_case_of_a_channels_own_table(channel: Channel, request_: RawRequest, wanted: list[Item]) -> None:
        assert channel.verify(request_)
        assert channel.parse(request_) == wanted


def with_proof(request: RawRequest, headers: Mapping[str, str]) -> RawRequest:
    return RawRequest(request.url, headers, request.body)


@every_channel
def test_a_request_with_its_proof_is_accepted(sample: Sample) -> None:
    assert sample.channel.verify(sample.request("hello"))


@every_channel
def test_a_request_without_its_proof_is_refused(sample: Sample) -> None:
    request = sample.request("hello")
    assert not sample.channel.verify(with_proof(request, {}))
    assert not sample.channel.verify(with_proof(request, {sample.proof: ""}))


@every_channel
def test_what_a_person_writes_comes_through_unchanged(sample: Sample) -> None:
    texts = [
        "a\x00b",
        "\u202eright to left\u202c \u2066isolated\u2069",
        "zero\u200dwidth\u200cjoiners",
        "e\u0301 is not é",
        "👩‍👩‍👧 🇨🇦 👍🏽",
        "مرحبا ਮੈਨੂੰ 帮助 도와",
        "line\r\none\ttwo",
        "  spaces at both ends  ",
        "&=+%;#?",
        "\ufffd\ufeff\U0010ffff",
    ]
    for text in texts:
        (item,) = sample.channel.parse(sample.request(text))
        assert isinstance(item, Inbound)
        assert item.text == text


@every_channel
def test_the_same_words_with_another_id_are_another_message(sample: Sample) -> None:
    (first,) = sample.channel.parse(sample.request("help me", message="m1"))
    (again,) = sample.channel.parse(sample.request("help me", message="m1"))
    (other,) = sample.channel.parse(sample.request("help me", message="m2"))
    assert isinstance(first, Inbound)
    assert isinstance(other, Inbound)
    assert first == again
    assert first.provider_id != other.provider_id
    assert first.address == other.address


WIRE = st.text(st.characters(), max_size=80)  # with lone surrogates and NUL
NAMES = [
    "MessageSid",
    "SmsSid",
    "From",
    "Body",
    "NumMedia",
    "MediaUrl0",
    "MediaContentType0",
    "MediaUrl9",
    "OptOutType",
]
NAMES += ["MessageStatus", "SmsStatus", "ErrorCode", "FromState", "FromCountry", "text", "client_id", "choice"]
VALUES = WIRE | st.sampled_from(["SM1", "+15145550123", "delivered", "STOP", "QC", "99", "-1", "https://a.example/x"])


def encoded(fields: list[tuple[str, str]]) -> bytes:
    return "&".join(
        f"{quote_plus(name, errors='surrogatepass')}={quote_plus(value, errors='surrogatepass')}"
        for name, value in fields
    ).encode("ascii")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WIRE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | WIRE, inner, max_size=4),
    max_leaves=8,
)
BODIES = (
    st.binary(max_size=300)
    | st.lists(st.tuples(st.sampled_from(NAMES) | WIRE, VALUES), max_size=12).map(encoded)
    | JSON.map(lambda value: json.dumps(value).encode("ascii"))
    | st.dictionaries(st.sampled_from(NAMES), VALUES).map(lambda value: json.dumps(value).encode("ascii"))
    | st.integers(1, 100_000).map(lambda depth: b"[" * depth)
    | telegram.spoiled().map(telegram.encoded)
)
HEADERS = st.dictionaries(
    st.sampled_from(["token", "x-twilio-signature", "x-hub-signature-256", "content-type"]) | WIRE, WIRE, max_size=3
)


@every_channel
@given(body=BODIES, headers=HEADERS, data=st.data())
def test_no_request_makes_it_fall(sample: Sample, body: bytes, headers: dict[str, str], data: st.DataObject) -> None:
    request = RawRequest(data.draw(st.sampled_from(sample.urls)), headers, body)
    assert isinstance(sample.channel.verify(request), bool)
    for item in sample.channel.parse(request):
        assert isinstance(item, Inbound | Status | Unreadable)
        if isinstance(item, Unreadable):
            assert item.body == body
            assert item.reason


@every_channel
@given(body=BODIES, token=st.from_regex(r"[\w-]{22}\.[0-9a-f]{32}", fullmatch=True), data=st.data())
def test_what_becomes_a_key_can_be_stored(sample: Sample, body: bytes, token: str, data: st.DataObject) -> None:
    """PostgreSQL takes no NUL and no lone surrogate in a text, and no key of some thousand characters."""
    headers = {"token": token} if token.isascii() else {}
    request = RawRequest(data.draw(st.sampled_from(sample.urls)), headers, body)
    for item in sample.channel.parse(request):
        if not isinstance(item, Unreadable):
            assert item.provider_id.isascii()
            assert item.provider_id.isprintable()
            assert len(item.provider_id) < 200
        if isinstance(item, Status):
            assert item.state in ("sent", "delivered", "read", "failed")
            assert item.error.isprintable()
            assert len(item.error) < 200


@every_channel
@given(text=st.text(st.characters(blacklist_categories=["Cs"]), max_size=5000))
def test_composing_loses_no_word(sample: Sample, text: str) -> None:
    parts = sample.channel.compose(text, ())
    assert "".join("".join(part.text for part in parts).split()) == "".join(text.split())


@every_channel
@pytest.mark.parametrize("text", ["hello", "\ud83d lone", "a\x00b", "", "x" * 1600])
def test_sending_ends_in_sent_or_in_a_send_error(sample: Sample, text: str) -> None:
    async def outcome() -> str:
        parts = sample.channel.compose(text, ()) or [Part("")]
        try:
            return type(await sample.channel.send(sample.address, parts[0], delivery="d1")).__name__
        except SendError as error:
            return type(error).__name__

    assert asyncio.run(outcome()) in (Sent.__name__, "NotSent", "Ambiguous", "Refused")


# -- what every provider has


PROVIDERS = [SAMPLES[0], *SAMPLES[2:]]  # the web chat is our own
every_provider = pytest.mark.parametrize("sample", PROVIDERS)


async def outcome(channel: Channel, address: str) -> type[SendError | Sent]:
    try:
        return type(await channel.send(address, Part("bonjour, ça va?"), delivery="d1"))
    except SendError as error:
        return type(error)


@every_provider
async def test_a_part_is_sent(sample: Sample) -> None:
    assert await outcome(sample.channel, sample.address) is Sent


@every_provider
@pytest.mark.parametrize(
    ("failure", "wanted"),
    [
        (httpx.ConnectError("x"), NotSent),
        (httpx.ConnectTimeout("x"), NotSent),
        (httpx.PoolTimeout("x"), NotSent),
        (httpx.ReadTimeout("x"), Ambiguous),
        (httpx.WriteTimeout("x"), Ambiguous),
        (httpx.ReadError("x"), Ambiguous),
        (httpx.WriteError("x"), Ambiguous),
        (httpx.RemoteProtocolError("x"), Ambiguous),
    ],
)
async def test_only_what_never_left_is_certainly_unsent(
    sample: Sample, failure: Exception, wanted: type[SendError]
) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise failure

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        assert await outcome(sample.made(client, "http://provider.test"), sample.address) is wanted


@every_provider
async def test_a_refused_connection_is_certainly_not_sent(sample: Sample) -> None:
    async with httpx.AsyncClient() as client:
        assert await outcome(sample.made(client, f"http://127.0.0.1:{free_port()}"), sample.address) is NotSent


@pytest.mark.parametrize("path", sorted(ERRORS.glob("*.csv")), ids=lambda path: path.stem)
def test_no_code_is_listed_twice(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        codes = [row["code"] for row in csv.DictReader(file)]
    assert len(set(codes)) == len(codes) > 3


@pytest.mark.parametrize("asked", [None, "soon", "nan", float("nan"), True, [], "", 10**400])
def test_a_time_that_is_none_is_half_a_minute(asked: object) -> None:
    assert pause(asked, longest=60.0) == BACK_OFF
