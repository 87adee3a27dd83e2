"""The stand-ins are held to the real thing: clients that this project did not write take them for the providers.

Twilio's own library and `pywa` speak to the stand-ins and read what these post; Telegram's library does in
``tests/channels/test_telegram.py`` too. What the clients raise is what the providers document.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import telegram
from pywa import WhatsApp
from pywa import errors as meta_errors
from pywa.types import Button, Message, MessageStatus, MessageStatusType, Section, SectionList, SectionRow
from pywa.types.templates import BodyText, TemplateLanguage
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from bot import standin, standin_graph
from bot.say_phones import SmsPhone, TelegramPhone, WhatsAppPhone
from bot.services import Services
from bot.standin_meta import ACCOUNT, APP
from channels.templates import Template
from tests.bot.door import PERSON
from tests.bot.standins import Standins, with_standins

PLAIN = Template("advocate", "we_have_an_answer", "en_US", "We have an answer for you. Write back when it is safe.")
NAMED = Template("advocate", "an_answer", "fr", "Notre réponse\N{NO-BREAK SPACE}: {{words}}. Écrivez-nous.")
COUNTED = Template("advocate", "an_answer", "es", "Nuestra respuesta: {{1}}. Escríbanos.")
DELIVERED = MessageStatusType.DELIVERED


@pytest.fixture
async def standins(services: Services) -> AsyncIterator[Standins]:
    given = services.settings.whatsapp
    assert given is not None
    whatsapp = dataclasses.replace(given, templates=(PLAIN, NAMED, COUNTED))
    async with with_standins(services, whatsapp=whatsapp) as made:
        yield made


# -- Twilio's own library


class ToStandin(TwilioHttpClient):
    """Twilio's client, led to another host."""

    def __init__(self, url: str) -> None:
        super().__init__(timeout=10)
        self._url = url

    def request(self, method: str, url: str, *given: Any, **named: Any) -> Any:
        return super().request(method, url.replace("https://api.twilio.com", self._url), *given, **named)


@pytest.fixture
def twilio_client(standins: Standins) -> Iterator[Callable[..., Client]]:
    http = ToStandin(standins.url)

    def make(token: str = "") -> Client:
        return Client(standins.twilio.account_sid, token or standins.twilio.auth_token, http_client=http)

    yield make
    assert http.session is not None
    http.session.close()


async def test_twilios_library_sends_lists_and_fetches(
    standins: Standins, twilio_client: Callable[..., Client]
) -> None:
    def speak() -> None:
        client = twilio_client()
        made = client.messages.create(to=PERSON, from_="+15005550006", body="ça va? " + "x" * 300)
        assert (made.status, made.num_segments, made.direction) == ("queued", "5", "outbound-api")
        assert made.date_created is not None
        second = client.messages.create(to="+15145550188", from_="+15005550006", body="two")
        assert [message.sid for message in client.messages.list(to=PERSON, limit=20)] == [made.sid]
        assert [message.sid for message in client.messages.list(limit=20)] == [second.sid, made.sid]
        assert client.messages(made.sid).fetch().body == made.body
        assert client.api.accounts(standins.twilio.account_sid).fetch().status == "active"
        (number,) = client.incoming_phone_numbers.list(phone_number="+15005550006")
        changed = client.incoming_phone_numbers(number.sid).update(sms_url="https://a.example/b", sms_method="POST")
        assert client.incoming_phone_numbers(number.sid).fetch().sms_url == changed.sms_url == "https://a.example/b"

    await asyncio.to_thread(speak)


async def test_twilios_library_meets_twilios_errors(twilio_client: Callable[..., Client]) -> None:
    def code(call: Any) -> tuple[int, int]:
        with pytest.raises(TwilioRestException) as caught:
            call()
        return caught.value.status, caught.value.code

    def speak() -> None:
        client = twilio_client()
        assert code(lambda: client.messages.create(to=PERSON, from_="+15005550006", body="")) == (400, 21602)
        assert code(lambda: client.messages.create(to="", from_="+15005550006", body="x")) == (400, 21604)
        assert code(lambda: client.messages("SM" + "0" * 32).fetch()) == (404, 20404)
        assert code(lambda: twilio_client("wrong").messages("SM1").fetch()) == (401, 20003)

    await asyncio.to_thread(speak)


def test_twilios_validator_signs_what_the_stand_in_and_say_post(standins_settings: Any) -> None:
    twilio, public = standins_settings
    validator = RequestValidator(twilio.auth_token)
    callback = f"{public}/webhooks/twilio/status?delivery=1"
    body, headers = standin._signed(twilio, callback, "SM1", "delivered")
    fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    assert fields == {"MessageSid": "SM1", "MessageStatus": "delivered"}
    assert validator.validate(callback, fields, headers["x-twilio-signature"])
    assert not validator.validate(callback, fields | {"MessageStatus": "sent"}, headers["x-twilio-signature"])
    path, body, headers = SmsPhone(twilio, public, PERSON).webhook("ça va? ")
    fields = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
    assert fields["Body"] == "ça va? "
    assert validator.validate(public + path, fields, headers["x-twilio-signature"])


@pytest.fixture
def standins_settings(tmp_path: Any) -> Any:
    from bot.settings import load

    given = load({"VAR_DIR": str(tmp_path), "PUBLIC_URL": "https://gateway.example"})
    return given.twilio, given.public_url


# -- pywa, against the stand-in of the Graph API


class ToGraph(httpx.HTTPTransport):
    """Meta's host, led to the stand-in."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._to = urlsplit(url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.host == "graph.facebook.com"
        request.url = request.url.copy_with(scheme="http", host=self._to.hostname, port=self._to.port)
        return super().handle_request(request)


@pytest.fixture
def pywa_client(standins: Standins) -> Iterator[Callable[..., WhatsApp]]:
    given = standins.whatsapp
    with ExitStack() as stack:

        def make(**changes: Any) -> WhatsApp:
            client = stack.enter_context(httpx.Client(transport=ToGraph(standins.url)))
            named: dict[str, Any] = {
                "phone_id": given.numbers[0], "token": given.access_token, "session": client, "server": None,
                "api_version": float(given.version[1:]), "waba_id": ACCOUNT, "app_id": int(APP),
                "app_secret": given.app_secret, "verify_token": given.verify_token,
            }  # fmt: skip
            return WhatsApp(**named | changes)

        yield make


def shown(standins: Standins) -> list[str]:
    """What WhatsApp's phone shows, oldest first."""
    given = standins.whatsapp
    url = f"{standins.url}/{given.version}/{given.numbers[0]}/messages"
    headers = {"authorization": f"Bearer {given.access_token}"}
    listed = httpx.get(url, params={"to": "15145550123"}, headers=headers).json()["messages"]
    return [message["text"] for message in reversed(listed)]


async def test_pywa_sends_texts_buttons_lists_and_templates(
    standins: Standins, pywa_client: Callable[..., WhatsApp]
) -> None:
    def speak() -> None:
        client, person = pywa_client(), "15145550123"
        buttons = [Button("Oui", callback_data="choice.yes"), Button("Non", callback_data="choice.no")]
        rows = [SectionRow(title=f"Row {number}", callback_data=f"choice.{number}") for number in "abcd"]
        made = [
            client.send_message(person, "ça va?"),
            client.send_message(person, "un ou deux?", buttons=buttons),
            client.send_message(person, "lequel?", buttons=SectionList("Voir", sections=[Section("S", rows=rows)])),
            client.send_template(person, PLAIN.name, TemplateLanguage.ENGLISH_US),
            client.send_template(person, NAMED.name, TemplateLanguage.FRENCH, [BodyText.params(words="demain")]),
            client.send_template(person, COUNTED.name, TemplateLanguage.SPANISH, [BodyText.params("mañana")]),
        ]
        assert all(sent.id.startswith("wamid.") for sent in made)
        assert len({sent.id for sent in made}) == 6
        assert shown(standins) == [
            "ça va?",
            "un ou deux?\n[Oui]\n[Non]",
            "lequel?\n[Row a]\n[Row b]\n[Row c]\n[Row d]",
            PLAIN.body,
            "Notre réponse\N{NO-BREAK SPACE}: demain. Écrivez-nous.",
            "Nuestra respuesta: mañana. Escríbanos.",
        ]

    await asyncio.to_thread(speak)


async def test_pywa_meets_the_errors_that_meta_documents(
    standins: Standins, pywa_client: Callable[..., WhatsApp]
) -> None:
    def speak() -> None:
        client, person = pywa_client(), "15145550123"
        with pytest.raises(meta_errors.InvalidParameter) as caught:  # 131009
            client.send_message(person, "x" * 4097)
        assert caught.value.details
        assert caught.value.fbtrace_id
        with pytest.raises(meta_errors.ExpiredAccessToken):  # 190
            pywa_client(token="wrong").send_message(person, "x")
        with pytest.raises(meta_errors.WhatsAppError) as unknown:
            pywa_client(phone_id="100000000000009").send_message(person, "x")
        assert (unknown.value.code, unknown.value.status_code) == (100, 400)
        with pytest.raises(meta_errors.TemplateNotExists) as missing:  # 132001
            client.send_template(person, PLAIN.name, TemplateLanguage.FRENCH)
        assert missing.value.status_code == 404
        with pytest.raises(meta_errors.TemplateParamCountMismatch):  # 132000
            client.send_template(person, PLAIN.name, TemplateLanguage.ENGLISH_US, [BodyText.params("one too many")])
        assert shown(standins) == []

    await asyncio.to_thread(speak)


async def test_pywa_reads_the_number_and_sets_the_apps_webhook(
    standins: Standins, pywa_client: Callable[..., WhatsApp]
) -> None:
    given, hook = standins.whatsapp, "https://gateway.example/webhooks/whatsapp"

    def speak() -> None:
        client = pywa_client()
        with pytest.raises(meta_errors.WhatsAppError):
            client.get_app_access_token(app_id=int(APP), app_secret="wrong")
        token = client.get_app_access_token(app_id=int(APP), app_secret=given.app_secret)
        with pytest.raises(meta_errors.WhatsAppError) as caught:  # our own webhook refuses the challenge
            client.set_app_callback_url(int(APP), token, hook, "wrong", ("messages",))
        assert caught.value.code == 2200
        assert client.set_app_callback_url(int(APP), token, hook, given.verify_token, ("messages",))
        number = client.get_business_phone_number()
        assert number.id == given.numbers[0]
        assert number.webhook_configuration == {"application": hook}

    await asyncio.to_thread(speak)


# -- pywa, reading what comes in


@dataclasses.dataclass
class Heard:
    """A client of pywa, and what its handlers were given."""

    client: WhatsApp
    messages: list[Message] = dataclasses.field(default_factory=list)
    statuses: list[MessageStatus] = dataclasses.field(default_factory=list)

    def take(self, body: bytes, headers: Any) -> None:
        assert self.client.webhook_update_validator(body, headers["x-hub-signature-256"]) is None
        assert self.client.webhook_update_handler(body) == ("ok", 200)


@pytest.fixture
def heard(pywa_client: Callable[..., WhatsApp]) -> Heard:
    client = pywa_client()
    found = Heard(client)
    client.on_message(lambda _, message: found.messages.append(message))  # type: ignore[arg-type]
    client.on_message_status(lambda _, told: found.statuses.append(told))  # type: ignore[arg-type]
    return found


async def test_pywa_reads_what_say_and_the_stand_in_post(standins: Standins, heard: Heard) -> None:
    _, body, headers = WhatsAppPhone(standins.whatsapp, PERSON).webhook("ça va? 🙂")
    heard.take(body, headers)
    (message,) = heard.messages
    assert (message.text, message.from_user.wa_id) == ("ça va? 🙂", PERSON[1:])
    assert message.metadata.phone_number_id == standins.whatsapp.numbers[0]
    sent = {"id": "wamid.1", "to": PERSON[1:], "number": standins.whatsapp.numbers[0]}
    body, headers = standin_graph._signed(standins.whatsapp, sent, "tracker-1", "delivered")  # type: ignore[assignment]
    heard.take(body, headers)
    (told,) = heard.statuses
    assert (told.id, told.status, told.tracker) == ("wamid.1", DELIVERED, "tracker-1")
    assert heard.client.webhook_update_validator(body + b" ", headers["x-hub-signature-256"]) is not None


async def test_what_pywa_reads_our_webhook_stores(standins: Standins, heard: Heard) -> None:
    _, body, headers = WhatsAppPhone(standins.whatsapp, PERSON).webhook("the same words")
    heard.take(body, headers)
    answer = await standins.door.client.post("/webhooks/whatsapp", content=body, headers=headers)
    assert answer.status_code == 200
    assert await standins.door.words() == [message.text for message in heard.messages]


# -- Telegram's library


async def test_telegrams_library_reads_what_say_posts_and_meets_a_webhook_that_is_set(standins: Standins) -> None:
    _, body, _ = TelegramPhone(standins.telegram, "1000000002").webhook("ça va? 🙂")
    update = telegram.Update.de_json(json.loads(body))
    assert update.message is not None
    assert update.effective_chat is not None
    assert (update.message.text, update.effective_chat.id, update.effective_chat.type) == (
        "ça va? 🙂", 1000000002, "private",
    )  # fmt: skip
    async with telegram.Bot(standins.telegram.bot_token, base_url=f"{standins.url}/bot") as bot:
        assert await bot.get_updates() == ()
        with pytest.raises(telegram.error.BadRequest, match=r"(?i)https"):
            await bot.set_webhook("http://gateway.example/webhooks/telegram")
        assert await bot.set_webhook("https://gateway.example/webhooks/telegram", secret_token="s")
        with pytest.raises(telegram.error.Conflict, match=r"(?i)webhook is active"):
            await bot.get_updates()
        assert await bot.delete_webhook()
        assert (await bot.get_webhook_info()).url == ""
