"""The dialogue's intent head: kernel ridge regression on sentence vectors, as plain arrays.

The engine trains it and runs it (Python 3.10, `nlu.rasa_components`); the evaluation measures it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH, SMOOTHING = 0.8, 0.1  # found by cross-validation


@dataclass(frozen=True, slots=True)
class Head:
    """A trained intent head: kernel ridge regression on centred, scaled vectors, as plain arrays."""

    mean: NDArray[np.float32]
    spread: float
    examples: NDArray[np.float16]
    pull: NDArray[np.float32]  # how far each example pulls towards each label
    labels: tuple[str, ...]

    def scores(self, vector: NDArray[np.float32], *, width: float) -> NDArray[np.float32]:
        """One score a label: about 1 for what was seen in training, about 0 for the rest."""
        near = kernel(((vector - self.mean) / self.spread)[None, :], self.examples.astype(np.float32), width=width)
        return np.asarray((near @ self.pull)[0])

    def save(self, path: Path) -> None:
        """No pickle: a model file that was tampered with can hold wrong numbers, never code."""
        np.savez(
            path,
            mean=self.mean,
            spread=np.array(self.spread),
            examples=self.examples,
            pull=self.pull,
            labels=np.array(self.labels),
        )

    @staticmethod
    def read(path: Path) -> Head:
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            labels = tuple(str(label) for label in arrays["labels"])
            return Head(arrays["mean"], float(arrays["spread"]), arrays["examples"], arrays["pull"], labels)


def fit_head(vectors: NDArray[np.float32], intents: Sequence[str], *, width: float, smoothing: float) -> Head:
    """Solves the regression at once; rare intents weigh more, by the root of how much rarer they are."""
    mean = vectors.mean(axis=0)
    spread = float(np.sqrt(((vectors - mean) ** 2).sum(axis=1).mean())) or 1.0
    examples = ((vectors - mean) / spread).astype(np.float32)
    labels, numbers, counts = np.unique(np.array(intents), return_inverse=True, return_counts=True)
    weights = np.sqrt(counts.mean() / counts)[numbers]
    wanted = np.eye(len(labels))[numbers] - 1 / len(labels)
    system = kernel(examples, examples, width=width).astype(np.float64) + np.diag(smoothing / weights)
    pull = np.linalg.solve(system, wanted).astype(np.float32)
    return Head(mean.astype(np.float32), spread, examples.astype(np.float16), pull, tuple(labels.tolist()))


def kernel(left: NDArray[np.float32], right: NDArray[np.float32], *, width: float) -> NDArray[np.float32]:
    """Nearness of every left to every right vector, from 0 to 1."""
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * left @ right.T
    return np.asarray(np.exp(-width * np.maximum(squares, 0)))
