"""The risk screen: what a message discloses, with evidence. Runs before anything slow or remote is called.

    text → normalise → curated patterns ─┐
                     → encoder → heads ──┴→ decision: indicators, severity, evidence

The screen raises; it never judges and never lowers. If the model fails, the patterns alone decide.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nlu.indicators import SEVERITIES, SEVERITY_OF, severity_of
from nlu.normalise import normalise
from nlu.patterns import Pattern
from nlu.patterns import load as load_patterns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nlu.encoder import Encoder
    from nlu.risk_model import RiskModel

VERSION = "1"
MAX_CHARACTERS = 4000  # bounded work: nobody types more in one message
_SENTENCE = re.compile(r"[^.!?…。！？؟।\n]+[.!?…。！？؟।\n]*")
_MAX_SENTENCES = 12
_LONG = 160  # characters from which a message is also read sentence by sentence
_HISTORY = 3  # earlier messages read together with this one
_log = logging.getLogger("passerelle.risk")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What in the text led to an indicator: offsets into the original, and what found it."""

    indicator: str
    start: int
    end: int
    source: str  # pattern:fr, model, model:history


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
    """Patterns first, then the heads; without a model the patterns alone."""

    def __init__(self, patterns: Sequence[Pattern], model: RiskModel | None, encoder: Encoder) -> None:
        self._patterns = patterns
        self._model = model
        self._encoder = encoder
        self.version = f"{VERSION}.{model.version if model else 'patterns'}"

    def screen(self, text: str, *, history: Sequence[str] = (), vector: NDArray[np.float32] | None = None) -> Risk:
        text = text[:MAX_CHARACTERS]
        evidence = self._match(text)
        score = 0.95 if evidence else 0.0
        try:
            found, model_score = self._judge(text, history, vector)
        except Exception:  # a screen that fails must still raise what its patterns see
            _log.exception("the risk model failed; patterns alone decide")
            found, model_score = [], 0.0
        return decide([*evidence, *found], max(score, model_score))

    def _match(self, text: str) -> list[Evidence]:
        spelt = normalise(text)
        found = []
        for pattern in self._patterns:
            span = pattern.find(spelt)
            if span:
                found.append(Evidence(pattern.indicator, *span, f"pattern:{pattern.language}"))
        return found

    def _judge(
        self, text: str, history: Sequence[str], vector: NDArray[np.float32] | None
    ) -> tuple[list[Evidence], float]:
        if self._model is None or not any(char.isalpha() for char in text):
            return [], 0.0
        pieces = [(0, len(text), text, "model")]
        if len(text) > _LONG:
            pieces += [(m.start(), m.end(), m.group(), "model") for m in _sentences(text)]
        if history:
            joined = "\n".join([*history[-_HISTORY:], text])[-MAX_CHARACTERS:]
            pieces.append((0, len(text), joined, "model:history"))
        vectors = self._encoder.encode([piece[2] for piece in pieces[1:]]) if len(pieces) > 1 else None
        best = 0.0
        found: list[Evidence] = []
        for number, (start, end, piece, source) in enumerate(pieces):
            if number:
                assert vectors is not None
                own = vectors[number - 1]
            else:
                own = self._encoder.encode([piece])[0] if vector is None else vector
            indicators, score = self._model.judge(piece, own, strict=number > 0)
            best = max(best, score)
            found += [Evidence(indicator, start, end, source) for indicator in indicators]
        return found, best


def _sentences(text: str) -> list[re.Match[str]]:
    found = [m for m in _SENTENCE.finditer(text) if len(m.group().strip()) > 8]
    return found[:_MAX_SENTENCES]


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

    model = load_model(MODEL) if MODEL.exists() else None
    return Cascade(load_patterns(), model, encoder)
