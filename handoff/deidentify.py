"""Takes out of a text what points to somebody, before a reviewer reads it. Pure; never raises.

    links, e-mail, @handles, postal codes    → [link] [e-mail] [handle] [postal code]
    telephone numbers, runs of four digits   → zeros, at most four together
    places of nlu/data/places.csv            → [place]

It cannot find names of people, streets or employers, nor numbers spelt in words: the reviewer must.
"""

from __future__ import annotations

import csv
import re
from functools import lru_cache

from nlu.examples import FOLDER
from nlu.normalise import normalise

PLACES = FOLDER / "places.csv"
# Scripts that write no spaces: a name stands in the middle of other words, and a link ends where they go on.
_HAN = r"\u2e80-\u9fff\U00020000-\U0003ffff"
_CJK = rf"{_HAN}\uac00-\ud7af\uff00-\uffef"
_NAME = rf"(?:(?![{_CJK}])[\w.+%'\u0300-\u036f-])"
_DOT = "[.．。]"
_AT = "[@＠﹫]"

_LINK = re.compile(
    rf"[a-z][a-z0-9+.-]{{1,15}}://[^\s{_CJK}]+"
    rf"|(?<![a-z0-9@.-])www\.[^\s{_CJK}]+"
    # Without a scheme: any ending with a path, else the ones that are no words ("stop.it", "call.me").
    r"|(?<![a-z0-9@.-])(?:[a-z0-9-]+\.)+(?:[a-z]{2,10}/[!-~]*"
    r"|(?:com|ca|org|net|info|biz|edu|gov|app|xyz|co|ru|ua|ph|mx|cn|kr|pk|vn)(?![\w@-]))",
    re.IGNORECASE,
)
_MAIL = re.compile(
    rf"(?<![a-z0-9.+%'_-]){_NAME}+{_AT}{_NAME}+(?:{_DOT}{_NAME}+)+"
    r"|(?<![\w.+-])[\w.+-]+\s*(?:[@＠﹫]|[(\[]\s*at\s*[)\]]|\bat\b|\barobase\b|\barroba\b)\s*"
    r"(?:gmail|hotmail|yahoo|outlook|icloud|proton(?:mail)?|naver)\b(?:\s*(?:\.|\b(?:dot|point|punto)\b)\s*[a-z]{2,4}\b)*",
    re.IGNORECASE,
)
_HANDLE = re.compile(rf"{_AT}+[^\s@＠﹫,;:!?()\[\]{{}}<>\"“”«»…。،؟]+")
# The first half alone is a district; only as a district is written, because "m3a" is an Arabic word as people type it.
_POSTAL = re.compile(
    r"(?<![A-Za-z0-9])(?i:[abceghj-nprstvxy]\d[a-z][ -]?\d[a-z]\d|(?-i:[ABCEGHJ-NPRSTVXY]\d[A-Z]))(?![A-Za-z0-9])",
    re.ASCII,
)
_BETWEEN = r"[\s().\-‐-―−/+_*·•,:;'\u00ad\u200b-\u200f\u2060\ufe0f\u20e3]{0,3}"  # as people write telephone numbers
_NUMERALS = re.compile("[〇零一二三四五六七八九幺]{7,}")
_CYRILLIC_ENDING = re.compile("(?<=[а-яёіїє]{5})[аеиоуыьюяії]$")
_INDIC = r"\u0900-\u0963\u0966-\u0dff"  # vowel signs are no "\w", and yet inside a word


def deidentify(text: str) -> str:
    """The text without what points to somebody, as far as a program can tell."""
    text = _LINK.sub("[link]", text)
    text = _MAIL.sub("[e-mail]", text)
    text = _HANDLE.sub("[handle]", text)
    text = _POSTAL.sub("[postal code]", text)
    return _without_places(_without_numbers(text))


def _without_numbers(text: str) -> str:
    digits, telephone = _numbers()

    def zeros(match: re.Match[str]) -> str:
        return "0" * min(4, len(match.group()))

    text = _NUMERALS.sub("0000", text)
    text = telephone.sub(lambda found: digits[0].sub(zeros, found.group()), text)
    return digits[1].sub(zeros, text)


@lru_cache(maxsize=1)
def _numbers() -> tuple[tuple[re.Pattern[str], re.Pattern[str]], re.Pattern[str]]:
    """Any digits, four and more of them, and a telephone number; in every script, encircled and raised ones too."""
    every = "[" + "".join(chr(code) for code in range(0x20000) if chr(code).isdigit()) + "]"
    telephone = re.compile(f"{every}(?:{_BETWEEN}{every}){{5,}}")
    return (re.compile(f"{every}+"), re.compile(f"{every}{{4,}}")), telephone


def _without_places(text: str) -> str:
    """Found in the one spelling that many are brought to, and cut out of the text as it was written."""
    spelt = normalise(text)
    parts, end = [], 0
    for match in _places().finditer(spelt.text):
        start, stop = spelt.span(*match.span())
        if start >= end and text[start:stop] != "pei":  # in small letters it is Chinese as often as an island
            parts += [text[end:start], "[place]"]
            end = stop
    return "".join([*parts, text[end:]])


@lru_cache(maxsize=1)
def _places() -> re.Pattern[str]:
    """All names, the longest first."""
    with PLACES.open(encoding="utf-8", newline="") as file:
        rows = [row["name"] for row in csv.DictReader(file)]
    # Beginnings of postal codes stand in that file too: they are found as postal codes, and "G" is no place.
    names = {normalise(name).text for name in rows if not re.fullmatch("[A-Z]([0-9][A-Z]?)?", name)}
    return re.compile("|".join(_place(name) for name in sorted(names, key=len, reverse=True)))


def _place(name: str) -> str:
    """A name as languages use it: with an ending ("Torontóban", "в Оттаве"), with an Arabic preposition before it."""
    words = r"[\s.'-]*".join(re.escape(word) for word in re.split(r"[\s.'-]+", _CYRILLIC_ENDING.sub("", name)))
    if re.search(f"[{_HAN}]", name):
        return words
    before = "(?<![a-z0-9])" if name.isascii() else rf"(?<![\w{_INDIC}])"
    if re.search("[\u0600-\u06ff]", name):
        before += "[وفبلك]{0,2}"
    if re.search("[\uac00-\ud7af]", name):
        return before + words
    inside = "[a-z0-9]" if name.isascii() else rf"[\w{_INDIC}]"
    with_ending = len(name) > 4 and name != "barrie"  # a "barrier" is none
    ending = f"(?={inside}{{0,4}}(?!{inside}))" if with_ending else f"(?!{inside})"
    return before + words + ending
