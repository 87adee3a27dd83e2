"""`passerelle doctor`: what is missing, in plain words, with what to do; exit code 1 when anything must be mended."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bot import doctor, training
from bot.settings import load
from bot.spool import Envelope, Spool
from bot.vault import Vault, new_key
from nlu import language, patterns, risk_model
from tests.bot.command import Outcome, Rows, Run
from tests.conftest import DATA_KEY
from tests.running import free_port
from translations import catalog


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installation that is complete, whatever this machine has; each test takes one thing away."""
    monkeypatch.setattr(doctor, "ENGINE_PYTHON", Path(sys.executable))
    monkeypatch.setattr(doctor, "_NEEDED_SPACE", 0)
    monkeypatch.setattr(patterns, "load", lambda: [object()] * 7)
    monkeypatch.setattr(training, "checksum", lambda: "now")
    monkeypatch.setenv("PASSERELLE_PORT", str(free_port()))
    trained(tmp_path, "now")


def trained(folder: Path, checksum: str) -> None:
    models = folder / "var" / "models"
    models.mkdir(parents=True, exist_ok=True)
    (models / "passerelle.tar.gz").write_bytes(b"")
    (models / "passerelle.checksum").write_text(checksum)


def marked(outcome: Outcome, mark: str) -> list[str]:
    return [line.removeprefix(f"{mark} ") for line in outcome.out.splitlines() if line.startswith(mark)]


def the_wrong(outcome: Outcome) -> str:
    """The only thing to mend."""
    (found,) = marked(outcome, "✗")
    assert outcome.code == 1
    assert outcome.err == ""
    assert outcome.out.endswith("1 thing(s) to mend.\n")
    return found


def test_when_nothing_is_missing_all_is_well(run_on_database: Run, tmp_path: Path) -> None:
    done = run_on_database("doctor")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("All is well.\n")
    good = marked(done, "✓")
    for words in (
        "for the gateway",
        f"mode demo, data in {tmp_path / 'var'}",
        "for the engine",
        "the assistant is trained on the present data",
        "the database answers, its tables are up to date, the data key fits",
        f"texts in {len(catalog.load().texts)} languages",
        "the risk screen has 7 patterns and its model",
        "/chat",
        "SMS goes to the stand-in on this machine; no message leaves it",
    ):
        assert any(words in line for line in good), words


def test_it_says_what_was_made_up_and_not_the_secret_itself(run_on_database: Run, tmp_path: Path) -> None:
    done = run_on_database("doctor")
    notes = marked(done, "·")
    assert any(line.startswith("PASSERELLE_TWILIO_AUTH_TOKEN was made up for the demonstration") for line in notes)
    for path in (tmp_path / "var" / "secrets").iterdir():
        assert path.read_text() not in done.out


def test_every_wrong_setting_is_listed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MODE": "prod", "PORT": "http", "DATA_KEY": "x"}.items():
        monkeypatch.setenv(f"PASSERELLE_{name}", value)
    done = run("doctor")
    assert done.code == 1
    assert [line.split()[0].rstrip(":") for line in marked(done, "✗")] == [
        "PASSERELLE_MODE", "PASSERELLE_PORT", "PASSERELLE_DATA_KEY",
    ]  # fmt: skip
    assert done.out.endswith("3 thing(s) to mend.\n")


def test_a_mistyped_name_is_worth_knowing(run_on_database: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSERELLE_TWILIO_FORM", "+15005550006")
    done = run_on_database("doctor")
    assert done.code == 0
    assert "PASSERELLE_TWILIO_FORM is not a setting of Passerelle: a typing error?" in marked(done, "·")


def test_production_is_checked_as_production(run_on_database: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MODE": "production", "PUBLIC_URL": "https://line.example", "ENGINE_TOKEN": "t"}.items():
        monkeypatch.setenv(f"PASSERELLE_{name}", value)
    done = run_on_database("doctor")
    assert done.code == 0
    notes = marked(done, "·")
    assert "SMS is off: set the PASSERELLE_TWILIO_… settings to turn it on." in notes
    assert not any("made up" in line for line in notes)
    monkeypatch.delenv("PASSERELLE_ENGINE_TOKEN")
    assert the_wrong(run_on_database("doctor")).startswith("PASSERELLE_ENGINE_TOKEN must be set in production: ")


# -- the folder


def test_a_folder_that_cannot_be_written(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PASSERELLE_VAR_DIR", str(tmp_path / "file"))
    assert the_wrong(run("doctor")).startswith(f"The folder {tmp_path / 'file'} cannot be written (")


def test_a_disk_that_is_nearly_full(run_on_database: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_NEEDED_SPACE", 10**18)
    found = the_wrong(run_on_database("doctor"))
    assert found.startswith("Only ")
    assert "make room (4 GB are needed)" in found


# -- the engine


def test_a_missing_environment_of_the_engine(
    run_on_database: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "ENGINE_PYTHON", tmp_path / "none" / "python")
    assert the_wrong(run_on_database("doctor")) == ("The engine's environment .venv-rasa is missing: run `make setup`.")


@pytest.mark.parametrize("program", ["#!/bin/sh\nexit 1\n", "#!/no/such/interpreter\n", "no program"])
def test_an_interpreter_that_does_not_run(
    run_on_database: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    broken = tmp_path / "python"
    broken.write_text(program)
    broken.chmod(0o755)
    monkeypatch.setattr(doctor, "ENGINE_PYTHON", broken)
    assert the_wrong(run_on_database("doctor")) == (
        "The engine's Python does not run: remove .venv-rasa and run `make setup`."
    )


def test_an_assistant_that_is_not_trained_or_not_anew(run_on_database: Run, tmp_path: Path) -> None:
    trained(tmp_path, "before")
    done = run_on_database("doctor")
    assert done.code == 0
    assert "The assistant's data changed since it was trained: run `passerelle train`." in marked(done, "·")
    shutil.rmtree(tmp_path / "var" / "models")
    done = run_on_database("doctor")
    assert done.code == 0
    assert "The assistant is not trained yet: `passerelle up` does it, or `passerelle train`." in marked(done, "·")


# -- the database


def test_a_wrong_data_key(run_on_database: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSERELLE_DATA_KEY", new_key())
    done = run_on_database("doctor")
    assert the_wrong(done).startswith("PASSERELLE_DATA_KEY is not the key this database was made with")
    assert any(line.startswith("texts in ") for line in marked(done, "✓"))  # the rest is looked at all the same


def test_a_database_of_a_newer_release(run_on_database: Run, sql: Rows) -> None:
    sql("UPDATE alembic_version SET version_num = '9999'")
    assert the_wrong(run_on_database("doctor")).startswith("The database is of a newer release than this program")


def test_a_database_that_does_not_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSERELLE_DATABASE_URL", "postgresql://127.0.0.1:9/none")
    assert the_wrong(run("doctor")).startswith("The database cannot be reached (")


def test_an_embedded_database_that_cannot_start(run: Run, tmp_path: Path) -> None:
    (tmp_path / "var" / "postgres").write_text("a file in the folder's place")
    assert the_wrong(run("doctor")).startswith("The embedded PostgreSQL in ")


# -- texts and the screen


def test_webhooks_that_wait_for_the_database_are_told(run_on_database: Run, tmp_path: Path) -> None:
    folder = tmp_path / "var" / "spool"
    assert "of webhooks" not in run_on_database("doctor").out
    Spool(folder, Vault.from_key(DATA_KEY)).append([Envelope(uuid.uuid4(), "sms", "https://a", b"x" * 9000, 0.0)])
    done = run_on_database("doctor")
    assert done.code == 0
    (told,) = [line for line in marked(done, "·") if "of webhooks" in line]
    assert told.startswith(f"16 kB of webhooks wait in {folder} for the database (536 MB find room)")


def test_webhooks_that_cannot_be_read_are_to_be_mended(run_on_database: Run, tmp_path: Path) -> None:
    folder = tmp_path / "var" / "spool" / "unreadable"
    folder.mkdir(parents=True)
    (folder / "1.spool").write_bytes(b"torn")
    assert the_wrong(run_on_database("doctor")).startswith(f"4 bytes of webhooks in {folder} cannot be read")


def test_a_text_that_cannot_be_used(run_on_database: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "en.po").write_bytes(b'msgid "broken\n')
    load = catalog.load
    monkeypatch.setattr(catalog, "load", lambda: load(tmp_path / "catalog"))
    assert the_wrong(run_on_database("doctor")).startswith("en.po is not a readable gettext catalog (")


def test_a_screen_without_its_model(run_on_database: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(risk_model, "MODEL", tmp_path / "none.npz")
    assert the_wrong(run_on_database("doctor")) == (
        "The risk screen has no model, patterns alone decide: run `passerelle train`."
    )


def test_a_damaged_model(run_on_database: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    damaged = tmp_path / "risk.npz"
    damaged.write_bytes(b"PK\x03\x04 half of a file")
    monkeypatch.setattr(risk_model, "MODEL", damaged)
    assert the_wrong(run_on_database("doctor")).startswith("The risk model cannot be used, patterns alone decide (")


@pytest.mark.parametrize("content", [None, b"PK\x03\x04 half of a file"], ids=["missing", "damaged"])
def test_a_language_model_that_cannot_be_used(
    run_on_database: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    model = tmp_path / "language.npz"
    if content is not None:
        model.write_bytes(content)
    monkeypatch.setattr(language, "MODEL", model)
    assert the_wrong(run_on_database("doctor")).startswith(
        "The language model cannot be used, romanised languages are not told apart ("
    )


def test_a_pattern_that_cannot_be_used_is_one_line(run_on_database: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise patterns.PatternError("so.yml: not valid YAML: while scanning\n  in line 7\n    ^")

    monkeypatch.setattr(patterns, "load", broken)
    assert the_wrong(run_on_database("doctor")) == (
        "A pattern file of the risk screen cannot be used: so.yml: not valid YAML: while scanning in line 7 ^"
    )


# -- what is running


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Something that listens on the gateway's port, and answers the last thing put into the list."""
    said: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = said[-1] if isinstance(said[-1], bytes) else json.dumps(said[-1]).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("PASSERELLE_PORT", str(server.server_port))
    yield said
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_gateway_that_runs_is_seen(run_on_database: Run, answering: list[object]) -> None:
    answering.append({"database": True, "events": True, "engine": True})
    assert "the gateway and the assistant are running" in marked(run_on_database("doctor"), "✓")
    answering.append({"database": True, "events": True, "engine": False})
    done = run_on_database("doctor")
    assert done.code == 0
    assert any(line.startswith("the gateway runs; the assistant does not answer (yet)") for line in marked(done, "·"))
    answering.append({"database": False, "events": False, "engine": True})
    assert the_wrong(run_on_database("doctor")) == (
        "The gateway runs and cannot reach its database: start the database."
    )


def test_what_to_do_when_the_gateway_has_lost_the_embedded_database(answering: list[object], tmp_path: Path) -> None:
    answering.append({"database": False, "events": False, "engine": True})
    given = load({"VAR_DIR": str(tmp_path / "var"), "PORT": os.environ["PASSERELLE_PORT"]})
    assert doctor._running(given) == doctor.Finding(
        "wrong",
        "The gateway runs and cannot reach its database: `passerelle up` starts the embedded one again within a "
        f"minute. If this stays, look at {tmp_path / 'var' / 'postgres' / 'log'} (a full disk is the usual reason), "
        "stop Passerelle and start it again.",
    )


@pytest.mark.parametrize("answer", [b"<html>", b"", [], "ok", 5, None, {"detail": "Not Found"}], ids=str)
def test_somebody_elses_answer_is_not_taken_for_ours(
    run_on_database: Run, answering: list[object], answer: object
) -> None:
    answering.append(answer)
    done = run_on_database("doctor")
    assert done.code == 0
    assert any(line.startswith("no gateway answers on port ") for line in marked(done, "·"))


# -- WhatsApp


@pytest.mark.parametrize(
    ("version", "today", "level", "words"),
    [
        ("v25.0", date(2026, 11, 24), "good", "through https://graph.facebook.com/v25.0"),
        ("v25.0", date(2028, 2, 1), "note", "ends on 2028-07-29: set PASSERELLE_WHATSAPP_API_VERSION soon."),
        ("v25.0", date(2028, 7, 29), "wrong", "ended on 2028-07-29: set PASSERELLE_WHATSAPP_API_VERSION."),
        ("v99.0", date(2026, 11, 24), "note", "when the Graph API's v99.0 ends is not known here"),
    ],
)
def test_the_end_of_the_graph_apis_version_is_told_in_time(
    tmp_path: Path, version: str, today: date, level: str, words: str
) -> None:
    given = {"VAR_DIR": str(tmp_path / "var"), "WHATSAPP_API_VERSION": version}
    found = load({**given, "WHATSAPP_API_URL": "https://graph.facebook.com"})
    last = list(doctor._whatsapp(found, today))[-1]
    assert last.level == level
    assert words in last.text


def test_the_stand_in_of_the_graph_api_is_named(tmp_path: Path) -> None:
    (found,) = doctor._whatsapp(load({"VAR_DIR": str(tmp_path / "var")}), date(2026, 11, 24))
    assert found == doctor.Finding("good", "WhatsApp goes to the stand-in on this machine; no message leaves it")


# -- Telegram


@pytest.mark.parametrize(
    ("given", "level", "words"),
    [
        ({}, "good", "Telegram goes to the stand-in on this machine; no message leaves it"),
        ({"TELEGRAM_API_URL": "https://api.telegram.org"}, "good", "Telegram through https://api.telegram.org"),
        (
            {
                "MODE": "production",
                "DATA_KEY": new_key(),
                "PUBLIC_URL": "https://line.example",
                "DATABASE_URL": "postgresql://db.example/passerelle",
                "ENGINE_TOKEN": "t",
            },
            "note",
            "Telegram is off: set the PASSERELLE_TELEGRAM_… settings to turn it on.",
        ),
    ],
)
def test_it_says_where_telegram_goes(tmp_path: Path, given: dict[str, str], level: str, words: str) -> None:
    assert doctor._telegram(load({"VAR_DIR": str(tmp_path / "var"), **given})) == doctor.Finding(level, words)
