"""Scripts: which writing system a text is in, and the languages that a script alone decides."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

# ISO 15924 codes by the first word of a character's Unicode name.
_BY_NAME = {
    "LATIN": "Latn",
    "CYRILLIC": "Cyrl",
    "ARABIC": "Arab",
    "DEVANAGARI": "Deva",
    "GURMUKHI": "Guru",
    "BENGALI": "Beng",
    "TAMIL": "Taml",
    "HANGUL": "Hang",
    "CJK": "Hani",
    "HIRAGANA": "Kana",
    "KATAKANA": "Kana",
    "ETHIOPIC": "Ethi",
    "CANADIAN": "Cans",
    "GREEK": "Grek",
    "HEBREW": "Hebr",
    "THAI": "Thai",
    "GUJARATI": "Gujr",
    "TELUGU": "Telu",
    "KANNADA": "Knda",
    "MALAYALAM": "Mlym",
    "SINHALA": "Sinh",
    "GEORGIAN": "Geor",
    "ARMENIAN": "Armn",
    "KHMER": "Khmr",
    "MYANMAR": "Mymr",
    "LAO": "Laoo",
    "TIBETAN": "Tibt",
}
# Scripts that leave one language of ours, or one that an interpreter must be found for.
ONE_LANGUAGE = {
    "Guru": "pa",
    "Deva": "hi",
    "Beng": "bn",
    "Taml": "ta",
    "Hang": "ko",
    "Kana": "ja",
    "Grek": "el",
    "Hebr": "he",
    "Thai": "th",
    "Gujr": "gu",
    "Telu": "te",
    "Knda": "kn",
    "Mlym": "ml",
    "Sinh": "si",
    "Geor": "ka",
    "Armn": "hy",
    "Khmr": "km",
    "Mymr": "my",
    "Laoo": "lo",
    "Tibt": "bo",
}
_WEIGHT = {"Hani": 3, "Hang": 2}  # one sign says as much as several letters
_NOT_WORDS = re.compile(r"https?://\S+|www\.\S+|\S+@\S+\.\S+|[@#]\w+")


@lru_cache(maxsize=8192)
def script_of(char: str) -> str | None:
    """The script of one letter; None for digits, marks of no script, emoji."""
    if not (char.isalpha() or unicodedata.category(char) in ("Mn", "Mc")):
        return None
    return _BY_NAME.get(unicodedata.name(char, "").split(" ")[0].split("-")[0])


def words_only(text: str) -> str:
    """The text without addresses, handles and links: they are in no language."""
    return _NOT_WORDS.sub(" ", text)


def main_script(text: str) -> tuple[str | None, int]:
    """(script, letters in it) of most of the text; (None, 0) without letters."""
    counts: Counter[str] = Counter()
    for char in text:
        script = script_of(char)
        if script:
            counts[script] += _WEIGHT.get(script, 1)
    if not counts:
        return None, 0
    if counts["Kana"] > 1:  # Japanese is mostly Chinese signs; a lone "の" is a fashion in Chinese
        counts["Kana"] += counts.pop("Hani", 0)
    script, weight = counts.most_common(1)[0]
    return script, weight // _WEIGHT.get(script, 1)


def chinese_variant(text: str) -> str | None:
    """ "zh-Hans" or "zh-Hant" by the signs that only one of the two national character sets has."""
    simplified = sum(_only(char, "gb2312", "big5") for char in text)
    traditional = sum(_only(char, "big5", "gb2312") for char in text)
    if simplified == traditional:
        return None
    return "zh-Hans" if simplified > traditional else "zh-Hant"


@lru_cache(maxsize=8192)
def _only(char: str, this: str, other: str) -> bool:
    if script_of(char) != "Hani":
        return False
    try:
        char.encode(this)
    except UnicodeEncodeError:
        return False
    try:
        char.encode(other)
    except UnicodeEncodeError:
        return True
    return False
