"""The spool: webhooks that come while the database is away, in files that outlive a crash.

``VAR_DIR/spool`` holds segments, one line a webhook: its envelope, sealed with the data key, in base64. A line is on
the disk (fsync) before the provider is told "received". A segment belongs to the process that writes it as long as
that holds its lock (flock: the kernel lets go of it when the process dies, however it dies); afterwards whoever
replays takes it. Lines that do not open, the torn last one of a crash too, go to ``VAR_DIR/spool/unreadable``.
"""

from __future__ import annotations

import base64
import fcntl
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bot.vault import Vault, VaultError

MAX_BYTES = 512 * 2**20  # of all segments; the database is away for hours before a real line has filled that
_CONTEXT = "spool"


class SpoolFull(Exception):
    """There is no room left for these webhooks: the provider must be refused."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A webhook whose signature was right: what it takes to read it again later."""

    id: uuid.UUID
    channel: str
    url: str
    body: bytes
    received: float  # Unix seconds


@dataclass(frozen=True, slots=True)
class Contents:
    """What a folder holds, for `doctor` and `/health/ready`."""

    bytes: int  # that wait to be replayed
    unreadable: int  # bytes that could not be read


def contents(folder: Path) -> Contents:
    """Nothing in a folder that is not there."""
    waiting = sum(_size(path) for path in folder.glob("*.spool"))
    return Contents(waiting, sum(_size(path) for path in (folder / "unreadable").glob("*")))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # replayed meanwhile
        return 0


class Spool:
    """One process's writing end, and the reading end of whatever nobody writes any more. Calls block."""

    def __init__(self, folder: Path, vault: Vault, *, most: int = MAX_BYTES) -> None:
        self._folder = folder
        self._vault = vault
        self._most = most
        self._descriptor: int | None = None  # of the segment we write
        self._path: Path | None = None

    def waits(self) -> bool:
        """Whether there is a segment, of ours or of a dead process."""
        return any(self._folder.glob("*.spool"))

    def append(self, envelopes: Sequence[Envelope]) -> None:
        """Writes them in their order; on the disk when this returns. Raises SpoolFull, and OSError for a broken disk.

        After an error none of them counts as written, though a part of them may be replayed: copies do no harm.
        """
        lines = b"".join(_line(self._vault, envelope) for envelope in envelopes)
        if contents(self._folder).bytes + len(lines) > self._most:
            raise SpoolFull
        try:
            if self._descriptor is None:
                self._open()
            assert self._descriptor is not None
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError:
            self.close()  # its last line may be torn: the next webhook starts a new segment
            raise

    def close(self) -> None:
        """Ends the segment that is being written; the next webhook starts another."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = self._path = None

    def oldest(self) -> Path | None:
        """The segment to be replayed next, complete: one of ours is closed for it. None when there is none to take."""
        for path in sorted(self._folder.glob("*.spool")):
            if path == self._path:
                self.close()
            with suppress(OSError), _held(path):  # another gateway's, or replayed by it meanwhile
                return path
        return None

    @contextmanager
    def replaying(self, path: Path) -> Iterator[Iterator[Envelope]]:
        """The envelopes of a segment in their order; when the block ends without an error, the segment is gone.

        Raises OSError when another process has it.
        """
        with _held(path):
            yield self._read(path)
            path.unlink()

    def _read(self, path: Path) -> Iterator[Envelope]:
        with path.open("rb") as segment:
            for line in segment:
                try:
                    envelope = _opened(self._vault, line)
                except (ValueError, KeyError, TypeError, AttributeError, VaultError):
                    self._keep_aside(path.name, line)
                    continue
                yield envelope

    def _keep_aside(self, name: str, line: bytes) -> None:
        """As it stands, in a file of the segment's name; a second replay does not keep it twice."""
        folder = self._folder / "unreadable"
        folder.mkdir(mode=0o700, exist_ok=True)
        line = line.rstrip(b"\n") + b"\n"
        with os.fdopen(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as kept:
            if line in kept.readlines():
                return
            kept.write(line)
            kept.flush()
            os.fsync(kept.fileno())

    def _open(self) -> None:
        self._folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        while True:
            path = self._folder / f"{time.time_ns():020}-{os.getpid()}.spool"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:  # else somebody replayed it, empty, before we had the lock
                break
            os.close(descriptor)
        self._descriptor, self._path = descriptor, path
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # or the file's name is lost with the power
        finally:
            os.close(folder)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """The segment's lock. Raises OSError when somebody else has it, or it is gone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(descriptor).st_nlink:
            raise FileNotFoundError(path)
        yield
    finally:
        os.close(descriptor)


def _line(vault: Vault, envelope: Envelope) -> bytes:
    value = {
        "id": str(envelope.id),
        "channel": envelope.channel,
        "url": envelope.url,
        "body": base64.b64encode(envelope.body).decode("ascii"),
        "received": envelope.received,
    }
    return base64.b64encode(vault.seal_json(value, context=_CONTEXT)) + b"\n"


def _opened(vault: Vault, line: bytes) -> Envelope:
    """Raises ValueError, KeyError, TypeError, AttributeError or VaultError for what is no whole line of ours."""
    if not line.endswith(b"\n"):
        raise ValueError("torn")
    value = vault.open_json(base64.b64decode(line.rstrip(b"\n"), validate=True), context=_CONTEXT)
    if not isinstance(value, dict):
        raise TypeError("not an envelope")
    return Envelope(
        id=uuid.UUID(value["id"]),
        channel=str(value["channel"]),
        url=str(value["url"]),
        body=base64.b64decode(value["body"]),
        received=float(value["received"]),
    )
