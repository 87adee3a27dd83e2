"""The database's life: an empty one becomes ours, a second start changes nothing, a wrong one is refused."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import make_url

from bot import database, tables
from bot.settings import ROOT, SettingsError
from bot.vault import Vault, new_key
from tests.conftest import at


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    """An empty database of the test's own."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    with sa.create_engine(driver(postgres), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT").connect() as conn:
        conn.execute(sa.text(f"CREATE DATABASE {name}"))
        yield at(postgres, name)
        conn.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def driver(url: str) -> sa.URL:
    return make_url(url).set(drivername="postgresql+psycopg")


def connect(url: str) -> sa.Connection:
    return sa.create_engine(driver(url), poolclass=sa.NullPool).connect()


def test_migrating_an_empty_database_leads_exactly_to_the_tables(url: str, vault: Vault) -> None:
    database.prepare(url, vault)
    with connect(url) as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []


def test_there_is_one_newest_migration() -> None:
    assert len(ScriptDirectory.from_config(database.alembic_config()).get_heads()) == 1


def test_a_second_start_changes_nothing(url: str, vault: Vault) -> None:
    database.prepare(url, vault)
    before = contents(url)
    database.prepare(url, vault)
    assert contents(url) == before


def test_two_gateways_may_start_at_once_on_an_empty_database(url: str) -> None:
    key = new_key()
    start = f"from bot import database, vault; database.prepare({url!r}, vault.Vault.from_key({key!r}))"
    processes = [subprocess.Popen([sys.executable, "-c", start], cwd=ROOT) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]


def test_rows_survive_a_restart(url: str, vault: Vault) -> None:
    database.prepare(url, vault)
    with connect(url) as conn:
        conn.execute(signal())
        conn.commit()
    database.prepare(url, vault)
    with connect(url) as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(tables.signals)) == 1


@pytest.mark.parametrize(
    "change", [tables.signals.update().values(severity="none"), tables.signals.delete()], ids=["update", "delete"]
)
def test_the_signal_log_is_append_only(url: str, vault: Vault, change: sa.Update | sa.Delete) -> None:
    database.prepare(url, vault)
    with connect(url) as conn:
        conn.execute(signal())
        conn.commit()
        with pytest.raises(sa.exc.DBAPIError, match="the signal log is append-only"):
            conn.execute(change)
        conn.rollback()
        assert list(conn.scalars(sa.select(tables.signals.c.severity))) == ["high"]


def test_one_indicator_of_a_message_is_logged_once(url: str, vault: Vault) -> None:
    database.prepare(url, vault)
    row = signal()
    with connect(url) as conn:
        conn.execute(row)
        with pytest.raises(sa.exc.IntegrityError, match="uq_signals_risk"):
            conn.execute(row.values(id=uuid.uuid4()))


def test_another_data_key_is_refused_in_one_sentence(url: str, vault: Vault) -> None:
    database.prepare(url, vault)
    with pytest.raises(SettingsError) as refused:
        database.prepare(url, Vault.from_key(new_key()))
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith("PASSERELLE_DATA_KEY is not the key this database was made with")
    database.prepare(url, vault)  # the right key still fits


def test_a_database_of_a_newer_release_is_refused_and_left_alone(url: str, vault: Vault) -> None:
    database.prepare(url, vault)
    with connect(url) as conn:
        conn.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        conn.commit()
    with pytest.raises(SettingsError) as refused:
        database.prepare(url, vault)
    assert refused.value.problems == [
        "The database is of a newer release than this program: install that release, or restore a backup."
    ]
    with connect(url) as conn:
        assert conn.scalar(sa.text("SELECT version_num FROM alembic_version")) == "9999"


def test_a_database_that_does_not_answer_is_one_sentence(tmp_path: Path, vault: Vault) -> None:
    with pytest.raises(SettingsError) as refused:
        database.prepare(f"postgresql:///passerelle?host={tmp_path}", vault)
    [problem] = refused.value.problems
    assert problem.startswith("The database cannot be reached (")
    assert problem.endswith("): start it, or correct PASSERELLE_DATABASE_URL.")


def signal() -> sa.Insert:
    return tables.signals.insert().values(
        id=uuid.uuid4(),
        kind="risk",
        conversation_id=uuid.uuid4(),
        message_id=uuid.uuid4(),
        indicator="confinement",
        severity="high",
        channel="sms",
    )


def contents(url: str) -> list[object]:
    """Revision, tables and this installation's facts."""
    with connect(url) as conn:
        return [
            conn.scalars(sa.text("SELECT version_num FROM alembic_version")).all(),
            sorted(sa.inspect(conn).get_table_names()),
            conn.execute(sa.select(tables.installation)).all(),
        ]
