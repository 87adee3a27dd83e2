"""Staff: accounts with roles, argon2 passwords, sessions, API tokens."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.tables import sessions, staff, tokens
from bot.vault import Vault

ROLES = ("advocate", "supervisor", "content", "analyst", "admin")
# What a role may do. Reading conversations is for those who help, and audited even so.
PERMISSIONS = {
    "advocate": {"queue", "converse"},
    "supervisor": {"queue", "converse", "signals", "send_again", "open_files"},
    "content": {"studio"},
    "analyst": {"signals"},
    "admin": {"queue", "signals", "staff"},
}
SESSION_HOURS = 12
MIN_PASSWORD = 10
_LOCK_AFTER = 5  # wrong passwords in a row, then a minute's pause, doubled each time
_hasher = PasswordHasher()
# Checked when the name is unknown, so that the time taken does not tell which names exist.
_NOBODY = _hasher.hash(secrets.token_hex(16))


class StaffError(ValueError):
    """An account that cannot be made or changed; says what to do."""


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who is logged in."""

    id: uuid.UUID
    name: str
    display: str
    role: str
    csrf: str = ""

    def may(self, permission: str) -> bool:
        return permission in PERMISSIONS[self.role]


async def add(
    conn: AsyncConnection, *, name: str, display: str, role: str, password: str, demonstration: bool = False
) -> uuid.UUID:
    """A new account. Raises StaffError for a bad name, role or password, or a name in use."""
    if not name.isascii() or not name.replace(".", "").replace("-", "").isalnum() or len(name) > 60:
        raise StaffError("The name may have letters, digits, dots and hyphens, at most 60 of them.")
    if role not in ROLES:
        raise StaffError(f"The role must be one of: {', '.join(ROLES)}.")
    if len(password) < MIN_PASSWORD:
        raise StaffError(f"The password must have at least {MIN_PASSWORD} characters.")
    key = uuid.uuid4()
    added = await conn.scalar(
        insert(staff)
        .values(
            id=key,
            name=name.lower(),
            display=display or name,
            role=role,
            password_hash=_hasher.hash(password),
            demonstration=demonstration,
        )
        .on_conflict_do_nothing()
        .returning(staff.c.id)
    )
    if added is None:
        raise StaffError(f"There is already an account named {name.lower()}.")
    return key


async def names(conn: AsyncConnection) -> list[sa.Row[tuple[str, str, str, bool]]]:
    """(name, display, role, active) of every account."""
    query = sa.select(staff.c.name, staff.c.display, staff.c.role, staff.c.active).order_by(staff.c.name)
    return list(await conn.execute(query))


async def retire_demonstration(conn: AsyncConnection) -> None:
    """Production knows no demonstration accounts: their passwords were printed for everybody."""
    ended = staff.update().where(staff.c.demonstration).values(active=False).returning(staff.c.id)
    keys = [row.id for row in await conn.execute(ended)]
    await conn.execute(sessions.delete().where(sessions.c.staff_id.in_(keys)))


async def deactivate(conn: AsyncConnection, name: str) -> bool:
    """Ends an account and its sessions; False when there is none."""
    key = await conn.scalar(
        staff.update().where(staff.c.name == name.lower()).values(active=False).returning(staff.c.id)
    )
    if key is not None:
        await conn.execute(sessions.delete().where(sessions.c.staff_id == key))
    return key is not None


async def set_password(conn: AsyncConnection, name: str, password: str, *, demonstration_only: bool = False) -> bool:
    """A new password; ends the account's sessions. False when there is no such account."""
    if len(password) < MIN_PASSWORD:
        raise StaffError(f"The password must have at least {MIN_PASSWORD} characters.")
    key = await conn.scalar(
        staff.update()
        .where(staff.c.name == name.lower(), staff.c.demonstration if demonstration_only else sa.true())
        .values(password_hash=_hasher.hash(password), failed_logins=0, locked_until=None)
        .returning(staff.c.id)
    )
    if key is not None:
        await conn.execute(sessions.delete().where(sessions.c.staff_id == key))
    return key is not None


def password_fits(password_hash: str | None, password: str) -> bool:
    """Whether the password is right; takes as long when there is no account. Slow on purpose: run in a thread."""
    try:
        return _hasher.verify(password_hash or _NOBODY, password) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


async def find_login(conn: AsyncConnection, name: str) -> sa.Row[tuple[uuid.UUID, str, bool]] | None:
    """(id, password hash, locked) of an active account; locks its row, so that guesses come one by one."""
    locked = sa.func.coalesce(staff.c.locked_until > sa.func.now(), sa.false()).label("locked")
    query = sa.select(staff.c.id, staff.c.password_hash, locked).where(staff.c.name == name.lower(), staff.c.active)
    return (await conn.execute(query)).one_or_none()


async def record_failure(conn: AsyncConnection, key: uuid.UUID) -> None:
    """Counts a wrong password; every fifth in a row locks the account for a while."""
    await conn.execute(
        sa.text(
            "UPDATE staff SET failed_logins = failed_logins + 1, locked_until = CASE"
            " WHEN (failed_logins + 1) % :after = 0"
            " THEN now() + make_interval(mins => least(60, (power(2, (failed_logins + 1) / :after - 1))::int))"
            " ELSE locked_until END WHERE id = :id"
        ),
        {"id": key, "after": _LOCK_AFTER},
    )


async def open_session(conn: AsyncConnection, vault: Vault, key: uuid.UUID) -> str:
    """A new session's token, for the cookie; the database keeps its keyed hash only."""
    token = secrets.token_urlsafe(32)
    await conn.execute(staff.update().where(staff.c.id == key).values(failed_logins=0, locked_until=None))
    await conn.execute(sessions.delete().where(sessions.c.expires_at < sa.func.now()))
    await conn.execute(
        sessions.insert().values(
            token_lookup=vault.lookup(token, context="session"),
            staff_id=key,
            csrf=secrets.token_urlsafe(24),
            expires_at=sa.func.now() + sa.text(f"interval '{SESSION_HOURS} hours'"),
        )
    )
    return token


async def member_of(conn: AsyncConnection, vault: Vault, token: str) -> Member | None:
    """Whose session this is, if it still runs."""
    row = (
        await conn.execute(
            sa.select(staff.c.id, staff.c.name, staff.c.display, staff.c.role, sessions.c.csrf)
            .join(staff, staff.c.id == sessions.c.staff_id)
            .where(
                sessions.c.token_lookup == vault.lookup(token, context="session"),
                sessions.c.expires_at > sa.func.now(),
                staff.c.active,
            )
        )
    ).one_or_none()
    return Member(row.id, row.name, row.display, row.role, row.csrf) if row else None


async def close_session(conn: AsyncConnection, vault: Vault, token: str) -> None:
    await conn.execute(sessions.delete().where(sessions.c.token_lookup == vault.lookup(token, context="session")))


async def add_token(conn: AsyncConnection, vault: Vault, *, name: str, label: str) -> str:
    """A personal API token, shown once. Raises StaffError for an unknown name."""
    key = await conn.scalar(sa.select(staff.c.id).where(staff.c.name == name.lower(), staff.c.active))
    if key is None:
        raise StaffError(f"There is no active account named {name}.")
    token = "pt_" + secrets.token_urlsafe(32)
    await conn.execute(
        tokens.insert().values(
            id=uuid.uuid4(), token_lookup=vault.lookup(token, context="token"), staff_id=key, label=label
        )
    )
    return token
