"""What the console's templates are given: rows of the database as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handoff.access import TranscriptMessage
from handoff.staff import Member
from translations.render import direction, language_name

_SOURCES = {"person": "person_writing", "assistant": "assistant", "service": "assistant", "advocate": "advocate"}


def queue_lists(rows: Sequence[Any], quoted: dict[Any, list[dict[str, str]]], member: Member) -> dict[str, Any]:
    """The open handoffs as the queue shows them: waiting, mine, with others."""
    lists: dict[str, list[dict[str, Any]]] = {"waiting": [], "mine": [], "others": []}
    for row in rows:
        place = "waiting" if row.state == "waiting" else "mine" if row.accepted_by == member.id else "others"
        lists[place].append(_queue_item(row, quoted.get(row.conversation_id, [])))
    return lists


def _queue_item(row: Any, evidence: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "conversation": str(row.conversation_id),
        "severity": row.severity,
        "indicators": row.indicators,
        "evidence": evidence,
        "language": row.language,
        "language_name": language_name(row.language),
        "direction": direction(row.language),
        "channel": row.channel,
        "opened_at": row.opened_at.isoformat(),
        "waiting_seconds": float(row.waiting),
        "state": row.state,
        "accepted_by": row.accepted_display,
        "accepted_at": row.accepted_at.isoformat() if row.accepted_at else None,
        "unread": int(row.unread),
    }


def conversation_item(row: Any) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "channel": row.channel,
        "language": row.language,
        "language_name": language_name(row.language),
        "direction": direction(row.language),
        "opted_out": row.opted_out,
        "maybe_watched": row.maybe_watched,
        "region": row.region,
    }


def handoff_item(row: Any, member: Member, evidence: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "state": row.state,
        "severity": row.severity,
        "indicators": row.indicators,
        "evidence": evidence,
        "opened_at": row.opened_at.isoformat(),
        "accepted_by": row.accepted_display,
        "accepted_by_me": row.accepted_by == member.id,
        "waiting_seconds": float(row.waiting),
    }


def message_item(item: TranscriptMessage, verdict: str | None = None) -> dict[str, Any]:
    """``verdict``: the reader's own, on what the screen made of this message."""
    language = item.language if item.language != "und" else None
    # An advocate may write in any language, whatever the conversation's is.
    known = language is not None and item.author != "advocate"
    return {
        "id": str(item.id),
        "seq": item.seq,
        "from": _SOURCES[item.author],
        "author": item.author_display,
        "text": item.text,
        "kind": item.kind,
        "parts": cut_at_evidence(item.text, item.evidence),
        "time": item.time.isoformat(),
        "state": item.state if item.author != "person" else None,
        "language": language,
        "direction": direction(language) if known else "auto",
        "verdict": verdict,
    }


def cut_at_evidence(text: str, evidence: Sequence[dict[str, Any]]) -> list[dict[str, str | None]]:
    """The text in pieces, those that led to an indicator with its name; a pattern's exact words are shown
    rather than the whole message that the model judged; of overlapping ones the first."""
    parts: list[dict[str, str | None]] = []
    end = 0
    exact = [item for item in evidence if not item["source"].startswith("model")]
    for item in sorted(exact or evidence, key=lambda found: (found["start"], -found["end"])):
        start, stop = max(0, item["start"]), min(len(text), item["end"])
        if start < end or start >= stop:
            continue
        if start > end:
            parts.append({"text": text[end:start], "indicator": None})
        parts.append({"text": text[start:stop], "indicator": item["indicator"]})
        end = stop
    if end < len(text):
        parts.append({"text": text[end:], "indicator": None})
    return parts


def signal_item(row: Any) -> dict[str, Any]:
    return {
        "time": row.created_at.isoformat(),
        "kind": row.kind,
        "severity": row.severity,
        "indicator": row.indicator,
        "language": row.language,
        "channel": row.channel,
        "conversation": str(row.conversation_id)[:8],
        "handoff": str(row.handoff_id or ""),
        "details": _details(row),
    }


def _details(row: Any) -> str:
    facts = [f"{name} {value}" for name, value in row.details.items() if name != "staff"]
    return ", ".join(([row.source] if row.source else []) + facts)
