"""Training of the risk heads on top of the adapted encoder: spelling, mixture, thresholds. The same every time.

The vector's head comes with the encoder's adaptation. The spelling's head learns from the same examples. What
mixes the two, and every threshold, is chosen on the development set, of which neither has seen anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from nlu.e5_weights import ADAPTATION
from nlu.encoder import E5Encoder
from nlu.examples import DEVELOPMENT, Example, checksum, read_learnt, read_questions, read_risk, says_of_risk
from nlu.normalise import normalise
from nlu.patterns import load as load_patterns
from nlu.patterns import search
from nlu.risk import PATTERN, lengthy
from nlu.risk_labels import LABELS, wanted
from nlu.risk_model import COLUMNS, MODEL, RiskModel, save_model, spelling_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What a miss costs, where an alarm on a harmless message costs 1 (docs/risk-indicators.md says why).
MISS_COSTS = {"critical": 15.0, "high": 6.0, "elevated": 3.0}
_WEIGHT = {"critical": 2.0, "high": 1.3, "elevated": 1.2, "none": 1.0}


def train_risk(path: Path = MODEL, *, approved: Path | None = None) -> str:
    """Trains, writes the model, and says in a line what was done.

    ``approved``: a folder of lines that came from advocates' verdicts and that a person has approved.
    """
    learnt = [e for e in read_learnt() + read_questions() if says_of_risk(e)]
    taught = read_risk(approved) if approved and approved.is_dir() else []
    learnt += taught
    development = read_risk(DEVELOPMENT)
    model = with_choices(fit(learnt), development)
    if taught:
        model = replace(model, version=f"{model.version}+{len(taught)}")
    path.parent.mkdir(exist_ok=True)
    save_model(model, path)
    counts = f"{len(learnt)} examples ({len(taught)} of them taught by staff), {len(development)} of development"
    return f"risk: {counts}, {path.stat().st_size // 1024} kB"


def fit(examples: Sequence[Example]) -> RiskModel:
    """The two heads, not yet mixed."""
    with np.load(ADAPTATION, allow_pickle=False) as stored:
        head = {name.removeprefix("head.risk."): stored[name] for name in stored.files if name.startswith("head.risk.")}
    if tuple(head["labels"].tolist()) != LABELS:
        raise ValueError("the encoder was adapted with other labels: run `make encoder`")
    weights, constants = fit_spelling(examples)
    mixture = np.tile(np.array([1.0, 0.5, 0.0], dtype=np.float32), (len(LABELS), 1))
    mixture[:, 2] += 0.5 * constants
    return RiskModel(
        version=checksum(),
        mean=head["mean"],
        spread=float(head["spread"]),
        weights=np.ascontiguousarray(head["weight"].T),
        bias=head["bias"],
        spelling=weights.astype(np.float16),
        mixture=mixture,
        thresholds=np.zeros(len(LABELS), dtype=np.float32),
    )


def spelling_matrix(texts: Sequence[str]) -> Any:
    """Hashed character n-grams, one sparse row a text."""
    rows, places, values = [], [], []
    for number, text in enumerate(texts):
        found, weights = spelling_features(text)
        rows.append(np.full(len(found), number))
        places.append(found)
        values.append(weights)
    shape = (len(texts), COLUMNS)
    return csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(places))), shape=shape)


def fit_spelling(examples: Sequence[Example]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(columns x labels, a constant a label): logistic regressions, one a label."""
    matrix, targets = spelling_matrix([e.read_as for e in examples]), wanted(examples)
    cost = np.array([_WEIGHT[e.severity] for e in examples])
    weights = np.zeros((COLUMNS, len(LABELS)), dtype=np.float32)
    constants = np.zeros(len(LABELS), dtype=np.float32)
    for number in range(len(LABELS)):
        head = LogisticRegression(C=6.0, solver="liblinear", random_state=0, max_iter=200)
        head.fit(matrix, targets[:, number], sample_weight=cost)
        weights[:, number], constants[number] = head.coef_[0], head.intercept_[0]
    return weights, constants


def with_choices(model: RiskModel, development: Sequence[Example]) -> RiskModel:
    """Mixture and thresholds, both chosen on these messages.

    The mixture makes the heads say log-odds: a logistic regression of three numbers a label. The thresholds are where
    the messages cost least, with what patterns add and length takes, as in the screen: general ones by MISS_COSTS,
    indicators by F3.
    """
    texts = [e.read_as for e in development]
    vectors = encode(texts)
    apart = []
    for column in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)):
        alone = replace(model, mixture=np.tile(np.array(column, dtype=np.float32), (len(LABELS), 1)))
        apart.append(alone.scores(texts, vectors))
    targets = wanted(development)
    mixture = np.stack([_mix(apart[0][:, i], apart[1][:, i], targets[:, i]) for i in range(len(LABELS))])
    mixed = replace(model, mixture=mixture.astype(np.float32))
    scores = mixed.scores(texts, vectors)
    patterns = load_patterns()
    scores[:, 0] += [PATTERN * any(search(patterns, normalise(e.text))) - lengthy(e.text) for e in development]
    return replace(mixed, thresholds=choose_thresholds(scores, development))


def _mix(
    meaning: NDArray[np.float32], spelling: NDArray[np.float32], target: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(weight of the meaning, weight of the spelling, constant); a weight is never negative."""
    spread = np.array([meaning.std(), spelling.std()])
    head = LogisticRegression(C=1.0, max_iter=500)
    head.fit(np.stack([meaning, spelling], axis=1) / spread, target > 0)
    return np.array([*np.maximum(head.coef_[0] / spread, 0.0), head.intercept_[0]])


def choose_thresholds(scores: NDArray[np.float32], development: Sequence[Example]) -> NDArray[np.float32]:
    """Log-odds, one a label."""
    targets = wanted(development)
    thresholds = np.zeros(len(LABELS), dtype=np.float32)
    miss = np.array([MISS_COSTS.get(e.severity, 1.0) for e in development])
    thresholds[0] = cheapest(scores[:, 0], targets[:, 0] > 0, miss)
    thresholds[1] = cheapest(scores[:, 1], targets[:, 1] > 0, np.full(len(miss), 3.0))
    for number in range(2, len(LABELS)):
        held = targets[:, number] > 0
        candidates = np.quantile(scores[held, number], np.linspace(0.02, 0.6, 40)) if held.any() else [0.0]
        thresholds[number] = max(candidates, key=lambda limit: _f3(scores[:, number] > limit, held))
    return thresholds


def cheapest(scores: NDArray[np.float32], held: NDArray[np.bool_], miss: NDArray[np.float64]) -> float:
    """The threshold at which misses and false alarms cost least; where it is flat, the lower end of the valley."""
    order = np.argsort(scores)
    missed = np.cumsum(np.where(held, miss, 0.0)[order])  # if the threshold is just above this score
    alarms = (~held).sum() - np.cumsum((~held)[order])
    best = int(np.argmin(missed + alarms))
    return float(scores[order[best]])


def _f3(said: NDArray[np.bool_], held: NDArray[np.bool_]) -> float:
    """Recall counts three times: an advocate reads past a needless name sooner than they find a missing one."""
    hits = float((said & held).sum())
    return 10 * hits / max(1.0, 9 * float(held.sum()) + float(said.sum()))


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors, by the encoder that the product runs."""
    encoder = E5Encoder()
    return np.concatenate([encoder.encode(texts[i : i + 64]) for i in range(0, len(texts), 64)])
