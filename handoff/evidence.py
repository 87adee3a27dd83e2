"""What led to an indicator, as staff are shown it: whole words, and each quotation once."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

from nlu.script import script_of

_AROUND = 30  # characters shown on either side of what was found
_LONGEST = 160  # characters of one quotation
# Written without spaces: what looks like one long word is a whole sentence.
_UNSPACED = frozenset({"Hani", "Kana", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})
_JOINERS = "\u200c\u200d"  # not seen, but inside a word (Persian, Hindi)
_APOSTROPHES = "'’"  # inside a word between two letters: "don't" must not lose its "not"


class Quotation(TypedDict):
    """A person's words, and every indicator that they led to."""

    text: str
    indicators: list[str]


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """The span, widened to whole words: a pattern may end in the middle of one."""
    while 0 < start < len(text) and _inside_word(text, start):
        start -= 1
    while 0 < end < len(text) and _inside_word(text, end):
        end += 1
    return start, end


def _inside_word(text: str, at: int) -> bool:
    """Whether a cut before this character would cut a word, or tear a mark from its letter."""
    before, after = text[at - 1], text[at]
    if before.isspace() or after.isspace():
        return False
    if unicodedata.category(after).startswith("M") or before in _JOINERS or after in _JOINERS:
        return True
    if after in _APOSTROPHES:
        after = text[at + 1 : at + 2]
    elif before in _APOSTROPHES:
        before = text[at - 2 : at - 1]
    return _of_spaced_word(before) and _of_spaced_word(after)


def _of_spaced_word(char: str) -> bool:
    return bool(char) and unicodedata.category(char)[0] in "LMN" and script_of(char) not in _UNSPACED


def cut_at_evidence(text: str, evidence: Sequence[dict[str, Any]]) -> list[dict[str, str | None]]:
    """The text in pieces, those that led to an indicator with its name; a pattern's exact words are shown
    rather than the whole message that the model judged; of overlapping ones the first."""
    parts: list[dict[str, str | None]] = []
    found_end = shown_end = 0
    exact = [item for item in evidence if not item["source"].startswith("model")]
    for item in sorted(exact or evidence, key=lambda found: (found["start"], -found["end"])):
        start, stop = max(0, item["start"]), min(len(text), item["end"])
        if start < found_end or start >= stop:
            continue
        found_end = stop
        left, right = whole_words(text, start, stop)
        left = max(left, shown_end)  # two may meet in one word: it is the first one's
        if left >= right:
            continue
        if left > shown_end:
            parts.append({"text": text[shown_end:left], "indicator": None})
        parts.append({"text": text[left:right], "indicator": item["indicator"]})
        shown_end = right
    if shown_end < len(text):
        parts.append({"text": text[shown_end:], "indicator": None})
    return parts


def quotations(text: str, evidence: Iterable[dict[str, Any]]) -> list[Quotation]:
    """One message's quotations in the order of its evidence, the gravest first; those that overlap are one."""
    found = [(*_window(text, item["start"], item["end"]), item["indicator"]) for item in evidence]
    spans: list[tuple[int, int, list[int]]] = []  # the last: which of the evidence stands in it
    for number in sorted(range(len(found)), key=lambda number: found[number][:2]):
        start, end, _ = found[number]
        if spans and start < spans[-1][1] and end - spans[-1][0] <= _LONGEST:
            first, last, members = spans[-1]
            spans[-1] = (first, max(last, end), [*members, number])
        elif start < end:
            spans.append((start, end, [number]))
    spans.sort(key=lambda span: min(span[2]))
    return gather([], [_quotation(text, span, [found[number][2] for number in sorted(span[2])]) for span in spans])


def _window(text: str, start: int, end: int) -> tuple[int, int]:
    """What is quoted around a span: whole words, and not too many."""
    left, right = whole_words(text, max(0, start - _AROUND), min(len(text), end + _AROUND))
    if right - left <= _LONGEST:
        return left, right
    right = left + _LONGEST
    while right > left and _inside_word(text, right):
        right -= 1
    return left, right if right > left else left + _LONGEST


def _quotation(text: str, span: tuple[int, int, list[int]], indicators: list[str]) -> Quotation:
    start, end, _ = span
    before, after = ("… " if text[:start].strip() else ""), (" …" if text[end:].strip() else "")
    return {"text": before + " ".join(text[start:end].split()) + after, "indicators": indicators}


def gather(quotes: Sequence[Quotation], more: Iterable[Quotation]) -> list[Quotation]:
    """Each different text once, in order, with the indicators of all that say the same; none without words."""
    gathered: dict[str, list[str]] = {}
    for quote in (*quotes, *more):
        if quote["text"]:
            gathered[quote["text"]] = list(dict.fromkeys([*gathered.get(quote["text"], []), *quote["indicators"]]))
    return [{"text": text, "indicators": indicators} for text, indicators in gathered.items()]
