"""The models in the repository: of the present data, small, without pickle, and no worse than their figures say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nlu import evaluation, risk
from nlu.e5_weights import ADAPTATION
from nlu.examples import checksum
from nlu.language import MODEL as LANGUAGE
from nlu.risk_labels import LABELS
from nlu.risk_model import MODEL as RISK

SLACK = 0.01  # for another processor's rounding; a real loss is larger


def field(path: Path, name: str) -> str:
    with np.load(path, allow_pickle=False) as stored:
        return str(stored[name])


def test_each_model_was_trained_on_the_data_that_lies_beside_it() -> None:
    assert field(RISK, "version") == checksum(), "run `passerelle train --only risk`"
    assert field(LANGUAGE, "version") == checksum(), "run `passerelle train --only language`"


def test_the_encoder_was_adapted_with_the_present_data_and_labels() -> None:
    assert field(ADAPTATION, "head.risk.data") == checksum(development=False), "run `make models`"
    with np.load(ADAPTATION, allow_pickle=False) as stored:
        assert tuple(stored["head.risk.labels"].tolist()) == LABELS


def test_the_screen_s_files_are_small() -> None:
    assert RISK.stat().st_size + ADAPTATION.stat().st_size < 10_000_000
    assert LANGUAGE.stat().st_size < 10_000_000


@pytest.mark.slow
def test_the_screen_is_no_worse_than_the_figures_that_are_kept(screen: risk.Cascade) -> None:
    kept = json.loads(evaluation.FIGURES.read_text(encoding="utf-8"))["sample"]
    found = evaluation.summary(evaluation.judge_sample(screen))
    assert found["messages"] == kept["messages"]
    assert set(found) == set(kept)
    for name in ("recall", "critical_recall", "critical_rated", "precision", "named"):
        assert found[name] >= kept[name] - SLACK, (name, found[name], kept[name])
    assert found["alarms"] <= kept["alarms"] + SLACK
