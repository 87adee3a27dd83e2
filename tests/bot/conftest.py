"""Fixtures of two kinds: the command line in this process (``command``), and the public door.

Tests that stay at the door share one database, emptied before each.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from tests.bot.command import logging_as_before, run, run_on_database, sql  # noqa: F401
from tests.conftest import at


@pytest.fixture(scope="session")
def door_database(postgres: str) -> Iterator[str]:
    name = "door_" + uuid.uuid4().hex[:12]
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template")
        yield at(postgres, name)
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def emptied(door_database: str) -> str:
    """Its URL. What these tests write hangs on a conversation, or stands in the quarantine."""
    with psycopg.connect(door_database, autocommit=True) as conn:
        conn.execute("DELETE FROM conversations")
        conn.execute("DELETE FROM quarantine")
        conn.execute("DELETE FROM pace")
    return door_database
