"""The language of a message: script first, then short-text detectors, then what the person wrote before.

    text → script decides alone? → yes: that language
                                 → no: lingua (trained on books) + how common each word is in each language
                                       + a head trained on how people here write (romanised Punjabi, Hindi,
                                       Urdu, Arabic, pinyin; creole; no accents)
         → too little to go by: "und"; the caller keeps the conversation's language

``und`` is an answer: digits, names, emoji and "ok" are in no language.
"""

from __future__ import annotations

import logging
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nlu.lexicon import Lexicon
from nlu.ngrams import hashed
from nlu.script import ONE_LANGUAGE, chinese_variant, main_script, words_only
from nlu.spoil import without_accents

if TYPE_CHECKING:
    from lingua import LanguageDetector as Lingua
    from numpy.typing import NDArray

MODEL = Path(__file__).parent / "models" / "language.npz"
MAX_CHARACTERS = 600  # more text makes no answer surer
NAMES = Path(__file__).parent / "data" / "names.txt"
# What lingua's small models and the words' frequencies weigh beside the head; measured, see docs/model-card.md.
_LINGUA, _WORDS = 0.3, 0.5
_SURE = 0.85  # below it, fewer than four letters alone are in no language
_BY_SCRIPT = {
    "Latn": (
        "en", "fr", "es", "pt", "tl", "vi", "ro", "hu", "so", "ht",
        "pa-Latn", "hi-Latn", "ur-Latn", "ar-Latn", "zh-Latn", "bn-Latn", "ta-Latn",
    ),
    "Cyrl": ("ru", "uk"),
    "Arab": ("ar", "ur", "fa"),
    "Ethi": ("am", "ti"),
}  # fmt: skip
# Letters that one of the languages of a script has and the others do not.
_TELLING = {
    "uk": frozenset("іїєґІЇЄҐ"),
    "ru": frozenset("ыэъёЫЭЪЁ"),
    "ur": frozenset("ٹڈڑںےھ"),
    "ar": frozenset("ةىؤإ"),
    "ti": frozenset("ቐቑቒቓቔቕቖኸኹኺኻኼኽኾቨኣ"),
}
# Syllabics: what only one of the two writes, of letters like "q", "v", "ng" and of marks like the dots of "w".
_INUKTITUT = frozenset(map(chr, (*range(0x1550, 0x1600), *range(0x166F, 0x1677))))
_CREE = frozenset("ᐁᐯᑌᑫᒉᒣᓀᓭᔐᔦᔥᒼᕁ") | frozenset(map(chr, range(0x140C, 0x142B)))
# Said alike in many languages: no guess is made on these alone.
_ANY_LANGUAGE = frozenset(
    "ok okay okey oki k kk lol haha hahaha hehe jaja jajaja hmm hm mm mmm wow ha xd uh um ah oh".split()
)


@dataclass(frozen=True, slots=True)
class Language:
    """A detector's answer. ``tag``: BCP 47 or "und"; ``confidence`` from 0 to 1."""

    tag: str
    script: str
    confidence: float


_log = logging.getLogger("passerelle.language")
UNKNOWN = Language("und", "Zyyy", 0.0)


class LanguageDetector(Protocol):
    """Text and the conversation's language so far to a Language."""

    def detect(self, text: str, *, history: str | None = None) -> Language: ...


class Cascade:
    """The detector described above. Lingua's models load at the first use."""

    def __init__(
        self, head: LanguageHead | None, lexicon: Lexicon | None = None, names: frozenset[str] = frozenset()
    ) -> None:
        self._head = head
        self._lexicon = lexicon
        self._names = names
        self._lingua: Lingua | None = None

    def detect(self, text: str, *, history: str | None = None) -> Language:
        text = words_only(text[:MAX_CHARACTERS].encode("utf-8", "ignore").decode())  # no lone surrogates
        script, letters = main_script(text)
        words = words_of(text)
        if script is None or all(word in _ANY_LANGUAGE or word in self._names for word in words):
            return UNKNOWN
        if script == "Cans":
            cree = _INUKTITUT.isdisjoint(text) and not _CREE.isdisjoint(text)
            return Language("cr" if cree else "iu", script, 0.6)
        if script == "Hani":
            return self._chinese(text, history)
        if script in ONE_LANGUAGE:
            return Language(ONE_LANGUAGE[script], script, 0.99)
        if script not in _BY_SCRIPT:
            return Language("und", script, 0.0)
        return self._among(text, words, script, letters, history)

    def _chinese(self, text: str, history: str | None) -> Language:
        variant = chinese_variant(text)
        if variant is None:
            return Language(history if history in ("zh-Hans", "zh-Hant") else "zh-Hans", "Hani", 0.6)
        return Language(variant, "Hani", 0.97)

    def _among(self, text: str, words: list[str], script: str, letters: int, history: str | None) -> Language:
        tags = _BY_SCRIPT[script]
        scores = np.zeros(len(tags))
        if script != "Ethi":
            scores += _LINGUA * self._lingua_scores(text, tags)
        if self._head is not None:
            scores += self._head.log_probabilities(text, tags)
        if self._lexicon is not None:
            scores += _WORDS * self._lexicon.log_frequency(words, tags)
        for number, tag in enumerate(tags):
            if _TELLING.get(tag) and not _TELLING[tag].isdisjoint(text):
                scores[number] += 4.0
            if tag == history:
                scores[number] += 1.0  # people seldom change language; a clear message still wins
        chances = np.exp(scores - scores.max())
        chances /= chances.sum()
        best = int(chances.argmax())
        confidence = float(chances[best]) * min(1.0, letters / 6)
        if letters < 2 or (letters < 4 and history is None and chances[best] < _SURE):
            return Language("und", script, round(confidence, 3))
        return Language(tags[best], script, round(confidence, 3))

    def _lingua_scores(self, text: str, tags: Sequence[str]) -> NDArray[np.float64]:
        """Log-probabilities; a language that lingua does not know gets the floor, and the head decides on it."""
        if self._lingua is None:
            self._lingua = _load_lingua()
        known = {
            _TAG_OF[value.language.iso_code_639_1.name.lower()]: value.value
            for value in self._lingua.compute_language_confidence_values(text)
        }
        return np.array([math.log(max(known.get(tag, 0.02), 1e-4)) for tag in tags])


_TAG_OF = {code: code for code in ("en", "fr", "es", "pt", "tl", "vi", "ro", "hu", "so", "ru", "uk", "ar", "ur", "fa")}


def _load_lingua() -> Lingua:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [getattr(IsoCode639_1, code.upper()) for code in _TAG_OF]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*codes).with_low_accuracy_mode().build()


def words_of(text: str) -> list[str]:
    """In lower case, of letters only; training and use share it."""
    return "".join(c if c.isalpha() else " " for c in text.lower()).split()


@dataclass(frozen=True, slots=True)
class LanguageHead:
    """Hashed character n-grams to languages: a linear layer, trained by `passerelle train`."""

    tags: tuple[str, ...]
    weights: NDArray[np.float32]  # columns x tags
    bias: NDArray[np.float32]

    def log_probabilities(self, text: str, tags: Sequence[str]) -> NDArray[np.float64]:
        """Log-probabilities of some of its tags, among themselves."""
        places, values = features(text, columns=len(self.weights))
        scores = (values @ self.weights[places].astype(np.float32) + self.bias).astype(np.float64)
        chosen = np.array([scores[self.tags.index(tag)] if tag in self.tags else -9.0 for tag in tags])
        top = chosen.max()
        return np.asarray(chosen - top - math.log(float(np.exp(chosen - top).sum())))


def features(text: str, *, columns: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What the head sees: words in lower case, letters only; training and use share it."""
    words = words_of(words_only(text[:MAX_CHARACTERS]))
    return hashed(" ".join(words), columns=columns, lengths=(1, 2, 3, 4, 5), whole=True)


class Langdetect:
    """The baseline, selectable by PASSERELLE_LANGUAGE_DETECTOR=langdetect."""

    def detect(self, text: str, *, history: str | None = None) -> Language:
        from langdetect import DetectorFactory, LangDetectException, detect_langs

        DetectorFactory.seed = 0  # it is random otherwise
        script = main_script(text)[0] or "Zyyy"
        try:
            best = detect_langs(text[:MAX_CHARACTERS])[0]
        except LangDetectException:
            return UNKNOWN
        tag = {"zh-cn": "zh-Hans", "zh-tw": "zh-Hant"}.get(best.lang, best.lang)
        return Language(tag, script, round(float(best.prob), 3))


def load(kind: str = "cascade", *, model: Path = MODEL) -> LanguageDetector:
    """The detector of this name; without a trained head, lingua and the scripts decide alone."""
    if kind == "langdetect":
        return Langdetect()
    try:
        return Cascade(load_head(model), load_lexicon(model), read_names())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # missing, damaged, or of another release
        _log.exception("the language model cannot be used; lingua and the scripts decide: run `passerelle doctor`")
        return Cascade(None)


def load_head(model: Path) -> LanguageHead:
    with model.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return LanguageHead(tuple(stored["tags"].tolist()), stored["weights"], stored["bias"])


def load_lexicon(model: Path) -> Lexicon:
    with model.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return Lexicon(
            tuple(stored["words_tags"].tolist()),
            stored["words_starts"],
            stored["words_hashes"],
            stored["words_rarity"],
            stored["words_floor"],
        )


def read_names(path: Path = NAMES) -> frozenset[str]:
    """Names of people in lower case, also without their accents; a name of two words is two."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    names = set(words_of(" ".join(lines)))
    return frozenset(names | {without_accents(name) for name in names})
