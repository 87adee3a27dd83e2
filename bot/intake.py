"""The durable intake: one writer a process stores concurrent webhooks in one transaction, and tells them afterwards.

A webhook that comes alone waits for nobody; what comes while a transaction runs shares the next one. While the
database is away, webhooks go to the spool (``bot.spool``), and as long as anything is on it, later ones go behind it:
the order stays. ``replay`` brings them in when the database answers again.

A copy of what is stored is dropped (unique provider ids), statuses never go back, and what cannot be read is kept aside
under its webhook's own id: so every step may be repeated, and after a doubtful end it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import psycopg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import inbox, outbox
from bot.services import Services
from bot.spool import Envelope, Spool, SpoolFull
from channels.channel import Channel, Inbound, Item, RawRequest, Status, Unreadable
from translations.render import render

DEADLINE = 4.0  # seconds for one transaction; the providers wait for ten and more
PATIENCE = 30.0  # seconds for one transaction of a replay: nobody waits for it
MOST, MOST_BYTES = 256, 2**20  # webhooks in one transaction, and their bodies together
PRESSED, MOMENT = 25, 0.25  # so many webhooks within so many seconds are much, and stay so as long again
AGAIN = 1.0  # seconds between two attempts to bring the spool in
# SQLSTATEs of a server that is away, stopping, full or a read-only copy: no fault of what is stored
_AWAY = ("08", "53", "57", "58", "25006")
_log = logging.getLogger("passerelle.intake")


class NotKept(Exception):
    """Neither stored nor spooled: the provider must not be told "received"."""


class _Away(Exception):
    """The database cannot be asked now."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One verified request with what was read of it."""

    envelope: Envelope
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class _Waiting:
    webhook: Webhook
    kept: asyncio.Future[None]


class Intake:
    """``write`` and ``replay`` run for ever, in one process once each."""

    def __init__(self, services: Services, spool: Spool) -> None:
        self._services = services
        self._spool = spool
        self._waiting: list[_Waiting] = []
        self._pressed_until = 0.0
        self._moment, self._counted = 0.0, 0  # when the present one began, and webhooks in it
        self._woken = asyncio.Event()
        self._spooled = asyncio.Event()  # something is on the spool
        self._spool_lock = asyncio.Lock()  # appending, and finding the spool empty, exclude each other
        self._late: set[asyncio.Task[None]] = set()  # transactions that nobody waits for any more
        if spool.waits():
            self._spooled.set()

    @property
    def spooling(self) -> bool:
        """Whether webhooks go to the spool now."""
        return self._spooled.is_set()

    def pressed(self) -> bool:
        """Whether so much comes at once that work which can wait should: a message must be stored first of all."""
        return time.monotonic() < self._pressed_until

    async def take(self, channel: Channel, raw: RawRequest) -> bool:
        """Keeps a verified webhook durably; whether at least one item could be read, or there was none.

        Raises NotKept.
        """
        items = tuple(channel.parse(raw))
        if not items:
            return True
        envelope = Envelope(uuid.uuid4(), channel.name, raw.url, raw.body, time.time())
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(Webhook(envelope, items), kept))
        self._woken.set()
        await kept
        for reason in {item.reason for item in items if isinstance(item, Unreadable)}:
            _log.warning("%s: kept aside: %s", channel.name, reason)
        return not all(isinstance(item, Unreadable) for item in items)

    # -- the writer

    def _count(self, webhooks: int) -> None:
        now = time.monotonic()
        if now - self._moment > MOMENT:
            self._moment, self._counted = now, 0
        self._counted += webhooks
        if self._counted >= PRESSED:
            self._pressed_until = now + MOMENT

    async def write(self) -> None:
        """Stores whatever waits, again and again."""
        while True:
            await self._woken.wait()
            count = _fits(len(one.webhook.envelope.body) for one in self._waiting)
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
            if not self._waiting:
                self._woken.clear()
            self._count(len(batch))
            try:
                await self._keep(batch)
            except Exception as error:  # the writer must live on
                _log.exception("the intake met an error")
                _settle(batch, error)

    async def _keep(self, batch: Sequence[_Waiting]) -> None:
        if self._spooled.is_set():
            async with self._spool_lock:
                if self._spooled.is_set():
                    await self._put_aside(batch)
                    return
        try:
            await self._in_time(store(self._services, [one.webhook for one in batch]), DEADLINE)
            _settle(batch)
        except _Away:
            async with self._spool_lock:
                await self._put_aside(batch)
        except Exception as error:  # one of them is to blame, or none can be stored: each for itself
            _log.warning("%d webhooks are stored one by one (%s)", len(batch), type(error).__name__)
            await self._keep_apart(batch)

    async def _keep_apart(self, batch: Sequence[_Waiting]) -> None:
        for number, one in enumerate(batch):
            try:
                await self._in_time(store_apart(self._services, one.webhook), DEADLINE)
                _settle([one])
            except _Away:
                async with self._spool_lock:
                    await self._put_aside(batch[number:])
                return
            except Exception as error:
                _settle([one], error)

    async def _put_aside(self, batch: Sequence[_Waiting]) -> None:
        """Onto the spool, for which the caller holds the lock."""
        try:
            await asyncio.to_thread(self._spool.append, [one.webhook.envelope for one in batch])
        except (SpoolFull, OSError) as error:
            _log.error("%d webhooks are refused: the spool cannot take them (%s)", len(batch), type(error).__name__)
            _settle(batch, error)
            return
        if not self._spooled.is_set():
            _log.error("the database is away: webhooks go to the spool")
            self._spooled.set()
        _settle(batch)

    async def _in_time(self, storing: Coroutine[None, None, None], seconds: float) -> None:
        """Raises _Away when the database is, or says nothing for too long.

        A transaction that is late is told to end and not waited for: a silent server would not even let it end.
        """
        task = asyncio.create_task(storing)
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            self._late.add(task)
            task.add_done_callback(self._forget)
            task.cancel()
            raise _Away
        try:
            task.result()
        except Exception as error:
            if is_away(error):
                raise _Away from error
            raise

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # or its loss is complained of

    # -- the replay

    async def replay(self) -> None:
        """Brings in what is on the spool, of this process and of dead ones, as soon as the database answers."""
        while True:
            await self._spooled.wait()
            answering = False
            try:
                while await self._bring_in(answering=answering):
                    answering = True
            except _Away:
                pass
            except Exception:
                _log.exception("the spool could not be brought in; it will be tried again")
            await asyncio.sleep(AGAIN)

    async def _bring_in(self, *, answering: bool) -> bool:
        """The oldest segment; False once the spool is found empty, and webhooks are stored at once from then on.

        While others write, there is always one more. So a small one is brought in while they wait, but only when the
        database is known to be ``answering``: they would wait for a silent one in vain.
        """
        async with self._spool_lock:
            while segment := self._spool.oldest():
                if not answering or segment.stat().st_size > MOST_BYTES:
                    break
                await self._replay(segment, DEADLINE)
            else:
                self._spooled.clear()
                _log.warning("the spool is empty: webhooks go to the database")
                return False
        await self._replay(segment, PATIENCE)
        return True

    async def _replay(self, segment: Path, seconds: float) -> None:
        with self._spool.replaying(segment) as envelopes:
            for chunk in _chunks(envelopes):
                webhooks = [self._read_again(envelope) for envelope in chunk]
                try:
                    await self._in_time(store(self._services, webhooks), seconds)
                except _Away:
                    raise
                except Exception:
                    for webhook in webhooks:
                        await self._in_time(store_apart(self._services, webhook), seconds)

    def _read_again(self, envelope: Envelope) -> Webhook:
        """A message without a time of its own was written when its webhook came."""
        channel = self._services.channels.get(envelope.channel)
        if channel is None:
            gone = Unreadable("a channel that is not configured any more", envelope.body)
            return Webhook(envelope, (gone,))
        items = channel.parse(RawRequest(envelope.url, {}, envelope.body))
        return Webhook(envelope, tuple(_written(item, envelope.received) for item in items))


def _written(item: Item, received: float) -> Item:
    if not isinstance(item, Inbound) or item.written_at is not None:
        return item
    return replace(item, written_at=received)


def _fits(sizes: Iterable[int]) -> int:
    """How many of these, from the first on, go into one transaction: at least one."""
    count = total = 0
    for size in islice(sizes, MOST):
        total += size
        if count and total > MOST_BYTES:
            break
        count += 1
    return count


def _chunks(envelopes: Iterable[Envelope]) -> Iterator[list[Envelope]]:
    """Of the size of one transaction; more than that is never in memory."""
    chunk: list[Envelope] = []
    for envelope in envelopes:
        chunk.append(envelope)
        if (fitting := _fits(len(one.body) for one in chunk)) < len(chunk) or fitting == MOST:
            yield chunk[:fitting]
            chunk = chunk[fitting:]
    if chunk:
        yield chunk


def _settle(batch: Sequence[_Waiting], error: Exception | None = None) -> None:
    for one in batch:
        if one.kept.done():  # whoever waited has gone
            continue
        if error is None:
            one.kept.set_result(None)
        else:
            one.kept.set_exception(NotKept(type(error).__name__))


def is_away(error: Exception) -> bool:
    """Whether an error says that the database cannot be asked, and nothing of what was to be stored."""
    if isinstance(error, OSError | sa.exc.TimeoutError):  # TimeoutError is an OSError
        return True
    known = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if not isinstance(known, psycopg.Error):
        return False
    if known.sqlstate is None:  # the connection broke, or never was
        return isinstance(known, psycopg.OperationalError | psycopg.InterfaceError)
    return known.sqlstate.startswith(_AWAY)


def _blames_an_item(error: Exception) -> bool:
    """Whether this very item cannot be stored, ever: its data do not fit, or our own code stumbles over it."""
    if isinstance(error, sa.exc.DBAPIError):
        return isinstance(error, sa.exc.DataError | sa.exc.IntegrityError)
    return True


async def store(services: Services, webhooks: Sequence[Webhook]) -> None:
    """All of them in one transaction."""
    async with services.database.begin() as conn:
        await _write(conn, services, webhooks)


async def store_apart(services: Services, webhook: Webhook) -> None:
    """One webhook; where that does not go, each of its items, and those that do not go are kept aside."""
    try:
        await store(services, [webhook])
        return
    except Exception as error:
        if is_away(error) or not _blames_an_item(error):
            raise
    for number, item in enumerate(webhook.items):
        alone = replace(webhook, items=(item,), envelope=replace(webhook.envelope, id=_part(webhook.envelope, number)))
        try:
            await store(services, [alone])
        except Exception as error:
            if is_away(error) or not _blames_an_item(error):
                raise
            bad = Unreadable(f"it could not be stored ({type(error).__name__})", webhook.envelope.body)
            await store(services, [replace(alone, items=(bad,))])


def _part(envelope: Envelope, number: int) -> uuid.UUID:
    return uuid.uuid5(envelope.id, str(number))


async def _write(conn: AsyncConnection, services: Services, webhooks: Sequence[Webhook]) -> None:
    """Messages, then statuses, then what could not be read: rows are locked in the same order by every writer."""
    arrived: list[tuple[str, Inbound]] = []
    statuses: list[tuple[str, Status]] = []
    aside: list[tuple[str, Unreadable, uuid.UUID]] = []
    for webhook in webhooks:
        name = webhook.envelope.channel
        for number, item in enumerate(webhook.items):
            if isinstance(item, Inbound):
                arrived.append((name, await _labelled(conn, services, name, item)))
            elif isinstance(item, Status):
                statuses.append((name, item))
            else:
                aside.append((name, item, _part(webhook.envelope, number)))
    if arrived:
        await inbox.store_all(conn, services.vault, arrived)
    for name, status in sorted(statuses, key=lambda pair: (pair[0], pair[1].delivery or pair[1].provider_id)):
        failed = status.state == "failed" and status.error
        failure = services.channels[name].failure(status.error) if failed else None
        if failure is not None:
            _log.warning("%s: a part that was taken did not arrive: %s", name, status.error)
        await outbox.record_status(conn, name, status, failure)
    for name, item, row in aside:
        await inbox.keep_aside(conn, services.vault, name, item, row=row)


async def _labelled(conn: AsyncConnection, services: Services, channel: str, item: Inbound) -> Inbound:
    """A choice with its words, where the provider gives none back: in the language of the conversation."""
    if not item.choice or item.text:
        return item
    language = await inbox.language_of(conn, services.vault, channel, item.address)
    settings = services.settings
    try:
        words = render(services.catalog, item.choice, language or settings.default_language, drafts=settings.demo)
    except KeyError:  # none of ours, or no longer
        return item
    return replace(item, text=words.text)
