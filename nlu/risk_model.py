"""The heads of the risk screen: one per indicator, on the encoder's vector and on the spelling.

Kernel ridge regression: a message is compared with every training message (a Gaussian kernel on the centred
vectors), and its character n-grams are weighed linearly. Closed form, so training is exact and the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nlu.ngrams import hashed
from nlu.normalise import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = Path(__file__).parent / "models" / "risk.npz"
COLUMNS = 2**15
LENGTHS = (2, 3, 4, 5)
GAMMA = 1.5
STRICT = 1.0  # added to the thresholds (log-odds) for parts of a message and for the history: more chances to err
ESCALATE = "escalate"


@dataclass(frozen=True, slots=True)
class RiskModel:
    """``weights``: labels x (vector + spelling columns); the first label is "escalate", then the indicators."""

    version: str
    labels: tuple[str, ...]
    mean: NDArray[np.float32]
    points: NDArray[np.float32]  # training messages x 384, centred, of length one
    alphas: NDArray[np.float32]  # training messages x labels
    spelling: NDArray[np.float16]  # columns x labels
    bias: NDArray[np.float32]
    slopes: NDArray[np.float32]  # from raw scores to log-odds
    thresholds: NDArray[np.float32]  # log-odds

    def scores(self, text: str, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-odds of every label."""
        places, values = spelling_features(text)
        near = kernel(centred(vector[None, :], self.mean), self.points)[0]
        raw = near @ self.alphas + values @ self.spelling[places].astype(np.float32) + self.bias
        return np.asarray(raw * self.slopes, dtype=np.float32)

    def judge(self, text: str, vector: NDArray[np.float32], *, strict: bool = False) -> tuple[list[str], float]:
        """(indicators, score). An escalation without a clear indicator names the likeliest one."""
        over = self.scores(text, vector) - self.thresholds - (STRICT if strict else 0.0)
        score = float(1 / (1 + np.exp(-float(over[0]))))
        found = [self.labels[i] for i in range(1, len(self.labels)) if over[i] > 0]
        if over[0] <= 0:
            # the general head says harmless: only a very clear grave indicator outweighs it
            return [name for name in found if over[self.labels.index(name)] > 2.0], score
        if not found:
            found = [self.labels[1 + int(np.argmax(over[1:]))]]
        return found, score


def centred(vectors: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors around the training data's middle, of length one again: e5 vectors lie close together otherwise."""
    moved = vectors - mean
    return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def kernel(these: NDArray[np.float32], those: NDArray[np.float32]) -> NDArray[np.float32]:
    """How near each of these is to each of those, from 0 to 1 (a Gaussian of the distance)."""
    return np.asarray(np.exp(2 * GAMMA * (these @ those.T - 1)), dtype=np.float32)


def spelling_features(text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What the heads see of the spelling; training and use share it."""
    return hashed(normalise(text[:1000]).text, columns=COLUMNS, lengths=LENGTHS)


def load_model(path: Path) -> RiskModel:
    with np.load(path, allow_pickle=False) as stored:
        return RiskModel(
            version=str(stored["version"]),
            labels=tuple(stored["labels"].tolist()),
            mean=stored["mean"],
            points=stored["points"].astype(np.float32),
            alphas=stored["alphas"].astype(np.float32),
            spelling=stored["spelling"],
            bias=stored["bias"],
            slopes=stored["slopes"],
            thresholds=stored["thresholds"],
        )
