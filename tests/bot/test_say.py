"""`passerelle say`: what the person's phone shows; and something else at the gateway's port, in one sentence."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from bot.say import say
from bot.services import Services
from tests.bot.command import Run
from tests.bot.door import work
from tests.bot.standins import with_standins

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"


def http(value: object) -> bytes:
    body = json.dumps(value).encode()
    return HELLO % (len(body), body)


class Stranger:
    """A server that gives fixed answers, in turn; the last one for ever."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                client, _ = self._listener.accept()
                with client, suppress(OSError):
                    client.settimeout(5)
                    client.recv(65536)
                    client.sendall(self._answers[0])
                    if len(self._answers) > 1:
                        self._answers.pop(0)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


Meet = Callable[..., Stranger]


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meet]:
    met: list[Stranger] = []

    def make(*answers: bytes) -> Stranger:
        met.append(Stranger(*answers))
        monkeypatch.setenv("PASSERELLE_PORT", str(met[-1].port))
        return met[-1]

    yield make
    for stranger in met:
        stranger.close()


OTHERS = {
    "a web page": b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>",
    "not found": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "other JSON": http({"status": "up"}),
    "a list": http([1, 2]),
    "deep JSON": HELLO % (100_000, b"[" * 100_000),
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("channel", ["sms", "whatsapp", "telegram", "web"])
@pytest.mark.parametrize("answer", OTHERS.values(), ids=OTHERS.keys())
def test_another_service_is_one_sentence(run: Run, meet: Meet, channel: str, answer: bytes) -> None:
    port = meet(answer).port
    problem = run("say", "--channel", channel, "hello").problem
    assert problem.startswith(f"What answers at http://127.0.0.1:{port} is not Passerelle (")
    assert problem.endswith("): set PASSERELLE_PORT to the gateway's port, or stop the other.")


LISTS = {
    "a list": http([]),
    "no messages": http({"messages": None}),
    "odd messages": http({"messages": [7]}),
    "messages of no kind": http({"messages": [{"body": "hello"}]}),
    "a string": http("x"),
    "a failure": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("channel", ["sms", "whatsapp", "telegram"])
@pytest.mark.parametrize("answer", LISTS.values(), ids=LISTS.keys())
def test_a_stand_in_that_is_none_is_one_sentence(run: Run, meet: Meet, channel: str, answer: bytes) -> None:
    port = meet(http({"live": True}), answer).port
    problem = run("say", "--channel", channel, "hello").problem
    assert problem.startswith(f"The stand-in at http://127.0.0.1:{port} cannot list messages (")


def test_a_refusal_of_many_lines_is_one_sentence(run: Run, meet: Meet) -> None:
    refusal = b"HTTP/1.1 405 No\r\nContent-Length: 17\r\n\r\n<html>\n<b>no\n</b>"
    meet(http({"live": True}), http({"messages": []}), refusal)
    assert run("say", "hello").problem == "The gateway refused the message (405): <html> <b>no </b>"


def test_a_socket_that_is_none_is_one_sentence(run: Run, meet: Meet) -> None:
    port = meet(http({"live": True}), http({})).port
    problem = run("say", "--channel", "web", "hello").problem
    assert problem.startswith(f"What answers at ws://127.0.0.1:{port}/chat/ws is not Passerelle (")


@pytest.mark.parametrize("channel", ["sms", "whatsapp", "telegram"])
async def test_what_the_phone_shows_is_printed_with_its_choices(
    services: Services, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, channel: str
) -> None:
    monkeypatch.setattr("bot.say.QUIET", 0.5)
    async with with_standins(services, public_url="http://127.0.0.1:8099") as standins:
        port = int(standins.door.base.rpartition(":")[2])
        given = dataclasses.replace(standins.settings, port=port)
        talking = asyncio.create_task(say(given, channel, "+1 514-555-0133", "what are my rights at work?", wait=10))
        while not talking.done():
            await work(standins.door.services)
            await asyncio.sleep(0.05)
        assert talking.result() == 1
        (came,) = await standins.door.words()
        assert came == "what are my rights at work?"
        first, _, rest = capsys.readouterr().out.partition("\n")
        assert first.startswith("← ")
        assert ("[" in rest) == (channel != "sms")


def test_a_wrong_number_and_a_real_provider_are_one_sentence(
    run: Run, meet: Meet, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet(http({"live": True}))
    assert run("say", "--channel", "telegram", "--from", "@me", "x").problem == (
        "--from is '@me': give the id of the person's chat, a number."
    )
    monkeypatch.setenv("PASSERELLE_WHATSAPP_API_URL", "https://graph.example")
    problem = run("say", "--channel", "whatsapp", "x").problem
    assert problem.startswith("WhatsApp goes to https://graph.example, which lists no messages: remove PASSERELLE_")
