"""Texts as a phone, haste and fear spoil them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlu.normalise import normalise
from nlu.spoil import spoilt, without_accents
from tests.nlu.strange import STRANGE, texts

TEXT = "Ils ont gardé mon passeport, où êtes-vous ? J'ai très peur !"
PLAIN = {
    "french": ("Où êtes-vous, ça brûle", "Ou etes-vous, ca brule"),
    "spanish": ("mañana, ¿está?", "manana, ¿esta?"),
    "vietnamese": ("Đừng gọi cho tôi nữa", "Dung goi cho toi nua"),
    "romanian": ("vă rog, ajutați-mă", "va rog, ajutati-ma"),
    "hungarian": ("Őt is megütötte", "Ot is megutotte"),
    "nothing to leave out": ("help me", "help me"),
    "empty": ("", ""),
}
UNTOUCHED = {
    "ukrainian": "їй потрібна допомога, йдіть",
    "russian": "мой ещё",
    "greek": "βοήθεια",
    "arabic": "أين أنتم؟ مُساعدة",
    "hindi": "मुझे डर लग रहा है, ज़रा",
    "punjabi": "ਮੈਨੂੰ ਜ਼ਰੂਰ",
    "bengali": "আমার ভয় করছে",
    "tamil": "எனக்கு பயமா இருக்கு",
    "korean": "도와주세요",
    "chinese": "救命",
    "japanese": "だれか たすけて",
    "amharic": "እርዱኝ",
    "emoji": "😭❤️",
}


@given(text=texts, seed=st.integers(0, 2**32))
def test_it_is_the_same_for_the_same_seed(text: str, seed: int) -> None:
    assert spoilt(text, random.Random(seed)) == spoilt(text, random.Random(seed))


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_text_can_be_spoilt(text: str) -> None:
    for seed in range(20):
        assert len(spoilt(text[:5_000], random.Random(seed))) <= 2 * len(text) + 1


def test_other_seeds_spoil_otherwise_and_most_texts_stay() -> None:
    found = [spoilt(TEXT, random.Random(seed)) for seed in range(300)]
    assert len(set(found)) > 30
    assert 0.5 < found.count(TEXT) / len(found) < 0.8


def test_a_spoilt_text_still_says_nearly_the_same() -> None:
    letters = sorted(normalise(TEXT).text)
    for seed in range(200):
        left = sorted(normalise(spoilt(TEXT, random.Random(seed))).text)
        assert abs(len(left) - len(letters)) <= 10


@pytest.mark.parametrize(("text", "plain"), PLAIN.values(), ids=PLAIN.keys())
def test_latin_letters_lose_their_marks(text: str, plain: str) -> None:
    assert without_accents(text) == plain


@pytest.mark.parametrize("text", UNTOUCHED.values(), ids=UNTOUCHED.keys())
def test_other_scripts_keep_theirs(text: str) -> None:
    assert without_accents(text) == text


@given(texts)
def test_leaving_accents_out_changes_no_length_and_nothing_the_second_time(text: str) -> None:
    plain = without_accents(text)
    assert len(plain) == len(text)
    assert without_accents(plain) == plain
