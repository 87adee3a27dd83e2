"""How well the screen reads languages that it was not trained for. A tool only; takes a quarter of an hour.

    .venv-train/bin/python scripts/measure_unseen.py     # writes nlu/models/unseen.md, which the model card quotes

The encoder is adapted anew without some languages (one pass over the data, where the shipped one has three), and
judged on their development sets, by the threshold that finds 98 % in the languages it was trained for.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nlu.encoder import Tokenizer
from nlu.examples import DEVELOPMENT, Example, read_learnt, read_questions, read_risk
from scripts.train_encoder import Model, shortened, train

UNSEEN = Path(__file__).resolve().parent.parent / "nlu" / "models" / "unseen.md"
LEFT_OUT = ("hu", "ta", "so", "ko", "ht", "fa")  # of six families, four scripts
FOUND = 0.98


def escalation_scores(model: Model, examples: list[Example]) -> np.ndarray:
    """One a text."""
    tokenizer = Tokenizer()
    texts = [shortened(tokenizer.tokens(example.read_as)) for example in examples]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found = np.zeros(len(texts), dtype=np.float32)
    with torch.no_grad():
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            found[rows] = model.risk(model.standard([texts[i] for i in rows])).float()[:, 0].numpy()
    return found


def ranked_right(scores: np.ndarray, disclosed: np.ndarray) -> float:
    """The share of (disclosure, harmless) pairs of which the disclosure has the higher score (AUC)."""
    places = np.argsort(np.argsort(scores)) + 1
    hits = disclosed.sum()
    return float((places[disclosed].sum() - hits * (hits + 1) / 2) / (hits * (~disclosed).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(2)
    examples = [e for e in read_learnt() + read_questions() if e.language not in LEFT_OUT]
    model = train(examples, given.epochs, 1).eval()
    development = read_risk(DEVELOPMENT)
    scores = escalation_scores(model, development)
    disclosed = np.array([bool(e.indicators) for e in development])
    seen = np.array([e.language not in LEFT_OUT for e in development])
    threshold = np.quantile(scores[seen & disclosed], 1 - FOUND)
    lines = [
        f"Measured by adapting the encoder without {', '.join(LEFT_OUT)} (passes over the data: {given.epochs}),",
        f"with the threshold that finds {FOUND:.2f} in the other languages; no patterns and no spelling head.",
        "",
        "| language | messages | ranked right (AUC) | recall | false alarms |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, chosen in [
        ("all that it was trained for", seen),
        *((f"{tag}, not trained for", np.array([e.language == tag for e in development])) for tag in LEFT_OUT),
    ]:
        said = scores[chosen] >= threshold
        found, alarms = said[disclosed[chosen]].mean(), said[~disclosed[chosen]].mean()
        auc = ranked_right(scores[chosen], disclosed[chosen])
        lines.append(f"| {name} | {chosen.sum()} | {auc:.3f} | {found:.3f} | {alarms:.3f} |")
    UNSEEN.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
