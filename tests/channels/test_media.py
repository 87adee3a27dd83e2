"""Fetching what people sent: nowhere but at the provider, up to a size, and no credentials for anybody else."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from sanic import Sanic

from bot import standin, standin_graph, standin_telegram
from bot.app import make_channels
from bot.settings import Settings
from channels import sms, whatsapp
from channels.channel import MediaError
from channels.media import Origin, download
from tests.running import free_port, serving

JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 9
CREDENTIALS = {"authorization": "Basic secret"}
TWILIO = Origin("https://api.twilio.com", others=sms.MEDIA_HOSTS)
META = Origin("https://graph.facebook.com", own=whatsapp.MEDIA_HOSTS)
FILE = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1"


async def public(_host: str) -> list[str]:
    return ["1.1.1.1"]


async def got(
    answer: Callable[[httpx.Request], httpx.Response],
    url: str = FILE,
    *,
    origin: Origin = TWILIO,
    most: int = 1000,
    addresses: tuple[str, ...] = ("1.1.1.1",),
) -> bytes:
    async def resolve(_host: str) -> list[str]:
        return list(addresses)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        return await download(client, url, origin, most=most, credentials=CREDENTIALS, resolve=resolve)


async def refusal(answer: Callable[[httpx.Request], httpx.Response], url: str = FILE, **more: object) -> str:
    with pytest.raises(MediaError) as raised:
        await got(answer, url, **more)  # type: ignore[arg-type]
    return raised.value.code


def never(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"asked {request.url}")


def gives(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=JPEG)


# -- where it goes


@pytest.mark.parametrize(
    "url",
    [
        "http://api.twilio.com/2010-04-01/x",
        "https://api.twilio.com.evil.test/x",
        "https://evil.test/api.twilio.com",
        "https://api.twilio.com@evil.test/x",
        "https://user:secret@api.twilio.com/x",
        "https://api.twilio.com:8443/x",
        "https://eviltwiliocdn.com/x",
        "https://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:8000/console",
        "file:///etc/passwd",
        "//mms.twiliocdn.com/x",
        "https://[::1]/x",
        "",
        "\x00",
    ],
)
async def test_nothing_is_asked_of_anybody_but_the_provider(url: str) -> None:
    assert await refusal(never, url) == "foreign"


@pytest.mark.parametrize(
    "target", ["https://evil.test/x", "http://mms.twiliocdn.com/x", "http://127.0.0.1/", "/\\evil"]
)
async def test_a_redirect_leads_nowhere_else_either(target: str) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(307, headers={"location": target})

    assert await refusal(answer) in ("foreign", "unreachable")
    assert set(asked) == {"api.twilio.com"}


async def test_credentials_go_to_the_provider_and_not_along_with_a_redirect() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers.get("authorization")))
        if request.url.host == "api.twilio.com":
            return httpx.Response(307, headers={"location": "https://mms.twiliocdn.com/AC1/x?Signature=1"})
        return httpx.Response(200, content=JPEG)

    assert await got(answer) == JPEG
    assert seen == [("api.twilio.com", "Basic secret"), ("mms.twiliocdn.com", None)]


async def test_metas_file_host_gets_the_token_and_others_nothing() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Basic secret"
        return httpx.Response(200, content=JPEG)

    address = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1"
    assert await got(answer, address, origin=META) == JPEG
    assert await refusal(never, "https://x.lookaside.fbsbx.com/", origin=META) == "foreign"


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "::1", "fe80::1%eth0"])
async def test_a_providers_name_that_leads_into_our_own_network_is_refused(address: str) -> None:
    assert await refusal(never, addresses=("1.1.1.1", address)) == "foreign"


async def test_an_endless_redirect_ends() -> None:
    assert await refusal(lambda request: httpx.Response(302, headers={"location": FILE})) == "foreign"


# -- how much, and what became of it


@pytest.mark.parametrize("told", [True, False])
async def test_a_file_that_is_too_large_is_not_read_to_its_end(told: bool) -> None:
    sent = []

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1000):
            sent.append(1)
            yield b"x" * 100

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=pieces(), headers={"content-length": "100000"} if told else {})

    async with httpx.AsyncClient(transport=_Streaming(answer)) as client:
        with pytest.raises(MediaError, match="too_large"):
            await download(client, FILE, TWILIO, most=1000, credentials={}, resolve=public)
    assert len(sent) == (0 if told else 11)


class _Streaming(httpx.AsyncBaseTransport):
    """Unlike the library's own double it leaves the body unread."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self._answer(request)


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "gone"), (410, "gone"), (401, "settings"), (403, "settings"), (500, "unreachable"), (429, "unreachable")],
)
async def test_what_a_refusal_means(status: int, code: str) -> None:
    assert await refusal(lambda request: httpx.Response(status)) == code


async def test_a_packed_or_an_empty_answer_is_no_file() -> None:
    packed = {"content-encoding": "gzip"}
    assert await refusal(lambda request: httpx.Response(200, content=b"", headers=packed)) == "unreachable"
    assert await refusal(lambda request: httpx.Response(200)) == "gone"


async def test_a_failure_names_no_address() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("https://api.telegram.org/file/bot1:TOKEN/x", request=request)

    with pytest.raises(MediaError) as raised:
        await got(answer)
    assert (str(raised.value), raised.value.__cause__) == ("unreachable", None)
    assert raised.value.__suppress_context__


# -- each channel against its stand-in: what every one must do


@dataclasses.dataclass
class Provider:
    """The stand-ins listening, and the settings they know."""

    settings: Settings
    url: str
    client: httpx.AsyncClient

    async def sent(self, channel: str, body: bytes = JPEG, content_type: str = "image/jpeg") -> str:
        """A phone sends a file; its reference as the webhook brings it."""
        headers = {"content-type": content_type}
        given = self.settings
        assert given.twilio
        assert given.whatsapp
        assert given.telegram
        if channel == "sms":
            account = given.twilio.account_sid
            url = f"{self.url}/2010-04-01/Accounts/{account}/Media.json"
            answer = await self.client.post(url, content=body, headers=headers, auth=(account, given.twilio.auth_token))
            return str(answer.raise_for_status().json()["MediaUrl0"])
        if channel == "whatsapp":
            url = f"{self.url}/{given.whatsapp.version}/{given.whatsapp.numbers[0]}/media"
            bearer = {"authorization": f"Bearer {given.whatsapp.access_token}"}
            upload = await self.client.post(
                url, files={"file": ("x", body, content_type)}, data={"messaging_product": "whatsapp"}, headers=bearer
            )
            return f"whatsapp:{upload.raise_for_status().json()['id']}"
        url = f"{self.url}/bot{given.telegram.bot_token}/keepFile"
        kept = await self.client.post(url, content=body, headers=headers)
        return f"telegram:{kept.raise_for_status().json()['result']['file_id']}"

    async def fetched(self, channel: str, media: str, *, most: int = 2**20, **changes: Any) -> bytes:
        """``changes`` replace the channel's settings."""
        settings = self.settings
        if changes:
            part = {"sms": "twilio"}.get(channel, channel)
            changed = dataclasses.replace(getattr(settings, part), **changes)
            settings = dataclasses.replace(settings, **{part: changed})
        return await make_channels(settings, self.client)[channel].fetch(media, most=most)


@pytest.fixture
async def provider(settings: Settings) -> AsyncIterator[Provider]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    assert settings.twilio
    assert settings.whatsapp
    assert settings.telegram
    settings = dataclasses.replace(
        settings,
        twilio=dataclasses.replace(settings.twilio, api_url=url),
        whatsapp=dataclasses.replace(settings.whatsapp, api_url=url),
        telegram=dataclasses.replace(settings.telegram, api_url=url),
    )
    assert settings.twilio
    assert settings.whatsapp
    assert settings.telegram
    app: Sanic[Any, Any] = Sanic(f"media-{port}", configure_logging=False)
    app.blueprint(standin.make(settings.twilio))
    app.blueprint(standin_graph.make(settings.whatsapp, f"{url}/none"))
    app.blueprint(standin_telegram.make(settings.telegram))
    async with serving(app, port), httpx.AsyncClient() as client:
        yield Provider(settings, url, client)


every_channel = pytest.mark.parametrize("channel", ["sms", "whatsapp", "telegram"])
WRONG: dict[str, dict[str, Any]] = {
    "sms": {"auth_token": "wrong"},
    "whatsapp": {"access_token": "wrong"},
    "telegram": {"bot_token": "1:wrong"},
}
UNKNOWN = {"whatsapp": "whatsapp:1234567890", "telegram": "telegram:AAAA"}


@every_channel
async def test_a_file_comes_as_it_was_sent(provider: Provider, channel: str) -> None:
    media = await provider.sent(channel)
    assert await provider.fetched(channel, media) == JPEG
    assert await provider.fetched(channel, media) == JPEG  # an address that is asked for anew


@every_channel
async def test_the_provider_wants_our_credentials(provider: Provider, channel: str) -> None:
    media = await provider.sent(channel)
    with pytest.raises(MediaError, match="settings"):
        await provider.fetched(channel, media, **WRONG[channel])


@every_channel
async def test_a_file_that_is_too_large_is_refused(provider: Provider, channel: str) -> None:
    media = await provider.sent(channel)
    with pytest.raises(MediaError, match="too_large"):
        await provider.fetched(channel, media, most=len(JPEG) - 1)
    assert await provider.fetched(channel, media, most=len(JPEG)) == JPEG


@every_channel
async def test_a_file_that_the_provider_has_not_is_gone(provider: Provider, channel: str) -> None:
    media = UNKNOWN.get(channel) or (await provider.sent(channel))[:-3] + "000"
    with pytest.raises(MediaError, match="gone"):
        await provider.fetched(channel, media)


NONE = (
    "",
    "x",
    "http://169.254.169.254/latest",
    "whatsapp:../1/messages",
    "whatsapp:1?fields=x",
    "telegram:a b",
    "telegram:",
)


@every_channel
async def test_a_reference_that_is_none_is_asked_of_nobody(settings: Settings, channel: str) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as client:
        made = make_channels(settings, client)[channel]
        for media in NONE:
            with pytest.raises(MediaError, match="foreign"):
                await made.fetch(media, most=100)


async def test_twilios_account_is_shown_for_files_of_ours_only(provider: Provider) -> None:
    media = await provider.sent("sms")
    others = [
        media.replace("/AC1/", "/AC2/"),
        media.rpartition("/Media/")[0] + ".json",
        f"{provider.url}/2010-04-01/Accounts/AC1.json",
        media.replace("127.0.0.1", "twilio.test"),
        media + "/../../../../x",
    ]
    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as client:
        for other in others:
            with pytest.raises(MediaError, match="foreign"):
                await make_channels(provider.settings, client)["sms"].fetch(other, most=100)


async def test_the_demonstration_asks_its_stand_in_even_for_a_real_address(provider: Provider) -> None:
    media = (await provider.sent("sms")).replace(provider.url, "https://api.twilio.com")
    assert await provider.fetched("sms", media) == JPEG


@pytest.mark.parametrize("channel", ["sms", "whatsapp"])
async def test_a_provider_deletes_what_we_ask_it_to(provider: Provider, channel: str) -> None:
    media = await provider.sent(channel)
    made = make_channels(provider.settings, provider.client)[channel]
    assert await made.forget(media) is True
    for again in (made.forget(media), provider.fetched(channel, media)):
        with pytest.raises(MediaError, match="gone"):
            await again


async def test_telegram_deletes_nothing_for_us(provider: Provider) -> None:
    media = await provider.sent("telegram")
    assert await make_channels(provider.settings, provider.client)["telegram"].forget(media) is False
    assert await provider.fetched("telegram", media) == JPEG


async def test_the_stand_ins_addresses_run_out(provider: Provider) -> None:
    given = provider.settings.twilio
    assert given
    media = await provider.sent("sms")
    led = await provider.client.get(media, auth=(given.account_sid, given.auth_token))
    signed = led.headers["location"]
    assert (await provider.client.get(signed)).content == JPEG
    assert (await provider.client.get(signed, auth=("AC1", "x"))).status_code == 400
    ends = httpx.URL(signed).params["Expires"]
    late = signed.replace(ends, "1.000")
    assert (await provider.client.get(late)).status_code == 403


async def test_metas_address_wants_the_token_and_runs_out(provider: Provider) -> None:
    given = provider.settings.whatsapp
    assert given
    media = (await provider.sent("whatsapp")).removeprefix("whatsapp:")
    bearer = {"authorization": f"Bearer {given.access_token}"}
    node = await provider.client.get(f"{provider.url}/{given.version}/{media}", headers=bearer)
    address = node.json()["url"]
    assert (await provider.client.get(address)).status_code == 401
    assert (await provider.client.get(address, headers=bearer)).content == JPEG
    late = address.replace(httpx.URL(address).params["ext"], "1.000")
    assert (await provider.client.get(late, headers=bearer)).status_code == 404
