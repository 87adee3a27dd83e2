"""Spoils training texts the way a phone, haste and fear do, so that the encoder does not lean on clean spelling."""

from __future__ import annotations

import random
import unicodedata

_SHARE = 0.4  # of the texts that are spoilt at all


def spoilt(text: str, chance: random.Random) -> str:
    """The text, or a version of it with some of: no capitals, no marks, no accents, slips of the fingers."""
    if chance.random() > _SHARE:
        return text
    if chance.random() < 0.5:
        text = text.lower() if chance.random() < 0.85 else text.upper()
    if chance.random() < 0.4:
        text = "".join(c for c in text if unicodedata.category(c)[0] != "P" or c == "'")
    if chance.random() < 0.35:
        text = without_accents(text)
    if chance.random() < 0.5:
        text = _slips(text, chance)
    return text


def without_accents(text: str) -> str:
    """Latin letters without their marks; other scripts stay as they are."""
    kept = []
    for char in text:
        plain = unicodedata.normalize("NFD", char)
        latin = plain[0].isascii() or char in "đĐ"
        kept.append({"đ": "d", "Đ": "D"}.get(char, plain[0]) if latin and len(plain) + (char in "đĐ") > 1 else char)
    return "".join(kept)


def _slips(text: str, chance: random.Random) -> str:
    """One slip in about twenty-five letters: left out, doubled, or changed places with its neighbour."""
    letters = list(text)
    for _ in range(max(1, len(text) // 25)):
        place = chance.randrange(len(letters)) if letters else 0
        if place + 1 >= len(letters) or not letters[place].isalpha():
            continue
        kind = chance.randrange(3)
        if kind == 0:
            del letters[place]
        elif kind == 1:
            letters.insert(place, letters[place])
        else:
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return "".join(letters)
