"""Shared fixtures: one real PostgreSQL for the run, a fresh database cloned from a migrated template per test."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from argon2 import PasswordHasher
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import database, embedded
from bot.engine import Answer
from bot.events import Hub
from bot.services import Services
from bot.settings import Settings, load
from bot.vault import Vault, new_key
from channels.sms import Sms
from channels.webchat import WebChat
from handoff import staff
from nlu import language, risk
from nlu.encoder import E5Encoder
from translations import catalog

DATA_KEY = new_key()
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PASSERELLE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a server with a migrated database named "template"."""
    # a folder of its own: every start of pytest closes pytest's own to the user that the server runs as under root
    folder = Path(tempfile.mkdtemp(prefix="passerelle-tests-"))
    folder.chmod(0o755)
    server = embedded.start(folder)
    try:
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute("CREATE DATABASE template")
        database.prepare(at(server.url, "template"), Vault.from_key(DATA_KEY))
        yield server.url
    finally:
        embedded.stop(server)
        shutil.rmtree(folder, ignore_errors=True)


def at(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """Its URL, as long as it is needed."""
    name = "test_" + uuid.uuid4().hex[:12]
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template")
        yield at(server, name)
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """A database of the test's own."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
def vault() -> Vault:
    return Vault.from_key(DATA_KEY)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    made = database.engine_for(database_url, pool_size=24)
    yield made
    await made.dispose()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return load(
        {
            "DATABASE_URL": database_url,
            "DATA_KEY": DATA_KEY,
            "VAR_DIR": str(tmp_path / "var"),
            "PORT": "8099",
            "PUBLIC_URL": "https://gateway.example",
            "TWILIO_ACCOUNT_SID": "AC1",
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_FROM": "+15005550006",
        }
    )


@dataclass
class ScriptedEngine:
    """A dialogue engine that answers what it is told to, and remembers what it was asked."""

    answers: Sequence[Answer] = (Answer("info.signs"),)
    asked: list[str] = field(default_factory=list)
    vectors: list[bytes | None] = field(default_factory=list)

    async def respond(
        self, conversation: str, text: str, *, language: str, vector: bytes | None, place: str | None, asked: str | None
    ) -> Sequence[Answer]:
        self.asked.append(text)
        self.vectors.append(vector)
        return self.answers

    async def ready(self) -> bool:
        return True


@dataclass
class Phone:
    """A loopback double of Twilio's API: what it was asked to send."""

    sent: list[dict[str, str]] = field(default_factory=list)
    failures: list[tuple[int, dict[str, object]]] = field(default_factory=list)

    def answer(self, request: object) -> object:
        import httpx

        assert isinstance(request, httpx.Request)
        if self.failures:
            status, body = self.failures.pop(0)
            return httpx.Response(status, json=body)
        form = dict(httpx.QueryParams(request.content.decode()))
        self.sent.append(form)
        return httpx.Response(201, json={"sid": f"SMout{len(self.sent)}", "status": "queued"})


@pytest.fixture(scope="session")
def encoder() -> E5Encoder:
    return E5Encoder()


@pytest.fixture(scope="session")
def screen(encoder: E5Encoder) -> risk.Cascade:
    return risk.load(encoder)


@pytest.fixture(scope="session")
def detector() -> language.LanguageDetector:
    return language.load()


@pytest.fixture(scope="session")
def texts() -> catalog.Catalog:
    return catalog.load()


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> Iterator[None]:
    """Real argon2, with its smallest costs: the suite makes hundreds of accounts. What runs in a process of its own
    has the product's costs.
    """
    with pytest.MonkeyPatch.context() as patch:
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        patch.setattr(staff, "_hasher", cheap)
        patch.setattr(staff, "_NOBODY", cheap.hash("nobody"))
        yield


@pytest.fixture
def phone() -> Phone:
    return Phone()


@pytest.fixture
async def services(
    settings: Settings,
    database_url: str,
    engine: AsyncEngine,
    vault: Vault,
    phone: Phone,
    encoder: E5Encoder,
    screen: risk.Cascade,
    detector: language.LanguageDetector,
    texts: catalog.Catalog,
) -> AsyncIterator[Services]:
    """Everything real but the dialogue engine and the provider's API."""
    import httpx

    transport = httpx.MockTransport(phone.answer)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport) as client:
        sms = Sms(
            client,
            account_sid="AC1",
            auth_token=TOKEN,
            sender="+15005550006",
            api_url="http://127.0.0.1:1",
            status_url="https://gateway.example/webhooks/twilio/status",
            rate=1000.0,
        )
        yield Services(
            settings=settings,
            vault=vault,
            database=engine,
            hub=Hub(database_url),
            catalog=texts,
            encoder=encoder,
            language=detector,
            risk=screen,
            engine=ScriptedEngine(),
            channels={"sms": sms, "web": WebChat()},
        )
