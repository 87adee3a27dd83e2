"""The workers: turns for what came in, deliveries for what goes out. The only place that opens their transactions."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from bot import attachments, directory, inbox, outbox, pace, reply, turn
from bot.engine import Answer
from bot.inbox import Claim, LostLease, StoredMessage
from bot.services import Services
from bot.understanding import situation_of, understand
from channels.channel import Ambiguous, Channel, Refused, SendError
from handoff import queue, signals
from nlu.indicators import SEVERITY_OF

TURN_WORKERS = 6
SEND_WORKERS = 4
_FORGET_EVERY = 600.0  # seconds
_log = logging.getLogger("passerelle.worker")


async def run_once(services: Services) -> bool:
    """Takes one conversation and works through its messages; False when none was waiting."""
    async with services.database.begin() as conn:
        claim = await inbox.claim(conn, services.vault)
    if claim is None:
        return False
    try:
        await _through(services, claim)
        async with services.database.begin() as conn:
            await inbox.release(conn, claim)
    except LostLease:
        _log.warning("conversation %s was taken over", claim.conversation)
    except Exception:
        _log.exception("a turn of conversation %s failed; it will be tried again", claim.conversation)
        async with services.database.begin() as conn:
            await inbox.postpone(conn, claim)
    return True


async def _through(services: Services, claim: Claim) -> None:
    """Records every message before the engine is asked about the first; what comes while it thinks is recorded at once.

    So an escalation never waits for an engine that is slow, down or just starting.
    """
    with services.hub.subscribe() as told:
        recorded = await _record_new(services, claim, {})
        while claim.messages:
            message = claim.messages[0]
            answering = asyncio.create_task(_answers(services, claim, message, recorded[message.id]))
            try:
                while not await _answered_or_told(answering, told, claim):
                    claim = await _refreshed(services, claim)
                    recorded = await _record_new(services, claim, recorded)
                await _finish(services, claim, message, recorded[message.id].plan, answering.result())
            finally:
                answering.cancel()
            claim = await _refreshed(services, claim)
            recorded = await _record_new(services, claim, recorded)


async def _refreshed(services: Services, claim: Claim) -> Claim:
    async with services.database.begin() as conn:
        return await inbox.refresh(conn, services.vault, claim)


async def _answered_or_told(
    answering: asyncio.Task[Sequence[Answer]], told: asyncio.Queue[dict[str, Any]], claim: Claim
) -> bool:
    """Waits; True when the engine has answered, False when the person has written more."""
    while True:
        news = asyncio.ensure_future(told.get())
        await asyncio.wait({answering, news}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            news.cancel()
            return True
        event = news.result()
        ours = event.get("conversation") == str(claim.conversation)
        if event["kind"] == "missed" or (event["kind"] == "inbound" and ours):
            return False


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What commit 1 decided, and the message's vector, which dies with this process."""

    plan: dict[str, Any]
    vector: bytes | None = None


async def _record_new(
    services: Services, claim: Claim, recorded: dict[uuid.UUID, _Recorded]
) -> dict[uuid.UUID, _Recorded]:
    """Commit 1 for every message that has had none, in order; those of a predecessor keep theirs."""
    found = dict(recorded)
    for message in claim.messages:
        if message.id in found:
            continue
        if message.state == "recorded" and message.plan is not None:  # a predecessor died between the commits
            found[message.id] = _Recorded(message.plan)
        else:
            found[message.id] = await _record(services, claim, message)
            claim = await _refreshed(services, claim)  # what it taught holds for the next one
    return found


async def _answers(services: Services, claim: Claim, message: StoredMessage, known: _Recorded) -> Sequence[Answer]:
    """What the engine says to it, if it is to be asked. The vector goes along: nothing is encoded twice."""
    if not known.plan["ask_engine"]:
        return ()
    return await services.engine.respond(
        str(claim.conversation), message.text, language=known.plan["language"], vector=known.vector,
        place=claim.place, asked=known.plan.get("asked"),
    )  # fmt: skip


async def _record(services: Services, claim: Claim, message: StoredMessage) -> _Recorded:
    """Understand, decide, COMMIT 1."""
    async with services.database.connect() as conn:
        situation = await situation_of(conn, services, claim, message)
    understood = await understand(services, message, claim, situation)
    decision = turn.decide(message, claim, situation, understood, now=datetime.now(timezone.utc))
    plan = {
        "language": decision.language,
        "ask_engine": decision.ask_engine,
        "kind": decision.kind,
        "asked": "human" if situation.last_reply_key in turn.OFFERS_HUMAN else None,
    }
    async with services.database.begin() as conn:
        await inbox.check_fence(conn, claim)
        await attachments.note(
            conn, message.id, claim.conversation,
            kind=message.kind, media=message.media, pictures=services.settings.media.pictures,
        )  # fmt: skip
        await _escalate(conn, services, claim, message, decision)
        if decision.watched and not claim.maybe_watched:
            await inbox.learn(conn, claim.conversation, maybe_watched=True)
            claim = replace(claim, maybe_watched=True)
        if message.kind == "location":
            await _learn_place(conn, services, claim, directory.locate(message.text)[0] or "")
        if decision.learn_language:
            await inbox.learn(conn, claim.conversation, language=decision.language)
        if decision.opted_out is True:
            await outbox.opt_out(conn, claim.conversation, by="block" if decision.by_block else "person")
        elif decision.opted_out is False:
            await inbox.learn(conn, claim.conversation, opted_out=False, stopped_by=None)
        for number, key in enumerate(decision.replies):
            await reply.say_key(conn, services, claim, message, f"r{number}", Answer(key), decision.language)
        await inbox.record(
            conn,
            message.id,
            understanding=turn.understanding_record(understood, decision, services.risk.version),
            plan=plan,
            language=understood.language.tag,
        )
    vector = None if understood.vector is None else understood.vector.astype("<f4").tobytes()
    return _Recorded(plan, vector)


async def _escalate(
    conn: AsyncConnection, services: Services, claim: Claim, message: StoredMessage, decision: turn.Decision
) -> None:
    """Handoff and signals, in the same transaction."""
    if decision.handoff_severity is None:
        return
    opened = await queue.open_handoff(
        conn,
        conversation=claim.conversation,
        message=message.id,
        severity=decision.handoff_severity,
        indicators=decision.indicators,
        language=decision.language,
        channel=claim.channel,
    )
    sources = {item.indicator: item.source for item in reversed(decision.evidence)}
    await signals.log_risk(
        conn,
        conversation=claim.conversation,
        message=message.id,
        handoff=opened.id,
        found=[(name, SEVERITY_OF[name], sources[name]) for name in decision.indicators],
        language=decision.language,
        channel=claim.channel,
        region=claim.region,
        screen_version=services.risk.version,
    )


async def _finish(
    services: Services, claim: Claim, message: StoredMessage, plan: dict[str, Any], answers: Sequence[Answer]
) -> None:
    """COMMIT 2: the engine's answers and the end of the turn."""
    async with services.database.begin() as conn:
        await inbox.check_fence(conn, claim)
        handoff = await queue.open_of(conn, claim.conversation)
        if handoff is not None and (handoff.state == "accepted" or turn.silent(handoff.severity)):
            answers = ()  # an advocate or a grave disclosure came in the meantime: the assistant keeps quiet
        for number, answer in enumerate(answers):
            if answer.key == "human.request":
                answer = await _call_human(conn, services, claim, message, plan["language"])
            elif answer.key == "info.services_found":
                answer = await _services_near(conn, services, claim, answer)
            await reply.say_key(conn, services, claim, message, f"e{number}", answer, plan["language"])
        await inbox.done(conn, message.id, kind=plan["kind"])


async def _call_human(
    conn: AsyncConnection, services: Services, claim: Claim, message: StoredMessage, language: str
) -> Answer:
    """The dialogue found out that the person wants a human."""
    indicators = ("human_requested",)
    decision = turn.Decision(language, False, "elevated", indicators, (), (), False)
    opened = await queue.open_handoff(
        conn, conversation=claim.conversation, message=message.id, severity="elevated", indicators=indicators,
        language=language, channel=claim.channel,
    )  # fmt: skip
    await signals.log_risk(
        conn, conversation=claim.conversation, message=message.id, handoff=opened.id,
        found=[(name, SEVERITY_OF[name], "dialogue") for name in decision.indicators], language=language,
        channel=claim.channel, region=claim.region, screen_version=services.risk.version,
    )  # fmt: skip
    return Answer("handoff.elevated")


async def _services_near(conn: AsyncConnection, services: Services, claim: Claim, answer: Answer) -> Answer:
    place, need = answer.slots.get("place", ""), answer.slots.get("need", "services")
    found = await directory.find(conn, place, need)
    await _learn_place(conn, services, claim, place)
    if not found:
        return Answer("info.services_none")
    return Answer(answer.key, {**answer.slots, "places": "\n".join(service.line() for service in found)})


async def _learn_place(conn: AsyncConnection, services: Services, claim: Claim, place: str) -> None:
    """A place that the person named or shared: sealed, and its province beside it."""
    if not place:
        return
    sealed = services.vault.seal(place.encode("utf-8", "replace"), context=f"place:{claim.conversation}")
    _, province = directory.locate(place)
    await inbox.learn(conn, claim.conversation, place_sealed=sealed, **({"region": province} if province else {}))


async def send_once(services: Services) -> bool:
    """Sends the next part; False when none may go now."""
    limits = {name: channel.limits for name, channel in services.channels.items()}
    async with services.database.begin() as conn:
        delivery = await outbox.claim_part(conn, services.vault, limits)
    if delivery is None:
        return False
    try:
        channel = _channel(services, delivery.channel)
        sent = await channel.send(delivery.address, delivery.part, delivery=str(delivery.id))
    except SendError as error:
        _log.warning("delivery %s: %s %s", delivery.id, type(error).__name__, error.code)
        async with services.database.begin() as conn:
            await outbox.record_failure(conn, delivery, error)
        return True
    async with services.database.begin() as conn:
        await outbox.record_sent(conn, delivery, provider_id=sent.provider_id)
    return True


def _channel(services: Services, name: str) -> Channel:
    """Raises Refused for one that the settings have switched off: staff see that its parts did not go."""
    if name not in services.channels:
        raise Refused("off")
    return services.channels[name]


async def recover_once(services: Services) -> bool:
    """Finds out what became of a part whose sender died; False when there is none."""
    async with services.database.begin() as conn:
        delivery = await outbox.claim_lost_part(conn, services.vault)
    if delivery is None:
        return False
    try:
        channel = _channel(services, delivery.channel)
        found = await channel.find(delivery.address, delivery.part, since=delivery.claimed_at.timestamp())
    except SendError as error:
        async with services.database.begin() as conn:
            await outbox.record_failure(conn, delivery, Ambiguous(error.code))
        return True
    async with services.database.begin() as conn:
        if found and found.provider_id != delivery.provider_id:  # else it is an earlier try, which did not arrive
            await outbox.record_sent(conn, delivery, provider_id=found.provider_id)
        else:
            await outbox.record_again(conn, delivery, delay=0.0, error="lost")
    return True


Held = Callable[[], bool]  # whether a worker is to leave the machine to what comes in


def _never() -> bool:
    return False


async def _while_held(held: Held) -> None:
    while held():  # noqa: ASYNC110 - a moment's state, and nobody tells when it ends
        await asyncio.sleep(0.05)


async def turns(services: Services, held: Held = _never) -> None:
    """One worker of the inbox, for ever: wakes at an event, looks every few seconds all the same."""
    with services.hub.subscribe() as woken:
        while True:
            await _while_held(held)
            try:
                if await run_once(services):
                    continue
            except Exception:
                _log.exception("the inbox worker met an error")
                await asyncio.sleep(1)
            await _wait(woken, ("inbound", "missed"), 2.0)


async def deliveries(services: Services, held: Held = _never) -> None:
    """One worker of the outbox, for ever."""
    with services.hub.subscribe() as woken:
        while True:
            await _while_held(held)
            pause = 2.0
            try:
                if await send_once(services):
                    continue
                async with services.database.connect() as conn:
                    pause = min(pause, await outbox.seconds_to_next(conn))
            except Exception:
                _log.exception("the outbox worker met an error")
                await asyncio.sleep(1)
            await _wait(woken, ("outbound", "delivery", "missed"), pause)


async def recovery(services: Services) -> None:
    """Looks after parts of dead senders, and after buckets that nobody uses any more."""
    forgotten = time.monotonic()
    while True:
        try:
            while await recover_once(services):
                pass
            if time.monotonic() - forgotten > _FORGET_EVERY:
                forgotten = time.monotonic()
                async with services.database.begin() as conn:
                    await pace.forget(conn)
        except Exception:
            _log.exception("recovery met an error")
        await asyncio.sleep(2)


async def _wait(woken: asyncio.Queue[dict[str, Any]], kinds: tuple[str, ...], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(left):  # wait_for of Python 3.11 forgets a cancel that comes with an event
                event = await woken.get()
        except TimeoutError:
            return
        if event["kind"] in kinds:
            return
