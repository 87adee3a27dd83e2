"""The database's life: connect, migrate, and refuse to work with the wrong one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bot.settings import ROOT, SettingsError
from bot.tables import installation
from bot.vault import Vault

_MIGRATION_LOCK = 0x50617373  # any constant of our own: two gateways starting at once migrate one after the other


def engine_for(url: str, *, pool_size: int = 16) -> AsyncEngine:
    """An async engine on psycopg 3 for a libpq URL."""
    return create_async_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, "prepare_threshold": 2},
    )


def prepare(url: str, vault: Vault) -> None:
    """Migrates to the newest tables and checks that this data key is the one the rows were sealed with.

    Raises SettingsError when the database cannot be reached, is of a newer release, or belongs to another key.
    """
    engine = sa.create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool, connect_args={"connect_timeout": 5}
    )
    try:
        with engine.begin() as conn:
            conn.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            _migrate(conn)
            _check_key(conn, vault)
    except sa.exc.OperationalError as error:
        raise SettingsError(
            [f"The database cannot be reached ({_cause(error)}): start it, or correct PASSERELLE_DATABASE_URL."]
        ) from error
    except sa.exc.DBAPIError as error:
        raise SettingsError(
            [f"The database cannot be used ({_cause(error)}): its user must own the database and its tables."]
        ) from error
    finally:
        engine.dispose()


def _cause(error: sa.exc.DBAPIError) -> str:
    """The server's own words, the first line of them."""
    return next(iter(str(error.orig).strip().splitlines()), "no answer")


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "bot" / "migrations"))
    return config


def _migrate(conn: sa.Connection) -> None:
    config = alembic_config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = set(MigrationContext.configure(conn).get_current_heads())
    if current - known:
        raise SettingsError(
            ["The database is of a newer release than this program: install that release, or restore a backup."]
        )
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def _check_key(conn: sa.Connection, vault: Vault) -> None:
    ours = vault.fingerprint()
    conn.execute(insert(installation).values(name="data_key", value=ours).on_conflict_do_nothing())
    stored = conn.scalar(sa.select(installation.c.value).where(installation.c.name == "data_key"))
    if stored != ours:
        raise SettingsError(
            [
                "PASSERELLE_DATA_KEY is not the key this database was made with: nothing in it could be read. "
                "Set the right key (the demonstration keeps its own in VAR_DIR/secrets/data_key)."
            ]
        )
