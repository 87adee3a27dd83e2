"""Writes docs/model-card.md and its picture: what the screen is, what it was measured to be, and where it is weak."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nlu import evaluation, intent_evaluation
from nlu.evaluation import Judged
from nlu.examples import DEVELOPMENT, ROMANISED, read_learnt, read_questions, read_risk
from nlu.risk import LENGTHY, PATTERN, STRICT
from nlu.risk_model import MODEL, load_model
from nlu.risk_training import MISS_COSTS

DOCS = Path(__file__).parent.parent / "docs"
_SIDE, _EDGE = 320, 40  # of the picture, in units of SVG
TEMPLATE = Path(__file__).parent / "model_card_template.md"
UNSEEN = Path(__file__).parent / "models" / "unseen.md"  # by scripts/measure_unseen.py, which takes an hour


def write(judged: Sequence[Judged]) -> None:
    """Both files."""
    model = load_model(MODEL)
    learnt, development = read_learnt(), read_risk(DEVELOPMENT)
    by_learnt, by_development = Counter(e.language for e in learnt), Counter(e.language for e in development)
    text = TEMPLATE.read_text(encoding="utf-8").format(
        version=model.version,
        strict=", ".join(f"{value:g} for {name}" for name, value in STRICT.items() if value),
        pattern=f"{PATTERN:g}",
        lengthy=f"{LENGTHY:g}",
        costs=", ".join(f"{cost:g} ({severity})" for severity, cost in MISS_COSTS.items()),
        learnt=len(learnt),
        languages=len(by_learnt),
        questions=len(read_questions()),
        development=len(development),
        others=sum(e.group[:3] not in evaluation.SETS for e in development),
        romanised=len(read_risk(ROMANISED)),
        counts="\n".join(f"| {tag} | {by_learnt[tag]} | {by_development[tag]} |" for tag in sorted(by_learnt)),
        risk=evaluation.risk_report(judged),
        language=evaluation.language_report(),
        intents=intent_evaluation.intents_report(),
        unseen=UNSEEN.read_text(encoding="utf-8").strip(),
    )
    (DOCS / "model-card.md").write_text(text, encoding="utf-8")
    (DOCS / "calibration.svg").write_text(picture(judged), encoding="utf-8")


def picture(judged: Sequence[Judged]) -> str:
    """Score against share of disclosures, as SVG; circles by number of messages."""
    circles = []
    for low, count, share in evaluation.calibration(judged):
        if count:
            x, y = _EDGE + (low + 0.05) * _SIDE, _EDGE + (1 - share) * _SIDE
            radius = 2 + 2 * math.log10(count)
            label = f"score {low:.1f} to {low + 0.1:.1f}: {share:.2f} of {count}"
            circles.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}"><title>{label}</title></circle>')
    size = _SIDE + 2 * _EDGE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" role="img" font-family="sans-serif" '
            'font-size="12"><title>Calibration of the risk screen</title>',
            f'<rect width="{size}" height="{size}" fill="#fff"/>',
            f'<path d="M{_EDGE} {_EDGE + _SIDE}L{_EDGE + _SIDE} {_EDGE}" stroke="#999" stroke-dasharray="4"/>',
            f'<path d="M{_EDGE} {_EDGE}V{_EDGE + _SIDE}H{_EDGE + _SIDE}" fill="none" stroke="#333"/>',
            f'<g fill="#1a5a96">{"".join(circles)}</g>',
            f'<text x="{size / 2:.0f}" y="{size - 10}" text-anchor="middle">score</text>',
            f'<text x="14" y="{size / 2:.0f}" text-anchor="middle" transform="rotate(-90 14 {size / 2:.0f})">'
            "share of disclosures</text>",
            "</svg>",
            "",
        ]
    )
