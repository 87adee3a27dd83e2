"""The labelled messages are fit to learn from, and what is measured on was never learnt from."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nlu.examples import (
    DEVELOPMENT,
    HISTORY,
    LEARNT,
    Example,
    checksum,
    read_learnt,
    read_questions,
    read_risk,
    says_of_risk,
    together,
)
from nlu.indicators import SEVERITY_OF
from nlu.normalise import normalise
from nlu.script import main_script

FILES = sorted([*LEARNT.glob("*.jsonl"), *DEVELOPMENT.glob("*.jsonl")])
CRITICAL = {name for name, severity in SEVERITY_OF.items() if severity == "critical"}
FIELDS = {"text", "indicators", "group", "register", "history"}
REGISTERS = {"plain", "sms", "youth", "romanised", "dialect", "fear", "noaccent", "long", "mixed", "dictated", "formal"}
WRONG = {
    "not JSON": "{",
    "an unknown indicator": '{"text": "a", "indicators": ["bad_mood"], "group": "g"}',
    "no text": '{"indicators": [], "group": "g"}',
    "no indicators": '{"text": "a", "group": "g"}',
    "no group": '{"text": "a", "indicators": []}',
}
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")


def lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        yield number, json.loads(line)


@pytest.fixture(scope="module")
def learnt() -> list[Example]:
    return read_learnt()


@pytest.fixture(scope="module")
def development() -> list[Example]:
    return read_risk(DEVELOPMENT)


@each_file
def test_every_line_is_whole(path: Path) -> None:
    for number, line in lines(path):
        where = f"line {number}"
        assert set(line) <= FIELDS, where
        assert isinstance(line["text"], str), where
        assert line["text"].strip(), where
        assert line["group"].strip(), where
        assert line["register"] in REGISTERS, where
        assert set(line["indicators"]) <= set(SEVERITY_OF), where
        assert len(set(line["indicators"])) == len(line["indicators"]), where
        assert all(isinstance(earlier, str) and earlier.strip() for earlier in line.get("history") or []), where


@each_file
def test_no_message_stands_twice(path: Path) -> None:
    """After other earlier messages, or with other accents, it is another one."""
    seen = Counter(
        (" ".join(line["text"].casefold().split()), tuple(line.get("history") or ())) for _, line in lines(path)
    )
    assert [text for text, times in seen.items() if times > 1] == []


@each_file
def test_every_critical_indicator_occurs(path: Path) -> None:
    assert {name for _, line in lines(path) for name in line["indicators"]} >= CRITICAL


@each_file
def test_about_half_is_harmless(path: Path) -> None:
    disclosing = [bool(line["indicators"]) for _, line in lines(path)]
    assert 0.25 <= disclosing.count(False) / len(disclosing) <= 0.75


def test_every_language_has_both_kinds() -> None:
    assert {path.stem for path in LEARNT.glob("*")} == {path.stem for path in DEVELOPMENT.glob("*")}


def test_nothing_that_is_measured_on_was_learnt_in_any_language(
    learnt: list[Example], development: list[Example]
) -> None:
    """A greeting may stand in both; a text longer than three words may not, nor be a part of a longer one."""
    everything = "\n".join(spelt(text) for example in (*learnt, *read_questions()) for text in said(example))
    both = [
        (e.language, e.text) for e in development if longer_than_three_words(e.text) and spelt(e.text) in everything
    ]
    assert both == []


def test_no_scenario_is_split_between_what_is_learnt_and_what_is_measured(
    learnt: list[Example], development: list[Example]
) -> None:
    assert {e.group for e in learnt} & {e.group for e in development} == set()


def test_no_scenario_is_split_between_languages_of_one_kind(development: list[Example]) -> None:
    languages: dict[str, set[str]] = {}
    for example in development:
        languages.setdefault(example.group, set()).add(example.language)
    assert {group for group, tags in languages.items() if len(tags) > 1} == set()


@pytest.mark.parametrize("line", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    good = '{"text": "a", "indicators": ["distress"], "group": "g"}'
    (tmp_path / "xx.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(ValueError, match=r"xx\.jsonl, line 2"):
        read_risk(tmp_path)


def test_a_good_line_is_read_with_its_language_and_severity(tmp_path: Path) -> None:
    line = {"text": "help", "indicators": ["distress", "threats"], "group": "g", "history": ["hi"], "register": "sms"}
    (tmp_path / "pa-Latn.jsonl").write_text(json.dumps(line))
    (example,) = read_risk(tmp_path)
    assert example == Example("pa-Latn", "help", ("distress", "threats"), "g", ("hi",), "sms")
    assert example.severity == "high"
    assert example.read_as == "hi\nhelp"


def test_a_message_is_read_after_the_last_ones_before_it() -> None:
    assert together([], "now") == "now"
    assert together(["a", "b"], "now") == "a\nb\nnow"
    assert together([str(number) for number in range(9)], "now").split("\n")[:-1] == ["4", "5", "6", "7", "8"]
    assert len("45678") == HISTORY


@pytest.mark.parametrize("length", [1, 200, 399, 400, 401, 5_000])
def test_the_newest_message_is_never_cut_for_the_sake_of_earlier_ones(length: int) -> None:
    newest = "n" * length
    read = together(["h" * 1_000], newest)
    assert read.endswith(newest)
    assert len(read) <= max(401, length)


def test_questions_disclose_nothing_but_a_wish_for_a_human() -> None:
    questions = read_questions()
    assert {name for e in questions for name in e.indicators} == {"human_requested"}
    assert {e.intent for e in questions if e.indicators} == {"request_human"}
    assert not any(says_of_risk(e) for e in questions if e.intent == "tell_trouble")
    assert {"en", "fr"} <= {e.language for e in questions}


def test_the_checksum_is_the_same_every_time() -> None:
    assert checksum() == checksum()
    assert re.fullmatch("[0-9a-f]{16}", checksum())


def spelt(text: str) -> str:
    return normalise(text).text


def said(example: Example) -> tuple[str, ...]:
    return (example.text, *example.history)


def longer_than_three_words(text: str) -> bool:
    return len(text) > 6 if main_script(text)[0] == "Hani" else len(text.split()) > 3
