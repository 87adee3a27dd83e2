"""Sends mutated webhooks, rightly signed, through the real app in this process: no 5xx, and no growth of memory.

    .venv/bin/python scripts/fuzz_webhooks.py --count 200000 --seed 7

It works on a database of its own, which is emptied now and then, and without workers: what is tested is the intake.
A body that is answered with 5xx is written to a file in the working folder, named after its channel and number.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import gc
import json
import logging
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bot import database, embedded  # noqa: E402
from bot.app import make_app, make_services  # noqa: E402
from bot.bench_intake import free_port  # noqa: E402
from bot.intake import Intake  # noqa: E402
from bot.settings import Settings, load  # noqa: E402
from bot.spool import Spool  # noqa: E402
from bot.vault import Vault  # noqa: E402
from channels import sms, whatsapp  # noqa: E402
from channels.channel import RawRequest  # noqa: E402

FLIGHT = 64  # webhooks at once: they share transactions, as under load
EMPTIED = 20_000  # webhooks after which the database is emptied
GROWTH = 20  # MB that the process may grow by after the first tenth
NUMBER = "100000000000001"
# Values that broke other gateways: wrong types, odd texts, large and tiny numbers, deep nests.
ODD: list[Any] = [
    None, True, False, 0, -1, 2**31, 2**63, -(2**63) - 1, 10**40, 1.5, float("nan"), float("inf"), "", " ", "\x00",
    "\ud800", "\u202e", "e\u0301", "👩‍👩‍👧", "ਕ", "x" * 5000, "0" * 400, "choice.human", "STOP", "null", [], {},
    "[" * 3000, [[]], [None], {"": None}, {"id": {"id": {}}}, "2024-13-45", "0" * 36,
    "image/png\r\nX: y",
]  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One channel: its examples as trees, and how a tree becomes a signed request."""

    examples: list[Any]
    path: str
    encode: Callable[[Any], bytes]
    sign: Callable[[bytes], dict[str, str]]


def targets(settings: Settings) -> dict[str, Target]:
    assert settings.twilio is not None
    assert settings.whatsapp is not None
    assert settings.telegram is not None
    token, secret, proof = settings.twilio.auth_token, settings.whatsapp.app_secret, settings.telegram.secret_token
    hook = settings.public_url + "/webhooks/twilio"
    return {
        "sms": Target(
            _forms(),
            "/webhooks/twilio",
            _form,
            lambda body: {"x-twilio-signature": sms.sign(token, RawRequest(hook, {}, body)) or ""},
        ),
        "whatsapp": Target(
            _payloads("whatsapp"),
            "/webhooks/whatsapp",
            _json,
            lambda body: {"x-hub-signature-256": whatsapp.sign(secret, body)},
        ),
        "telegram": Target(
            _payloads("telegram"),
            "/webhooks/telegram",
            _json,
            lambda _body: {"x-telegram-bot-api-secret-token": proof},
        ),
    }


def _forms() -> list[Any]:
    one = {"MessageSid": "SM1", "From": "+15145550123", "To": "+15005550006", "Body": "hello", "NumMedia": "0"}
    media = {"MediaUrl0": "https://api.twilio.com/1", "MediaContentType0": "image/png", "NumMedia": "1", "Body": ""}
    place = {"FromState": "QC", "FromCountry": "CA", "OptOutType": "STOP", "Body": "STOP", "SmsSid": "SM1"}
    return [one, one | media, one | place, {"MessageSid": "SM1", "MessageStatus": "failed", "ErrorCode": "30003"}]


def _payloads(name: str) -> list[Any]:
    """The examples of the tests, and the captured webhooks where there are any."""
    if name == "telegram":
        from tests.channels.telegram_examples import RIGHT

        return list(RIGHT)
    person = {"from": "15145550123", "timestamp": "1764000000"}
    kinds: list[dict[str, Any]] = [
        {"type": "text", "text": {"body": "hello"}},
        {"type": "image", "image": {"id": "1", "mime_type": "image/png", "caption": "look"}},
        {"type": "audio", "audio": {"id": "1", "mime_type": "audio/ogg", "voice": True}},
        {"type": "location", "location": {"latitude": 45.5, "longitude": -73.6, "name": "a", "address": "b"}},
        {"type": "contacts", "contacts": [{"name": {"formatted_name": "A"}, "phones": [{"phone": "+15145550124"}]}]},
        {"type": "interactive", "interactive": {"type": "button_reply", "button_reply": {"id": "choice.human"}}},
        {"type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": {"response_json": "{}"}}},
        {"type": "button", "button": {"payload": "choice.more", "text": "More"}},
        {"type": "reaction", "reaction": {"message_id": "wamid.0", "emoji": "👍"}},
        {"type": "order", "order": {"text": "a", "product_items": []}},
        {"type": "system", "system": {"body": "changed", "wa_id": "15145550124"}},
        {"type": "edit", "edit": {"message": {"type": "text", "text": {"body": "new"}}}},
        {"type": "unsupported", "errors": [{"code": 131051}]},
    ]  # fmt: skip
    told = [{"messages": [{**person, "id": f"wamid.{n}", **kind}]} for n, kind in enumerate(kinds)]
    status = {"id": "wamid.9", "status": "failed", "timestamp": "1", "errors": [{"code": 131026}]}
    told += [{"statuses": [status, {"id": "wamid.9", "status": "read"}]}, {"errors": [{"code": 1}]}]
    metadata = {"display_phone_number": "15005550006", "phone_number_id": NUMBER}
    contact = {"wa_id": "15145550123", "profile": {"name": "A"}, "user_id": "CA.1"}
    values = [{"metadata": metadata, "contacts": [contact], **one} for one in told]
    return [{"object": "w", "entry": [{"id": "1", "changes": [{"field": "messages", "value": v}]}]} for v in values]


def _form(tree: Any) -> bytes:
    if not isinstance(tree, dict):
        return str(tree).encode("utf-8", "replace")
    return urlencode({n: v if isinstance(v, str) else repr(v) for n, v in tree.items()}, errors="replace").encode()


def _json(tree: Any) -> bytes:
    return json.dumps(tree).encode("ascii")


def mutated(target: Target, dice: random.Random) -> bytes:
    """An example with up to four changes in its tree; one in five is damaged in its bytes too."""
    tree = json.loads(json.dumps(dice.choice(target.examples)))
    _renew_ids(tree, dice)
    for _ in range(dice.randrange(5)):
        tree = _changed(tree, dice)
    body = target.encode(tree)
    return _damaged(body, dice) if dice.random() < 0.2 else body


def _renew_ids(tree: Any, dice: random.Random) -> None:
    """Most are new messages: a copy is dropped, and tests little."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == "update_id":
                tree[name] = dice.randrange(2**31)
            elif name in ("MessageSid", "id") and isinstance(value, str) and dice.random() < 0.9:
                tree[name] = f"{value[:5]}.{dice.randrange(2**40)}"
            else:
                _renew_ids(value, dice)
    elif isinstance(tree, list):
        for value in tree:
            _renew_ids(value, dice)


def _changed(tree: Any, dice: random.Random) -> Any:
    """One node replaced, removed, doubled or wrapped, at any depth."""
    if not isinstance(tree, dict | list) or not tree or dice.random() < 0.1:
        kind = dice.randrange(4)
        return _odd(dice) if kind < 2 else [tree] if kind == 2 else {"id": tree}
    key: Any = dice.choice(list(tree)) if isinstance(tree, dict) else dice.randrange(len(tree))
    kind = dice.randrange(8)
    if kind == 0:
        del tree[key]
    elif kind == 1 and isinstance(tree, list):
        tree.extend(tree[key : key + 1] * dice.choice([1, 2, 50]))
    elif kind == 2 and isinstance(tree, dict):
        tree[dice.choice(["id", "type", "text", "from", "x" * 300, "\x00", *tree])] = _odd(dice)
    else:
        tree[key] = _changed(tree[key], dice)
    return tree


def _odd(dice: random.Random) -> Any:
    """A copy: what is put into a tree may be changed there."""
    return copy.deepcopy(dice.choice(ODD))


def _damaged(body: bytes, dice: random.Random) -> bytes:
    """Cut off, a byte changed, bytes put in or doubled."""
    at = dice.randrange(len(body) + 1)
    kind = dice.randrange(4)
    if kind == 0:
        return body[:at]
    if kind == 1:
        return body[:at] + bytes([dice.randrange(256)]) + body[at + 1 :]
    if kind == 2:
        return body[:at] + dice.randbytes(dice.randrange(1, 9)) + body[at:]
    return body[:at] + body[max(0, at - dice.randrange(1, 60)) :]


class Line:
    """One connection to the app, kept open as a provider's is."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """The status of the answer."""
        if self._ends is None:
            self._ends = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._ends
        lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        if b"connection: close" in head:
            await self.close()
        return int(head.split()[1])

    async def close(self) -> None:
        if self._ends is not None:
            self._ends[1].close()
            await self._ends[1].wait_closed()
        self._ends = None


async def fuzz(port: int, target: Target, name: str, *, count: int, dice: random.Random) -> Counter[int]:
    """Answers by status, from the app on a port; bodies that are answered with 5xx are kept in files."""
    answers: Counter[int] = Counter()
    numbers = iter(range(count))

    async def write() -> None:
        line = Line(port)
        for number in numbers:
            body = mutated(target, dice)
            status = await line.post(target.path, body, target.sign(body))
            answers[status] += 1
            if status >= 500:
                await asyncio.to_thread(Path(f"fuzz-{name}-{number}.bin").write_bytes, body)
        await line.close()

    await asyncio.gather(*(write() for _ in range(FLIGHT)))
    return answers


def resident() -> float:
    """MB of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@asynccontextmanager
async def listening(settings: Settings, url: str) -> AsyncIterator[int]:
    """The real app with its intake and without workers, on a loopback port."""
    async with httpx.AsyncClient() as client:
        services = make_services(settings, url, client)
        app = make_app(settings, url, name=f"fuzz-{secrets.token_hex(4)}")
        app.config.TOUCHUP = False
        app.ctx.services = services
        app.ctx.intake = Intake(services, Spool(settings.spool, services.vault))
        tasks = [asyncio.create_task(app.ctx.intake.write()), asyncio.create_task(app.ctx.intake.replay())]
        port = free_port()
        server = await app.create_server(host="127.0.0.1", port=port, return_asyncio_server=True, access_log=False)
        assert server is not None
        await server.startup()
        try:
            yield port
        finally:
            await server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await services.database.dispose()


async def run(settings: Settings, url: str, *, count: int, seed: int) -> int:
    """Every channel in turn; the number of complaints."""
    complaints = 0
    async with listening(settings, url) as port:
        for name, target in targets(settings).items():
            dice = random.Random(f"{seed} {name}")
            answers: Counter[int] = Counter()
            began, first = time.perf_counter(), 0.0
            for done in range(0, count, EMPTIED):
                answers += await fuzz(port, target, name, count=min(EMPTIED, count - done), dice=dice)
                await asyncio.to_thread(_empty, url)
                first = first or resident()
            growth = resident() - first
            seconds = time.perf_counter() - began
            told = ", ".join(f"{status}: {answers[status]}" for status in sorted(answers))
            print(f"{name:9} {count} webhooks in {seconds:.0f} s: {told}; memory {growth:+.1f} MB", flush=True)
            complaints += sum(number for status, number in answers.items() if status >= 500) + (growth > GROWTH)
    return complaints


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("TRUNCATE conversations, quarantine CASCADE")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="webhooks a channel")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="passerelle-fuzz-") as folder:
        Path(folder).chmod(0o755)
        settings = load({"VAR_DIR": f"{folder}/var", "WHATSAPP_PHONE_NUMBER_ID": NUMBER})
        server = embedded.start(Path(folder))
        try:
            database.prepare(server.url, Vault.from_key(settings.data_key))
            return 1 if asyncio.run(run(settings, server.url, count=arguments.count, seed=arguments.seed)) else 0
        finally:
            embedded.stop(server)


if __name__ == "__main__":
    sys.exit(main())
