"""One turn: a message of a person becomes an escalation, an answer, or both.

    understand   pure: keyword, language, risk
    decide       pure: what must be recorded, what is said at once, whether the engine is asked
    record       COMMIT 1: signals, handoff, safety replies, and the plan of what is still to be done
    engine       may fail, may be slow: the escalation stands already
    finish       COMMIT 2: the engine's answers, the message is done

A crash between the two commits resumes at the engine with the stored plan; nothing is decided or sent twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bot.inbox import Claim, StoredMessage
from channels.keywords import keyword
from nlu.indicators import SEVERITIES, SEVERITY_OF, severity_of
from nlu.language import Language, LanguageDetector
from nlu.risk import Evidence, Risk, RiskScreen
from nlu.watched import watched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nlu.encoder import Encoder

WAITING_NOTE_EVERY = timedelta(minutes=3)  # a waiting person is told so, not at every message
LATE_NOTE_EVERY = timedelta(minutes=15)
_MEDIA = {"image", "video", "document", "sticker", "contacts", "location", "order"}
_VOICE = {"audio", "voice"}
_SILENT = {"system", "reaction", "edit"}


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of the conversation before this message."""

    handoff_state: str | None  # waiting | accepted | None
    handoff_severity: str
    last_reply_at: datetime | None
    last_reply_key: str | None
    default_language: str
    history: tuple[str, ...]  # earlier messages that the screen reads together with this one
    before: tuple[str, ...] = ()  # earlier messages, whether the screen is to read them or not
    no_pictures: bool = False  # a picture in this message that nobody here will ever see


@dataclass(frozen=True, slots=True)
class Understanding:
    """What one message says."""

    keyword: tuple[str, str] | None
    language: Language
    risk: Risk
    vector: NDArray[np.float32] | None
    watched: bool = False  # somebody else seems to hold the phone


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows. ``replies``: response keys said at once; ``ask_engine``: the assistant answers the rest."""

    language: str
    learn_language: bool
    handoff_severity: str | None
    indicators: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    replies: tuple[str, ...]
    ask_engine: bool
    opted_out: bool | None = None
    by_block: bool = False  # opted out, or in again, by the app's switch and not by a word
    kind: str | None = None
    watched: bool = False


def understand(
    message: StoredMessage,
    claim: Claim,
    situation: Situation,
    *,
    detector: LanguageDetector,
    screen: RiskScreen,
    encoder: Encoder,
) -> Understanding:
    """Pure; the only costly step is the encoder's, once per message."""
    text = message.text
    vector = encoder.encode([text])[0] if text.strip() and not message.choice else None
    language = detector.detect(text, history=claim.language)
    risk = _chosen(message) if message.choice else screen.screen(text, history=situation.history, vector=vector)
    seems_watched = not message.choice and watched(
        text,
        history=situation.history or situation.before,
        language=language,
        before=claim.language,
        grave=silent(situation.handoff_severity),
    )
    return Understanding(keyword(text), language, risk, vector, seems_watched)


def _chosen(message: StoredMessage) -> Risk:
    """A chip is our own text: it discloses nothing, except that "talk to a person" asks for one."""
    if message.choice != "choice.human":
        return Risk("none", (), (), 0.0)
    evidence = Evidence("human_requested", 0, len(message.text), "choice")
    return Risk("elevated", ("human_requested",), (evidence,), 1.0)


def decide(
    message: StoredMessage, claim: Claim, situation: Situation, understood: Understanding, *, now: datetime
) -> Decision:
    """What to do about one message. Pure."""
    language, learn = _language(claim, situation, understood)
    risk = understood.risk
    action = understood.keyword[0] if understood.keyword else None
    # an edit may come long after the words, even without the person touching them: nothing that says a word follows it
    unspoken = message.answered or message.kind in ("optout", "optin") or message.kind in _SILENT
    if message.kind in _SILENT and action == "start":
        action = None  # an old START that is reported anew must not undo the STOP that came after it
    if message.kind == "keyword" and message.answered:  # the provider's own list of words for HELP is longer than ours
        action = "help"
    if message.kind == "command" and action == "start" and not claim.opted_out:
        action = None  # a messenger's own start button, pressed before the first word
    if action in ("stop", "start") or message.kind in ("optout", "optin"):
        out = action == "stop" or message.kind == "optout"
        by_block = action is None and not message.answered
        # unblocking is no START: a STOP that was written before it still holds
        undone = not (by_block and claim.opted_out and claim.stopped_by != "block")
        replies: tuple[str, ...] = () if unspoken else (f"keyword.{'stop' if out else 'start'}",)
        return Decision(
            _spoken(language, understood),
            False,
            None,
            (),
            (),
            replies,
            False,
            opted_out=True if out else False if undone else None,
            by_block=by_block,
            kind="optout" if out else "optin",
        )
    evidence, severity = risk.evidence, risk.severity
    if action in ("help", "info"):
        language = _spoken(language, understood)
        if action == "help" and severity == "none":  # also a plea: a human is called, quietly
            evidence, severity = (Evidence("human_requested", 0, len(message.text), "keyword"),), "elevated"
        fixed: tuple[str, ...] = () if claim.opted_out or unspoken else (f"keyword.{action}",)
        return Decision(
            language,
            False,
            _raised(severity),
            _names(evidence),
            evidence,
            fixed,
            False,
            kind="keyword",
        )
    if action == "human" and severity == "none":
        evidence, severity = (Evidence("human_requested", 0, len(message.text), "keyword"),), "elevated"
    if message.kind in _VOICE:  # cannot be screened: a person must hear it
        evidence, severity = (
            (*evidence, Evidence("human_requested", 0, 0, "voice")),
            max(severity, "elevated", key=SEVERITIES.index),
        )
    replies = _replies(message, claim, situation, severity, _names(evidence), now)
    if understood.watched and not replies and _may_speak(message, claim, situation):
        replies = ("discreet.who",)
    ask_engine = _engine_may_answer(message, claim, situation, severity, replies)
    if situation.no_pictures and _may_speak(message, claim, situation):
        replies = (*(key for key in replies if key != "kind.media"), "kind.no_pictures")
    if message.late and (replies or ask_engine) and _quiet_for_long(situation, now):
        replies = ("notice.late", *replies)
    return Decision(
        language,
        learn,
        _raised(severity),
        _names(evidence),
        evidence,
        replies,
        ask_engine=ask_engine,
        watched=understood.watched,
    )


def _language(claim: Claim, situation: Situation, understood: Understanding) -> tuple[str, bool]:
    """(language to answer in, whether to remember it). A person's own choice always wins."""
    if claim.language_chosen and claim.language:
        return claim.language, False
    found = understood.language
    if found.tag == "und" or (found.confidence < 0.4 and claim.language):
        return claim.language or situation.default_language, False
    return found.tag, found.tag != claim.language


def _spoken(language: str, understood: Understanding) -> str:
    """A keyword is answered in the keyword's own language."""
    return understood.keyword[1] if understood.keyword else language


def _raised(severity: str) -> str | None:
    return None if severity == "none" else severity


def _names(evidence: Sequence[Evidence]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.indicator for item in evidence))


def _replies(
    message: StoredMessage, claim: Claim, situation: Situation, severity: str, indicators: Sequence[str], now: datetime
) -> tuple[str, ...]:
    """What is said at once."""
    if not _may_speak(message, claim, situation):
        return ()
    if severity != "none" and SEVERITIES.index(severity) > SEVERITIES.index(situation.handoff_severity):
        if message.kind in _VOICE:
            return ("kind.voice",)
        return (safety_key(severity, indicators),)
    if situation.handoff_state == "waiting" and (severity != "none" or silent(situation.handoff_severity)):
        told = situation.last_reply_at
        return ("handoff.waiting",) if told is None or now - told >= WAITING_NOTE_EVERY else ()
    if message.kind == "command":
        return ("welcome",)
    if message.kind in _VOICE:
        return ("kind.voice",)
    if message.kind in _MEDIA and not message.text.strip():
        return ("kind.media",)
    if message.kind == "unsupported" or (message.kind not in ("text", "button", "list") and not message.text.strip()):
        return ("kind.unsupported",)
    return ()


def _quiet_for_long(situation: Situation, now: datetime) -> bool:
    """What was held up often comes all at once: that it came late is said once."""
    return situation.last_reply_at is None or now - situation.last_reply_at >= LATE_NOTE_EVERY


def _may_speak(message: StoredMessage, claim: Claim, situation: Situation) -> bool:
    """With an advocate in the conversation, after STOP, and to what nobody has just written: not a word."""
    return not (claim.opted_out or situation.handoff_state == "accepted" or message.kind in _SILENT)


def safety_key(severity: str, indicators: Sequence[str]) -> str:
    """The safe answer to a disclosure; the gravest indicator decides."""
    if severity == "critical":
        if "self_harm" in indicators and not {"immediate_danger", "medical_emergency"} & set(indicators):
            return "handoff.self_harm"
        return "handoff.child" if set(_critical(indicators)) == {"child_at_risk"} else "handoff.critical"
    if severity == "high":
        return "handoff.high"
    return "handoff.elevated" if "human_requested" in indicators else "handoff.concern"


def _critical(indicators: Sequence[str]) -> list[str]:
    return [name for name in indicators if SEVERITY_OF[name] == "critical"]


# Texts of ours that offer a person: a bare "yes" after one of them takes the offer.
OFFERS_HUMAN = frozenset(
    "offer.human fallback.unclear fallback.engine_down handoff.concern keyword.help kind.media kind.no_pictures".split()
)


def silent(severity: str) -> bool:
    """While a grave handoff waits, the assistant keeps out of it."""
    return severity in ("high", "critical")


def _engine_may_answer(
    message: StoredMessage, claim: Claim, situation: Situation, severity: str, replies: Sequence[str]
) -> bool:
    if replies or severity != "none" or not _may_speak(message, claim, situation):
        return False
    if situation.handoff_state == "waiting" and silent(situation.handoff_severity):
        return False
    return bool(message.text.strip())


def understanding_record(understood: Understanding, decision: Decision, version: str) -> dict[str, Any]:
    """What is kept of the understanding: codes, offsets and scores; no words."""
    return {
        "language": understood.language.tag,
        "confidence": understood.language.confidence,
        "severity": severity_of(decision.indicators),
        "indicators": list(decision.indicators),
        "evidence": [asdict(item) for item in decision.evidence],
        "score": understood.risk.score,
        "screen": version,
    }
