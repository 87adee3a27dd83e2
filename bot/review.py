"""`passerelle verdicts`: what advocates say of the screen goes out to a reviewer, and what is approved comes in."""

from __future__ import annotations

import sys
from pathlib import Path

from bot import database
from bot.settings import Settings
from bot.vault import Vault
from handoff import access, reviewed, verdicts

FOLDER = "approved"  # in VAR_DIR


async def export(given: Settings, url: str, path: Path) -> str:
    """Writes every verdict into a new file; what to say of it. Raises ReviewError."""
    engine = database.engine_for(url, pool_size=1)
    try:
        with reviewed.new_file(path) as lines:
            # The audit row stands before any word is opened.
            async with engine.begin() as conn:
                await access.write_audit(conn, access.command_line(), "verdicts exported", purpose="review")
            async with engine.connect() as conn:
                found = await verdicts.collect(conn, Vault.from_key(given.data_key))
            lines += found.lines
    finally:
        await engine.dispose()
    return (
        f"{len(found.lines)} verdicts are in {path}. Left out: {found.left_out} without words to learn from.\n"
        "Numbers, links, addresses and known places are taken out. Names of people, streets and employers are NOT:\n"
        'take them out of every line, then set "approved" to true and "want" to the indicators (none: harmless).'
    )


def take_in(given: Settings, path: Path) -> int:
    """Adds a reviewed file's approved lines, and says what became of the others; the exit code. Raises ReviewError."""
    done = reviewed.import_file(path, given.var_dir / FOLDER)
    for problem in done.problems:
        print(f"passerelle: {problem}", file=sys.stderr)
    if done.against:
        lines = ", ".join(str(number) for number in done.against)
        print(f'"want" and "verdict" disagree, "want" was taken. Please look again at line {lines}.', file=sys.stderr)
    print(f"{done.added} approved lines were added to {given.var_dir / FOLDER}.")
    print(f"Left out: {done.unapproved} not approved, {done.known} imported before, {len(done.problems)} bad.")
    return 1 if done.problems else 0
