"""The heads of the risk screen: two general ones and one for each indicator.

Each head mixes two views of a text: a linear layer on the encoder's vector (trained together with the encoder, by
`scripts/train_encoder.py`) and a linear layer on character n-grams, which sees what the encoder's pieces of words
do not, above all in romanised text. The mixture and the thresholds are chosen on the development set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nlu.ngrams import hashed
from nlu.normalise import normalise
from nlu.risk_labels import CRITICAL, ESCALATE, LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = Path(__file__).parent / "models" / "risk.npz"
COLUMNS = 2**16
LENGTHS = (2, 3, 4, 5)
SPELT = 1000  # characters whose spelling counts
_FIRST = 2  # where the indicators begin among the labels


@dataclass(frozen=True, slots=True)
class RiskModel:
    """Everything by label, in the order of LABELS."""

    version: str
    mean: NDArray[np.float32]
    spread: float
    weights: NDArray[np.float32]  # 384 x labels
    bias: NDArray[np.float32]
    spelling: NDArray[np.float16]  # columns x labels
    mixture: NDArray[np.float32]  # labels x (vector, spelling, constant): to log-odds
    thresholds: NDArray[np.float32]  # log-odds

    def scores(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-odds, texts x labels."""
        meaning = ((vectors - self.mean) / self.spread) @ self.weights + self.bias
        spelt = np.stack([self.spelling_scores(text) for text in texts])
        return np.asarray(
            meaning * self.mixture[:, 0] + spelt * self.mixture[:, 1] + self.mixture[:, 2], dtype=np.float32
        )

    def spelling_scores(self, text: str) -> NDArray[np.float32]:
        """Of the spelling alone, one a label, not mixed; cheap."""
        places, values = spelling_features(text)
        return np.asarray(values @ self.spelling[places].astype(np.float32), dtype=np.float32)

    def judge(self, scores: NDArray[np.float32]) -> tuple[str, ...]:
        """Indicators of one text's scores; none when the general head sees no disclosure.

        An escalation without a clear indicator names the likeliest one; a critical one names a critical indicator.
        """
        over = scores - self.thresholds
        if over[0] <= 0:
            return ()
        found = [i for i in range(_FIRST, len(LABELS)) if over[i] > 0]
        if over[1] > 0 and not any(i < _FIRST + CRITICAL_COUNT for i in found):
            found.insert(0, _FIRST + int(np.argmax(over[_FIRST : _FIRST + CRITICAL_COUNT])))
        if not found:
            found = [_FIRST + int(np.argmax(over[_FIRST:]))]
        return tuple(LABELS[i] for i in found)


CRITICAL_COUNT = 4  # the critical indicators stand first in the taxonomy


def spelling_features(text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What the heads see of the spelling; training and use share it."""
    return hashed(normalise(text[:SPELT]).text, columns=COLUMNS, lengths=LENGTHS)


def save_model(model: RiskModel, path: Path) -> None:
    """No pickle: a file that was tampered with can hold wrong numbers, never code."""
    np.savez_compressed(
        path,
        version=np.array(model.version),
        labels=np.array(LABELS),
        mean=model.mean,
        spread=np.array(model.spread),
        weights=model.weights,
        bias=model.bias,
        spelling=model.spelling,
        mixture=model.mixture,
        thresholds=model.thresholds,
    )


def load_model(path: Path) -> RiskModel:
    """Raises ValueError when the file is of other labels than this release's."""
    # opened here: numpy leaves a damaged file open
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        if tuple(stored["labels"].tolist()) != LABELS:
            raise ValueError(f"{path.name} has other labels than this release: run `passerelle train --only risk`")
        return RiskModel(
            version=str(stored["version"]),
            mean=stored["mean"],
            spread=float(stored["spread"]),
            weights=stored["weights"],
            bias=stored["bias"],
            spelling=stored["spelling"],
            mixture=stored["mixture"],
            thresholds=stored["thresholds"],
        )


__all__ = ["COLUMNS", "CRITICAL", "ESCALATE", "MODEL", "RiskModel", "load_model", "save_model", "spelling_features"]
