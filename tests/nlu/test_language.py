"""The language of a message: an answer for every text, and "und" is one of them."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nlu.language import (
    MAX_CHARACTERS,
    MODEL,
    UNKNOWN,
    Cascade,
    Langdetect,
    Language,
    LanguageDetector,
    load,
    load_head,
)
from nlu.lexicon import WORDS, build
from nlu.script import ONE_LANGUAGE, chinese_variant, main_script, script_of, words_only
from tests.nlu.strange import STRANGE, texts

BY_SCRIPT = {
    "pa": "ਮੈਨੂੰ ਮਦਦ ਚਾਹੀਦੀ ਹੈ",
    "hi": "मुझे मदद चाहिए",
    "bn": "আমার সাহায্য দরকার",
    "ta": "எனக்கு உதவி வேண்டும்",
    "ko": "도와주세요",
    "ja": "たすけてください",
    "el": "χρειάζομαι βοήθεια",
    "he": "אני צריך עזרה",
    "th": "ช่วยด้วย",
    "gu": "મને મદદ જોઈએ",
    "te": "నాకు సహాయం కావాలి",
    "kn": "ನನಗೆ ಸಹಾಯ ಬೇಕು",
    "ml": "എനിക്ക് സഹായം വേണം",
    "si": "මට උදව් ඕන",
    "ka": "მჭირდება დახმარება",
    "hy": "ինձ օգնություն է պետք",
    "km": "ខ្ញុំត្រូវការជំនួយ",
    "my": "ကူညီပါ",
    "lo": "ຊ່ວຍແດ່",
    "bo": "རོགས་རམ་དགོས།",
}
NO_LANGUAGE = {
    "empty": "",
    "space": " \n ",
    "digits": "604 555 0199",
    "a time": "12:30",
    "emoji": "😭🙏",
    "punctuation": "?!...",
    "ok": "ok",
    "loud ok": "OK!!",
    "ok and a heart": "ok ❤️",
    "laughing": "hahaha lol",
    "a link": "https://example.org/une-page-en-francais",
    "an address": "maria.gonzalez@example.org",
    "a handle": "@maria #help",
    "a lone surrogate": "\ud800",
    "nul": "\x00",
}
CHINESE = {
    "simplified": ("老板拿走了我的护照", "zh-Hans"),
    "traditional": ("老闆拿走了我的護照", "zh-Hant"),
    "cantonese": ("我唔知點算好，佢哋唔畀我走", "zh-Hant"),
    "with some english": ("老板扣了我的钱和 passport", "zh-Hans"),
    "one sign of difference": ("我在这里", "zh-Hans"),
}
SYLLABICS = {
    "inuktitut": ("ᐃᓄᒃᑎᑐᑦ", "iu"),
    "help me": ("ᐃᑲᔪᙵ", "iu"),
    "nunavut": ("ᓄᓇᕗᑦ", "iu"),
    "plains cree": ("ᓀᐦᐃᔭᐍᐏᐣ", "cr"),
    "east cree": ("ᐄᔨᔨᐤ ᐊᔨᒧᐧᐃᓐ", "cr"),
}
DISTINCT = {
    "en": "they took my passport and I cannot leave the house",
    "fr": "ils ont pris mon passeport et je ne peux pas sortir",
    "es": "me quitaron el pasaporte y no puedo salir de la casa",
    "uk": "вони забрали мій паспорт і не пускають мене",
    "ru": "они забрали мой паспорт и меня не выпускают",
    "vi": "họ lấy hộ chiếu của tôi và không cho tôi ra ngoài",
}


class ScriptedHead:
    """Says what it is told of each tag; the floor of all others."""

    def __init__(self, said: Mapping[str, float]) -> None:
        self.said = said

    def log_probabilities(self, text: str, tags: Sequence[str]) -> NDArray[np.float64]:
        return np.array([self.said.get(tag, -9.0) for tag in tags])


@pytest.fixture(scope="session")
def baseline() -> LanguageDetector:
    return load("langdetect")


@pytest.mark.parametrize(("tag", "text"), BY_SCRIPT.items(), ids=BY_SCRIPT.keys())
def test_a_script_of_one_language_decides_alone(detector: LanguageDetector, tag: str, text: str) -> None:
    found = detector.detect(text, history="en")
    assert found.tag == tag
    assert found.confidence > 0.9
    assert ONE_LANGUAGE[found.script] == tag


def test_every_script_of_one_language_has_a_case() -> None:
    assert set(BY_SCRIPT) == set(ONE_LANGUAGE.values())


@pytest.mark.parametrize("text", NO_LANGUAGE.values(), ids=NO_LANGUAGE.keys())
def test_what_is_in_no_language_is_und(detector: LanguageDetector, text: str) -> None:
    assert detector.detect(text) == UNKNOWN
    assert detector.detect(text, history="fr") == UNKNOWN  # the caller keeps the conversation's language


@pytest.mark.parametrize(("text", "tag"), CHINESE.values(), ids=CHINESE.keys())
def test_the_signs_tell_the_two_chinese_apart(detector: LanguageDetector, text: str, tag: str) -> None:
    assert detector.detect(text).tag == tag
    other = "zh-Hant" if tag == "zh-Hans" else "zh-Hans"
    assert detector.detect(text, history=other).tag == tag


@pytest.mark.parametrize("history", ["zh-Hans", "zh-Hant"])
def test_signs_of_both_chinese_leave_it_to_the_history(detector: LanguageDetector, history: str) -> None:
    assert chinese_variant("你好") is None
    assert detector.detect("你好", history=history).tag == history


@pytest.mark.parametrize("history", [None, "en", "zh-Latn"])
def test_signs_of_both_chinese_with_no_chinese_before_are_simplified(
    detector: LanguageDetector, history: str | None
) -> None:
    found = detector.detect("你好", history=history)
    assert found.tag == "zh-Hans"
    assert found.confidence < 0.9


@pytest.mark.parametrize("text", ["今日は仕事です", "助けてください", "タスケテ"])
def test_japanese_with_many_chinese_signs_is_japanese(detector: LanguageDetector, text: str) -> None:
    assert detector.detect(text).tag == "ja"


def test_a_lone_japanese_sign_does_not_make_chinese_japanese(detector: LanguageDetector) -> None:
    assert detector.detect("鮮の味餐廳在哪裡").tag == "zh-Hant"


@pytest.mark.parametrize(("text", "tag"), SYLLABICS.values(), ids=SYLLABICS.keys())
def test_syllabics_are_inuktitut_or_cree(detector: LanguageDetector, text: str, tag: str) -> None:
    found = detector.detect(text)
    assert (found.tag, found.script) == (tag, "Cans")
    assert found.confidence < 0.9  # Ojibwe and others write them too


def test_a_script_that_nobody_here_reads_is_named_without_a_language(detector: LanguageDetector) -> None:
    assert detector.detect("ሰላም").script == "Ethi"
    assert detector.detect("ߊߟߎ߫ ߛߋ߫") == UNKNOWN  # N'Ko


@pytest.mark.parametrize(("tag", "text"), DISTINCT.items(), ids=DISTINCT.keys())
def test_a_clear_sentence_wins_over_the_history(detector: LanguageDetector, tag: str, text: str) -> None:
    for history in (None, *DISTINCT):
        assert detector.detect(text, history=history).tag == tag


def test_letters_that_one_language_alone_has_decide(detector: LanguageDetector) -> None:
    assert detector.detect("де їхати", history="ru").tag == "uk"
    assert detector.detect("это ты", history="uk").tag == "ru"
    assert detector.detect("مجھے ڈر ہے", history="ar").tag == "ur"


def test_a_persons_history_decides_a_close_call() -> None:
    close = Cascade(ScriptedHead({"fr": -0.7, "ht": -0.7}))
    assert close.detect("mesi anpil zanmi", history="fr").tag == "fr"
    assert close.detect("mesi anpil zanmi", history="ht").tag == "ht"


def test_a_persons_history_does_not_decide_a_clear_call() -> None:
    clear = Cascade(ScriptedHead({"fr": -0.01, "ht": -5.0}))
    for history in (None, "fr", "ht", "en"):
        assert clear.detect("je suis dehors maintenant", history=history).tag == "fr"


def test_an_answer_given_once_is_kept_by_the_next_text_like_it() -> None:
    """Hysteresis: between two languages, the first answer stays until a text clearly says otherwise."""
    detector = Cascade(ScriptedHead({"so": -0.5, "ht": -0.9}))
    first = detector.detect("walaal fadlan")
    assert first.tag == "so"
    nearly = Cascade(ScriptedHead({"so": -0.9, "ht": -0.5}))
    assert nearly.detect("walaal fadlan", history=first.tag).tag == "so"
    clearly = Cascade(ScriptedHead({"so": -3.0, "ht": -0.1}))
    assert clearly.detect("walaal fadlan", history=first.tag).tag == "ht"


def test_a_history_of_another_script_decides_nothing(detector: LanguageDetector) -> None:
    assert detector.detect("help me please now", history="pa") == detector.detect("help me please now")
    assert detector.detect("help me please now", history="no-such-tag").tag == "en"


@pytest.mark.parametrize("text", ["si", "oui", "no", "ну", "je"])
def test_a_few_letters_are_never_sure(detector: LanguageDetector, text: str) -> None:
    """Below what `bot.turn` asks for before it changes the language of a conversation that has one."""
    assert detector.detect(text).confidence <= 0.5
    for history in ("en", "fr", "es", "ru", "uk"):
        found = detector.detect(text, history=history)
        assert found.tag == history or found.confidence <= 0.5


@pytest.mark.parametrize("text", ["si", "no", "hi", "ja"])
def test_a_few_letters_of_several_languages_are_in_none(detector: LanguageDetector, text: str) -> None:
    assert detector.detect(text).tag == "und"


@pytest.mark.parametrize("text", ["Maria", "gurpreet singh", "NGUYEN", "Jose!", "محمد علي", "Олександр"])
def test_names_are_in_no_language(detector: LanguageDetector, text: str) -> None:
    assert detector.detect(text) == UNKNOWN


def test_without_a_trained_head_lingua_and_the_scripts_decide(tmp_path: Path) -> None:
    detector = load(model=tmp_path / "none.npz")
    assert detector.detect(DISTINCT["fr"]).tag == "fr"
    assert detector.detect(BY_SCRIPT["pa"]).tag == "pa"
    assert detector.detect("ሰላም").tag in ("am", "ti", "und")


@pytest.mark.parametrize("damage", ["half", "of another release"])
def test_a_model_that_cannot_be_used_leaves_lingua_and_the_scripts(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = tmp_path / "language.npz"
    if damage == "half":
        damaged.write_bytes(MODEL.read_bytes()[:10_000])
    else:
        np.savez(damaged, tags=np.array(["en"]), weights=np.zeros((4, 1)), bias=np.zeros(1))
    detector = load(model=damaged)
    assert detector.detect(DISTINCT["fr"]).tag == "fr"
    assert "passerelle doctor" in caplog.text


def test_a_word_is_as_rare_as_its_language_says() -> None:
    shares = {"en": {"boss": 1e-4, "chat": 1e-4}, "fr": {"chat": 1e-3}, "und": {"je": 0.5}}
    lexicon = build(shares, {"en": 1e-8, "fr": 1e-8, "und": 1e-3})
    known = lexicon.log_frequency(["chat"], ["en", "fr", "no-such-tag"])
    assert known == pytest.approx(np.log([1e-4, 1e-3, 1e-8]), abs=0.06)  # kept in steps of a tenth
    both = lexicon.log_frequency(["boss", "chat"], ["en", "fr"])
    assert both == pytest.approx(np.log([1e-8, 1e-11]), abs=0.1)
    assert lexicon.log_frequency([], ["en"]).tolist() == [0]
    many = lexicon.log_frequency(["boss"] * 1000, ["en"])
    assert many == pytest.approx([WORDS * math.log(1e-4)], abs=3)


@pytest.mark.parametrize(
    ("text", "tag"),
    [("trabajo", "es"), ("trabalho", "pt"), ("ayuda", "es"), ("ajuda", "pt"), ("munca", "ro"), ("segítség", "hu"),
     ("работа", "ru"), ("допомога", "uk"), ("مساعدة", "ar"), ("کمک", "fa"), ("مدد", "ur")],
)  # fmt: skip
def test_a_single_common_word_is_told_apart(detector: LanguageDetector, text: str, tag: str) -> None:
    assert detector.detect(text).tag == tag


def test_the_head_answers_for_tags_it_does_not_know() -> None:
    chances = load_head(MODEL).log_probabilities("hello", ["en", "no-such-tag"])
    assert chances[0] > chances[1]
    assert np.exp(chances).sum() == pytest.approx(1)


def test_only_the_beginning_of_a_long_text_is_read(detector: LanguageDetector) -> None:
    english = ("they took my passport " * 40)[:MAX_CHARACTERS]
    assert detector.detect(english + DISTINCT["ru"] * 1_000) == detector.detect(english)


def test_case_and_composition_do_not_change_the_language(detector: LanguageDetector) -> None:
    korean = BY_SCRIPT["ko"]
    assert detector.detect(unicodedata.normalize("NFD", korean)).tag == "ko"
    assert detector.detect(DISTINCT["fr"].upper()).tag == "fr"


def test_a_lone_surrogate_changes_nothing(detector: LanguageDetector) -> None:
    text = DISTINCT["es"]
    assert detector.detect("\ud800" + text + "\udfff") == detector.detect(text)


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_text_has_an_answer(detector: LanguageDetector, baseline: LanguageDetector, text: str) -> None:
    for asked in (detector, baseline):
        check(asked.detect(text))
        check(asked.detect(text, history="fr"))


@settings(max_examples=60)
@given(
    text=texts | st.text("abcdeéèñ абвї ابت ሰላ ᓄᓇ 我们們 の", max_size=30), history=st.sampled_from([None, "fr", "ru"])
)
def test_it_never_fails(detector: LanguageDetector, text: str, history: str | None) -> None:
    check(detector.detect(text, history=history))


@settings(max_examples=30)
@given(text=texts)
def test_the_baseline_never_fails(baseline: LanguageDetector, text: str) -> None:
    check(baseline.detect(text))


def test_the_baseline_can_be_chosen_and_says_the_same_every_time(baseline: LanguageDetector) -> None:
    assert isinstance(baseline, Langdetect)
    assert isinstance(load("cascade"), Cascade)
    for text in ("I need help", "si", "aiuto per favore", "ok"):
        assert len({baseline.detect(text) for _ in range(6)}) == 1
    assert baseline.detect(DISTINCT["fr"]).tag == "fr"
    assert baseline.detect("老板拿走了我的护照，我不能离开这里").tag.startswith(("zh-Han", "ko"))


def test_the_baseline_knows_no_language_in_digits(baseline: LanguageDetector) -> None:
    assert baseline.detect("604 555 0199") == UNKNOWN


@given(st.characters(codec=None))
def test_every_character_has_a_script_or_none(char: str) -> None:
    script = script_of(char)
    assert script is None or len(script) == 4


@given(texts)
def test_the_main_script_is_one_of_the_text(text: str) -> None:
    script, letters = main_script(text)
    assert (script is None) == (letters == 0)
    assert letters <= len(text)
    if script:
        assert script in {script_of(char) for char in text}


def test_addresses_are_no_words() -> None:
    assert words_only("see https://a.b/c or www.d.e or x@y.z, @me #tag").split() == ["see", "or", "or"]


def check(found: Language) -> None:
    assert found.tag
    assert len(found.script) == 4
    assert 0 <= found.confidence <= 1
