"""The heads of the risk screen: one linear layer per indicator over the encoder's vector and the spelling."""

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
STRICT = 1.0  # added to the thresholds (log-odds) for parts of a message and for the history: more chances to err
ESCALATE = "escalate"


@dataclass(frozen=True, slots=True)
class RiskModel:
    """``weights``: labels x (vector + spelling columns); the first label is "escalate", then the indicators."""

    version: str
    labels: tuple[str, ...]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    dense: NDArray[np.float32]  # labels x 384
    spelling: NDArray[np.float16]  # columns x labels
    bias: NDArray[np.float32]
    thresholds: NDArray[np.float32]  # log-odds

    def scores(self, text: str, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-odds of every label."""
        places, values = spelling_features(text)
        scores = self.dense @ ((vector - self.mean) / self.scale) + self.bias
        scores += values @ self.spelling[places].astype(np.float32)
        return np.asarray(scores, dtype=np.float32)

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


def spelling_features(text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What the heads see of the spelling; training and use share it."""
    return hashed(normalise(text[:1000]).text, columns=COLUMNS, lengths=LENGTHS)


def load_model(path: Path) -> RiskModel:
    with np.load(path, allow_pickle=False) as stored:
        return RiskModel(
            version=str(stored["version"]),
            labels=tuple(stored["labels"].tolist()),
            mean=stored["mean"],
            scale=stored["scale"],
            dense=stored["dense"],
            spelling=stored["spelling"],
            bias=stored["bias"],
            thresholds=stored["thresholds"],
        )
