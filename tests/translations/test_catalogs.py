"""What the assistant says: complete, short, with its numbers intact, and served only as far as it was reviewed."""

from __future__ import annotations

import re

import pytest

from channels.segments import segment
from translations.catalog import Catalog, Key, Text, load
from translations.render import chain, render

CATALOG = load()
LANGUAGES = CATALOG.languages
NUMBERS = re.compile(r"\d[\d-]{2,}\d")
# Real, public, national lines; nothing else may be said (design, "safety content").
PUBLIC_LINES = {"1-833-900-1010", "9-1-1", "9-8-8", "1-800-668-6868", "686868"}


def test_fifteen_languages_the_official_ones_first() -> None:
    assert LANGUAGES[:2] == ("en", "fr")
    assert len(LANGUAGES) == 15


@pytest.mark.parametrize("tag", LANGUAGES)
def test_every_key_has_a_text(tag: str) -> None:
    assert set(CATALOG.texts[tag]) >= set(CATALOG.keys)


@pytest.mark.parametrize("tag", LANGUAGES)
def test_placeholders_and_numbers_are_those_of_the_source(tag: str) -> None:
    for name, key in CATALOG.keys.items():
        text, source = CATALOG.texts[tag][name].text, CATALOG.texts["en"][name].text
        assert set(re.findall(r"\{(\w+)\}", text)) == set(key.placeholders), (tag, name)
        assert sorted(NUMBERS.findall(text)) == sorted(NUMBERS.findall(source)), (tag, name)


def test_only_public_national_lines_are_named() -> None:
    for name, text in CATALOG.texts["en"].items():
        found = {number for number in NUMBERS.findall(text.text) if len(number) > 4 or "-" in number}
        assert found <= PUBLIC_LINES, name


@pytest.mark.parametrize("tag", LANGUAGES)
def test_no_answer_costs_more_segments_than_its_key_allows(tag: str) -> None:
    for name, key in CATALOG.keys.items():
        if not name.startswith("chat."):
            text = re.sub(r"\{\w+\}", "", CATALOG.texts[tag][name].text)
            assert len(segment(text).parts) <= key.max_segments, (tag, name)


@pytest.mark.parametrize("tag", [tag for tag in LANGUAGES if tag != "en"])
def test_no_translation_claims_to_be_reviewed_that_nobody_reviewed(tag: str) -> None:
    assert not [name for name, text in CATALOG.texts[tag].items() if text.reviewed]


def test_discreet_texts_name_nothing_that_gives_the_person_away() -> None:
    for name in ("discreet.who", "discreet.noted"):
        words = CATALOG.texts["en"][name].text.lower()
        assert not re.search("traffick|danger|safe|help|abuse|police|person from our team|hotline", words), name
        assert not CATALOG.keys[name].revealing


def test_every_answer_to_a_disclosure_is_known_to_be_revealing() -> None:
    names = [name for name in CATALOG.keys if name.startswith("handoff.")]
    assert [name for name in names if not CATALOG.keys[name].revealing] == ["handoff.accepted", "handoff.closed"]


# -- rendering


def small(**texts: Text) -> Catalog:
    key = Key(context="", safety=True, max_segments=3, placeholders=(), choices=())
    return Catalog({tag.replace("_", "-"): {"hello": text} for tag, text in texts.items()}, {"hello": key})


def test_production_serves_the_nearest_reviewed_text_and_offers_an_interpreter() -> None:
    catalog = small(en=Text("Hello", True), pa=Text("ਸਤ ਸ੍ਰੀ ਅਕਾਲ", False))
    production = render(catalog, "hello", "pa-Latn", drafts=False)
    assert (production.text, production.language, production.interpreter) == ("Hello", "en", True)
    demonstration = render(catalog, "hello", "pa-Latn", drafts=True)
    assert (demonstration.language, demonstration.drafted, demonstration.interpreter) == ("pa", True, False)


def test_indigenous_languages_get_both_official_ones_and_nothing_machine_written() -> None:
    catalog = small(en=Text("Hello", True), fr=Text("Bonjour", True), cr=Text("…", False))
    assert render(catalog, "hello", "iu", drafts=True).text == "Hello\n\nBonjour"


def test_a_slot_with_braces_in_it_is_only_text() -> None:
    catalog = small(en=Text("In {place}: {places}", True))
    text = render(catalog, "hello", "en", drafts=True, slots={"place": "{places}", "places": "x"}).text
    assert text == "In x: x" or "{" not in text


@pytest.mark.parametrize("tag", ["pa-Latn", "ht", "zh-Hant", "und", "ja", "en"])
def test_a_chain_ends_in_the_source(tag: str) -> None:
    assert chain(tag)[-1] == "en"
    assert len(set(chain(tag))) == len(chain(tag))
