"""Curated risk patterns: data files (``nlu/patterns/*.yml``), one per language or script.

A pattern is an RE2 expression over normalised text (see ``normalise``): lower case, no accents, straight
quotes. RE2 matches in linear time whatever the pattern and the text, so no message can stall the screen.
Write patterns as the language is written, with accents: they are normalised in the same way when loaded.

Each entry::

    - indicator: document_retention
      any: ["garde (mon|mes|nos) (passeport|papiers)"]   # alternatives
      not: ["(film|serie)"]                              # optional: a match of these nearby cancels
      matches: ["mon patron garde mon passeport"]        # must match (tests run these)
      passes: ["je dois renouveler mon passeport"]       # must not match
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import re2
import yaml

from nlu.indicators import SEVERITY_OF
from nlu.normalise import Normalised, fold, normalise
from nlu.script import script_of

PATTERN_DIR = Path(__file__).parent / "patterns"
# libyaml reads the patterns in a fifth of the time; the same result
SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NEAR = 60  # characters on either side in which a `not` expression cancels a match


class PatternError(ValueError):
    """A pattern file that cannot be used; the message names the file and the entry."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One compiled entry of a pattern file."""

    language: str
    indicator: str
    expression: Any  # a compiled RE2
    cancels: Any | None
    matches: tuple[str, ...]
    passes: tuple[str, ...]
    scripts: frozenset[str]  # of its letters; none: it may match in any text

    def find(self, text: Normalised) -> tuple[int, int] | None:
        """Original (start, end) of the first match that nothing cancels, or None."""
        for found in self.expression.finditer(text.text):
            around = text.text[max(0, found.start() - _NEAR) : found.end() + _NEAR]
            if self.cancels is None or not self.cancels.search(around):
                return text.span(*_trim(text.text, found.start(), found.end()))
        return None


def load(folder: Path = PATTERN_DIR) -> tuple[Pattern, ...]:
    """Every pattern of every file in the folder.

    Raises PatternError for an unknown indicator, a missing field or an expression that RE2 refuses.
    """
    return tuple(pattern for path in sorted(folder.glob("*.yml")) for pattern in load_file(path))


def load_file(path: Path) -> Iterator[Pattern]:
    """The patterns of one file, in order."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=SAFE)  # noqa: S506 -- both are safe
    except yaml.YAMLError as error:
        raise PatternError(f"{path.name}: not valid YAML: {error}") from error
    if not isinstance(document, dict) or not document.get("language") or not isinstance(document.get("patterns"), list):
        raise PatternError(f"{path.name}: needs `language` and a list `patterns`")
    for number, entry in enumerate(document["patterns"], 1):
        where = f"{path.name}, entry {number}"
        if not isinstance(entry, dict):
            raise PatternError(f"{where}: not a mapping")
        if entry.get("indicator") not in SEVERITY_OF:
            raise PatternError(f"{where}: unknown indicator {entry.get('indicator')!r}")
        if not entry.get("any") or not entry.get("matches") or not entry.get("passes"):
            raise PatternError(f"{where}: needs `any`, `matches` and `passes`")
        for field in ("any", "not", "matches", "passes"):  # a bare text would be read as a list of its letters
            if not all(isinstance(text, str) for text in _listed(entry.get(field) or [], f"{where}: `{field}`")):
                raise PatternError(f"{where}: `{field}` holds something that is not a text")
        yield Pattern(
            language=document["language"],
            indicator=entry["indicator"],
            expression=compile_alternatives(entry["any"], where),
            cancels=compile_alternatives(entry["not"], where) if entry.get("not") else None,
            matches=tuple(entry["matches"]),
            passes=tuple(entry["passes"]),
            scripts=_scripts(entry["any"]),
        )


def _listed(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise PatternError(f"{where} is not a list")
    return value


def compile_alternatives(alternatives: list[str], where: str) -> Any:
    """One expression of several, brought to the normalised spelling. Raises PatternError."""
    for alternative in alternatives:
        if re.search(r"\\[A-Z]", alternative):
            raise PatternError(f"{where}: upper-case escapes are lost in normalisation: {alternative!r}")
    source = "|".join(f"(?:{_normalise_expression(alternative)})" for alternative in alternatives)
    try:
        return re2.compile(source)
    except re2.error as error:
        raise PatternError(f"{where}: {error}") from error


def _normalise_expression(source: str) -> str:
    # \\b in RE2 knows ASCII letters only; a word edge in any script is what an author means by it
    folded = [fold(part) for part in source.split(r"\b")]
    if all(part.isascii() for part in folded):
        return r"\b".join(folded)  # a hundred times smaller than the edge below
    return r"(?:^|$|[^\pL\pM\pN]|\b)".join(folded)


def _scripts(alternatives: list[str]) -> frozenset[str]:
    """The scripts of their letters, escapes aside; none when one of them has no letters at all ("911")."""
    found = []
    for alternative in alternatives:
        letters = re.sub(r"\\p?.", "", alternative)
        found.append({script for script in map(script_of, set(letters)) if script})
    return frozenset[str]().union(*found) if all(found) else frozenset()


def search(patterns: Sequence[Pattern], text: Normalised) -> Iterator[tuple[Pattern, tuple[int, int]]]:
    """The patterns that match, with their spans; those with no letter of the text's scripts are not even tried."""
    there = {script for script in map(script_of, set(text.text)) if script}
    for pattern in patterns:
        if there and pattern.scripts and pattern.scripts.isdisjoint(there):
            continue
        span = pattern.find(text)
        if span:
            yield pattern, span


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without the spaces or punctuation that a word edge took in."""
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and text[end - 1] in " .,;:!?":
        end -= 1
    return start, end


def check(path: Path) -> list[str]:
    """Problems of one file: examples that should match and do not, or the other way round."""
    problems = []
    for pattern in load_file(path):
        for text in pattern.matches:
            if pattern.find(normalise(text)) is None:
                problems.append(f"{pattern.indicator}: should match: {text}")
        for text in pattern.passes:
            if pattern.find(normalise(text)) is not None:
                problems.append(f"{pattern.indicator}: should pass: {text}")
    return problems


if __name__ == "__main__":
    trouble = [f"{name}: {problem}" for name in sys.argv[1:] for problem in check(Path(name))]
    print("\n".join(trouble) or "all examples behave")
    sys.exit(bool(trouble))
