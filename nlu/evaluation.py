"""How good the screen and the detector are, in tables that anyone can make again.

The risk figures are of the development set, which neither the encoder nor a head has learnt from. Thresholds and
mixture are chosen on it, so each half is judged with those chosen on the other half (halves by writer).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from nlu import language, risk_training
from nlu.encoder import E5Encoder
from nlu.examples import DEVELOPMENT, Example, read_risk
from nlu.indicators import SEVERITY_OF
from nlu.language import LanguageDetector
from nlu.language_training import tag_of
from nlu.patterns import load as load_patterns
from nlu.risk import Cascade, Risk
from nlu.risk import load as load_screen
from nlu.risk_model import MODEL, load_model
from nlu.script import script_of

FIGURES = Path(__file__).parent / "models" / "figures.json"
_BINS = 10
# The development set's parts by their groups' first letters; of their writers, other groups are learnt from.
SETS = {
    "t3-": "hints, and loud but harmless",
    "t4-": "eight words or fewer",
    "t5-": "everyday texting that sounds odd, all harmless",
    "t7-": "what a phone's ordinary messages are, and disclosures among them",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """One message of the development set, and what the screen said of it."""

    example: Example
    risk: Risk


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares of some messages; NaN where there were none to count."""

    messages: int
    disclosures: int
    recall: float
    critical_recall: float
    critical_rated: float
    precision: float
    alarms: float
    named: float  # right indicators among those that were found, of escalated disclosures


def half(example: Example) -> int:
    """0 or 1, by the writer."""
    return int(hashlib.sha256(f"{example.language}:{example.group}".encode()).hexdigest()[:8], 16) % 2


def judge_development(progress: Callable[[str], None] = lambda _: None) -> list[Judged]:
    """The development set, each half with the mixture and thresholds of the other."""
    examples = read_risk(DEVELOPMENT)
    stored, patterns, encoder = load_model(MODEL), load_patterns(), E5Encoder()
    found: list[Judged] = []
    with ThreadPoolExecutor(2) as threads:  # as many as the encoder has
        for number in (0, 1):
            model = risk_training.with_choices(stored, [e for e in examples if half(e) != number])
            screen = Cascade(patterns, model, encoder)
            judged = [e for e in examples if half(e) == number]
            for example, risk in zip(judged, threads.map(partial(_screened, screen), judged), strict=True):
                found.append(Judged(example, risk))
                if len(found) % 100 == 0:
                    progress(f"{len(found)} of {len(examples)}")
    return found


def judge_sample(screen: Cascade) -> list[Judged]:
    """Every fourth message of the development set, by a screen as it is served: the regression gate's, which has a
    minute. The screen's thresholds were chosen on these messages too, so the figures only compare with themselves.
    """
    examples = read_risk(DEVELOPMENT)[::4]
    with ThreadPoolExecutor(2) as threads:
        return [Judged(e, r) for e, r in zip(examples, threads.map(partial(_screened, screen), examples), strict=True)]


def _screened(screen: Cascade, example: Example) -> Risk:
    return screen.screen(example.text, history=example.history)


def figures(judged: Sequence[Judged]) -> Figures:
    """What share was found, and what share of the alarms was right."""
    disclosed = [j for j in judged if j.example.indicators]
    harmless = [j for j in judged if not j.example.indicators]
    critical = [j for j in disclosed if j.example.severity == "critical"]
    alarms = [j for j in judged if j.risk.escalate]
    hits = [j for j in disclosed if j.risk.escalate]
    wanted = sum(len(j.example.indicators) for j in hits)
    return Figures(
        messages=len(judged),
        disclosures=len(disclosed),
        recall=_share(j.risk.escalate for j in disclosed),
        critical_recall=_share(j.risk.escalate for j in critical),
        critical_rated=_share(j.risk.severity == "critical" for j in critical),
        precision=_share(bool(j.example.indicators) for j in alarms),
        alarms=_share(j.risk.escalate for j in harmless),
        named=sum(len(set(j.example.indicators) & set(j.risk.indicators)) for j in hits) / wanted
        if wanted
        else math.nan,
    )


def _share(answers: Iterable[bool]) -> float:
    found = list(answers)
    return sum(found) / len(found) if found else math.nan


def interval(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if not count or math.isnan(share):
        return (math.nan, math.nan)
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (max(0.0, middle - reach), min(1.0, middle + reach))


def languages(judged: Sequence[Judged]) -> list[str]:
    return sorted({j.example.language for j in judged})


def summary(judged: Sequence[Judged]) -> dict[str, float]:
    """The whole, and the worst language."""
    whole = figures(judged)
    found = {name: round(value, 4) for name, value in asdict(whole).items()}
    by_language = [figures([j for j in judged if j.example.language == tag]).recall for tag in languages(judged)]
    return {**found, "worst_language_recall": round(min(by_language), 4)}


def risk_report(judged: Sequence[Judged]) -> str:
    """Tables in Markdown: the whole, languages, indicators, registers, calibration, the worst cases."""
    whole = figures(judged)
    lines = [_HEAD, _RULE, _row("**all**", whole)]
    lines += [_row(tag, figures([j for j in judged if j.example.language == tag])) for tag in languages(judged)]
    low, high = interval(whole.recall, whole.disclosures)
    lines += [
        "",
        f"95 % interval of the recall of all: {low:.3f} to {high:.3f}.",
        "",
        *_parts("written as", judged, lambda example: SETS.get(example.group[:3], "by other writers")),
        "",
        *_parts("register", judged, lambda example: example.register),
    ]
    lines += ["", "| indicator | severity | messages | escalated | named |", "| --- | --- | --- | --- | --- |"]
    for name, severity in SEVERITY_OF.items():
        having = [j for j in judged if name in j.example.indicators]
        escalated, named = _share(j.risk.escalate for j in having), _share(name in j.risk.indicators for j in having)
        lines.append(f"| `{name}` | {severity} | {len(having)} | {_number(escalated)} | {_number(named)} |")
    return "\n".join([*lines, "", *_calibration(judged)])


_HEAD = (
    "| language | messages | recall | critical recall | rated critical | precision | false alarms | indicators named |"
)
_RULE = "| --- | --- | --- | --- | --- | --- | --- | --- |"


def _parts(title: str, judged: Sequence[Judged], part_of: Callable[[Example], str]) -> list[str]:
    """A table of recall and alarms by some property of the examples."""
    lines = [f"| {title} | messages | recall | critical recall | alarms |", "| --- | --- | --- | --- | --- |"]
    for name in sorted({part_of(j.example) for j in judged}):
        part = figures([j for j in judged if part_of(j.example) == name])
        shares = (part.recall, part.critical_recall, part.alarms)
        lines.append(f"| {name} | {part.messages} | " + " | ".join(map(_number, shares)) + " |")
    return lines


def _row(name: str, found: Figures) -> str:
    shares = (found.recall, found.critical_recall, found.critical_rated, found.precision, found.alarms, found.named)
    return f"| {name} | {found.messages} | " + " | ".join(map(_number, shares)) + " |"


def _number(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.3f}"


def calibration(judged: Sequence[Judged]) -> list[tuple[float, int, float]]:
    """(lowest score of a bin, messages in it, share of disclosures among them)."""
    found = []
    for number in range(_BINS):
        inside = [j for j in judged if number <= j.risk.score * _BINS < number + 1 + (number == _BINS - 1)]
        found.append((number / _BINS, len(inside), _share(bool(j.example.indicators) for j in inside)))
    return found


def _calibration(judged: Sequence[Judged]) -> list[str]:
    """How often messages of a score were disclosures."""
    lines = ["| score | messages | of these disclosures |", "| --- | --- | --- |"]
    for low, count, share in calibration(judged):
        lines.append(f"| {low:.1f} to {low + 1 / _BINS:.1f} | {count} | {_number(share)} |")
    return lines


def worst_cases(judged: Sequence[Judged], count: int = 25) -> str:
    """The disclosures furthest from being found, and the surest false alarms."""
    missed = sorted((j for j in judged if j.example.indicators and not j.risk.escalate), key=lambda j: j.risk.score)
    alarms = sorted((j for j in judged if not j.example.indicators and j.risk.escalate), key=lambda j: -j.risk.score)
    lines = []
    for title, found in (("missed", missed), ("false alarms", alarms)):
        lines.append(f"{title}: {len(found)}")
        for j in found[:count]:
            said = ",".join(j.example.indicators or j.risk.indicators)
            lines.append(f"  {j.risk.score:.2f} {j.example.language:<8} {said:<40} {j.example.read_as!r:.120}")
    return "\n".join(lines)


def write_figures(judged: Sequence[Judged]) -> None:
    """Keeps the summary, and the one that the regression gate compares with."""
    kept = {"development": summary(judged), "sample": summary(judge_sample(load_screen(E5Encoder())))}
    FIGURES.write_text(json.dumps(kept, indent=1) + "\n")


def language_report() -> str:
    """The development set: whole messages, pairs and single words; langdetect beside it as the baseline.

    Messages in two languages at once are left out.
    """
    ours, baseline = language.load(), language.load("langdetect")
    right: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    examples = [(e, tag) for e in read_risk(DEVELOPMENT) if e.register != "mixed" and (tag := tag_of(e))]
    for example, tag in examples:
        for kind, text in _cuts(example.text):
            right.setdefault((tag, kind), []).append((_said(ours, text, tag), _said(baseline, text, tag)))
    for (first, tag), (second, other) in pairwise(examples):
        if tag == other:
            found = _after_two(ours, first.text, second.text)
            right.setdefault((tag, "after two"), []).append((found == tag, False))
    lines = [
        "| language | messages | message | pair | word | after two messages | langdetect: message |",
        "| --- " * 7 + "|",
    ]
    tags = sorted({tag for tag, _ in right})
    for tag in tags:
        shares = [_mean(right, tag, kind, 0) for kind in _KINDS]
        count = len(right.get((tag, "message"), ()))
        lines.append(
            f"| {tag} | {count} | " + " | ".join(map(_number, [*shares, _mean(right, tag, "message", 1)])) + " |"
        )
    means = [
        [_mean(right, tag, kind, which) for tag in tags] for kind, which in [*((k, 0) for k in _KINDS), ("message", 1)]
    ]
    lines.append(
        f"| **mean** | {sum(len(right.get((tag, 'message'), ())) for tag in tags)} | "
        + " | ".join(_number(float(np.nanmean(column))) for column in means)
        + " |"
    )
    return "\n".join(lines)


_KINDS = ("message", "pair", "word", "after two")


def _after_two(detector: LanguageDetector, first: str, second: str) -> str:
    """What a conversation is in after two messages, as `bot.turn` keeps it."""
    before = detector.detect(first).tag
    found = detector.detect(second, history=before)
    return before if found.tag == "und" else found.tag


def _said(detector: LanguageDetector, text: str, tag: str) -> bool:
    return detector.detect(text).tag == tag


def _mean(right: dict[tuple[str, str], list[tuple[bool, bool]]], tag: str, kind: str, which: int) -> float:
    return _share(hits[which] for hits in right.get((tag, kind), ()))


def _cuts(text: str) -> list[tuple[str, str]]:
    """The message itself if it has five words or more, two of its words, and its longest early word."""
    words = [word for word in text.split() if any(c.isalpha() for c in word)]
    if len(words) < 5 and not any(script_of(c) in ("Hani", "Hang") for c in text):
        return [("short", text)]
    if len(words) < 3:
        return [("message", text)]
    return [("message", text), ("pair", " ".join(words[1:3])), ("word", max(words[:6], key=len))]
