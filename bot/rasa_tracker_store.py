"""The engine's memory of a conversation: sealed, short, and without the words.

Rules look at intents and slots, never at what was written; so the words are dropped before anything is stored,
and what remains is sealed. Runs in the engine's environment only (Python 3.10), and imports nothing of the
gateway but the vault.
"""

import asyncio
import copy
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import psycopg2
import structlog
from rasa.core.brokers.broker import EventBroker
from rasa.core.tracker_store import TrackerStore
from rasa.shared.core.domain import Domain
from rasa.shared.core.trackers import DialogueStateTracker
from rasa.shared.exceptions import RasaException

from bot.vault import Vault, VaultError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

KEPT_EVENTS = 200
CONNECT_SECONDS = 3
REST_SECONDS = 5  # after a failure the database is left alone this long, so that turns do not queue up for it
LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)

SAVE = """
INSERT INTO engine_trackers (conversation, sealed) VALUES (%s, %s)
ON CONFLICT (conversation) DO UPDATE SET sealed = excluded.sealed, updated_at = now()
"""
RETRIEVE = "SELECT sealed FROM engine_trackers WHERE conversation = %s"
DELETE = "DELETE FROM engine_trackers WHERE conversation = %s"
KEYS = "SELECT conversation FROM engine_trackers ORDER BY conversation"


class DatabaseResting(Exception):
    """The database failed a moment ago and is not asked again yet."""


class EncryptedTrackerStore(TrackerStore):
    """Trackers in `engine_trackers`, one sealed row a conversation.

    While the database is down every turn is still answered, from an empty tracker.
    """

    def __init__(
        self, domain: Domain | None, event_broker: EventBroker | None = None, **kwargs: dict[str, Any]
    ) -> None:
        """Reads the database's address and the data key from the environment; refuses to start without them."""
        super().__init__(domain, event_broker)
        self._database = Database(needed("PASSERELLE_ENGINE_DATABASE_URL"))
        try:
            self._vault = Vault.from_key(needed("PASSERELLE_DATA_KEY"))
        except VaultError as error:
            raise RasaException(f"PASSERELLE_DATA_KEY: {error}") from None
        silence_words()

    async def save(self, tracker: DialogueStateTracker) -> None:
        """Seals the tracker's latest events."""
        sealed = self._vault.seal_json(kept_events(tracker), context=f"tracker:{tracker.sender_id}")
        await self._ask("save", lambda cursor: cursor.execute(SAVE, (tracker.sender_id, sealed)))

    async def retrieve(self, sender_id: str) -> DialogueStateTracker | None:
        """The stored tracker; None if there is none, if it does not open, or if the database is down."""
        row = await self._ask("retrieve", lambda cursor: fetch_one(cursor, RETRIEVE, (sender_id,)))
        if not row:
            return None
        try:
            events = self._vault.open_json(row[0], context=f"tracker:{sender_id}")
            return DialogueStateTracker.from_dict(sender_id, events, self.domain.slots)
        except Exception as error:  # a tracker of another key or release must not stop the conversation
            logger.error("A stored tracker could not be opened (%s); starting anew.", type(error).__name__)
            return None

    async def keys(self) -> Iterable[str]:
        """The conversations that have a tracker."""
        rows = await self._ask("keys", lambda cursor: fetch_all(cursor, KEYS))
        return [row[0] for row in rows or []]

    async def delete(self, sender_id: str) -> None:
        """Forgets a conversation."""
        await self._ask("delete", lambda cursor: cursor.execute(DELETE, (sender_id,)))

    async def _ask(self, what: str, question: Callable[[Any], Result]) -> Result | None:
        """A question to the database, off the event loop; None, and a line in the log, if it can't answer."""
        try:
            return await asyncio.to_thread(self._database.run, question)
        except DatabaseResting:
            return None
        except (psycopg2.Error, ValueError) as error:
            # The error's own message may quote values: only its kind is logged.
            logger.error("The tracker store could not %s: %s.", what, type(error).__name__)
            return None


class Database:
    """One connection, opened at the first use and again when it was lost."""

    def __init__(self, url: str) -> None:
        """Connects to nothing yet."""
        self._url = url
        self._lock = threading.Lock()
        self._connection: Any = None
        self._failed_at = -REST_SECONDS

    def run(self, question: Callable[[Any], Result]) -> Result:
        """A question in a transaction of its own; a connection that turns out dead is replaced once."""
        with self._lock:
            if time.monotonic() < self._failed_at + REST_SECONDS:
                raise DatabaseResting
            try:
                return self._run_twice(question)
            except LOST:
                self._failed_at = time.monotonic()
                raise

    def _run_twice(self, question: Callable[[Any], Result]) -> Result:
        if self._connection is not None:
            try:
                return self._run_once(question)
            except LOST:
                self._close()
        self._connection = psycopg2.connect(
            self._url, connect_timeout=CONNECT_SECONDS, application_name="passerelle engine"
        )
        try:
            return self._run_once(question)
        except LOST:
            self._close()
            raise

    def _run_once(self, question: Callable[[Any], Result]) -> Result:
        with self._connection, self._connection.cursor() as cursor:
            return question(cursor)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if not connection.closed:
            connection.close()


def fetch_one(cursor: Any, query: str, values: tuple) -> Any:
    """The first row, or None."""
    cursor.execute(query, values)
    return cursor.fetchone()


def fetch_all(cursor: Any, query: str) -> list[Any]:
    """All rows."""
    cursor.execute(query)
    return cursor.fetchall()


def needed(name: str) -> str:
    """A setting that the engine can't do without."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise RasaException(f"The setting {name} is missing: the engine keeps no conversation without it.")
    return value.replace("postgresql+psycopg://", "postgresql://", 1)


def kept_events(tracker: DialogueStateTracker) -> list[dict[str, Any]]:
    """The latest events as plain data without the words; slots that were set before them come first."""
    events = [wordless(event.as_dict()) for event in tracker.events]
    events = [event for event in events if event.get("name") != "session_started_metadata"]
    older = {event["name"]: event for event in events[:-KEPT_EVENTS] if event["event"] == "slot"}
    return [*older.values(), *events[-KEPT_EVENTS:]]


def wordless(event: dict[str, Any]) -> dict[str, Any]:
    """An event without what the person wrote and what the gateway sent along: intent and entities are enough."""
    if event.get("event") != "user":
        return event
    event = copy.copy(event)
    event["text"], event["metadata"] = "", {}
    parsed = event.get("parse_data") or {}
    event["parse_data"] = {key: parsed[key] for key in ("intent", "entities") if key in parsed} | {"text": ""}
    return event


def silence_words() -> None:
    """Keeps what people wrote out of the engine's log, whatever its level.

    Rasa logs a message's text when a turn fails, and its structured tracebacks show local variables. So structured
    events keep their name and harmless kinds of values only, and tracebacks become the error's type.
    """
    warnings.showwarning = show_no_words
    processors = structlog.get_config()["processors"]
    if keep_no_words not in processors:
        processors.insert(0, keep_no_words)  # in place: loggers that are in use already hold this list
    for name in (None, *logging.root.manager.loggerDict):
        for handler in logging.getLogger(name).handlers:
            if not any(isinstance(known, WordlessFilter) for known in handler.filters):
                handler.addFilter(WordlessFilter())


def show_no_words(_message: Any, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    """A Python warning without its message: Rasa warns of a text that looks like a command by quoting it."""
    logger.warning("%s at %s:%d", category.__name__, os.path.basename(filename), lineno)


def keep_no_words(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """A structlog processor: the event's name, numbers, and the type of an error."""
    kept = {key: value for key, value in event.items() if key == "event" or isinstance(value, (bool, int, float))}
    kept.pop("exc_info", None)
    error = event.get("exc_info")
    if error:
        kept["error"] = error_name(error)
    return kept


class WordlessFilter(logging.Filter):
    """For plain loggers: no debug lines, which quote messages and slots, and no traceback's text."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written, after its traceback was shortened to the error's type."""
        if record.exc_info:
            record.msg, record.args = f"{record.name} failed: {error_name(record.exc_info)}", ()
            record.exc_info, record.exc_text = None, None
        return record.levelno > logging.DEBUG


def error_name(error: Any) -> str:
    """The type of an error in the forms that loggers accept it, and where it was raised."""
    if error is True:
        error = sys.exc_info()
    if isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    kind, _, trace = error if isinstance(error, tuple) else (None, None, None)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    return f"{kind.__name__ if kind else 'unknown'}{where}"
