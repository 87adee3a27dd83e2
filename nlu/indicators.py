"""The risk indicators and their severities: the taxonomy of docs/risk-indicators, as data.

Names are stable identifiers in data files, the signal log, reports and the API.
Sources: Palermo Protocol (act, means, purpose); ILO indicators of forced labour (2012).
"""

from __future__ import annotations

from collections.abc import Iterable

SEVERITIES = ("none", "elevated", "high", "critical")  # ascending

SEVERITY_OF = {
    "immediate_danger": "critical",
    "medical_emergency": "critical",
    "self_harm": "critical",
    "child_at_risk": "critical",
    "confinement": "high",
    "violence": "high",
    "threats": "high",
    "sexual_exploitation": "high",
    "forced_labour": "high",
    "document_retention": "high",
    "debt_bondage": "high",
    "wage_theft": "high",
    "immigration_threat": "high",
    "isolation": "high",
    "deceptive_recruitment": "high",
    "forced_marriage": "high",
    "forced_criminality": "high",
    "organ_removal": "high",
    "third_party_concern": "elevated",
    "unsafe_conditions": "elevated",
    "distress": "elevated",
    "human_requested": "elevated",
}


def worst(severities: Iterable[str]) -> str:
    """The highest of some severities; "none" of none."""
    return max(severities, key=SEVERITIES.index, default="none")


def severity_of(indicators: Iterable[str]) -> str:
    """The severity of a message that carries these indicators."""
    return worst(SEVERITY_OF[name] for name in indicators)
