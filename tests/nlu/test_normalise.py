"""One spelling for what is written in many, and the way back to what was written."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlu.normalise import Normalised, fold, normalise
from tests.nlu.strange import STRANGE, texts

SPELLINGS = {
    "case": ("HELP Me", "help me"),
    "full width": ("Ｈｅｌｐ　ｍｅ", "help me"),
    "french accents": ("Où ça, à l'école ?", "ou ca, a l'ecole ?"),
    "accents typed apart": ("e\u0301cole", "ecole"),
    "vietnamese": ("Giúp tôi với", "giup toi voi"),
    "letters with a stroke": ("Łódź đi Søren", "lodz di soren"),
    "turkish dots": ("İstanbul ılık", "istanbul ilik"),
    "sharp s": ("Straße", "strasse"),
    "ligature": ("ﬁre oﬃce", "fire office"),
    "curly quotes": ("don’t “go”", 'don\'t "go"'),
    "acute for an apostrophe": ("don´t", "don't"),
    "backtick for an apostrophe": ("don`t", "don't"),
    "dashes": ("two–three—four−five", "two-three-four-five"),
    "three dots": ("wait…", "wait..."),
    "white space": ("  help \t\r\n  me\u00a0now \u2028", "help me now"),
    "control signs": ("help\x00me\x07", "help me"),
    "lone surrogate": ("he\ud800lp", "help"),
    "soft hyphen": ("pass\u00adport", "passport"),
    "zero-width": ("p\u200ba\u200cs\u200ds\u2060p\ufefforta", "passporta"),
    "bidi controls": ("\u202epass\u202cport\u061c", "passport"),
    "variation selectors and tags": ("he\ufe0flp\U000e0061", "help"),
    "cyrillic look-alikes": ("раssроrt", "passport"),
    "greek look-alikes": ("hεlp pαsspορt", "hεlp passpopt"),
    "cyrillic stays": ("помогите", "помогите"),
    "greek stays": ("αορν", "αορν"),
    "russian short i": ("Мой", "мои"),
    "digits for letters": ("p4ssp0rt", "passport"),
    "signs for letters": ("pa$$port, b@d", "passport, bad"),
    "digits stay at edges": ("m3 911 4you at 10", "m3 911 4you at 10"),
    "numbers stay": ("100 000 $50 5555", "100 000 $50 5555"),
    "stretched": ("nooooo helpppp", "noo helpp"),
    "stretched accents": ("éééééé", "ee"),
    "double letters stay": ("need good bees", "need good bees"),
    "stretched digits stay": ("1000000", "1000000"),
    "spaced out": ("h e l p me", "help me"),
    "dotted": ("p.a.s.s.p.o.r.t", "passport"),
    "spaced out widely": ("h   e  l p", "help"),
    "spaced out and stretched": ("h e l p p p p", "helpp"),
    "three single letters stay": ("a b c", "a b c"),
    "single digits stay": ("1 2 3 4 5", "1 2 3 4 5"),
    "arabic alefs and yehs": ("أب إب آب ٱب على بئر مؤمن مدرسة", "اب اب اب اب علي بير مومن مدرسه"),
    "arabic vowels and tatweel": ("مُسَـاعـدة", "مساعده"),
    "urdu letters as arabic": ("کہ یہ", "كه يه"),
    "indic vowel signs stay": ("हिंदी ਪੰਜਾਬੀ தமிழ்", "हिंदी ਪੰਜਾਬੀ தமிழ்"),
    "bengali vowel typed in halves": ("ক\u09c7\u09be", "ক\u09cb"),
    "tamil vowel typed in halves": ("ப\u0bc6\u0bbe", "ப\u0bca"),
    "devanagari nukta in one or two": ("\u095c", "\u0921\u093c"),
    "korean": ("도와주세요", "도와주세요"),
    "korean typed apart": (unicodedata.normalize("NFD", "도와주세요 각"), "도와주세요 각"),
    "halfwidth katakana": ("ﾀｽｹﾃ", "タスケテ"),
    "chinese": ("救命", "救命"),
}

EVIDENCE = {
    "plain": ("they took my passport today", "passport", "passport"),
    "accents": ("le garçon brûlé", "garcon", "garçon"),
    "accent typed apart at the end": ("au cafe\u0301", "cafe", "cafe\u0301"),
    "leetspeak": ("my p4$$p0rt!", "passport", "p4$$p0rt"),
    "look-alikes": ("my раssport", "passport", "раssport"),
    "stretched in the middle": ("please heeeeeeeelp me", "heelp", "heeeeeeeelp"),
    "stretched at the end": ("please noooooooooooo stop", "noo", "noooooooooooo"),
    "stretched at the end of all": ("please noooooooooooo", "noo", "noooooooooooo"),
    "spaced out": ("please h e l p me", "help", "h e l p"),
    "spaced out, wide": ("so h   e   l   p", "help", "h   e   l   p"),
    "dotted": ("p.a.s.s.p.o.r.t gone", "passport", "p.a.s.s.p.o.r.t"),
    "zero-width": ("the pass\u200b\u200b\u200bport", "passport", "pass\u200b\u200b\u200bport"),
    "ligature": ("a ﬁre here", "fire", "ﬁre"),
    "after emoji": ("😭😭 help", "help", "help"),
    "after surrogates": ("\ud800\ud800 help", "help", "help"),
    "korean typed apart": (unicodedata.normalize("NFD", "좀 도와줘"), "도와줘", unicodedata.normalize("NFD", "도와줘")),
    "wide spaces within": ("help    me", "help me", "help    me"),
}


@pytest.mark.parametrize(("written", "spelt"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_many_ways_to_write_become_one(written: str, spelt: str) -> None:
    assert normalise(written).text == spelt


@pytest.mark.parametrize(("written", "found", "original"), EVIDENCE.values(), ids=EVIDENCE.keys())
def test_the_span_of_a_match_covers_the_original_words(written: str, found: str, original: str) -> None:
    spelt = normalise(written)
    at = spelt.text.index(found)
    start, end = spelt.span(at, at + len(found))
    assert written[start:end].removesuffix(" ") == original


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_text_is_just_text(text: str) -> None:
    check_offsets(text, normalise(text))


@given(texts)
def test_offsets_point_into_the_original_in_order(text: str) -> None:
    check_offsets(text, normalise(text))


@given(texts, st.integers(0, 60), st.integers(0, 60))
def test_a_span_lies_within_the_original(text: str, start: int, length: int) -> None:
    spelt = normalise(text)
    first, last = spelt.span(start, start + length)
    assert 0 <= first <= last <= len(text)
    if length and start < len(spelt.text):
        assert first == spelt.offsets[start]
        assert last > spelt.offsets[min(start + length, len(spelt.text)) - 1]


@given(texts)
def test_what_is_left_can_be_written_and_has_no_edges_of_space(text: str) -> None:
    spelt = normalise(text).text
    spelt.encode()
    assert spelt == spelt.strip()
    assert "  " not in spelt
    assert not any("A" <= char <= "Z" for char in spelt)


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyzéèçñóăőưđłøß", min_size=1, max_size=9), max_size=8))
def test_normalising_latin_letters_again_changes_nothing(words: list[str]) -> None:
    once = normalise(" ".join(words)).text
    assert normalise(once).text == once


@given(st.text("абвіїйыё \u0301" + "क ख ि ी ं ਕਿਾ ੱ" + "도와주세요각", max_size=40))
def test_normalising_other_letters_again_changes_nothing(text: str) -> None:
    once = normalise(text).text
    assert normalise(once).text == once


@given(st.sampled_from([written for written, _ in SPELLINGS.values()]))
def test_it_does_not_matter_how_the_keyboard_composes(written: str) -> None:
    composed, apart = (normalise(unicodedata.normalize(form, written)).text for form in ("NFC", "NFD"))
    assert composed == apart


@given(st.text("abcdefgh ", min_size=1), st.text("\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e\ufe0f", max_size=3))
def test_invisible_signs_hide_nothing(text: str, invisible: str) -> None:
    assert normalise(invisible.join(text)).text == normalise(text).text


@given(st.text("bcdfgh", min_size=4, max_size=12), st.sampled_from(" .-*_"))
def test_spaced_out_letters_are_one_word(word: str, separator: str) -> None:
    assert normalise(separator.join(word)).text == normalise(word).text


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_pattern_is_folded_as_messages_are(text: str) -> None:
    """Without what needs neighbours: letters in halves, look-alikes, leetspeak, stretched and spaced-out letters."""
    words = [char for char in text if char.isalpha() and not 0x0900 <= ord(char) <= 0x11FF]
    for char in words:
        assert normalise(char).text == " ".join(fold(char).split())


def check_offsets(text: str, spelt: Normalised) -> None:
    assert len(spelt.text) == len(spelt.offsets)
    assert spelt.original_length == len(text)
    assert all(0 <= offset < len(text) for offset in spelt.offsets)
    assert list(spelt.offsets) == sorted(spelt.offsets)
