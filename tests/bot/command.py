"""The command line inside the test's own process: what it prints, and with which exit code it ends."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from bot import settings
from bot.cli import main
from tests.conftest import DATA_KEY


@dataclass(frozen=True)
class Outcome:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def problem(self) -> str:
        """The one sentence on stderr; the command failed with nothing else to say."""
        assert self.code == 2, self
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("passerelle: ")
        return lines[0].removeprefix("passerelle: ")


Run = Callable[..., Outcome]
Rows = Callable[..., list[sa.Row[tuple[object, ...]]]]


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Commands set up the process's logging, and there are other tests in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    known = [logger for logger in logging.Logger.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    before = [(logger, logger.handlers[:], logger.propagate, logger.level, logger.disabled) for logger in known]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for logger, kept, propagate, its_level, disabled in before:
        logger.handlers[:], logger.propagate, logger.disabled = kept, propagate, disabled
        logger.setLevel(its_level)


@pytest.fixture
def run(
    logging_as_before: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """`passerelle …` in this process, with the standard input given."""
    monkeypatch.setattr(settings, "dotenv_values", lambda _path: {})  # a developer's own .env
    monkeypatch.setenv("PASSERELLE_DATA_KEY", DATA_KEY)
    monkeypatch.setenv("PASSERELLE_VAR_DIR", str(tmp_path / "var"))

    def command(*arguments: str | Path, stdin: str | bytes = b"") -> Outcome:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
        return Outcome(code, *capsys.readouterr())

    return command


@pytest.fixture
def run_on_database(run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run`, on a database of the test's own."""
    monkeypatch.setenv("PASSERELLE_DATABASE_URL", database_url)
    return run


@pytest.fixture
def sql(database_url: str) -> Iterator[Rows]:
    """Executes a statement on the test's own database, without an event loop; its rows."""
    engine = sa.create_engine(make_url(database_url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)

    def execute(statement: sa.Executable | str) -> list[sa.Row[tuple[object, ...]]]:
        with engine.begin() as conn:
            done = conn.execute(sa.text(statement) if isinstance(statement, str) else statement)
            return list(done) if done.returns_rows else []

    yield execute
    engine.dispose()
