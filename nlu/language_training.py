"""Training of the language detector's head, the same every time.

Two sources: how people write here (`nlu/data/risk`: romanised, creole, without accents, misspelt), and the words of
each language by how common they are (the package `wordfreq`, which only tests and training need), from which single
words and short runs are drawn: people also write one word.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from nlu.examples import Example, checksum, read_questions, read_risk
from nlu.language import MODEL, features
from nlu.script import main_script
from nlu.spoil import without_accents

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = 2**17
# Tags whose script leaves a choice, and what `wordfreq` calls them.
COMMON_WORDS = {
    "en": "en", "fr": "fr", "es": "es", "pt": "pt", "tl": "fil", "vi": "vi", "ro": "ro", "hu": "hu",
    "ru": "ru", "uk": "uk", "ar": "ar", "fa": "fa", "ur": "ur",
}  # fmt: skip
DRAWN = 30_000  # texts drawn of each language's common words
_LIST = 40_000  # words of a list
_ONE_SCRIPT = {"Latn", "Cyrl", "Arab", "Ethi"}


def train_language(path: Path = MODEL) -> str:
    """Trains, writes the model, and says in a line what was done. Raises ValueError without `wordfreq`."""
    examples = [*read_risk(), *read_questions()]
    texts = [*as_written(examples), *drawn(random.Random(1))]  # noqa: S311 - the same draw every time
    tags, weights, bias = fit_language(texts)
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, tags=np.array(tags), weights=weights, bias=bias, version=np.array(checksum()))
    return f"language: {len(tags)} languages, {len(texts)} texts, {path.stat().st_size // 1024} kB"


def as_written(examples: Sequence[Example]) -> list[tuple[str, str]]:
    """(text, tag): whole messages, and their first words, pairs and single words."""
    found = []
    for example in examples:
        if example.register == "mixed" or main_script(example.text)[0] not in _ONE_SCRIPT:
            continue
        if main_script(example.text)[0] == "Latn" and example.language in ("bn", "ta", "ti", "hi", "ur", "pa"):
            continue  # romanised lines of a language whose tag here means its own script
        words = example.text.split()
        found.append((example.text, example.language))
        if len(words) > 3:
            found += [(" ".join(words[:3]), example.language), (" ".join(words[-3:]), example.language)]
            found += [(" ".join(words[i : i + 2]), example.language) for i in range(0, min(len(words) - 1, 8), 2)]
    return found


def drawn(chance: random.Random) -> list[tuple[str, str]]:
    """(text, tag): single words and short runs of common words; a third of them without accents."""
    try:
        import wordfreq
    except ImportError as error:
        raise ValueError("the detector's training needs the package wordfreq: run `make test-fast` once") from error
    found = []
    for tag, name in COMMON_WORDS.items():
        words = [w for w in wordfreq.top_n_list(name, _LIST) if w.isalpha() and main_script(w)[0] in _ONE_SCRIPT]
        flat = [wordfreq.word_frequency(word, name) ** 0.35 for word in words]
        common = [wordfreq.word_frequency(word, name) ** 0.7 for word in words]
        for count, share in ((1, 0.5), (2, 0.3), (4, 0.2)):
            picks = chance.choices(words, flat if count == 1 else common, k=int(DRAWN * share) * count)
            for start in range(0, len(picks), count):
                text = " ".join(picks[start : start + count])
                found.append((without_accents(text) if chance.random() < 0.3 else text, tag))
    return found


def fit_language(texts: Sequence[tuple[str, str]]) -> tuple[list[str], NDArray[np.float16], NDArray[np.float32]]:
    """A multinomial logistic regression: tags, weights (columns x tags), a constant a tag."""
    rows, places, values = [], [], []
    for number, (text, _) in enumerate(texts):
        found, weights = features(text, columns=COLUMNS)
        rows.append(np.full(len(found), number))
        places.append(found)
        values.append(weights)
    shape = (len(texts), COLUMNS)
    matrix = csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(places))), shape=shape)
    tags = sorted({tag for _, tag in texts})
    wanted = np.array([tags.index(tag) for _, tag in texts])
    head = LogisticRegression(C=40.0, max_iter=200, tol=2e-3, class_weight="balanced")
    head.fit(matrix, wanted)
    return tags, head.coef_.T.astype(np.float16), head.intercept_.astype(np.float32)
