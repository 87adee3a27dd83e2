"""The risk screen's structure: who decides when, what evidence points at, how much work there is. Not its quality."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nlu import risk
from nlu.encoder import DIMENSIONS
from nlu.examples import HISTORY
from nlu.indicators import SEVERITIES, SEVERITY_OF, severity_of
from nlu.patterns import Pattern, compile_alternatives
from nlu.risk import MAX_CHARACTERS, PATTERN, Cascade, Evidence, Risk, decide
from nlu.risk_labels import LABELS
from nlu.risk_model import RiskModel
from tests.nlu.strange import STRANGE, texts

SOURCES = {"model", "model:piece", "model:history"}
PIECES = 16  # more are never encoded, however long the message
ENCODED = 5
SENTENCE = "and then we went to the shop and bought some bread and milk for the week. "
DISCLOSED = {"escalate": 4.0, "critical": 4.0, "immediate_danger": 4.0}

Said = dict[str, float]


class ScriptedModel:
    """Log-odds of a text are what the script says; -4 where it says nothing."""

    version = "scripted"
    thresholds = np.zeros(len(LABELS), dtype=np.float32)
    judge = RiskModel.judge

    def __init__(self, script: Callable[[str], Said]) -> None:
        self.script = script
        self.vectors: NDArray[np.float32] | None = None
        self.spelt: list[str] = []

    def spelling_scores(self, text: str) -> NDArray[np.float32]:
        self.spelt.append(text)
        return np.array([self.script(text).get(label, -4.0) for label in LABELS], dtype=np.float32)

    def scores(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        assert len(texts) == len(vectors)
        self.vectors = vectors
        return np.array([[self.script(text).get(label, -4.0) for label in LABELS] for text in texts], dtype=np.float32)


class ScriptedEncoder:
    """Remembers what it was asked to encode."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return np.zeros((len(texts), DIMENSIONS), dtype=np.float32)


class BrokenEncoder:
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise RuntimeError("out of memory")


def pattern(indicator: str, *alternatives: str, language: str = "en") -> Pattern:
    expression = compile_alternatives(list(alternatives), "test")
    return Pattern(language, indicator, expression, None, (), (), frozenset())


PATTERNS = (
    pattern("document_retention", r"\btook my passport\b"),
    pattern("immediate_danger", r"\bhas a gun\b"),
    pattern("immediate_danger", r"\ba une arme\b", language="fr"),
    pattern("distress", r"\bscared\b"),
)


def screen_of(script: Callable[[str], Said], encoder: ScriptedEncoder | None = None) -> Cascade:
    return Cascade(PATTERNS, ScriptedModel(script), encoder or ScriptedEncoder())  # type: ignore[arg-type]


def harmless(text: str) -> Said:
    return {}


def fails(text: str) -> Said:
    raise RuntimeError("no such layer")


def not_a_number(text: str) -> Said:
    return dict.fromkeys(LABELS, float("nan"))


def word(said: Said, *words: str) -> Callable[[str], Said]:
    """A script that says this of every text with one of the words."""
    return lambda text: said if any(one in text for one in words) else {}


def by_chance(text: str) -> Said:
    """Some log-odds between -4 and 4, always the same of the same text."""
    return {label: crc32((label + text).encode("utf-8", "replace")) % 800 / 100 - 4 for label in LABELS}


BROKEN: dict[str, Cascade] = {
    "no model": Cascade(PATTERNS, None, ScriptedEncoder()),
    "a model that raises": screen_of(fails),
    "a model whose scores are no numbers": screen_of(not_a_number),
    "an encoder that raises": Cascade(PATTERNS, ScriptedModel(harmless), BrokenEncoder()),  # type: ignore[arg-type]
}
broken = pytest.mark.parametrize("screen_", BROKEN.values(), ids=BROKEN.keys())


@broken
def test_without_a_working_model_the_patterns_decide(screen_: Cascade) -> None:
    text = "I am scared, he has a gun and took my passport"
    answer = screen_.screen(text)
    assert answer.severity == "critical"
    assert answer.indicators == ("immediate_danger", "document_retention", "distress")
    assert {evidence.source for evidence in answer.evidence} == {"pattern:en"}
    assert [text[evidence.start : evidence.end] for evidence in answer.evidence] == [
        "has a gun",
        "took my passport",
        "scared",
    ]
    assert answer.escalate
    assert answer.score > 0.9


@broken
def test_without_a_working_model_and_a_pattern_nothing_is_found(screen_: Cascade) -> None:
    answer = screen_.screen("where can I learn English?", history=["hello"])
    assert answer == Risk("none", (), (), 0.0)
    assert not answer.escalate


def test_a_vector_of_another_size_is_a_failure_like_any_other() -> None:
    answer = screen_of(harmless).screen("he has a gun", history=["hi"], vector=np.zeros(7, dtype=np.float32))
    assert answer.indicators == ("immediate_danger",)


def test_a_failure_is_logged_without_the_persons_words(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "passerelle.risk"):
        screen_of(fails).screen("my name is Maria Zamora", history=["call me on 6045550199"])
    assert "patterns alone decide" in caplog.text
    assert "Zamora" not in caplog.text
    assert "6045550199" not in caplog.text


def test_the_version_tells_which_model_decided() -> None:
    assert BROKEN["no model"].version.endswith(".patterns")
    assert screen_of(harmless).version.endswith(".scripted")


def test_a_pattern_speaks_for_an_escalation() -> None:
    doubtful = screen_of(lambda text: {"escalate": 0.5 - PATTERN})
    assert not doubtful.screen("he has a knife").escalate
    answer = doubtful.screen("he has a gun")
    assert answer.severity == "critical"
    assert answer.evidence[0].source == "pattern:en"


def test_a_model_that_reads_the_whole_as_harmless_overrules_a_pattern() -> None:
    assert screen_of(harmless).screen("in the movie he has a gun") == Risk(
        "none", (), (), pytest.approx(1 / (1 + math.exp(4 - PATTERN)), abs=0.01)
    )


def test_the_model_finds_what_no_pattern_knows() -> None:
    text = "il y a du sang partout"
    answer = screen_of(word(DISCLOSED, "sang")).screen(text)
    assert answer.indicators == ("immediate_danger",)
    assert answer.evidence == (Evidence("immediate_danger", 0, len(text), "model"),)


def test_the_pattern_of_the_persons_words_is_better_evidence_than_the_models() -> None:
    text = "Aidez-moi, il a une arme !"
    evidence = screen_of(word(DISCLOSED, "arme")).screen(text).evidence
    assert [(text[item.start : item.end], item.source) for item in evidence] == [("a une arme", "pattern:fr")]


@pytest.mark.parametrize("text", ["", "   ", "604 555 0199", "😭" * 10_000, "\x00", "\ud800", "?!"])
def test_a_text_without_letters_is_not_worth_the_encoder(text: str) -> None:
    encoder = ScriptedEncoder()
    assert screen_of(lambda text: DISCLOSED, encoder).screen(text, history=["he hits me"]).severity == "none"
    assert encoder.asked == []


def test_a_vector_that_is_there_already_is_not_computed_again() -> None:
    encoder = ScriptedEncoder()
    model = ScriptedModel(harmless)
    vector = np.full(DIMENSIONS, 0.5, dtype=np.float32)
    Cascade(PATTERNS, model, encoder).screen("hello there", history=["hi"], vector=vector)  # type: ignore[arg-type]
    assert encoder.asked == ["hi\nhello there"]
    assert model.vectors is not None
    assert (model.vectors[0] == vector).all()


def test_a_short_text_is_read_as_a_whole() -> None:
    encoder = ScriptedEncoder()
    screen_of(harmless, encoder).screen("x" * risk.LONG)
    assert encoder.asked == ["x" * risk.LONG]


def test_only_the_last_messages_before_it_are_read_with_it() -> None:
    encoder = ScriptedEncoder()
    screen_of(harmless, encoder).screen("now", history=[f"m{number}" for number in range(HISTORY + 3)])
    assert encoder.asked == ["now", "m3\nm4\nm5\nm6\nm7\nnow"]


@pytest.mark.parametrize("place", range(0, 50, 4))
def test_one_sentence_is_found_anywhere_in_a_long_story(place: int) -> None:
    """The model of this test, as the real one, sees it only where not too much else is said beside it."""
    sentences = [SENTENCE] * 50
    sentences[place] = "he burned my arm again. "
    text = "".join(sentences)
    assert len(text) < MAX_CHARACTERS
    seen = word(DISCLOSED, "burned")
    answer = screen_of(lambda text: seen(text) if len(text) < 600 else {}).screen(text)
    assert answer.severity == "critical"
    (evidence,) = answer.evidence
    assert evidence.source == "model:piece"
    assert "he burned my arm again." in text[evidence.start : evidence.end]


LONG_TEXTS = {
    "sentences": SENTENCE * 60,
    "no full stop": "then he came home " * 300,
    "no space either": "a" * 5_000,
    "full stops only": "a." * 2_000,
    "one long and many short": "word " * 300 + ". " + "no. " * 300,
    "hindi": "वह मुझे बाहर नहीं जाने देता। " * 150,
    "amharic": "ከቤት እንድወጣ አይፈቅድልኝም። " * 200,
    "chinese": "他不让我出门。" * 500,
    "lines": "he hits me\n" * 300,
    "opens with full stops": "..." * 80 + SENTENCE * 3,
    "just long": "x" * (risk.LONG + 1),
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS.keys())
def test_the_pieces_of_a_long_text_cover_it_and_are_bounded_in_number(text: str) -> None:
    check_pieces(text)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 400), st.sampled_from(". !\n…。")), min_size=1, max_size=40))
def test_the_pieces_of_any_long_text_cover_it_and_are_bounded_in_number(runs: list[tuple[int, str]]) -> None:
    check_pieces("".join("b" * length + mark for length, mark in runs))


def test_what_comes_after_the_greatest_length_is_not_read() -> None:
    encoder = ScriptedEncoder()
    answer = screen_of(harmless, encoder).screen("a" * MAX_CHARACTERS + " he has a gun")
    assert not answer.escalate
    assert max(map(len, encoder.asked)) == MAX_CHARACTERS


def test_what_was_said_before_can_make_a_harmless_text_grave() -> None:
    screen_ = screen_of(lambda text: DISCLOSED if "hits" in text and "again" in text else {})
    assert not screen_.screen("it happened again").escalate
    answer = screen_.screen("it happened again", history=["he hits me"])
    assert answer.evidence == (Evidence("immediate_danger", 0, 17, "model:history"),)


def test_a_harmless_history_does_not_hide_a_disclosure() -> None:
    screen_ = screen_of(lambda text: DISCLOSED if text == "he burned me" else {"escalate": -9.0})
    for history in ([], ["hi"], ["where is the library?"] * 9):
        assert screen_.screen("he burned me", history=history).severity == "critical"


@given(text=st.text("abc. é", min_size=1, max_size=300), history=st.lists(st.text("abcé", max_size=30), max_size=7))
def test_a_disclosure_is_never_lower_after_a_history_than_alone(text: str, history: list[str]) -> None:
    screen_ = screen_of(by_chance)
    alone, after = screen_.screen(text), screen_.screen(text, history=history)
    assert SEVERITIES.index(after.severity) >= SEVERITIES.index(alone.severity)
    assert set(after.indicators) >= set(alone.indicators)
    assert after.score >= alone.score


@pytest.mark.parametrize("script", [harmless, by_chance, fails], ids=["harmless", "by chance", "fails"])
@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_text_has_an_answer(text: str, script: Callable[[str], Said]) -> None:
    check_answer(text, screen_of(script).screen(text))
    check_answer(text, screen_of(script).screen(text, history=[text, "\ud800", ""]))


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_text_has_an_answer_of_the_real_screen(
    screen: Cascade, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    check_answer(text, screen.screen(text, history=[text[:500]]))
    assert not caplog.records  # no failure behind the answer


@given(text=texts | st.lists(st.sampled_from([SENTENCE, "he has a gun. ", "😭", "\ud800"]), max_size=12).map("".join))
def test_evidence_lies_inside_the_text_and_its_sources_are_as_documented(text: str) -> None:
    check_answer(text, screen_of(by_chance).screen(text, history=["he took my passport"]))
    check_answer(text, screen_of(fails).screen(text))


def test_the_real_patterns_serve_without_a_model() -> None:
    screen_ = Cascade(risk.load_patterns(), None, ScriptedEncoder())
    for text in ("he has a knife", "he pointed a gun at me"):
        answer = screen_.screen(text)
        assert answer.severity == "critical"
        check_answer(text, answer)


items = st.builds(Evidence, st.sampled_from(sorted(SEVERITY_OF)), st.integers(0, 9), st.just(10), st.sampled_from("ab"))


@given(st.lists(items, max_size=30))
def test_a_decision_orders_by_severity_with_one_piece_of_evidence_each(evidence: list[Evidence]) -> None:
    decision = decide(evidence, 0.123456)
    assert set(decision.indicators) == {item.indicator for item in evidence}
    assert decision.severity == severity_of(decision.indicators)
    ranks = [SEVERITIES.index(SEVERITY_OF[name]) for name in decision.indicators]
    assert ranks == sorted(ranks, reverse=True)
    assert tuple(item.indicator for item in decision.evidence) == decision.indicators
    for item in decision.evidence:  # the first of its indicator is the most telling
        assert item is next(one for one in evidence if one.indicator == item.indicator)
    assert decision.score == 0.1235


def test_no_evidence_is_no_risk() -> None:
    assert decide([], 0.0) == Risk("none", (), (), 0.0)


def check_pieces(text: str) -> None:
    encoder, model = ScriptedEncoder(), ScriptedModel(harmless)
    Cascade(PATTERNS, model, encoder).screen(text)  # type: ignore[arg-type]
    whole, *encoded = encoder.asked
    pieces = model.spelt or encoded  # of many, the spelling alone is read first
    assert whole == text[:MAX_CHARACTERS]
    assert len(encoded) <= ENCODED
    assert len(pieces) <= PIECES
    assert set(encoded) <= set(pieces)
    if len(whole) > risk.LONG:
        assert "".join("".join(pieces).split()) == "".join(whole.split())
        assert all(pieces)


def check_answer(text: str, answer: Risk) -> None:
    assert answer.severity in SEVERITIES
    assert 0 <= answer.score <= 1
    assert answer.escalate == bool(answer.indicators) == bool(answer.evidence)
    assert len(set(answer.indicators)) == len(answer.indicators)
    for item in answer.evidence:
        assert 0 <= item.start < item.end <= min(len(text), MAX_CHARACTERS)
        assert item.source in SOURCES or item.source.startswith("pattern:")
