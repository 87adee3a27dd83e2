"""The dialogue's questions: what the evaluation says, and that it asks what can be answered."""

from __future__ import annotations

import json

import pytest

from nlu import intent_evaluation
from nlu.examples import read_questions
from nlu.intent_evaluation import HELD_OUT, Question

FLOOR, FLOOR_ON_OTHERS = 0.86, 0.82  # reached: 0.880, and 0.852 without an example in the question's own language
HELD = [json.loads(line) for line in HELD_OUT.read_text(encoding="utf-8").splitlines()]


def test_every_held_out_question_has_an_intent_that_leads_to_its_key() -> None:
    by_key, intents = intent_evaluation.intents_by_key(), {example.intent for example in read_questions()}
    for question in HELD:
        assert by_key[question["key"]] & (intents | {"out_of_scope"}), question


def test_a_question_is_right_when_one_of_its_intents_is_said() -> None:
    question = Question("en", "is it free", frozenset({"ask_cost"}), {"all": "ask_cost", "English": "thanks"})
    assert question.right("all")
    assert not question.right("English")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_held_out_questions_are_understood_in_their_own_and_in_unseen_languages() -> None:
    judged = intent_evaluation.judge_questions()
    assert len(judged) == len(HELD)
    shares = {name: sum(q.right(name) for q in judged) / len(judged) for name in ("all", "others", "English")}
    assert shares["all"] >= FLOOR, shares
    assert shares["others"] >= FLOOR_ON_OTHERS, shares
    assert {"all", "others"} <= set(judged[0].said)
