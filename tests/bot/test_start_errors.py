"""What stands in the way of a start is one clear sentence on stderr: no traceback, and an exit code that is not 0."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from bot import embedded, supervisor, training
from bot.settings import ROOT, load
from bot.vault import new_key
from tests.bot.command import Rows, Run
from tests.conftest import DATA_KEY, at
from tests.running import free_port

# Every command that needs the database. The engine is last of all to start: it takes the database as it is.
NEED_DATABASE = (
    ["serve"],
    ["up"],
    ["log", "--jsonl"],
    ["staff", "list"],
    ["token", "add", "amira"],
    ["directory", "import", "none.json"],
    ["verdicts", "export", "none.jsonl"],
)
START = (["serve"], ["up"])


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> int:
    port = free_port()
    monkeypatch.setenv("PASSERELLE_PORT", str(port))
    return port


def name(arguments: list[str]) -> str:
    return " ".join(arguments)


# -- the port


@pytest.mark.parametrize("command", START, ids=name)
def test_a_port_in_use(run: Run, monkeypatch: pytest.MonkeyPatch, taken: int, command: list[str]) -> None:
    monkeypatch.setenv("PASSERELLE_PORT", str(taken))
    monkeypatch.setenv("PASSERELLE_DATABASE_URL", "postgresql://127.0.0.1:9/never-asked")
    assert run(*command).problem == (
        f"Port {taken} on 127.0.0.1 cannot be used (Address already in use): stop what uses it, or set PASSERELLE_PORT "
        "(and PASSERELLE_VAR_DIR for a second Passerelle)."
    )


def test_the_engines_port_in_use(run: Run, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    monkeypatch.setenv("PASSERELLE_ENGINE_URL", f"http://127.0.0.1:{taken}/")
    assert run("engine").problem.startswith(f"Port {taken} on 127.0.0.1 cannot be used (Address already in use): ")


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "a..b"])
def test_an_address_that_is_not_ours(run: Run, monkeypatch: pytest.MonkeyPatch, free: int, host: str) -> None:
    monkeypatch.setenv("PASSERELLE_HOST", host)
    assert run("serve").problem == f"This machine has no address {host}: correct PASSERELLE_HOST."


def test_a_port_is_looked_at_in_both_kinds_of_network(taken: int) -> None:
    supervisor.ensure_port_free("127.0.0.1", free_port())
    with pytest.raises(ValueError, match=f"Port {taken} on 0.0.0.0 cannot be used"):
        supervisor.ensure_port_free("0.0.0.0", taken)
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        supervisor.ensure_port_free("::1", free_port())


# -- another Passerelle on the same data


@pytest.mark.parametrize("command", START, ids=name)
def test_a_second_one_on_the_same_data_is_refused(run: Run, tmp_path: Path, free: int, command: list[str]) -> None:
    with embedded.alone(load({"VAR_DIR": str(tmp_path / "var")})):
        assert run(*command).problem == (
            f"Another Passerelle already runs on the data in {tmp_path / 'var'}: stop it, or set PASSERELLE_VAR_DIR "
            "(and PASSERELLE_PORT) too."
        )


def test_several_may_work_on_a_server_of_the_operators_own(tmp_path: Path) -> None:
    given = load({"VAR_DIR": str(tmp_path), "DATABASE_URL": "postgresql://db.example/passerelle"})
    with embedded.alone(given), embedded.alone(given):
        pass


# -- the database


@pytest.mark.parametrize("command", NEED_DATABASE, ids=name)
def test_a_wrong_data_key(
    run_on_database: Run, monkeypatch: pytest.MonkeyPatch, sql: Rows, free: int, command: list[str]
) -> None:
    before = sql("SELECT name, value FROM installation")
    monkeypatch.setenv("PASSERELLE_DATA_KEY", new_key())
    problem = run_on_database(*command).problem
    assert problem.startswith("PASSERELLE_DATA_KEY is not the key this database was made with: nothing in it could be")
    assert sql("SELECT name, value FROM installation") == before


@pytest.mark.parametrize("command", NEED_DATABASE, ids=name)
def test_a_database_of_a_newer_release(run_on_database: Run, sql: Rows, free: int, command: list[str]) -> None:
    sql("UPDATE alembic_version SET version_num = '9999'")
    assert run_on_database(*command).problem == (
        "The database is of a newer release than this program: install that release, or restore a backup."
    )
    assert sql("SELECT version_num FROM alembic_version") == [("9999",)]


@pytest.mark.parametrize("command", NEED_DATABASE, ids=name)
def test_a_database_that_does_not_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch, free: int, command: list[str]
) -> None:
    monkeypatch.setenv("PASSERELLE_DATABASE_URL", f"postgresql://user:hunter2@127.0.0.1:{free_port()}/none")
    problem = run(*command).problem
    assert problem.startswith("The database cannot be reached (")
    assert problem.endswith("): start it, or correct PASSERELLE_DATABASE_URL.")
    assert "hunter2" not in problem


def test_a_database_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch, postgres: str, free: int) -> None:
    monkeypatch.setenv("PASSERELLE_DATABASE_URL", at(postgres, "nothing_of_this_name"))
    problem = run("serve").problem
    assert 'database "nothing_of_this_name" does not exist' in problem
    assert problem.startswith("The database cannot be reached (")


@pytest.fixture
def guest(sql: Rows, database_url: str) -> Iterator[str]:
    """The database as somebody sees it who may only look."""
    role = f"guest_{uuid.uuid4().hex[:12]}"
    sql(f"CREATE ROLE {role} LOGIN")
    yield make_url(database_url).set(username=role).render_as_string(hide_password=False)
    sql(f"DROP OWNED BY {role}")
    sql(f"DROP ROLE {role}")


def test_a_database_of_somebody_else(run: Run, monkeypatch: pytest.MonkeyPatch, guest: str, free: int) -> None:
    monkeypatch.setenv("PASSERELLE_DATABASE_URL", guest)
    problem = run("serve").problem
    assert problem.startswith("The database cannot be used (permission denied for ")
    assert problem.endswith("): its user must own the database and its tables.")


def test_an_embedded_database_that_cannot_start(run: Run, tmp_path: Path, free: int) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "postgres").write_text("a file in the folder's place")
    problem = run("staff", "list").problem
    assert problem.startswith(f"The embedded PostgreSQL in {tmp_path / 'var' / 'postgres'} does not start (")
    assert problem.endswith("or set PASSERELLE_DATABASE_URL to another server.")


# -- the folder and the engine


@pytest.mark.parametrize(
    "command", [*NEED_DATABASE, ["engine"], ["train"], ["say", "hello"], ["screen", "--jsonl"]], ids=name
)
def test_a_folder_that_cannot_be_written(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PASSERELLE_VAR_DIR", str(tmp_path / "file"))
    assert run(*command).problem == (
        f"The folder {tmp_path / 'file'} cannot be written (File exists): change its owner, or PASSERELLE_VAR_DIR."
    )


def test_a_damaged_key_of_the_demonstration(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int
) -> None:
    monkeypatch.delenv("PASSERELLE_DATA_KEY")
    kept = tmp_path / "var" / "secrets" / "data_key"
    kept.parent.mkdir(parents=True)
    kept.write_text("")
    assert run("serve").problem == f"{kept} is empty: restore it, or set PASSERELLE_DATA_KEY."
    kept.write_text("scrambled")
    assert run("up").problem == f"The key in {kept} is damaged: restore that file, or set PASSERELLE_DATA_KEY."


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in (supervisor, training):
        monkeypatch.setattr(module, "ENGINE_PYTHON", tmp_path / "none" / "python")
    monkeypatch.setenv("PASSERELLE_ENGINE_URL", f"http://127.0.0.1:{free_port()}")


@pytest.mark.usefixtures("no_engine")
def test_a_missing_environment_of_the_engine(run_on_database: Run) -> None:
    assert run_on_database("engine").problem == "The engine's environment .venv-rasa is missing: run `make setup`."


@pytest.mark.usefixtures("no_engine")
def test_training_without_the_engines_environment(run_on_database: Run) -> None:
    done = run_on_database("train", "--only", "engine")
    assert done.code == 1
    assert done.err == "The engine's environment .venv-rasa is missing: run `make setup`.\n"


def test_the_engine_is_told_its_port(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for url, port in {"http://127.0.0.1:8123/": "8123", "http://127.0.0.1": "80", "http://[::1]:8124": "8124"}.items():
        given = load({"VAR_DIR": str(tmp_path), "ENGINE_URL": url})
        command = supervisor.engine_command(given, tmp_path / "model")
        assert command[command.index("--port") + 1] == port


def test_the_engine_keeps_to_one_thread_unless_the_operator_says_otherwise(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = load({"VAR_DIR": str(tmp_path)})
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
        assert supervisor.engine_environment(given, "")[name] == "1"
        monkeypatch.setenv(name, "4")
        assert supervisor.engine_environment(given, "")[name] == "4"


PRETENDED = """
import runpy
from bot import rasa_command
runpy.run_module = lambda *_, **__: exec({code!r})
rasa_command.main()
"""


# -- as an operator meets it: another process, its real stderr


def started(command: list[str], folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PASSERELLE_")},
        "PASSERELLE_DATA_KEY": DATA_KEY,
        "PASSERELLE_VAR_DIR": str(folder / "var"),
        "PASSERELLE_PORT": str(free_port()),
        **{f"PASSERELLE_{key}": value for key, value in given.items()},
    }
    return subprocess.run(
        [sys.executable, "-m", "bot.cli", *command],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_engines_command_says_errors_and_hides_warnings_of_old_libraries() -> None:
    if not supervisor.ENGINE_PYTHON.exists():
        pytest.skip("the engine's environment is not installed (make setup)")
    code = "import warnings, runpy; warnings.warn('old', DeprecationWarning); warnings.warn('odd', RuntimeWarning)"
    for command, shown, hidden in (
        (["-m", "bot.rasa_command", "nonsense"], "invalid choice: 'nonsense'", "DeprecationWarning"),
        (["-W", "always", "-c", PRETENDED.format(code=code)], "RuntimeWarning: odd", "DeprecationWarning"),
    ):
        done = subprocess.run(
            [str(supervisor.ENGINE_PYTHON), *command],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert shown in done.stderr
        assert hidden not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "trouble"),
    [
        ("serve", "port"),
        ("serve", "key"),
        ("up", "newer"),
        ("serve", "unreachable"),
        ("up", "folder"),
        ("up", "several"),
    ],
)
def test_one_sentence_a_problem_and_nothing_else(
    database_url: str, sql: Rows, taken: int, tmp_path: Path, command: str, trouble: str
) -> None:
    given = {"DATABASE_URL": database_url}
    lines = 1
    match trouble:
        case "port":
            given["PORT"] = str(taken)
        case "key":
            given["DATA_KEY"] = new_key()
        case "newer":
            sql("UPDATE alembic_version SET version_num = '9999'")
        case "unreachable":
            given["DATABASE_URL"] = "postgresql://127.0.0.1:9/none"
        case "folder":
            (tmp_path / "var").write_text("")
        case _:
            given |= {"MODE": "prod", "ENGINE_URL": "x", "EXIT_URL": "y"}
            lines = 3
    done = started([command], tmp_path, **given)
    assert done.returncode == 2
    told = done.stderr.splitlines()
    assert len(told) == lines, done.stderr
    assert all(line.startswith("passerelle: ") for line in told)
    assert "Traceback" not in done.stdout + done.stderr
