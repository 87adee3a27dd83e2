"""Training of the language detector's head, the same every time.

Two sources: how people write here (`nlu/data/risk`: romanised, creole, without accents, misspelt), and the words of
each language by how common they are (the package `wordfreq`, which only tests and training need), from which single
words and short runs are drawn: people also write one word.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from nlu.examples import Example, checksum, read_learnt, read_questions
from nlu.language import MODEL, features, words_of
from nlu.lexicon import Lexicon, build
from nlu.script import main_script
from nlu.spoil import without_accents

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = 2**16
# Tags whose script leaves a choice, and what `wordfreq` calls them.
COMMON_WORDS = {
    "en": "en", "fr": "fr", "es": "es", "pt": "pt", "tl": "fil", "vi": "vi", "ro": "ro", "hu": "hu",
    "ru": "ru", "uk": "uk", "ar": "ar", "fa": "fa", "ur": "ur",
}  # fmt: skip
DRAWN = 30_000  # texts drawn of each language's common words
_LIST = 40_000  # words of a list
_ONE_SCRIPT = {"Latn", "Cyrl", "Arab", "Ethi"}
_OTHER_SCRIPT = {"bn", "ta", "ti", "hi", "ur", "pa", "ar", "am", "fa", "ru", "uk", "ko", "zh-Hans", "zh-Hant"}
_LISTED = 60_000  # words of a language in the lexicon
_UNACCENTED = 0.3  # share of a word's uses that are typed without its accents
# Share of an unlisted word: a list made of our own messages leaves out more than one made of books.
_FLOOR, _OWN_FLOOR = 3e-8, 3e-6
_OWN_LISTS = ("so", "ht", "pa-Latn", "hi-Latn", "ur-Latn", "ar-Latn", "zh-Latn", "bn-Latn", "ta-Latn", "am", "ti")


def train_language(path: Path = MODEL) -> str:
    """Trains, writes the model, and says in a line what was done. Raises ValueError without `wordfreq`."""
    examples = [*read_learnt(), *read_questions()]
    texts = [*as_written(examples), *drawn(random.Random(1))]  # noqa: S311 - the same draw every time
    tags, weights, bias = fit_language(texts)
    path.parent.mkdir(exist_ok=True)
    lexicon = word_lists(examples)
    np.savez_compressed(
        path,
        tags=np.array(tags),
        weights=weights,
        bias=bias,
        version=np.array(checksum()),
        words_tags=np.array(lexicon.tags),
        words_starts=lexicon.starts,
        words_hashes=lexicon.hashes,
        words_rarity=lexicon.rarity,
        words_floor=lexicon.floor,
    )
    counts = f"{len(tags)} languages, {len(texts)} texts, {len(lexicon.hashes)} words"
    return f"language: {counts}, {path.stat().st_size // 1024} kB"


def word_lists(examples: Sequence[Example]) -> Lexicon:
    """How common words are: from `wordfreq` where it knows the language, else from our own messages."""
    import wordfreq

    lists: dict[str, dict[str, float]] = {}
    for tag, name in COMMON_WORDS.items():
        shares: dict[str, float] = defaultdict(float)
        for word in wordfreq.top_n_list(name, _LISTED):
            for part in words_of(word):
                shares[part] += wordfreq.word_frequency(word, name)
        for word, share in list(shares.items()):
            plain = without_accents(word)
            if plain != word:
                shares[plain] += _UNACCENTED * share
        lists[tag] = shares
    own: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        written = tag_of(example)
        if written and example.register != "mixed":
            own[written].update(words_of(example.text))
    for tag in _OWN_LISTS:
        total = own[tag].total()
        lists[tag] = {word: count / total for word, count in own[tag].items()}
    return build(lists, {tag: _OWN_FLOOR if tag in _OWN_LISTS else _FLOOR for tag in lists})


def as_written(examples: Sequence[Example]) -> list[tuple[str, str]]:
    """(text, tag): whole messages, and their first words, pairs and single words."""
    found = []
    for example in examples:
        tag = tag_of(example)
        if tag is None or example.register == "mixed" or main_script(example.text)[0] not in _ONE_SCRIPT:
            continue
        words = example.text.split()
        found.append((example.text, tag))
        if len(words) > 3:
            found += [(" ".join(words[:3]), tag), (" ".join(words[-3:]), tag)]
            found += [(" ".join(words[i : i + 2]), tag) for i in range(0, min(len(words) - 1, 8), 2)]
    return found


def tag_of(example: Example) -> str | None:
    """Its language as it is written: "bn-Latn" for romanised Bengali; None where no tag of ours says it."""
    if example.language not in _OTHER_SCRIPT or main_script(example.text)[0] != "Latn":
        return example.language
    tag = f"{example.language}-Latn"
    return tag if tag in _OWN_LISTS else None


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
