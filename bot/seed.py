"""The demonstration: one account per role with its password kept, and a small directory, clearly fictitious."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from bot import database, directory
from bot.settings import Settings, SettingsError
from handoff import staff

_DISPLAY = {
    "advocate": "Amira (advocate)",
    "supervisor": "Sol (supervisor)",
    "content": "Camille (content)",
    "analyst": "Ana (analyst)",
    "admin": "Alex (operator)",
}


async def seed(settings: Settings, url: str) -> dict[str, str]:
    """Makes what is missing; name → password of the demonstration's accounts, the same at every start.

    Raises SettingsError.
    """
    kept = settings.var_dir / "secrets" / "accounts.json"
    passwords = _read(kept)
    engine = database.engine_for(url, pool_size=1)
    try:
        async with engine.begin() as conn:
            existing = {row.name for row in await staff.names(conn)}
            for role in staff.ROLES:
                if role not in existing:
                    passwords.setdefault(role, secrets.token_urlsafe(9))
                    await staff.add(
                        conn, name=role, display=_DISPLAY[role], role=role, password=passwords[role], demonstration=True
                    )
                elif role not in passwords:  # the file was lost: what it said cannot be read out of the database
                    password = secrets.token_urlsafe(9)
                    if await staff.set_password(conn, role, password, demonstration_only=True):
                        passwords[role] = password
            await directory.import_file(conn, directory.DEMONSTRATION)
            _keep(kept, passwords)  # before the commit: an account whose password nobody knows helps nobody
    finally:
        await engine.dispose()
    return passwords


def _read(path: Path) -> dict[str, str]:
    """The passwords that were made up before; none at the first start. Raises SettingsError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not all(isinstance(password, str) for password in found.values()):
            raise ValueError("it must be an object of names and passwords")
        if any(len(password) < staff.MIN_PASSWORD for password in found.values()):
            raise ValueError(f"a password has fewer than {staff.MIN_PASSWORD} characters")
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise SettingsError(
            [f"{path} is damaged ({error}): restore it, or delete it, and the demonstration gets new passwords."]
        ) from error
    except OSError as error:
        raise SettingsError([f"{path} cannot be read ({error.strerror}): correct its permissions."]) from error
    return {role: found[role] for role in staff.ROLES if role in found}


def _keep(path: Path, passwords: dict[str, str]) -> None:
    """Whole or not at all, and readable for its owner only from the first byte. Raises SettingsError."""
    new = path.with_suffix(".new")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(passwords, file)
        new.replace(path)
    except OSError as error:
        raise SettingsError(
            [f"{path} cannot be written ({error.strerror}): make room, or correct its folder."]
        ) from error
