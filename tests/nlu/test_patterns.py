"""The curated patterns: their own examples hold, and a file that cannot be used says where and why."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from nlu.examples import DEVELOPMENT, read_risk
from nlu.indicators import SEVERITY_OF
from nlu.normalise import normalise
from nlu.patterns import PATTERN_DIR, Pattern, PatternError, check, load, load_file, search
from tests.nlu.strange import STRANGE, texts

FILES = sorted(PATTERN_DIR.glob("*.yml"))
PATTERNS = load()
GOOD = {
    "indicator": "document_retention",
    "any": [r"\b(has|took) my passport\b"],
    "not": [r"\b(movie|film)\b"],
    "matches": ["he took my passport"],
    "passes": ["where is my passport"],
}
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown indicator": ({"indicator": "bad_mood"}, "bad_mood"),
    "no indicator": ({"indicator": None}, "indicator"),
    "no expression": ({"any": None}, "any"),
    "an empty list": ({"any": []}, "any"),
    "no matches": ({"matches": None}, "matches"),
    "no passes": ({"passes": None}, "passes"),
    "a text for a list of expressions": ({"any": "took my passport"}, "any"),
    "a text for a list of cancels": ({"not": "movie"}, "not"),
    "a text for a list of matches": ({"matches": "he took my passport"}, "matches"),
    "a number among the passes": ({"passes": [911]}, "passes"),
    "an open bracket": ({"any": ["(took my passport"]}, "missing"),
    "an open bracket in a cancel": ({"not": ["(movie"]}, "missing"),
    "a look-behind, which RE2 has not": ({"any": ["(?<=he )took"]}, ""),
    "a reference back, which RE2 has not": ({"any": [r"(a)\1"]}, ""),
    "an upper-case escape": ({"any": [r"\Wpassport"]}, "upper-case"),
    "an upper-case anchor": ({"any": [r"\Apassport"]}, "upper-case"),
    "an upper-case class": ({"not": [r"\P{Greek}"]}, "upper-case"),
}
DOCUMENTS = {
    "empty": "",
    "a list": "- 1",
    "no language": "patterns: []",
    "no patterns": "language: en",
    "patterns that are no list": "language: en\npatterns: {a: 1}",
    "not YAML": "language: [en",
    "an entry that is a text": "language: en\npatterns: [oops]",
}
HOSTILE = {
    "one letter": "a" * 4_000,
    "words of patterns": ("he has a gun i am locked in " * 200)[:4_000],
    "starts without an end": ("my boss my boss " * 300)[:4_000],
    "brackets": "(" * 2_000 + ")" * 2_000,
    "spaces apart": "a " * 2_000,
    "many edges": "'-.,;" * 800,
    "chinese": "老闆扣我" * 1_000,
    "punjabi": "ਮੈਨੂੰ ਬਾਹਰ " * 330,
    "arabic": "اس نے مجھے " * 360,
    "emoji": "🔪😭" * 2_000,
}


def pattern_file(folder: Path, **changes: object) -> Path:
    """A file whose second entry is changed."""
    path = folder / "en.yml"
    entries = [GOOD, {name: value for name, value in {**GOOD, **changes}.items() if value is not None}]
    path.write_text(yaml.safe_dump({"language": "en", "patterns": entries}), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_example_of_a_file_behaves(path: Path) -> None:
    assert check(path) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_named_after_its_language(path: Path) -> None:
    assert {pattern.language for pattern in load_file(path)} == {path.stem}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_indicator_has_patterns(language: str) -> None:
    assert {pattern.indicator for pattern in PATTERNS if pattern.language == language} == set(SEVERITY_OF)


def test_every_language_has_patterns_for_every_critical_indicator() -> None:
    critical = {name for name, severity in SEVERITY_OF.items() if severity == "critical"}
    for path in FILES:
        assert critical <= {pattern.indicator for pattern in PATTERNS if pattern.language == path.stem}, path.name


def test_the_evidence_of_every_example_is_a_part_of_it() -> None:
    for pattern in PATTERNS:
        for text in pattern.matches:
            start, end = span(pattern, text)
            assert 0 <= start < end <= len(text), (pattern.language, text)


def test_a_well_made_file_loads_in_order(tmp_path: Path) -> None:
    first, second = load_file(pattern_file(tmp_path, indicator="confinement"))
    assert (first.indicator, second.indicator) == ("document_retention", "confinement")
    assert first.find(normalise("He TOOK my pässport")) is not None


@pytest.mark.parametrize(("changes", "told"), BROKEN.values(), ids=BROKEN.keys())
def test_a_wrong_entry_is_named(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PatternError, match=r"en\.yml, entry 2") as error:
        list(load_file(pattern_file(tmp_path, **changes)))
    assert told in str(error.value)


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_a_wrong_file_is_named(tmp_path: Path, document: str) -> None:
    (tmp_path / "xx.yml").write_text(document)
    with pytest.raises(PatternError, match=r"xx\.yml"):
        load(tmp_path)


def test_check_tells_what_does_not_behave(tmp_path: Path) -> None:
    path = pattern_file(tmp_path, matches=["he took my bike"], passes=["he took my passport"])
    assert check(path) == [
        "document_retention: should match: he took my bike",
        "document_retention: should pass: he took my passport",
    ]


def test_words_of_a_story_nearby_cancel_a_match(tmp_path: Path) -> None:
    pattern = next(load_file(pattern_file(tmp_path)))
    assert pattern.find(normalise("in the movie he took my passport")) is None
    assert pattern.find(normalise("he took my passport, what a film")) is None


def test_words_of_a_story_far_away_cancel_nothing(tmp_path: Path) -> None:
    pattern = next(load_file(pattern_file(tmp_path)))
    story = "we saw a movie. " + "then we walked home and he shouted at me for hours. " * 2 + "he took my passport"
    start, end = span(pattern, story)
    assert story[start:end] == "took my passport"


def test_one_cancelled_match_does_not_hide_another(tmp_path: Path) -> None:
    pattern = next(load_file(pattern_file(tmp_path)))
    story = (
        "in the movie he took my passport. "
        + "and then, at home, nothing is like in the cinema. " * 2
        + "he has my passport"
    )
    start, end = span(pattern, story)
    assert story[start:end] == "has my passport"
    assert start > 100


def test_a_word_edge_is_one_in_any_script(tmp_path: Path) -> None:
    _, pattern = load_file(pattern_file(tmp_path, any=[r"\bбил\b"]))
    assert pattern.find(normalise("он бил меня")) is not None
    assert pattern.find(normalise("бил")) is not None
    assert pattern.find(normalise("автомобили и билеты")) is None


def test_the_evidence_of_a_word_edge_leaves_its_neighbours_out(tmp_path: Path) -> None:
    _, pattern = load_file(pattern_file(tmp_path, any=[r"\bбил\b"]))
    text = "он (бил), меня"
    start, end = span(pattern, text)
    assert text[start:end].strip("(),") == "бил"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_of_the_greatest_length_is_matched(text: str) -> None:
    """RE2 is linear: with a backtracking engine this would not return before the suite's limit."""
    spelt = normalise(text)
    for pattern in PATTERNS:
        found = pattern.find(spelt)
        assert found is None or 0 <= found[0] <= found[1] <= len(text)


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_text_is_matched_like_any_other(text: str) -> None:
    spelt = normalise(text[:4_000])
    found = [pattern.indicator for pattern in PATTERNS if pattern.find(spelt)]
    assert bool(found) == ("help me" in spelt.text)


@settings(max_examples=40)
@given(texts)
def test_no_text_makes_a_pattern_fail(text: str) -> None:
    spelt = normalise(text)
    for pattern in PATTERNS[::10]:
        found = pattern.find(spelt)
        assert found is None or 0 <= found[0] <= found[1] <= len(text)


def span(pattern: Pattern, text: str) -> tuple[int, int]:
    found = pattern.find(normalise(text))
    assert found is not None, (pattern.language, pattern.indicator, text)
    return found


def test_patterns_of_other_scripts_are_not_even_tried() -> None:
    class Untried:
        def finditer(self, text: str) -> None:
            raise AssertionError("searched")

    (latin,) = (p for p in load_file(next(f for f in FILES if f.stem == "en")) if "he has a knife" in p.matches)
    assert latin.scripts == {"Latn"}
    untried = dataclasses.replace(latin, expression=Untried())
    assert list(search([untried], normalise("वह मुझे मारता है"))) == []
    with pytest.raises(AssertionError, match="searched"):
        list(search([untried], normalise("वह has a knife")))


def test_an_alternative_without_letters_is_tried_on_every_text(tmp_path: Path) -> None:
    entry = {**GOOD, "any": [r"\b(help)\b", "🆘"], "matches": ["help", "🆘"], "passes": ["hi"], "not": []}
    file = tmp_path / "xx.yml"
    file.write_text(yaml.safe_dump({"language": "en", "patterns": [entry]}), encoding="utf-8")
    patterns = list(load_file(file))
    for text in ("🆘", "🆘 मदद", "help"):
        assert list(search(patterns, normalise(text))), text


def test_nothing_is_lost_by_trying_fewer() -> None:
    for example in read_risk(DEVELOPMENT)[::9]:
        spelt = normalise(example.text)
        assert [p for p, _ in search(PATTERNS, spelt)] == [p for p in PATTERNS if p.find(spelt)], example.text
