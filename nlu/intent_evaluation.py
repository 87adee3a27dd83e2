"""How well the dialogue's questions are understood, and how well a language that nothing was written in.

Held-out questions (`nlu/data/held_out`, in every language, never learnt from) to intents, by the engine's own head:
trained on all examples, on those of English alone, and on those of every language but the question's own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from nlu.encoder import E5Encoder
from nlu.evaluation import interval
from nlu.examples import FOLDER, Example, read_questions
from nlu.intent_head import SMOOTHING, WIDTH, fit_head

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELD_OUT = FOLDER / "held_out" / "questions.jsonl"
STORIES = FOLDER.parent.parent / "stories"
_ALSO = {"fallback.unclear": {"out_of_scope"}, "human.request": {"request_human", "tell_trouble"}}


@dataclass(frozen=True, slots=True)
class Question:
    """``intents``: those that lead to the right answer; ``said``: by what the head was trained on."""

    language: str
    text: str
    intents: frozenset[str]
    said: dict[str, str]

    def right(self, trained_on: str) -> bool:
        return self.said[trained_on] in self.intents


def judge_questions() -> list[Question]:
    """The held-out questions with three answers each: "all", "English", "others"."""
    examples, by_key = read_questions(), intents_by_key()
    asked = [json.loads(line) for line in HELD_OUT.read_text(encoding="utf-8").splitlines()]
    encoder = E5Encoder()
    known = _encode(encoder, [example.text for example in examples])
    vectors = _encode(encoder, [question["text"] for question in asked])
    tags = np.array([example.language for example in examples])
    answers: list[dict[str, str]] = [{} for _ in asked]
    every = np.arange(len(asked))
    _answer(answers, "all", every, examples, known, vectors, np.ones(len(tags), dtype=bool))
    _answer(answers, "English", every, examples, known, vectors, tags == "en")
    for tag in sorted({question["language"] for question in asked}):
        rows = np.array([i for i, question in enumerate(asked) if question["language"] == tag])
        _answer(answers, "others", rows, examples, known, vectors, tags != tag)
    return [
        Question(question["language"], question["text"], frozenset(by_key[question["key"]]), said)
        for question, said in zip(asked, answers, strict=True)
    ]


def intents_by_key(folder: Path = STORIES) -> dict[str, set[str]]:
    """Response key to the intents whose rule ends in it."""
    found: dict[str, set[str]] = {key: set(intents) for key, intents in _ALSO.items()}
    for path in sorted(folder.glob("*.yml")):
        for rule in yaml.safe_load(path.read_text(encoding="utf-8")).get("rules") or ():
            intents = {step["intent"] for step in rule["steps"] if "intent" in step}
            actions = [step["action"] for step in rule["steps"] if "action" in step]
            if intents and actions:
                key = actions[-1].removeprefix("utter_").replace("_", ".", 1)
                found.setdefault(key, set()).update(intents)
    return found


def _answer(
    answers: list[dict[str, str]],
    name: str,
    rows: NDArray[np.int64],
    examples: Sequence[Example],
    known: NDArray[np.float32],
    vectors: NDArray[np.float32],
    chosen: NDArray[np.bool_],
) -> None:
    intents = [str(example.intent) for example, taken in zip(examples, chosen, strict=True) if taken]
    head = fit_head(known[chosen], intents, width=WIDTH, smoothing=SMOOTHING)
    for row in rows:
        answers[row][name] = head.labels[int(head.scores(vectors[row], width=WIDTH).argmax())]


def _encode(encoder: E5Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    return np.concatenate([encoder.encode(texts[i : i + 64]) for i in range(0, len(texts), 64)])


def intents_report() -> str:
    """A table by language, and the commonest confusions."""
    judged = judge_questions()
    lines = ["| language | questions | trained on all | on English only | on the other languages |", "| --- " * 5 + "|"]
    for tag in [*sorted({q.language for q in judged}), "**all**"]:
        some = [q for q in judged if tag in (q.language, "**all**")]
        shares = [sum(q.right(name) for q in some) / len(some) for name in ("all", "English", "others")]
        lines.append(f"| {tag} | {len(some)} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    share = sum(q.right("all") for q in judged) / len(judged)
    low, high = interval(share, len(judged))
    lines += ["", f"95 % interval of all: {low:.3f} to {high:.3f}. Confused most often (wanted, said, times):", ""]
    confused = Counter((min(q.intents), q.said["all"]) for q in judged if not q.right("all"))
    lines += [f"- {wanted}, {said}, {times}" for (wanted, said), times in confused.most_common(8)]
    return "\n".join(lines)
