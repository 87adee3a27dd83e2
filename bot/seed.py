"""The demonstration: one account per role with its password kept, and a small directory, clearly fictitious."""

from __future__ import annotations

import json
import secrets

from bot import database, directory
from bot.settings import Settings
from handoff import staff

_DISPLAY = {
    "advocate": "Amira (advocate)",
    "supervisor": "Sol (supervisor)",
    "content": "Camille (content)",
    "analyst": "Ana (analyst)",
    "admin": "Alex (operator)",
}


async def seed(settings: Settings, url: str) -> dict[str, str]:
    """Makes what is missing; name → password of the demonstration's accounts, the same at every start."""
    kept = settings.var_dir / "secrets" / "accounts.json"
    passwords: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    engine = database.engine_for(url, pool_size=1)
    try:
        async with engine.begin() as conn:
            existing = {row.name for row in await staff.names(conn)}
            for role in staff.ROLES:
                password = passwords.setdefault(role, secrets.token_urlsafe(9))
                if role in existing:
                    continue
                await staff.add(
                    conn, name=role, display=_DISPLAY[role], role=role, password=password, demonstration=True
                )
            await directory.import_file(conn, directory.DEMONSTRATION)
    finally:
        await engine.dispose()
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    kept.write_text(json.dumps(passwords))
    kept.chmod(0o600)
    return passwords
