"""Signs that somebody else holds the phone."""

import pytest
from hypothesis import given, settings

from nlu.language import UNKNOWN, Language
from nlu.normalise import normalise
from nlu.watched import Phrase, asks_who, load, watched
from tests.nlu.strange import STRANGE, texts

ENGLISH = Language("en", "Latn", 0.95)
PHRASES = load()
TOLD = ("he took my passport", "i am scared")
# (language before, what is written now, grave) → does it count?
CHANGES = {
    "sure, grave and unrelated": ("tl", Language("fr", "Latn", 0.95), True, True),
    "just sure enough": ("tl", Language("fr", "Latn", 0.9), True, True),
    "another script": ("pa", Language("ru", "Cyrl", 0.99), True, True),
    "not quite sure": ("tl", Language("fr", "Latn", 0.89), True, False),
    "nothing grave": ("tl", Language("fr", "Latn", 0.95), False, False),
    "the same language": ("fr", Language("fr", "Latn", 0.95), True, False),
    "no language known before": (None, Language("fr", "Latn", 0.95), True, False),
    "in no language": ("fr", UNKNOWN, True, False),
    "the same in another script": ("pa", Language("pa-Latn", "Latn", 0.95), True, False),
    "back to its own script": ("hi-Latn", Language("hi", "Deva", 0.99), True, False),
    "the other Chinese": ("zh-Hans", Language("zh-Hant", "Hani", 0.97), True, False),
    "to English, which everybody mixes in": ("tl", ENGLISH, True, False),
    "from English": ("en", Language("es", "Latn", 0.95), True, False),
    "two that one person mixes": ("hi-Latn", Language("ur-Latn", "Latn", 0.95), True, False),
    "Punjabi and Hindi": ("pa", Language("hi", "Deva", 0.99), True, False),
    "two that detectors confuse": ("es", Language("pt", "Latn", 0.95), True, False),
    "Ukrainian and Russian": ("uk", Language("ru", "Cyrl", 0.95), True, False),
    "creole and French": ("ht", Language("fr", "Latn", 0.95), True, False),
    "Spanish and French": ("es", Language("fr", "Latn", 0.95), True, True),
}


def seems_watched(text: str, *, history: tuple[str, ...] = TOLD) -> bool:
    return watched(text, history=history, language=ENGLISH, before="en", grave=True)


def test_every_language_has_one_entry() -> None:
    tags = [phrase.language for phrase in PHRASES]
    assert len(tags) == len(set(tags))
    assert {"en", "fr"} <= set(tags)


@pytest.mark.parametrize("phrase", PHRASES, ids=lambda phrase: phrase.language)
def test_every_example_of_a_language_behaves(phrase: Phrase) -> None:
    assert phrase.matches
    assert phrase.passes
    for text in phrase.matches:
        assert phrase.expression.search(normalise(text).text), text
    for text in phrase.passes:
        assert not asks_who(text), text  # of no other language either


@pytest.mark.parametrize("phrase", PHRASES, ids=lambda phrase: phrase.language)
def test_it_counts_after_the_person_has_written_and_not_before(phrase: Phrase) -> None:
    for text in phrase.matches:
        assert seems_watched(text)
        assert not seems_watched(text, history=())


def test_nothing_counts_on_a_first_message() -> None:
    changed = Language("fr", "Latn", 0.99)
    assert not watched("je veux parler", history=(), language=changed, before="tl", grave=True)
    assert watched("je veux parler", history=TOLD, language=changed, before="tl", grave=True)


def test_a_question_counts_up_to_its_length_and_a_story_does_not() -> None:
    question = "who is this "
    assert seems_watched(question.ljust(120, "."))
    assert not seems_watched(question.ljust(121, "."))
    story = (
        "i keep asking myself who is this man that i married, he changed when we came here and now he counts the money"
    )
    assert asks_who(story)
    assert not seems_watched(story + " every single night")


def test_it_counts_in_whatever_language_the_conversation_was() -> None:
    assert watched("who is this", history=("me ayudan",), language=UNKNOWN, before="es", grave=False)


@pytest.mark.parametrize("written", ["WHO IS THIS??", "who\u200b is this", "Qui êtes-vous", "c’est qui"])
def test_spelling_does_not_matter(written: str) -> None:
    assert seems_watched(written)


@pytest.mark.parametrize(("before", "now", "grave", "counts"), CHANGES.values(), ids=CHANGES.keys())
def test_a_sudden_other_language_counts_when_it_is_grave_sure_and_unrelated(
    before: str | None, now: Language, grave: bool, counts: bool
) -> None:
    assert watched("ceci est une phrase", history=TOLD, language=now, before=before, grave=grave) is counts


@pytest.mark.parametrize("text", ["merci", "merci beaucoup", "  merci   beaucoup  "])
def test_one_or_two_words_of_another_language_do_not_count(text: str) -> None:
    changed = Language("fr", "Latn", 0.99)
    assert not watched(text, history=TOLD, language=changed, before="tl", grave=True)


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_text_is_nobody_else(text: str) -> None:
    assert not seems_watched(text)


@settings(max_examples=50)
@given(texts)
def test_it_never_fails(text: str) -> None:
    assert seems_watched(text) in (True, False)
