"""The demonstration's accounts: the passwords that are announced open them, whatever became of the file they are in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.seed import seed
from bot.settings import Settings
from bot.tables import staff as accounts
from handoff import staff
from tests.bot.command import Rows, Run
from tests.running import free_port


def kept(settings: Settings) -> Path:
    return settings.var_dir / "secrets" / "accounts.json"


async def opened(engine: AsyncEngine, passwords: dict[str, str]) -> set[str]:
    """The accounts that these passwords open."""
    async with engine.connect() as conn:
        rows = await conn.execute(sa.select(accounts.c.name, accounts.c.password_hash))
    return {name for name, hashed in rows if staff.password_fits(hashed, passwords.get(name, ""))}


async def test_every_start_announces_the_same_accounts(
    settings: Settings, database_url: str, engine: AsyncEngine
) -> None:
    first = await seed(settings, database_url)
    assert await seed(settings, database_url) == first
    assert set(first) == set(staff.ROLES) == await opened(engine, first)
    assert kept(settings).stat().st_mode & 0o777 == 0o600
    assert not kept(settings).with_suffix(".new").exists()


async def test_a_lost_file_means_new_passwords_that_work(
    settings: Settings, database_url: str, engine: AsyncEngine
) -> None:
    first = await seed(settings, database_url)
    kept(settings).unlink()
    second = await seed(settings, database_url)
    assert set(second) == set(staff.ROLES) == await opened(engine, second)
    assert not set(first.values()) & set(second.values())
    assert json.loads(kept(settings).read_text()) == second


async def test_somebodys_own_account_keeps_its_password(
    settings: Settings, database_url: str, engine: AsyncEngine
) -> None:
    own = "a password of their own"
    async with engine.begin() as conn:
        await staff.add(conn, name="admin", display="", role="admin", password=own)
    announced = await seed(settings, database_url)
    assert set(announced) == set(staff.ROLES) - {"admin"}
    assert "admin" in await opened(engine, {"admin": own})


DAMAGE = {
    "empty": b"",
    "cut off": b'{"advocate": "abc',
    "no object": b'["advocate"]',
    "no texts": b'{"advocate": 7}',
    "no password": b'{"advocate": ""}',
    "no text at all": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_one_sentence_and_changes_nothing(
    run_on_database: Run, sql: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: bytes
) -> None:
    monkeypatch.setenv("PASSERELLE_PORT", str(free_port()))
    path = tmp_path / "var" / "secrets" / "accounts.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    problem = run_on_database("up").problem
    assert problem.startswith(f"{path} is damaged (")
    assert problem.endswith("): restore it, or delete it, and the demonstration gets new passwords.")
    assert path.read_bytes() == damage
    assert sql(sa.select(accounts)) == []


def test_a_file_that_cannot_be_kept_is_one_sentence_and_makes_no_account(
    run_on_database: Run, sql: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PASSERELLE_PORT", str(free_port()))
    path = tmp_path / "var" / "secrets" / "accounts.json"
    path.with_suffix(".new").mkdir(parents=True)
    assert run_on_database("up").problem == (
        f"{path} cannot be written (Is a directory): make room, or correct its folder."
    )
    assert sql(sa.select(accounts)) == []
