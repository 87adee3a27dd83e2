"""How the heads' log-odds become indicators, and the file they are kept in."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlu.encoder import DIMENSIONS
from nlu.indicators import SEVERITY_OF, severity_of
from nlu.risk_labels import LABELS
from nlu.risk_model import COLUMNS, CRITICAL_COUNT, RiskModel, load_model, save_model, spelling_features
from tests.nlu.strange import STRANGE

SMALL = RiskModel(
    version="test",
    mean=np.zeros(DIMENSIONS, dtype=np.float32),
    spread=1.0,
    weights=np.zeros((DIMENSIONS, len(LABELS)), dtype=np.float32),
    bias=np.zeros(len(LABELS), dtype=np.float32),
    spelling=np.zeros((COLUMNS, len(LABELS)), dtype=np.float16),
    mixture=np.ones((len(LABELS), 3), dtype=np.float32),
    thresholds=np.zeros(len(LABELS), dtype=np.float32),
)
JUDGED = {
    "nothing": ({}, ()),
    "an indicator without the general head": ({"violence": 9.0}, ()),
    "a critical head without the general one": ({"critical": 9.0, "self_harm": 9.0}, ()),
    "one indicator": ({"escalate": 1.0, "violence": 1.0}, ("violence",)),
    "several": ({"escalate": 1.0, "wage_theft": 1.0, "violence": 2.0}, ("violence", "wage_theft")),
    "the likeliest, where none is clear": ({"escalate": 1.0, "distress": -0.5}, ("distress",)),
    "a critical one, where the critical head is sure": (
        {"escalate": 1.0, "critical": 1.0, "self_harm": -0.5, "violence": 1.0},
        ("self_harm", "violence"),
    ),
    "no second critical one": (
        {"escalate": 1.0, "critical": 1.0, "self_harm": 1.0, "child_at_risk": -0.1},
        ("self_harm",),
    ),
}


def scores(said: dict[str, float]) -> np.ndarray:
    return np.array([said.get(label, -2.0) for label in LABELS], dtype=np.float32)


def test_the_critical_indicators_stand_first_in_the_taxonomy() -> None:
    severities = list(SEVERITY_OF.values())
    assert severities.count("critical") == CRITICAL_COUNT
    assert set(severities[:CRITICAL_COUNT]) == {"critical"}


@pytest.mark.parametrize(("said", "indicators"), JUDGED.values(), ids=JUDGED.keys())
def test_log_odds_become_indicators(said: dict[str, float], indicators: tuple[str, ...]) -> None:
    assert SMALL.judge(scores(said)) == indicators


@given(st.lists(st.floats(-9, 9), min_size=len(LABELS), max_size=len(LABELS)))
def test_an_escalation_always_has_an_indicator_and_a_critical_one_a_critical_indicator(row: list[float]) -> None:
    found = SMALL.judge(np.array(row, dtype=np.float32))
    assert bool(found) == (np.float32(row[0]) > 0)
    if found and np.float32(row[1]) > 0:
        assert severity_of(found) == "critical"


def test_a_threshold_is_the_labels_own() -> None:
    thresholds = SMALL.thresholds.copy()
    thresholds[LABELS.index("violence")] = 3.0
    strict = replace(SMALL, thresholds=thresholds)
    assert strict.judge(scores({"escalate": 1.0, "violence": 2.0, "threats": 1.0})) == ("threats",)


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_text_is_scored(text: str) -> None:
    found = SMALL.scores([text], np.zeros((1, DIMENSIONS), dtype=np.float32))
    assert found.shape == (1, len(LABELS))
    assert np.isfinite(found).all()


def test_the_spelling_features_are_the_same_for_one_text_in_two_spellings() -> None:
    for one, other in (("p4$$port", "PASSPORT"), ("he\u200blp", "help"), ("noooooo", "nooo")):
        for mine, theirs in zip(spelling_features(one), spelling_features(other), strict=True):
            assert (mine == theirs).all()


def test_a_saved_model_is_loaded_as_it_was(tmp_path: Path) -> None:
    save_model(SMALL, tmp_path / "risk.npz")
    loaded = load_model(tmp_path / "risk.npz")
    for field in fields(RiskModel):
        assert np.array_equal(getattr(loaded, field.name), getattr(SMALL, field.name)), field.name


def test_a_model_of_other_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "risk.npz"
    np.savez(path, labels=np.array(["escalate", "bad_mood"]))
    with pytest.raises(ValueError, match=r"risk\.npz has other labels"):
        load_model(path)
