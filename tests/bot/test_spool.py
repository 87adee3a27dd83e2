"""The spool alone: what is on it can be read after any end of the process, in order, by nobody without the key."""

from __future__ import annotations

import base64
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from bot.spool import Envelope, Spool, SpoolFull, contents
from bot.vault import Vault, new_key

URL = "https://gateway.example/webhooks/twilio"


def envelope(body: bytes = b"zebra", *, channel: str = "sms") -> Envelope:
    return Envelope(uuid.uuid4(), channel, URL, body, time.time())


def replayed(spool: Spool) -> list[Envelope]:
    """Everything, as the intake takes it."""
    found = []
    while segment := spool.oldest():
        with spool.replaying(segment) as envelopes:
            found += list(envelopes)
    return found


def broken_off(spool: Spool) -> list[Envelope]:
    """The first segment, whose replay then ends with an error."""
    found: list[Envelope] = []
    segment = spool.oldest()
    assert segment is not None
    with suppress(ConnectionError), spool.replaying(segment) as envelopes:
        found += envelopes
        raise ConnectionError
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def segment_of(folder: Path) -> Path:
    (path,) = folder.glob("*.spool")
    return path


def test_what_is_appended_comes_back_once_in_its_order(folder: Path, vault: Vault) -> None:
    spool = Spool(folder, vault)
    given = [envelope(body) for body in (b"", b"\x00\xff\n\r\n", b"x" * 100_000, "é".encode())]
    spool.append(given[:2])
    spool.append(given[2:])
    assert replayed(spool) == given
    assert not spool.waits()
    later = envelope()
    spool.append([later])
    assert replayed(spool) == [later]


def test_nobody_reads_it_without_the_key(folder: Path, vault: Vault) -> None:
    Spool(folder, vault).append([envelope()])
    path = segment_of(folder)
    raw = path.read_bytes()
    for secret in (b"zebra", b"sms", base64.b64encode(b"zebra")):
        assert secret not in raw
        assert secret not in base64.b64decode(raw)
    assert path.stat().st_mode & 0o077 == 0


def test_another_process_takes_it_when_its_writer_has_died_and_not_before(folder: Path, vault: Vault) -> None:
    given = envelope()
    writer, other = Spool(folder, vault), Spool(folder, vault)
    writer.append([given])
    assert replayed(other) == []
    writer.close()  # as the kernel does
    assert replayed(other) == [given]


def test_a_replay_that_breaks_off_begins_again(folder: Path, vault: Vault) -> None:
    given = [envelope() for _ in range(3)]
    spool = Spool(folder, vault)
    spool.append(given)
    assert broken_off(spool) == given
    assert replayed(spool) == given


def test_what_comes_during_a_replay_goes_behind_it(folder: Path, vault: Vault) -> None:
    first, second = envelope(), envelope()
    spool = Spool(folder, vault)
    spool.append([first])
    segment = spool.oldest()
    assert segment is not None
    with spool.replaying(segment) as envelopes:
        assert list(envelopes) == [first]
        spool.append([second])
    assert replayed(spool) == [second]


@pytest.mark.parametrize("cut", [1, 30])
def test_a_torn_last_line_loses_no_other_and_is_kept_aside(folder: Path, vault: Vault, cut: int) -> None:
    given = [envelope() for _ in range(3)]
    spool = Spool(folder, vault)
    spool.append(given)
    spool.close()
    path = segment_of(folder)
    os.truncate(path, path.stat().st_size - cut)
    assert replayed(spool) == given[:2]
    assert not spool.waits()
    assert contents(folder).unreadable > 0


def test_a_damaged_line_loses_no_other_and_is_kept_aside_once(folder: Path, vault: Vault) -> None:
    given = [envelope() for _ in range(3)]
    spool = Spool(folder, vault)
    spool.append(given)
    spool.close()
    path = segment_of(folder)
    lines = path.read_bytes().splitlines(keepends=True)
    for bad in (lines[1][:50] + lines[1][51:], b"\xff\n", b"\n", b"eA==\n"):
        lines[1] = bad
        path.write_bytes(b"".join(lines))
        for _ in range(2):
            assert broken_off(spool) == [given[0], given[2]]
        assert (folder / "unreadable" / path.name).read_bytes().splitlines(keepends=True).count(bad) == 1


def test_under_another_key_nothing_is_lost(folder: Path, vault: Vault) -> None:
    spool = Spool(folder, vault)
    spool.append([envelope()])
    spool.close()
    line = segment_of(folder).read_bytes()
    assert replayed(Spool(folder, Vault.from_key(new_key()))) == []
    (kept,) = (folder / "unreadable").iterdir()
    assert kept.read_bytes() == line


def test_a_full_spool_refuses_and_keeps_what_it_has(folder: Path, vault: Vault) -> None:
    spool = Spool(folder, vault, most=2000)
    given = envelope()
    spool.append([given])
    with pytest.raises(SpoolFull):
        spool.append([envelope(b"x" * 2000)])
    assert contents(folder).bytes < 2000
    assert replayed(spool) == [given]
    spool.append([envelope()])  # and there is room again


def test_a_disk_that_takes_no_more_refuses_and_loses_nothing(
    folder: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, vault)
    given, refused, later = envelope(), envelope(), envelope()
    spool.append([given])
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 40:
            return write(descriptor, data[:40])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bot.spool.os.write", half)
    with pytest.raises(OSError, match="No space"):
        spool.append([refused])
    monkeypatch.undo()
    spool.append([later])
    assert replayed(spool) == [given, later]
