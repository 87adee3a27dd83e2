"""How good the screen and the detector are: cross-validated by writer, per language and indicator, as plain tables.

Nothing is measured on what was learnt from: every message is judged by heads that saw none of its writer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nlu import head_training
from nlu.head_training import Example
from nlu.indicators import SEVERITY_OF, severity_of
from nlu.language import Cascade, LanguageHead
from nlu.normalise import normalise
from nlu.patterns import load as load_patterns
from nlu.risk_model import RiskModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


def report(what: str, cache: Path) -> str:
    """The tables of one part."""
    examples = head_training.read_examples() + head_training.read_questions()
    return risk_report(examples, cache) if what == "risk" else language_report(examples)


def risk_report(examples: Sequence[Example], cache: Path) -> str:
    vectors = head_training.encode([example.read_as for example in examples], cache)
    judged = judge_unseen(examples, vectors)
    lines = [f"{'language':<10} {'n':>5} {'recall':>7} {'critical':>9} {'precision':>10} {'alarms':>7}"]
    for language in [*sorted({example.language for example in examples}), "all"]:
        chosen = [i for i, example in enumerate(examples) if language in (example.language, "all")]
        lines.append(
            f"{language:<10} {len(chosen):>5} " + _figures([examples[i] for i in chosen], [judged[i] for i in chosen])
        )
    lines += ["", f"{'indicator':<24} {'n':>5} {'recall':>7}"]
    for name in SEVERITY_OF:
        having = [i for i, example in enumerate(examples) if name in example.indicators]
        hits = sum(name in judged[i] for i in having)
        lines.append(f"{name:<24} {len(having):>5} {hits / max(1, len(having)):>7.3f}")
    return "\n".join(lines)


def judge_unseen(examples: Sequence[Example], vectors: NDArray[np.float32]) -> list[tuple[str, ...]]:
    """The indicators each message gets from heads that saw nothing of its writer, and from the patterns."""
    patterns = load_patterns()
    fold = head_training.folds(examples)
    judged: list[tuple[str, ...]] = [()] * len(examples)
    for number in range(fold.max() + 1):
        seen = np.flatnonzero(fold != number).tolist()
        model = _fitted([examples[i] for i in seen], vectors[seen])
        for i in np.flatnonzero(fold == number).tolist():
            spelt = normalise(examples[i].text)
            found = {pattern.indicator for pattern in patterns if pattern.find(spelt)}
            judged[i] = tuple(found | set(model.judge(examples[i].read_as, vectors[i])[0]))
    return judged


def _fitted(examples: Sequence[Example], vectors: NDArray[np.float32]) -> RiskModel:
    """Heads with thresholds chosen inside the training part."""
    model = head_training.fit_risk(examples, vectors, "fold")
    scores = head_training.cross_scores(examples, vectors)
    return replace(model, thresholds=head_training.choose_thresholds(scores, examples, model.labels))


def _figures(examples: Sequence[Example], judged: Sequence[tuple[str, ...]]) -> str:
    said = np.array([bool(names) for names in judged])
    wanted = np.array([bool(example.indicators) for example in examples])
    grave = np.array([example.severity == "critical" for example in examples])
    rated = np.array([severity_of(names) == "critical" for names in judged])
    hits = int((said & wanted).sum())
    critical = int((rated & grave).sum()) / max(1, int(grave.sum()))
    alarms = int((said & ~wanted).sum()) / max(1, int((~wanted).sum()))
    recall, precision = hits / max(1, int(wanted.sum())), hits / max(1, int(said.sum()))
    return f"{recall:>7.3f} {critical:>9.3f} {precision:>10.3f} {alarms:>7.3f}"


def language_report(examples: Sequence[Example]) -> str:
    fold = head_training.folds(examples)
    right: dict[str, list[bool]] = {}
    for number in range(fold.max() + 1):
        seen = [example for example, part in zip(examples, fold, strict=True) if part != number]
        tags, weights, bias = head_training.fit_language(head_training.language_texts(seen))
        detector = Cascade(LanguageHead(tuple(tags), weights.astype(np.float32), bias))
        for example, part in zip(examples, fold, strict=True):
            if part == number and example.register != "mixed":
                for kind, text in _cuts(example.text):
                    right.setdefault(f"{example.language} {kind}", []).append(
                        detector.detect(text).tag == example.language
                    )
    lines = [f"{'language':<10} {'message':>9} {'pair':>9} {'word':>9}"]
    for language in sorted({example.language for example in examples}):
        shares = [float(np.mean(right.get(f"{language} {kind}", [0.0]))) for kind in ("message", "pair", "word")]
        lines.append(f"{language:<10} " + " ".join(f"{share:>9.3f}" for share in shares))
    return "\n".join(lines)


def _cuts(text: str) -> list[tuple[str, str]]:
    words = [word for word in text.split() if any(c.isalpha() for c in word)]
    cuts = [("message", text)]
    if len(words) > 4:
        cuts += [("pair", " ".join(words[1:3])), ("word", max(words[:6], key=len))]
    return cuts
