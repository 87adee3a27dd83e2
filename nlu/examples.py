"""The labelled messages: what the heads and the encoder learn from, and what the thresholds are chosen on.

nlu/data/risk/<language>.jsonl         learnt from
nlu/data/romanised/<language>.jsonl    learnt from: the Chinese ones of them in Latin letters (scripts/romanise.py)
nlu/data/development/<language>.jsonl  never learnt from: thresholds are chosen and figures measured on it
nlu/data/*.yml                         the dialogue's questions, which disclose nothing
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nlu.indicators import SEVERITY_OF, severity_of

FOLDER = Path(__file__).parent / "data"
LEARNT, ROMANISED, DEVELOPMENT = FOLDER / "risk", FOLDER / "romanised", FOLDER / "development"
HISTORY = 5  # earlier messages that are read together with the newest
_TOGETHER = 400  # characters of them at most: the encoder reads no more, and the newest must not be cut off
# Intents whose examples may or may not disclose something: nothing is learnt of risk from them.
_UNCLEAR = {"tell_trouble", "ask_help_friend", "ask_tip", "sorry"}


@dataclass(frozen=True, slots=True)
class Example:
    """One line of the data files. ``group``: the writer or scenario; a split never cuts through one."""

    language: str
    text: str
    indicators: tuple[str, ...]
    group: str
    history: tuple[str, ...]
    register: str
    intent: str | None = None

    @property
    def read_as(self) -> str:
        """What is encoded: the text after what was written before it."""
        return together(self.history, self.text)

    @property
    def severity(self) -> str:
        return severity_of(self.indicators)


def together(history: Sequence[str], text: str) -> str:
    """Earlier messages and the newest as one text; training and use share it."""
    before = "\n".join(history[-HISTORY:])
    room = max(0, _TOGETHER - len(text))
    return f"{before[-room:]}\n{text}" if before and room else text


def read_risk(folder: Path = LEARNT) -> list[Example]:
    """Every line of every language. Raises ValueError naming the file and line of a wrong one."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                found.append(_example(path.stem, json.loads(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path.name}, line {number}: {error}") from error
    return found


def read_learnt() -> list[Example]:
    """All that the encoder and the heads learn of risk from, without the dialogue's questions."""
    return [*read_risk(LEARNT), *read_risk(ROMANISED)]


def _example(language: str, line: dict[str, Any]) -> Example:
    unknown = set(line["indicators"]) - set(SEVERITY_OF)
    if unknown:
        raise ValueError(f"unknown indicators {sorted(unknown)}")
    return Example(
        language, line["text"], tuple(line["indicators"]), line["group"], tuple(line.get("history") or ()),
        line.get("register", ""),
    )  # fmt: skip


def read_questions(folder: Path = FOLDER) -> list[Example]:
    """The dialogue's examples with their intents: questions and small talk, or a wish for a human."""
    found = []
    for path in sorted(folder.glob("*.yml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["nlu"]:
            language, intent = (entry.get("metadata") or {}).get("language"), entry.get("intent")
            if not language or intent is None:
                continue
            indicators = ("human_requested",) if intent == "request_human" else ()
            for number, line in enumerate(entry["examples"].splitlines()):
                text = line.strip().removeprefix("-").strip()
                if text:
                    group = f"{intent}-{language}-{number}"
                    found.append(Example(language, text, indicators, group, (), "question", intent))
    return found


def says_of_risk(example: Example) -> bool:
    """Whether the risk heads may learn from it."""
    return example.intent not in _UNCLEAR


def checksum(*, development: bool = True) -> str:
    """Of all of it, or of what is learnt from: tests compare it with the models'."""
    digest = hashlib.sha256()
    paths = [*sorted(LEARNT.glob("*.jsonl")), *sorted(ROMANISED.glob("*.jsonl")), *sorted(FOLDER.glob("*.yml"))]
    if development:
        paths += sorted(DEVELOPMENT.glob("*.jsonl"))
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
