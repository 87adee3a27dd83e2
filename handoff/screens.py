"""What the console's templates are given: rows of the database as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bot.reply import Window
from handoff.access import TranscriptMessage
from handoff.evidence import Quotation, cut_at_evidence
from handoff.staff import Member
from handoff.undelivered import Undelivered
from translations.render import direction, language_name

_SOURCES = {"person": "person_writing", "assistant": "assistant", "service": "assistant", "advocate": "advocate"}
_FACTS = ("waited", "lasted", "classification", "writer")


def queue_lists(rows: Sequence[Any], quoted: dict[Any, list[Quotation]], member: Member) -> dict[str, Any]:
    """The open handoffs as the queue shows them: waiting, mine, with others."""
    lists: dict[str, list[dict[str, Any]]] = {"waiting": [], "mine": [], "others": []}
    for row in rows:
        place = "waiting" if row.state == "waiting" else "mine" if row.accepted_by == member.id else "others"
        lists[place].append(_queue_item(row, quoted.get(row.conversation_id, [])))
    return lists


def _queue_item(row: Any, quotes: list[Quotation]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "conversation": str(row.conversation_id),
        "severity": row.severity,
        "indicators": row.indicators,
        "quotes": quotes,
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
        "left_at": row.left_at,
    }


def conversation_item(row: Any) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "channel": row.channel,
        "language": row.language,
        "language_name": language_name(row.language),
        "direction": direction(row.language),
        "opted_out": row.opted_out,
        "left_at": row.left_at,
        "maybe_watched": row.maybe_watched,
        "region": row.region,
    }


def window_item(window: Window) -> dict[str, Any]:
    """What the field for a reply needs to know: "fixed" is a text that the advocate cannot change."""
    template = window.template
    return {
        "shut": window.shut,
        "template": template.text("…") if template else "",
        "name": template.name if template else "",
        "language": template.tag if template else "",
        "takes_words": bool(template and template.placeholder),
        "fixed": template.text() if template and not template.placeholder else "",
    }


def handoff_item(row: Any, member: Member, quotes: list[Quotation]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "state": row.state,
        "severity": row.severity,
        "found": _found(row.indicators, quotes),
        "opened_at": row.opened_at.isoformat(),
        "accepted_by": row.accepted_display,
        "accepted_by_me": row.accepted_by == member.id,
        "waiting_seconds": float(row.waiting),
    }


def _found(indicators: Sequence[str], quotes: list[Quotation]) -> list[Quotation]:
    """Each quotation with its indicators, and behind them those that have none to show."""
    quoted = {name for quote in quotes for name in quote["indicators"]}
    unquoted = [name for name in indicators if name not in quoted]
    return [*quotes, *([Quotation(text="", indicators=unquoted)] if unquoted else [])]


def message_item(
    item: TranscriptMessage,
    verdict: str | None = None,
    undelivered: dict[str, Any] | None = None,
    files: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
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
        "written_at": item.written_at.isoformat() if item.written_at else None,
        "undelivered": undelivered,
        "files": files,
        "state": item.state if item.author != "person" else None,
        "language": language,
        "direction": direction(language) if known else "auto",
        "verdict": verdict,
    }


def undelivered_item(found: Undelivered, *, may: bool) -> dict[str, Any]:
    """``may``: this reader may have it sent again, if that can help."""
    return {
        "message": str(found.message),
        "why": found.why,
        "code": found.code,
        "again": found.again,
        "button": may and found.hopeful,
    }


def undelivered_row(row: Any, found: Undelivered, *, may: bool) -> dict[str, Any]:
    """One line of the supervisors' list; whoever wrote STOP or left is sent nothing."""
    return {
        **undelivered_item(found, may=may and not row.opted_out and not row.left_at),
        "conversation": str(row.conversation_id),
        "seq": row.seq,
        "channel": row.channel,
        "time": row.created_at.isoformat(),
        "language_name": language_name(row.language) if row.language else "",
        "author": row.display if row.author == "advocate" else "",
    }


def signal_item(row: Any) -> dict[str, Any]:
    source, _, language = (row.source or "").partition(":")
    by_words = source == "pattern"
    # the database forgets their order
    facts = {name: row.details[name] for name in sorted(row.details, key=_place_of_fact) if name != "staff"}
    return {
        "time": row.created_at.isoformat(),
        "kind": row.kind,
        "severity": row.severity,
        "indicator": row.indicator,
        "language_name": language_name(row.language) if row.language else "",
        "channel": row.channel,
        "conversation": str(row.conversation_id)[:8],
        "handoff": str(row.handoff_id or ""),
        "source": source if by_words else row.source,
        "source_language": language_name(language) if by_words else "",
        "facts": facts,
    }


def _place_of_fact(name: str) -> tuple[int, str]:
    return (_FACTS.index(name) if name in _FACTS else len(_FACTS)), name
