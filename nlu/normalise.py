"""Normalisation: one spelling for what people write in many, with offsets back into the original.

Patterns are matched on the normalised text; evidence must point into what the person wrote. So every
normalised character remembers the offset of the original character it came from.

Runs under Python 3.10 too (the engine imports it), and never raises: NUL, lone surrogates, bidi marks and
ten thousand emoji are all just text.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# Invisible characters that split words without being seen: soft hyphen, zero-width, bidi controls, variation
# selectors, BOM, tags.
_INVISIBLE = frozenset(
    chr(c)
    for c in (
        0xAD, 0x61C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10), 0xFEFF, 0xFFFD, *range(0xE0000, 0xE0080),
    )
)  # fmt: skip
_FOLD = {
    **dict.fromkeys("’‘‛ʼʻ`´′", "'"),
    **dict.fromkeys("“”„«»″", '"'),
    **dict.fromkeys("‐‑‒–—−", "-"),
    "…": "...",
    "ł": "l",
    "đ": "d",
    "ø": "o",
    "ı": "i",
    # Arabic script as it is typed in several countries: one letter for each sound
    "أ": "ا",
    "إ": "ا",
    "آ": "ا",
    "ٱ": "ا",
    "ى": "ي",
    "ی": "ي",
    "ئ": "ي",
    "ک": "ك",
    "ة": "ه",
    "ۃ": "ه",
    "ہ": "ه",
    "ھ": "ه",
    "ە": "ه",
    "ؤ": "و",
    "ـ": "",
}
# Cyrillic and Greek letters that look Latin, folded only inside a word that is otherwise Latin.
_LOOKALIKE = str.maketrans("аеорсухіјѕԁһαορνικ", "aeopcyxijsdhaopvik")
# Digits and signs used for letters, folded only between letters ("p4ssport", "pa$$port").
_LEET = str.maketrans("013457@$", "oieastas")
_LATIN_WORD = re.compile(r"[^\W\d_]+")
_LEET_WORD = re.compile(r"(?<=[a-z])[013457@$]+(?=[a-z])")
_STRETCHED = re.compile(r"([^\W\d_])\1{2,}")
_SPACED_OUT = re.compile(r"(?<!\w)(?:[^\W\d_][ .\-*_]){3,}[^\W\d_](?!\w)")


@dataclass(frozen=True, slots=True)
class Normalised:
    """``text`` for matching; ``offsets[i]`` is where ``text[i]`` stood in the original."""

    text: str
    offsets: tuple[int, ...]
    original_length: int

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Original (start, end) of the normalised slice ``[start:end)``."""
        if start >= end or start >= len(self.offsets):
            return (0, 0)
        last = self.offsets[min(end, len(self.offsets)) - 1]
        following = self.offsets[end] if end < len(self.offsets) else self.original_length
        return (self.offsets[start], max(last + 1, min(following, last + 4)) if following > last else last + 1)


def normalise(text: str) -> Normalised:
    """Fold case, width, accents, look-alikes, leetspeak, stretched and spaced-out letters."""
    chars: list[str] = []
    offsets: list[int] = []
    space = True
    for offset, original in enumerate(text):
        for char in _fold_char(original):
            if chars and _joins(original) and len(joined := unicodedata.normalize("NFC", chars[-1] + char)) == 1:
                chars[-1] = joined
                continue
            if char == " ":
                if space:
                    continue
                space = True
            else:
                space = False
            chars.append(char)
            offsets.append(offset)
    if chars and chars[-1] == " ":
        chars.pop()
        offsets.pop()
    folded = _fold_lookalikes("".join(chars))
    return _squeeze(folded, offsets, len(text))


@lru_cache(maxsize=8192)
def _fold_char(char: str) -> str:
    """What one character becomes: nothing, one character, or several ("ﬁ" → "fi")."""
    code = ord(char)
    if code < 0x80:
        if char.isspace() or code < 0x20 or code == 0x7F:
            return " "
        return _FOLD.get(char, char.lower())
    if char in _INVISIBLE or 0xD800 <= code <= 0xDFFF:
        return ""
    if char.isspace():
        return " "
    if char in _FOLD:
        return _FOLD[char]
    decomposed = unicodedata.normalize("NFKD", char).casefold()
    kept = [_FOLD.get(c, c) for c in decomposed if not _is_accent(c)]
    return unicodedata.normalize("NFC", "".join(kept))


def fold(text: str) -> str:
    """Every character folded by itself: how a pattern's own letters are brought to the normalised spelling."""
    return "".join(_fold_char(char) for char in text)


def _is_accent(char: str) -> bool:
    """Marks that people leave out: Latin, Greek and Cyrillic accents, Arabic vowels; never an Indic vowel sign."""
    code = ord(char)
    return 0x0300 <= code <= 0x036F or 0x064B <= code <= 0x065F or code == 0x0670


def _joins(char: str) -> bool:
    """Whether it may be a part of the letter before it: Korean vowels and finals, Indic vowel signs typed in halves."""
    code = ord(char)
    return 0x0900 <= code <= 0x0FFF or 0x1160 <= code <= 0x11FF


def _fold_lookalikes(text: str) -> str:
    def word(match: re.Match[str]) -> str:
        found = match.group()
        latin = sum("a" <= c <= "z" for c in found)
        if latin == len(found) or latin * 2 < len(found):
            return found
        return found.translate(_LOOKALIKE)

    text = text if text.isascii() else _LATIN_WORD.sub(word, text)
    return _LEET_WORD.sub(lambda m: m.group().translate(_LEET), text)


def _squeeze(text: str, offsets: list[int], original_length: int) -> Normalised:
    """Drop the filler of stretched ("nooooo" → "noo") and spaced-out ("h e l p" → "help") letters."""
    separators = {i for found in _SPACED_OUT.finditer(text) for i in range(found.start() + 1, found.end(), 2)}
    text, offsets = _without(separators, text, offsets)
    # the first and the last of them stay, so that evidence reaches to the end of the word
    stretched = {i for found in _STRETCHED.finditer(text) for i in range(found.start() + 1, found.end() - 1)}
    text, offsets = _without(stretched, text, offsets)
    return Normalised(text, tuple(offsets), original_length)


def _without(drop: set[int], text: str, offsets: list[int]) -> tuple[str, list[int]]:
    if not drop:
        return text, offsets
    kept = [i for i in range(len(text)) if i not in drop]
    return "".join(text[i] for i in kept), [offsets[i] for i in kept]
