"""Decisions, without any dependency: time and situation are arguments."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import datetime, timedelta, timezone

import pytest

from bot import turn
from bot.inbox import Claim, StoredMessage
from channels.keywords import keyword
from nlu.indicators import SEVERITY_OF, severity_of
from nlu.language import Language
from nlu.risk import Evidence, Risk

NOW = datetime(2026, 11, 24, tzinfo=timezone.utc)


def message(text: str = "hello", kind: str = "text", *, answered: bool = False) -> StoredMessage:
    return StoredMessage(uuid.uuid4(), 1, kind, text, "", (), "received", None, None, answered)


def claim(**changes: object) -> Claim:
    values: dict[str, object] = {
        "conversation": uuid.uuid4(), "channel": "sms", "fence": 1, "language": None, "language_chosen": False,
        "place": None, "region": None, "opted_out": False, "maybe_watched": False, "failures": 0, "messages": (),
    }  # fmt: skip
    return Claim(**{**values, **changes})  # type: ignore[arg-type]


def situation(state: str | None = None, severity: str = "none", last: datetime | None = None) -> turn.Situation:
    return turn.Situation(state, severity, last, None, "en", ())


def understood(*indicators: str, text: str = "hello", tag: str = "en", confidence: float = 0.9) -> turn.Understanding:
    evidence = tuple(Evidence(name, 0, 2, "pattern:en") for name in indicators)
    risk = Risk(severity_of(indicators), indicators, evidence, 0.9)
    return turn.Understanding(keyword(text), Language(tag, "Latn", confidence), risk, None)


@pytest.mark.parametrize("indicator", sorted(SEVERITY_OF))
def test_every_indicator_escalates_and_is_answered_by_safety_words(indicator: str) -> None:
    decision = turn.decide(message(), claim(), situation(), understood(indicator), now=NOW)
    assert decision.handoff_severity == SEVERITY_OF[indicator]
    assert len(decision.replies) == 1
    assert decision.replies[0].startswith("handoff.")
    assert not decision.ask_engine


def test_an_advocate_in_the_conversation_silences_the_assistant() -> None:
    decision = turn.decide(message(), claim(), situation("accepted", "high"), understood("violence"), now=NOW)
    assert decision.handoff_severity == "high"  # still logged
    assert decision.replies == ()
    assert not decision.ask_engine


def test_a_graver_message_is_answered_anew() -> None:
    decision = turn.decide(message(), claim(), situation("waiting", "elevated", NOW), understood("self_harm"), now=NOW)
    assert decision.replies == ("handoff.self_harm",)


@pytest.mark.parametrize(("minutes", "expected"), [(1, ()), (5, ("handoff.waiting",))])
def test_a_waiting_person_is_told_so_now_and_then(minutes: int, expected: tuple[str, ...]) -> None:
    told = NOW - timedelta(minutes=minutes)
    decision = turn.decide(message(), claim(), situation("waiting", "high", told), understood(), now=NOW)
    assert decision.replies == expected


def test_the_assistant_goes_on_while_a_concern_waits() -> None:
    decision = turn.decide(message(), claim(), situation("waiting", "elevated", NOW), understood(), now=NOW)
    assert decision.ask_engine


@pytest.mark.parametrize(
    ("chosen", "known", "tag", "confidence", "expected"),
    [
        (True, "pa", "en", 0.99, "pa"),  # a person's own choice wins
        (False, "es", "und", 0.0, "es"),  # nothing to go by: as before
        (False, None, "und", 0.0, "en"),
        (False, "es", "fr", 0.95, "fr"),
        (False, "es", "pt", 0.2, "es"),
    ],
)
def test_the_language_of_the_answer(
    chosen: bool, known: str | None, tag: str, confidence: float, expected: str
) -> None:
    held = claim(language=known, language_chosen=chosen)
    decision = turn.decide(message(), held, situation(), understood(tag=tag, confidence=confidence), now=NOW)
    assert decision.language == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("STOP", ("stop", "en")),
        ("stop.", ("stop", "en")),
        ("Arrêt", ("stop", "fr")),
        (" ARRET \n", ("stop", "fr")),
        ("Début", ("start", "fr")),
        ("help!", ("help", "en")),
        ("aide", ("help", "fr")),
        ("humain", ("human", "fr")),
        ("NGƯỜI", ("human", "vi")),
        ("make him stop", None),
        ("stop it", None),
        ("", None),
        ("stop" * 40, None),
    ],
)
def test_keywords_are_whole_messages(text: str, expected: tuple[str, str] | None) -> None:
    assert keyword(text) == expected


@pytest.mark.parametrize(
    ("text", "kind", "answered", "replies"),
    [
        ("HELP", "keyword", False, ("keyword.help",)),
        ("aide", "keyword", False, ("keyword.help",)),
        ("HELP", "keyword", True, ()),  # the provider has answered
        ("ayuda", "keyword", True, ()),  # a word of the provider's own list
        ("INFO", "keyword", False, ("keyword.info",)),
        ("INFO", "keyword", True, ()),
        ("STOP", "keyword", False, ("keyword.stop",)),
        ("STOP", "optout", True, ()),
        ("START", "optin", True, ()),
    ],
)
def test_a_keyword_is_answered_once(text: str, kind: str, answered: bool, replies: tuple[str, ...]) -> None:
    decision = turn.decide(message(text, kind, answered=answered), claim(), situation(), understood(text=text), now=NOW)
    assert decision.replies == replies
    assert not decision.ask_engine


@pytest.mark.parametrize("answered", [False, True])
def test_help_calls_a_human_whoever_answers_it(answered: bool) -> None:
    given = message("HELP", "keyword", answered=answered)
    decision = turn.decide(given, claim(), situation(), understood(text="HELP"), now=NOW)
    assert (decision.handoff_severity, decision.indicators) == ("elevated", ("human_requested",))
    assert decision.kind == "keyword"


@pytest.mark.parametrize("text", ["HELP", "INFO", "STOP", "START", "human", "hello"])
@pytest.mark.parametrize("kind", ["edit", "reaction", "system"])
def test_what_nobody_has_just_written_gets_no_word(text: str, kind: str) -> None:
    decision = turn.decide(message(text, kind), claim(), situation(), understood(text=text), now=NOW)
    assert decision.replies == ()
    assert not decision.ask_engine
    assert (decision.handoff_severity is not None) == (text in ("HELP", "human"))


def test_an_edit_can_end_it_but_not_begin_it_again() -> None:
    """Messengers report an old message anew for reasons of their own."""
    stop = turn.decide(message("STOP", "edit"), claim(), situation(), understood(text="STOP"), now=NOW)
    assert stop.opted_out
    start = turn.decide(message("START", "edit"), claim(opted_out=True), situation(), understood(text="START"), now=NOW)
    assert start.opted_out is None


def test_after_stop_nothing_is_said_and_everything_is_seen() -> None:
    decision = turn.decide(message(), claim(opted_out=True), situation(), understood("confinement"), now=NOW)
    assert decision.replies == ()
    assert decision.handoff_severity == "high"


# -- somebody else holds the phone


def watched_by(**changes: object) -> turn.Understanding:
    return dataclasses.replace(understood(text="who is this"), watched=True, **changes)  # type: ignore[arg-type]


def test_whoever_asks_who_this_is_gets_a_harmless_answer_and_nothing_from_the_engine() -> None:
    decision = turn.decide(message("who is this"), claim(), situation(), watched_by(), now=NOW)
    assert decision.replies == ("discreet.who",)
    assert decision.watched
    assert not decision.ask_engine


@pytest.mark.parametrize("kind", ["edit", "reaction", "system"])
def test_a_stranger_who_has_not_written_gets_no_answer(kind: str) -> None:
    decision = turn.decide(message("who is this", kind), claim(), situation(), watched_by(), now=NOW)
    assert decision.replies == ()
    assert decision.watched


def test_an_advocate_answers_a_stranger_themselves() -> None:
    decision = turn.decide(message("who is this"), claim(), situation("accepted", "high"), watched_by(), now=NOW)
    assert decision.replies == ()
    assert decision.watched


def test_after_stop_a_stranger_gets_nothing() -> None:
    decision = turn.decide(message("who is this"), claim(opted_out=True), situation(), watched_by(), now=NOW)
    assert decision.replies == ()
    assert decision.watched
