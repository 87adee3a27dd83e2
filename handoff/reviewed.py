"""Files of verdicts on their way to a reviewer and back: nothing becomes training data that no person approved.

passerelle verdicts export FILE    lines with "approved": false and an empty "want"
the reviewer                       reads every line, takes names out, sets "approved" and "want"
passerelle verdicts import FILE    approved lines → VAR_DIR/approved/<language>.jsonl, as nlu.examples reads them
"""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlu.indicators import SEVERITY_OF

# Ends of lines to nlu.examples, which json leaves as they are.
_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class ReviewError(ValueError):
    """A file that cannot be written or read; says what to do."""


@dataclass(frozen=True, slots=True)
class Approved:
    """One approved line. ``example``: as it is learnt; ``against``: the reviewer saw it otherwise than the advocate."""

    language: str
    example: dict[str, Any]
    against: bool


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file. ``problems``: a sentence for each bad line; ``against``: numbers of lines."""

    added: int
    known: int
    unapproved: int
    problems: tuple[str, ...]
    against: tuple[int, ...]


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Takes lines, and writes them into a new file that only its owner can read; none is left when it fails."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ReviewError(f"{path} exists: name another file, so that nobody's review is written over.") from error
    except OSError as error:
        raise ReviewError(f"{path} cannot be written ({error.strerror}).") from error
    lines: list[dict[str, Any]] = []
    try:
        yield lines
        with open(descriptor, "wb", closefd=False) as file:
            file.write(b"".join(_bytes(line) for line in lines))
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.strerror:
            raise ReviewError(f"{path} cannot be written ({error.strerror}).") from error
        raise
    finally:
        os.close(descriptor)


def import_file(path: Path, folder: Path) -> Imported:
    """Adds a reviewed file's approved lines to the training lines in a folder, each id once. Raises ReviewError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReviewError(f"{path} cannot be read ({error.strerror}).") from error
    approved: list[Approved] = []
    unapproved, problems, against = 0, [], []
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found = _read(line)
        except ValueError as error:
            problems.append(f"Line {number} is left out: {error}.")
            continue
        if found is None:
            unapproved += 1
            continue
        approved.append(found)
        if found.against:
            against.append(number)
    added = _add(folder, approved)
    return Imported(added, len(approved) - added, unapproved, tuple(problems), tuple(against))


def _read(line: bytes) -> Approved | None:
    """One line; None when nobody has approved it. Raises ValueError, saying what is wrong with it."""
    try:
        item = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(item, dict):
        raise ValueError("it is not an object in braces")
    approved = item.get("approved", False)
    if not isinstance(approved, bool):
        raise ValueError('"approved" must be true or false')
    return _approved(item) if approved else None


def _approved(item: Mapping[str, Any]) -> Approved:
    text = item.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError('"text" must hold the words')
    history = _texts(item.get("history", []), '"history" must be a list of texts')
    want = _texts(item.get("want"), '"want" must be a list of indicators, empty when the message is harmless')
    unknown = [name for name in want if name not in SEVERITY_OF]
    if unknown:
        raise ValueError(f'"want" names what is no indicator: {", ".join(unknown)}')
    example = {
        "text": text,
        "indicators": list(dict.fromkeys(want)),
        "group": f"approved-{_id(item.get('id'))}",
        "register": "plain",
    }
    if history:
        example["history"] = history
    return Approved(
        _language(item.get("language")), example, item.get("verdict") == ("should_not" if want else "should")
    )


def _texts(value: object, otherwise: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(otherwise)
    return value


def _id(value: object) -> str:
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError as error:
        raise ValueError('"id" must be as it was exported') from error


def _language(value: object) -> str:
    """In its usual spelling ("pa-Latn"): it becomes the name of a file."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z]{4})?", value) or value.lower() == "und":
        raise ValueError('"language" must be a tag such as "en" or "pa-Latn"')
    language, _, script = value.partition("-")
    return f"{language.lower()}-{script.title()}" if script else language.lower()


# -- the training lines


def _add(folder: Path, approved: Iterable[Approved]) -> int:
    """Appends what is not there yet; the number of new lines."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            known = _groups(folder)
            fresh: dict[str, list[bytes]] = {}
            for line in approved:
                if line.example["group"] not in known:
                    known.add(line.example["group"])
                    fresh.setdefault(line.language, []).append(_bytes(line.example))
            for language, lines in fresh.items():
                _append(folder / f"{language}.jsonl", lines)
    except OSError as error:
        raise ReviewError(
            f"{folder} cannot be written ({error.strerror}): mend it and import again, nothing is added twice."
        ) from error
    return sum(len(lines) for lines in fresh.values())


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two imports at once would both find a line missing."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _groups(folder: Path) -> set[str]:
    """Of every language: a reviewer may have corrected it."""
    found = set()
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            try:
                if line.strip():
                    found.add(str(json.loads(line)["group"]))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ReviewError(
                    f"{path}, line {number} is no training line: mend or remove it. Nothing was imported."
                ) from error
    return found


def _append(path: Path, lines: list[bytes]) -> None:
    """By way of a second file: a crash leaves the old lines or all of them, and never half a line."""
    before = path.read_bytes() if path.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    draft = path.with_suffix(".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(before + b"".join(lines))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _bytes(line: Mapping[str, Any]) -> bytes:
    """Readable in every script. Half a character, as phones cut them, becomes a question mark."""
    text = json.dumps(line, ensure_ascii=False).translate(_LINE_ENDS)
    return text.encode("utf-8", "replace") + b"\n"
