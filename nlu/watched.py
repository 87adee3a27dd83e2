"""Signs that somebody else holds the phone: "who is this", "why do you write to my wife", a sudden other language.

It never lowers anything: the conversation is flagged, and what we say becomes discreet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from nlu.language import Language
from nlu.normalise import normalise
from nlu.patterns import compile_alternatives

FILE = Path(__file__).parent / "watched.yml"
_LONGEST = 120  # characters: such questions are short; a long story that contains one is somebody's own
_SURE = 0.9  # of the new language, before its change counts


@dataclass(frozen=True, slots=True)
class Phrase:
    """One language's expressions, and the examples that the tests run."""

    language: str
    expression: Any  # a compiled RE2
    matches: tuple[str, ...]
    passes: tuple[str, ...]


def watched(text: str, *, history: Sequence[str], language: Language, before: str | None, grave: bool) -> bool:
    """Whether somebody else seems to write now.

    ``history``: what was written before (a first "who is this?" is only a question); ``before``: the conversation's
    language; ``grave``: a grave handoff is open, so that a sudden other language is worth a thought.
    """
    if not history:
        return False
    if len(text) <= _LONGEST and asks_who(text):
        return True
    changed = before is not None and language.tag != before and language.confidence >= _SURE
    return grave and changed and len(text.split()) >= 3 and not _related(language.tag, before or "")


def asks_who(text: str) -> bool:
    """Whether a text asks who we are, or speaks as the person's husband or boss."""
    spelt = normalise(text).text
    return any(phrase.expression.search(spelt) for phrase in load())


def _related(one: str, other: str) -> bool:
    """The same language in two scripts, or two that one person mixes and detectors confuse."""
    pairs = ({"hi", "pa", "ur"}, {"zh"}, {"ru", "uk"}, {"es", "pt"}, {"ht", "fr"})
    mine, theirs = one.split("-")[0], other.split("-")[0]
    return mine == theirs or "en" in (mine, theirs) or any({mine, theirs} <= pair for pair in pairs)


@lru_cache(maxsize=1)
def load() -> tuple[Phrase, ...]:
    """The phrases of every language. Raises PatternError."""
    return tuple(_phrases(yaml.safe_load(FILE.read_text(encoding="utf-8"))))


def _phrases(document: list[dict[str, Any]]) -> Iterator[Phrase]:
    for entry in document:
        expression = compile_alternatives(entry["any"], f"{FILE.name}, {entry['language']}")
        yield Phrase(entry["language"], expression, tuple(entry["matches"]), tuple(entry["passes"]))
