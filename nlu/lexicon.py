"""How common words are in each language: what tells single words and pairs apart where spelling alone does not.

Words are kept as 32-bit hashes with their log-frequency in a byte, so that half a million take three megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEP = 0.1  # nats a unit of the stored byte
WORDS = 40  # of a text that are looked up: more make no answer surer


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One sorted run of hashes a language. ``floor``: the log-frequency of a word that a language does not list."""

    tags: tuple[str, ...]
    starts: NDArray[np.int64]  # tags + 1
    hashes: NDArray[np.uint32]
    rarity: NDArray[np.uint8]  # minus the natural logarithm of the frequency, in steps
    floor: NDArray[np.float32]

    def log_frequency(self, words: Sequence[str], tags: Sequence[str]) -> NDArray[np.float64]:
        """Summed over the words, one a tag; a tag without a list gets the lowest floor for every word."""
        keys = np.array([_hash(word) for word in words[:WORDS]], dtype=np.uint32)
        found = np.full(len(tags), float(self.floor.min()) * len(keys))
        for place, tag in enumerate(tags):
            if tag not in self.tags:
                continue
            number = self.tags.index(tag)
            run = self.hashes[self.starts[number] : self.starts[number + 1]]
            rarity = self.rarity[self.starts[number] : self.starts[number + 1]]
            at = np.minimum(np.searchsorted(run, keys), len(run) - 1)
            values = np.where(run[at] == keys, -_STEP * rarity[at], self.floor[number])
            found[place] = float(np.maximum(values, self.floor[number]).sum())
        return found


def _hash(word: str) -> int:
    return crc32(word.encode("utf-8", "replace"))


def build(frequencies: Mapping[str, Mapping[str, float]], floors: Mapping[str, float]) -> Lexicon:
    """From shares between 0 and 1 of words in lower case, by tag, and the share assumed of an unlisted word."""
    starts, hashes, rarity = [0], [], []
    for words in frequencies.values():
        by_hash: dict[int, float] = {}
        for word, share in words.items():
            by_hash[_hash(word)] = max(share, by_hash.get(_hash(word), 0.0))
        order = sorted(by_hash)
        steps = np.round(-np.log([by_hash[key] for key in order]) / _STEP)
        hashes.append(np.array(order, dtype=np.uint32))
        rarity.append(np.clip(steps, 0, 255).astype(np.uint8))
        starts.append(starts[-1] + len(order))
    return Lexicon(
        tuple(frequencies),
        np.array(starts),
        np.concatenate(hashes),
        np.concatenate(rarity),
        np.log(np.array([floors[tag] for tag in frequencies])).astype(np.float32),
    )
