"""Keywords: the whole message or nothing, and an answer that fits into one SMS."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.keywords import _WORDS, keyword
from channels.segments import segment
from translations import catalog
from translations.render import render

CATALOG = catalog.load()


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("STOP", ("stop", "en")),
        ("stop", ("stop", "en")),
        ("Stop.", ("stop", "en")),
        ("  sToP!!! ", ("stop", "en")),
        ("«STOP»", ("stop", "en")),
        ("“stop”", ("stop", "en")),
        ("'stop'", ("stop", "en")),
        ("STOP\r\n", ("stop", "en")),
        ("\u200bstop\u00a0", ("stop", "en")),
        ("ＳＴＯＰ", ("stop", "en")),
        ("STOPALL", ("stop", "en")),
        ("Unsubscribe", ("stop", "en")),
        ("ARRET", ("stop", "fr")),
        ("ARRÊT", ("stop", "fr")),
        ("arrêt", ("stop", "fr")),
        ("arre\u0302t", ("stop", "fr")),
        ("Arrêter.", ("stop", "fr")),
        ("désabonner", ("stop", "fr")),
        ("HELP", ("help", "en")),
        ("help?", ("help", "en")),
        ("Help!", ("help", "en")),
        ("AIDE", ("help", "fr")),
        ("aide !", ("help", "fr")),
        ("Aide\u00a0?", ("help", "fr")),
        ("INFO", ("info", "en")),
        ("info.", ("info", "en")),
        ("START", ("start", "en")),
        ("start", ("start", "en")),
        ("UNSTOP", ("start", "en")),
        ("DEBUT", ("start", "fr")),
        ("Début", ("start", "fr")),
        ("DÉBUT !", ("start", "fr")),
        ("human", ("human", "en")),
        ("HUMAIN", ("human", "fr")),
        ("NGƯỜI".replace("Ư", "U"), ("human", "vi")),
        ("ЛЮДИНА", ("human", "uk")),
        ("इंसान।", ("human", "hi")),
        ("真人。", ("human", "zh-Hans")),
    ],
)
def test_a_keyword_is_known_in_any_case_with_or_without_accents_and_punctuation(
    text: str, meaning: tuple[str, str]
) -> None:
    assert keyword(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "make him stop",
        "please stop",
        "stop it",
        "stop stop",
        "stop, help",
        "STOP HELP",
        "he won't stop",
        "nonstop",
        "stopp",
        "s t o p",
        "arrête",  # "he stops", "stop it": a sentence of its own
        "arrête-le",
        "help me",
        "helps",
        "I need help",
        "aide-moi",
        "à l'aide",
        "information",
        "info please",
        "start over",
        "au début",
        "humans",
        "",
        " ",
        "!?",
        "stop\n\nhe is here, make him stop",
        "stop" * 20,
    ],
)
def test_a_word_within_a_message_is_no_keyword(text: str) -> None:
    assert keyword(text) is None


@pytest.mark.parametrize("word", list(_WORDS))
def test_every_keyword_is_found_however_it_is_typed(word: str) -> None:
    for typed in (word, word.upper(), word.title(), f" {word}. ", unicodedata.normalize("NFD", word)):
        assert keyword(typed) == _WORDS[word]


@given(st.text(max_size=60))
def test_any_text_can_be_asked_about(text: str) -> None:
    assert keyword(text) in {None, *_WORDS.values()}


@given(st.sampled_from(list(_WORDS)), st.text(st.characters(whitelist_categories=["Lu", "Ll", "Lo"]), min_size=1))
def test_a_keyword_with_another_word_is_none(word: str, other: str) -> None:
    assert keyword(f"{word} {other}") is None
    assert keyword(f"{other} {word}") is None


@pytest.mark.parametrize("language", sorted(CATALOG.texts))
@pytest.mark.parametrize("action", ["stop", "start", "help", "info"])
def test_the_answer_to_a_keyword_is_one_sms(action: str, language: str) -> None:
    text = render(CATALOG, f"keyword.{action}", language, drafts=True).text
    assert len(text) <= 160
    assert len(segment(text).parts) == 1


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("action", ["stop", "start", "help", "info"])
def test_with_the_notice_of_the_demonstration_it_still_is_one(action: str, language: str) -> None:
    answer = render(CATALOG, f"keyword.{action}", language, drafts=True)
    notice = render(CATALOG, "notice.draft", language, drafts=True)
    text = f"{answer.text}\n{notice.text}"
    assert len(text) <= 160
    assert len(segment(text).parts) == 1


def test_every_action_has_an_answer_in_both_official_languages() -> None:
    for action, language in set(_WORDS.values()):
        if action != "human":  # answered by the handoff's own text
            assert f"keyword.{action}" in CATALOG.texts[language]
