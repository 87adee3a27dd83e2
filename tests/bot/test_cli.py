"""The command line: what each command reads, prints and ends with. 0 good, 1 left something out, 2 used wrongly."""

from __future__ import annotations

import asyncio
import getpass
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot import database, inbox, tables
from bot.cli import make_parser
from bot.settings import ROOT
from bot.vault import Vault
from channels.channel import Inbound
from handoff import staff
from nlu import language, risk
from tests.bot.command import Rows, Run
from tests.conftest import DATA_KEY
from tests.running import Gateway

PASSWORD = "a long enough password"
PERSON = "+15145550123"


def answers(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def lines(*items: object) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)


# -- in general


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["log"], ["screen"], ["language"], ["staff"], ["train", "--only", "x"]]
)
def test_wrong_use_is_explained_with_exit_code_2(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("usage: passerelle")
    assert "Traceback" not in done.err


def test_every_command_explains_itself(run: Run) -> None:
    for command in "up serve engine train screen language say log staff token directory doctor evaluate bench".split():
        done = run(command, "--help")
        assert done.code == 0
        assert done.out.startswith(f"usage: passerelle {command}")


def test_all_wrong_settings_are_told_one_a_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSERELLE_PORT", "http")
    monkeypatch.setenv("PASSERELLE_MODE", "prod")
    done = run("language", "--jsonl")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "passerelle: PASSERELLE_MODE is 'prod': set it to demo or production.",
        "passerelle: PASSERELLE_PORT is 'http': set it to a number from 1 to 65530.",
    ]


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    gateway = Gateway("", tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "bot.cli", "language", "--jsonl"], env=gateway.environment, cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    _, told = process.communicate(lines(*({"id": n, "text": "1"} for n in range(20))).encode(), timeout=60)
    assert (process.returncode, told) == (0, b"")


# -- screen and language: JSON lines


class Detector:
    """Says of every text that it is romanised Punjabi; which language a text is in is tested elsewhere."""

    def detect(self, text: str, *, history: str | None = None) -> language.Language:
        return language.Language("pa-Latn" if text.strip() else "und", "Latn", 0.75)


class Screen:
    """Finds "passport", remembers what it was given."""

    version = "test"

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[str]]] = []

    def screen(self, text: str, *, history: Any = (), vector: Any = None) -> risk.Risk:
        self.seen.append((text, list(history)))
        at = text.find("passport")
        found = [risk.Evidence("document_retention", at, at + 8, "pattern:en")] if at >= 0 else []
        return risk.decide(found, 0.9 if found else 0.1)


@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Quick stand-ins for screen and detector."""
    screen = Screen()
    monkeypatch.setattr(language, "load", lambda _kind: Detector())
    monkeypatch.setattr(risk, "load", lambda _encoder: screen)
    return screen


@pytest.mark.usefixtures("doubles")
def test_language_answers_each_line_in_its_order(run: Run) -> None:
    done = run("language", "--jsonl", stdin=lines({"id": "b", "text": "kiddan"}, {"id": 7, "text": ""}, {"text": "x"}))
    assert (done.code, done.err) == (0, "")
    assert answers(done.out) == [
        {"id": "b", "language": "pa-Latn", "confidence": 0.75, "script": "Latn"},
        {"id": 7, "language": "und", "confidence": 0.75, "script": "Latn"},
        {"id": None, "language": "pa-Latn", "confidence": 0.75, "script": "Latn"},
    ]
    assert [list(answer) for answer in answers(done.out)] == [["id", "language", "confidence", "script"]] * 3


def test_screen_says_what_the_contract_says(run: Run, doubles: Screen) -> None:
    given = [{"id": "1", "text": "he has my passport"}, {"id": "2", "text": "hello", "history": ["one", "two"]}]
    done = run("screen", "--jsonl", stdin=lines(*given))
    assert (done.code, done.err) == (0, "")
    assert answers(done.out) == [
        {
            "id": "1",
            "language": "pa-Latn",
            "escalate": True,
            "severity": "high",
            "indicators": ["document_retention"],
            "evidence": [{"indicator": "document_retention", "start": 10, "end": 18, "source": "pattern:en"}],
            "score": 0.9,
        },
        {
            "id": "2", "language": "pa-Latn", "escalate": False, "severity": "none", "indicators": [], "evidence": [],
            "score": 0.1,
        },
    ]  # fmt: skip
    assert doubles.seen == [("he has my passport", []), ("hello", ["one", "two"])]


BAD = [
    "{",
    "nonsense",
    "[]",
    "5",
    "null",
    '"text"',
    '{"id": "x"}',
    '{"id": "x", "text": null}',
    '{"id": "x", "text": 5}',
    '{"id": "x", "text": ["a"]}',
    '{"id": "x", "text": "a"} {"id": "y", "text": "b"}',
    "[" * 100_000,
    '{"id": ' + "9" * 5000 + ', "text": "a"}',
    '{"id": "x", "text": "a", "history": "before"}',
    '{"id": "x", "text": "a", "history": 5}',
    '{"id": "x", "text": "a", "history": {"0": "before"}}',
]


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("command", ["screen", "language"])
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad[:30])
def test_a_bad_line_is_named_and_the_others_go_on(run: Run, command: str, bad: str) -> None:
    good = '{"id": "%s", "text": "hello"}'
    done = run(command, "--jsonl", stdin="\n".join([good % "a", "", bad, good % "b"]))
    assert done.code == 1
    assert [answer["id"] for answer in answers(done.out)] == ["a", "b"]
    (told,) = done.err.splitlines()
    assert told.startswith("passerelle: line 3 is left out: ")  # as an editor counts


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("command", ["screen", "language"])
@pytest.mark.parametrize("text", ["", "\n", " \n\n\t\n"])
def test_empty_input_has_an_empty_answer(run: Run, command: str, text: str) -> None:
    done = run(command, "--jsonl", stdin=text)
    assert (done.code, done.out, done.err) == (0, "", "")


def test_half_characters_bad_bytes_and_odd_line_ends_come_through(run: Run, doubles: Screen) -> None:
    given = [
        b'\xef\xbb\xbf{"id": "\\ud83d", "text": "half \\ud83d"}\r\n',  # a byte order mark, a lone surrogate, CRLF
        b'{"id": "2", "text": "bad \xff byte"}\n',
        b'{"id": "3", "text": "nul \\u0000 and \\u2028 line"}\n',
        '{"id": "4", "text": "line\u2028end é 👩‍👩‍👧"}'.encode(),  # and no line end at last
    ]
    done = run("screen", "--jsonl", stdin=b"".join(given))
    assert (done.code, done.err) == (0, "")
    assert done.out.isascii()
    assert [answer["id"] for answer in answers(done.out)] == ["\ud83d", "2", "3", "4"]
    assert [text for text, _ in doubles.seen] == [
        "half \ud83d", "bad \udcff byte", "nul \x00 and \u2028 line", "line\u2028end é 👩‍👩‍👧",
    ]  # fmt: skip


def test_odd_history_is_no_reason_not_to_screen(run: Run, doubles: Screen) -> None:
    done = run("screen", "--jsonl", stdin=lines({"text": "a", "history": None}, {"text": "b", "history": [1, "x"]}))
    assert done.code == 0
    assert doubles.seen == [("a", []), ("b", ["1", "x"])]


def test_the_real_screen_keeps_its_contract(run: Run) -> None:
    """Shape and bounds only: how good it is, other tests measure."""
    texts = [
        "my boss keeps my passport",
        "half \ud83d",
        "bad \udcff byte",
        "",
        "🙂" * 2000,
        "\u0000\u202e",
        "ok " * 3000,
    ]
    given = [{"id": n, "text": text, "history": ["he locked the door"] * (n % 2)} for n, text in enumerate(texts)]
    done = run("screen", "--jsonl", stdin=lines(*given))
    assert done.code == 0
    found = answers(done.out)
    assert [answer["id"] for answer in found] == list(range(len(texts)))
    for text, answer in zip(texts, found, strict=True):
        assert list(answer) == ["id", "language", "escalate", "severity", "indicators", "evidence", "score"]
        assert answer["escalate"] == (answer["severity"] != "none") == bool(answer["indicators"])
        assert [item["indicator"] for item in answer["evidence"]] == answer["indicators"]
        assert 0 <= answer["score"] <= 1
        for item in answer["evidence"]:
            assert 0 <= item["start"] < item["end"] <= len(text)


@pytest.mark.parametrize("kind", ["cascade", "langdetect"])
def test_the_real_detector_keeps_its_contract(run: Run, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("PASSERELLE_LANGUAGE_DETECTOR", kind)
    texts = ["도움이 필요해요, 어디로 가야 하나요", "", "12345", "\ud83d", "\udcff", "🙂", "ok"]
    done = run("language", "--jsonl", stdin=lines(*({"id": n, "text": text} for n, text in enumerate(texts))))
    assert done.code == 0
    found = answers(done.out)
    assert [answer["id"] for answer in found] == list(range(len(texts)))
    assert (found[0]["language"], found[0]["script"]) == ("ko", "Hang")  # its script decides
    assert {answer["language"] for answer in found[1:6]} == {"und"}
    assert all(0 <= answer["confidence"] <= 1 for answer in found)


# -- log


@pytest.fixture
def write(database_url: str, vault: Vault) -> Callable[..., uuid.UUID]:
    """A person's message, stored; its conversation."""

    def store(text: str, *, sid: str, channel: str = "sms", sender: str = PERSON) -> uuid.UUID:
        async def work() -> uuid.UUID:
            engine = database.engine_for(database_url, pool_size=1)
            async with engine.begin() as conn:
                stored = await inbox.store(conn, vault, channel, Inbound(sid, sender, "text", text))
            await engine.dispose()
            assert stored is not None
            return stored[0]

        return asyncio.run(work())

    return store


Write = Callable[..., uuid.UUID]


def test_the_log_is_oldest_first_and_without_words(run_on_database: Run, write: Write, sql: Rows) -> None:
    first = write("zebra one", sid="SM1")
    write("zebra two", sid="SM2")
    other = write("zebra three", sid="SM1", channel="web", sender="browser")
    done = run_on_database("log", "--jsonl")
    assert (done.code, done.err) == (0, "")
    assert "zebra" not in done.out
    assert PERSON not in done.out
    found = answers(done.out)
    for entry in found:
        assert list(entry) == ["id", "conversation", "channel", "provider_id", "direction", "kind", "state", "time"]
        assert datetime.fromisoformat(entry["time"]).tzinfo is not None
        uuid.UUID(entry["id"])
    assert [(e["conversation"], e["channel"], e["provider_id"]) for e in found] == [
        (str(first), "sms", "SM1"), (str(first), "sms", "SM2"), (str(other), "web", "SM1"),
    ]  # fmt: skip
    assert {(e["direction"], e["kind"], e["state"]) for e in found} == {("in", "text", "received")}
    assert sql(sa.select(tables.audit)) == []  # no word was read


def test_the_log_with_words_is_in_the_audit_trail(
    run_on_database: Run, write: Write, sql: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "operator")
    texts = ["zebra é 我", "half \ud83d", "a\nb\u2028c\u0000"]
    for number, text in enumerate(texts):
        write(text, sid=f"SM{number}")
    done = run_on_database("log", "--jsonl", "--words")
    assert done.code == 0
    assert [entry["text"] for entry in answers(done.out)] == texts
    (row,) = sql(sa.select(tables.audit))
    assert (row.actor, row.action, row.purpose) == ("command line (operator)", "log with words", "log")
    run_on_database("log", "--jsonl", "--words")
    assert len(sql(sa.select(tables.audit))) == 2


@pytest.mark.parametrize("error", [KeyError, OSError])  # until Python 3.12, and since 3.13
def test_a_user_without_a_name_is_audited_by_number(
    run_on_database: Run, sql: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: type[Exception]
) -> None:
    def nameless() -> str:
        raise error("getpwuid(): uid not found: 4321")  # what Python says in a container with a user of no name

    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.setattr("os.getuid", lambda: 4321)
    assert run_on_database("log", "--jsonl", "--words").code == 0
    assert run_on_database("verdicts", "export", tmp_path / "out.jsonl").code == 0
    assert [row.actor for row in sql(sa.select(tables.audit))] == ["command line (4321)"] * 2


def test_an_empty_log_is_empty(run_on_database: Run) -> None:
    assert run_on_database("log", "--jsonl").out == ""


def test_a_damaged_row_does_not_hide_the_others(run_on_database: Run, write: Write, sql: Rows) -> None:
    for number in range(3):
        write(f"text {number}", sid=f"SM{number}")
    sql("UPDATE messages SET words = words || '\\x00'::bytea WHERE provider_id = 'SM1'")
    done = run_on_database("log", "--jsonl", "--words")
    assert [entry["text"] for entry in answers(done.out)] == ["text 0", None, "text 2"]


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        (["delivered"], "delivered"),
        (["delivered", "sent"], "sent"),
        (["read", "delivered"], "delivered"),
        (["sent", "queued"], "queued"),
        (["delivered", "failed"], "failed"),
        (["cancelled", "unknown"], "cancelled"),
        ([], "shown"),
    ],
)
def test_the_state_of_what_we_wrote_is_its_worst_parts(
    run_on_database: Run, write: Write, sql: Rows, states: list[str], worst: str
) -> None:
    conversation, message = write("hello", sid="SM1"), uuid.uuid4()
    common: dict[str, Any] = {"conversation_id": conversation, "channel": "sms"}
    sql(
        tables.messages.insert().values(
            id=message, seq=2, direction="out", kind="text", author="assistant", state="shown", **common
        )
    )
    for number, state in enumerate(states):
        sql(
            tables.deliveries.insert().values(
                id=uuid.uuid4(), message_id=message, position=512 + number, part=b"", state=state, priority=2, **common
            )
        )
    entries = answers(run_on_database("log", "--jsonl").out)
    assert [entry["state"] for entry in entries] == ["received", worst]


# -- staff and tokens


def test_an_account_is_made_listed_and_ended(run_on_database: Run, sql: Rows) -> None:
    run = run_on_database
    added = run("staff", "add", "Amira.K", "--role", "advocate", "--display", "Amira é", stdin=PASSWORD + "\n")
    assert (added.code, added.out, added.err) == (0, "added amira.k (advocate)\n", "")
    assert run("staff", "add", "ana", "--role", "analyst", stdin=PASSWORD).code == 0  # no line end
    listed = run("staff", "list").out.splitlines()
    assert [line.split() for line in listed] == [["amira.k", "advocate", "Amira", "é"], ["ana", "analyst", "ana"]]
    removed = run("staff", "remove", "AMIRA.K")
    assert (removed.code, removed.out) == (0, "ended\n")
    assert "ended Amira é" in run("staff", "list").out
    rows = {row.name: row for row in sql(sa.select(tables.staff))}
    assert (rows["amira.k"].active, rows["ana"].active) == (False, True)
    assert staff.password_fits(str(rows["ana"].password_hash), PASSWORD)
    assert PASSWORD not in str(rows)


def test_a_new_password_ends_sessions_and_fits(run_on_database: Run, sql: Rows) -> None:
    run = run_on_database
    run("staff", "add", "amira", "--role", "advocate", stdin=PASSWORD)
    ((key,),) = sql(sa.select(tables.staff.c.id))
    soon = sa.text("now() + interval '1 hour'")
    sql(tables.sessions.insert().values(token_lookup=b"1", staff_id=key, csrf="c", expires_at=soon))
    done = run("staff", "password", "Amira", stdin="another long password\r\n"[:-2] + "\n")
    assert (done.code, done.out) == (0, "changed\n")
    (row,) = sql(sa.select(tables.staff))
    assert staff.password_fits(str(row.password_hash), "another long password")
    assert sql(sa.select(tables.sessions)) == []


def test_an_empty_list_of_accounts_is_no_error(run_on_database: Run) -> None:
    assert run_on_database("staff", "list").code == 0


@pytest.mark.parametrize(
    ("arguments", "password", "sentence"),
    [
        (["add", "a b", "--role", "advocate"], PASSWORD, "The name may have letters, digits, dots and hyphens,"),
        (["add", "amïra", "--role", "advocate"], PASSWORD, "The name may have letters, digits, dots and hyphens,"),
        (["add", "", "--role", "advocate"], PASSWORD, "The name may have letters, digits, dots and hyphens,"),
        (["add", "a" * 61, "--role", "advocate"], PASSWORD, "The name may have letters, digits, dots and hyphens,"),
        (["add", "amira", "--role", "boss"], PASSWORD, "The role must be one of: advocate, supervisor,"),
        (["add", "amira", "--role", "advocate"], "short", "The password must have at least 10 characters."),
        (["add", "amira", "--role", "advocate"], "", "The password must have at least 10 characters."),
        (["add", "amira", "--role", "advocate"], b"\xff" * 12, "The names and the password must be text in UTF-8."),
        (["add", "amira", "--role", "advocate", "--display", "\udcff"], PASSWORD, "The names and the password must be"),
        (["remove", "nobody"], "", "There is no account named nobody."),
        (["password", "nobody"], PASSWORD, "There is no account named nobody."),
        (["password", "nobody"], "short", "The password must have at least 10 characters."),
    ],
)
def test_an_account_that_cannot_be_is_one_sentence(
    run_on_database: Run, sql: Rows, arguments: list[str], password: str | bytes, sentence: str
) -> None:
    assert run_on_database("staff", *arguments, stdin=password).problem.startswith(sentence)
    assert sql(sa.select(tables.staff)) == []


def test_a_name_is_given_once(run_on_database: Run, sql: Rows) -> None:
    run_on_database("staff", "add", "amira", "--role", "advocate", stdin=PASSWORD)
    again = run_on_database("staff", "add", "AMIRA", "--role", "admin", stdin=PASSWORD)
    assert again.problem == "There is already an account named amira."
    (row,) = sql(sa.select(tables.staff))
    assert row.role == "advocate"


def test_no_password_can_be_given_where_others_see_it() -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["staff", "add", "amira", "--role", "advocate", "--password", PASSWORD])


def test_a_token_is_shown_once_and_kept_as_a_hash(run_on_database: Run, sql: Rows, vault: Vault) -> None:
    run = run_on_database
    run("staff", "add", "amira", "--role", "advocate", stdin=PASSWORD)
    done = run("token", "add", "Amira", "--label", "reports")
    token = done.out.strip()
    assert done.code == 0
    assert token.startswith("pt_")
    (row,) = sql(sa.select(tables.tokens))
    assert (row.label, row.revoked_at) == ("reports", None)
    assert row.token_lookup == vault.lookup(token, context="token")
    assert run("token", "add", "amira").out.strip() != token


def test_a_token_is_for_an_active_account(run_on_database: Run, sql: Rows) -> None:
    run = run_on_database
    assert run("token", "add", "nobody").problem == "There is no active account named nobody."
    run("staff", "add", "amira", "--role", "advocate", stdin=PASSWORD)
    run("staff", "remove", "amira")
    assert run("token", "add", "amira").problem == "There is no active account named amira."
    assert sql(sa.select(tables.tokens)) == []


# -- directory


def test_the_directory_is_imported(run_on_database: Run, sql: Rows) -> None:
    done = run_on_database("directory", "import", ROOT / "bot" / "data" / "directory.json")
    ((count,),) = sql(sa.select(sa.func.count()).select_from(tables.services))
    assert (done.code, done.out) == (0, f"{count} services imported\n")


def test_a_directory_that_cannot_be_imported_is_one_sentence(run_on_database: Run, sql: Rows, tmp_path: Path) -> None:
    path = tmp_path / "services.json"
    assert run_on_database("directory", "import", path).problem.startswith(f"{path} is not a readable JSON file (")
    path.write_text('[{"id": "o", "name": "Open Door", "services": []}, {"id": "p"}]')
    assert run_on_database("directory", "import", path).problem == (
        f"{path}, organization 2: 'name' is missing or wrong."
    )
    assert sql(sa.select(tables.organizations)) == []


# -- say, and the embedded database


@pytest.mark.parametrize("channel", ["sms", "web"])
def test_say_needs_a_running_gateway(run: Run, monkeypatch: pytest.MonkeyPatch, channel: str) -> None:
    monkeypatch.setenv("PASSERELLE_PORT", "9")  # nobody listens there
    problem = run("say", "--channel", channel, "hello").problem
    assert problem.startswith("The gateway does not answer at ")
    assert problem.endswith("start it with `passerelle up`, or set PASSERELLE_PORT.")


def test_say_by_sms_needs_sms(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    production = {
        "MODE": "production", "PUBLIC_URL": "https://line.example", "ENGINE_TOKEN": "t",
        "DATABASE_URL": "postgresql://127.0.0.1:9/none",
    }  # fmt: skip
    for name, value in production.items():
        monkeypatch.setenv(f"PASSERELLE_{name}", value)
    assert run("say", "hello").problem == "SMS is not configured: set the PASSERELLE_TWILIO_… settings."


@pytest.mark.slow
def test_a_command_wakes_the_embedded_database_and_lets_it_sleep_again(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)  # the server runs as a user of its own when we are root
    gateway = Gateway("", tmp_path / "var")
    del gateway.environment["PASSERELLE_DATABASE_URL"]
    added = gateway.command("staff", "add", "amira", "--role", "advocate", text=PASSWORD)
    assert (added.returncode, added.stdout) == (0, "added amira (advocate)\n"), added.stderr
    assert not (tmp_path / "var" / "postgres" / "postmaster.pid").exists()
    listed = gateway.command("staff", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.split() == ["amira", "advocate", "amira"]
    assert gateway.environment["PASSERELLE_DATA_KEY"] == DATA_KEY
