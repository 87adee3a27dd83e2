"""Character n-grams hashed into a fixed number of columns: what carries spelling where the encoder is unsure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def hashed(
    text: str, *, columns: int, lengths: tuple[int, ...], whole: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(column, weight) of the text's n-grams; weights are damped counts of length one. Words keep their edges.

    ``whole``: whole words count too.
    """
    grams: list[str] = []
    for word in text.split():
        framed = f" {word} "
        for length in lengths:
            grams += [framed[i : i + length] for i in range(max(1, len(framed) - length + 1))]
        if whole:
            grams.append(f"={word}")
    if not grams:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    places = np.fromiter((crc32(gram.encode("utf-8", "replace")) % columns for gram in grams), np.int64, len(grams))
    found, counts = np.unique(places, return_counts=True)
    weights = np.log1p(counts).astype(np.float32)
    return found, weights / np.float32(np.linalg.norm(weights))
