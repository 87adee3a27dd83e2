"""The risk screen: what a message discloses, with evidence. Runs before anything slow or remote is called.

    text → normalise → curated patterns ────────────────────────┐
         → whole, pieces, with history → encoder → heads ───┴→ decision: indicators, severity, evidence

A pattern speaks strongly for an escalation, and names what it saw; the heads, which read the whole, may still find a
text harmless ("in the movie he has a gun"). If the model fails, the patterns alone decide.
"""

from __future__ import annotations

import logging
import math
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from nlu.examples import together
from nlu.indicators import SEVERITIES, SEVERITY_OF, severity_of
from nlu.normalise import normalise
from nlu.patterns import Pattern, search
from nlu.patterns import load as load_patterns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlu.encoder import Encoder
    from nlu.risk_model import RiskModel

VERSION = "2"
MAX_CHARACTERS = 4000  # bounded work: nobody types more in one message
LONG = 160  # characters from which a message is also read in pieces: one sentence in a long story is enough
_SENTENCE = re.compile(r"[^.!?…。！？؟।\u1362\n]+[.!?…。！？؟।\u1362\n]*")
_PIECE = 120  # characters that a piece has at least, sentences permitting
_MAX_PIECES = 16
_READ = 5  # of them that the encoder reads, those whose spelling looks gravest: it costs 8 ms each, spelling 0.3
# Added to the thresholds, in log-odds: a text that is read in several ways has more chances to be misread.
STRICT = {"model": 0.0, "model:piece": 1.5, "model:history": 0.3}
# Taken from every reading's log-odds of an escalation, growing with the message's length (columns on a screen): a
# long text has more words to be alarmed by. Chosen on the development set: of 1 034 disclosures of 110 columns and more
# it lost two, of the harmless ones it spared a quarter.
LENGTHY, LENGTHY_FROM, LENGTHY_TO = 1.5, 40, 180
PATTERN = 2.5  # log-odds that a curated pattern speaks for an escalation
_log = logging.getLogger("passerelle.risk")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What in the text led to an indicator: offsets into the original, and what found it."""

    indicator: str
    start: int
    end: int
    source: str  # pattern:fr, model, model:piece, model:history


@dataclass(frozen=True, slots=True)
class Risk:
    """The screen's answer. ``indicators`` gravest first; ``score`` from 0 to 1."""

    severity: str
    indicators: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    score: float

    @property
    def escalate(self) -> bool:
        return self.severity != "none"


class RiskScreen(Protocol):
    """A text, and what the person wrote before, to a Risk."""

    @property
    def version(self) -> str: ...

    def screen(self, text: str, *, history: Sequence[str] = (), vector: NDArray[np.float32] | None = None) -> Risk: ...


class Cascade:
    """Patterns and heads together; without a model, or when it fails, the patterns alone."""

    def __init__(self, patterns: Sequence[Pattern], model: RiskModel | None, encoder: Encoder) -> None:
        self._patterns = patterns
        self._model = model
        self._encoder = encoder
        self.version = f"{VERSION}.{model.version if model else 'patterns'}"

    def screen(self, text: str, *, history: Sequence[str] = (), vector: NDArray[np.float32] | None = None) -> Risk:
        text = text[:MAX_CHARACTERS]
        matched = self._match(text)
        if self._model is None:
            return decide(matched, 0.95 if matched else 0.0)
        try:
            return self._judge(self._model, text, history, vector, matched)
        except Exception:  # a screen that fails must still raise what its patterns see
            _log.exception("the risk model failed; patterns alone decide")
            return decide(matched, 0.95 if matched else 0.0)

    def _match(self, text: str) -> list[Evidence]:
        return [
            Evidence(pattern.indicator, *span, f"pattern:{pattern.language}")
            for pattern, span in search(self._patterns, normalise(text))
        ]

    def _judge(
        self,
        model: RiskModel,
        text: str,
        history: Sequence[str],
        vector: NDArray[np.float32] | None,
        matched: list[Evidence],
    ) -> Risk:
        """Every reading of the text is judged; the gravest one counts."""
        if not any(char.isalpha() for char in text):
            return decide(matched, 0.95 if matched else 0.0)
        readings = _worth_reading(list(_readings(text, history)), model)
        texts = [reading.text for reading in readings]
        own = self._encoder.encode(texts if vector is None else texts[1:])
        vectors = own if vector is None else np.concatenate([vector[None, :], own])
        scores = model.scores(texts, vectors)
        if not np.isfinite(scores).all():
            raise ValueError("the risk model's scores are not numbers")
        scores[:, 0] += PATTERN if matched else 0.0
        best, evidence = -99.0, list(matched)
        for reading, row in zip(readings, scores, strict=True):
            row = row - STRICT[reading.source]
            best = max(best, float(row[0] - model.thresholds[0]))
            found = model.judge(row)
            evidence += [Evidence(name, reading.start, reading.end, reading.source) for name in found]
        best -= lengthy(text)
        if best <= 0:  # the patterns met words, and every reading of the whole says: harmless
            evidence = []
        return decide(evidence, 1 / (1 + math.exp(-best)))


def lengthy(text: str) -> float:
    """How much more, in log-odds, must speak for an escalation in a text of this length."""
    columns = sum(2.5 if unicodedata.east_asian_width(char) == "W" else 1 for char in text[:LENGTHY_TO])
    return LENGTHY * min(1.0, max(0.0, (columns - LENGTHY_FROM) / (LENGTHY_TO - LENGTHY_FROM)))


class _Reading(NamedTuple):
    """A text to judge, the part of the message it is evidence for, and how it was made."""

    text: str
    start: int
    end: int
    source: str


def _readings(text: str, history: Sequence[str]) -> Iterator[_Reading]:
    """The whole message; its pieces, if it is long; and after what was written before it."""
    yield _Reading(text, 0, len(text), "model")
    if len(text) > LONG:
        for start, end in _pieces(text):
            yield _Reading(text[start:end], start, end, "model:piece")
    if history:
        yield _Reading(together(history, text), 0, len(text), "model:history")


def _worth_reading(readings: list[_Reading], model: RiskModel) -> list[_Reading]:
    """All but the pieces of an endless message that look the most harmless: the work for one message is bounded."""
    pieces = [reading for reading in readings if reading.source == "model:piece"]
    if len(pieces) <= _READ:
        return readings
    ranked = sorted(pieces, key=lambda piece: -model.spelling_scores(piece.text)[:2].max())
    left_out = set(ranked[_READ:])
    return [reading for reading in readings if reading not in left_out]


def _pieces(text: str) -> list[tuple[int, int]]:
    """Runs of sentences, each at least _PIECE long; longer ones in an endless message, so that nothing is unread."""
    found: list[tuple[int, int]] = []
    start = 0
    for match in _SENTENCE.finditer(text):
        if match.end() - start >= _PIECE:
            for at in range(start, match.end(), 2 * _PIECE):  # no full stop for a long while: cut
                found.append((at, min(at + 2 * _PIECE, match.end())))
            start = match.end()
    if text[start:].strip():
        found.append((start, len(text)))
    if len(found) > _MAX_PIECES:
        edges = [len(found) * i // _MAX_PIECES for i in range(_MAX_PIECES + 1)]
        found = [(found[first][0], found[end - 1][1]) for first, end in pairwise(edges)]
    return found


def decide(evidence: Iterable[Evidence], score: float) -> Risk:
    """One piece of evidence per indicator, the first and most telling; the gravest indicator sets the severity."""
    first: dict[str, Evidence] = {}
    for item in evidence:
        first.setdefault(item.indicator, item)
    ordered = sorted(first, key=lambda name: -SEVERITIES.index(SEVERITY_OF[name]))
    return Risk(severity_of(ordered), tuple(ordered), tuple(first[name] for name in ordered), round(score, 4))


def load(encoder: Encoder) -> Cascade:
    """The screen with the patterns and the model of this release."""
    from nlu.risk_model import MODEL, load_model

    model = None
    try:
        model = load_model(MODEL)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # missing, damaged, or of another release
        _log.exception("the risk model cannot be used; patterns alone decide: run `passerelle doctor`")
    return Cascade(load_patterns(), model, encoder)
