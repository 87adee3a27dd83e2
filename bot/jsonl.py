"""`passerelle screen` and `passerelle language`: JSON lines in, JSON lines out, one answer a line, in order."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from bot.settings import Settings
from nlu import language, risk
from nlu.encoder import E5Encoder

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def screen(given: Settings) -> int:
    """What the risk screen finds in each text; the exit code."""
    encoder = E5Encoder()
    loaded = risk.load(encoder)
    detector = language.load(given.language_detector)

    def answer(item: dict[str, Any]) -> dict[str, Any]:
        history = [str(text) for text in item.get("history") or ()]
        found = loaded.screen(item["text"], history=history)
        return {
            "id": item.get("id"),
            "language": detector.detect(item["text"]).tag,
            "escalate": found.escalate,
            "severity": found.severity,
            "indicators": list(found.indicators),
            "evidence": [
                {"indicator": e.indicator, "start": e.start, "end": e.end, "source": e.source} for e in found.evidence
            ],
            "score": found.score,
        }

    return each_line(answer)


def detect(given: Settings) -> int:
    """The language of each text; the exit code."""
    detector = language.load(given.language_detector)

    def answer(item: dict[str, Any]) -> dict[str, Any]:
        found = detector.detect(item["text"])
        return {"id": item.get("id"), "language": found.tag, "confidence": found.confidence, "script": found.script}

    return each_line(answer)


def each_line(answer: Answer) -> int:
    """Lines of stdin through a function; a bad line is named, the others go on."""
    failed = 0
    progress = Progress(sys.stderr, shown=_is_terminal(sys.stderr) and not _is_terminal(sys.stdout))
    try:
        for number, line in _lines(sys.stdin):
            try:
                told = json.dumps(answer(_item(line)), ensure_ascii=True, allow_nan=False)
            except Exception as error:  # whatever is wrong with one line, thousands may follow it
                failed += 1
                progress.clear()
                print(f"passerelle: line {number} is left out: {_reason(error)}", file=sys.stderr)
                continue
            print(told, flush=True)
            progress.step()
    finally:
        progress.clear()
    return 1 if failed else 0


def _item(line: str) -> dict[str, Any]:
    """One line's object. Raises ValueError or RecursionError."""
    try:
        item = json.loads(line)
    except json.JSONDecodeError as error:  # its own sentence counts lines of its own
        raise ValueError(f"it is not JSON ({error.msg.lower()} at character {error.pos + 1})") from error
    if not isinstance(item, dict) or not isinstance(item.get("text"), str):
        raise ValueError('it must be an object with "id" and "text"')
    if not isinstance(item.get("history") or [], list):
        raise ValueError('"history" must be a list of texts')
    return item


def _reason(error: Exception) -> str:
    """What a line is left out for; the words of an error that nobody foresaw may be the person's, and are not told."""
    return str(error) if isinstance(error, ValueError | RecursionError) else type(error).__name__


def _lines(file: TextIO | None) -> Iterable[tuple[int, str]]:
    """Lines that are not empty, with their numbers in the file; none where stdin was closed."""
    if file is None:
        return ()
    file.reconfigure(encoding="utf-8-sig", errors="surrogateescape")  # type: ignore[attr-defined]
    return ((number, line) for number, line in enumerate(file, 1) if line.strip())


def _is_terminal(stream: TextIO | None) -> bool:
    """None stands for a stream that was closed before we began."""
    return stream is not None and stream.isatty()


class Progress:
    """One line on a terminal that is written over: how many messages, and how many a second."""

    EVERY = 0.2  # seconds: a terminal that is written to for every message costs more than the message

    def __init__(self, stream: TextIO, *, shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._shown = shown
        self._clock = clock
        self._started = self._told = clock()
        self._done = 0
        self._width = 0  # of what stands there now

    def step(self) -> None:
        """One more message is done."""
        self._done += 1
        now = self._clock()
        if not self._shown or now - self._told < self.EVERY:
            return
        self._told = now
        line = f"{self._done} messages, {self._done / (now - self._started):.0f} a second"
        self._write("\r" + line.ljust(self._width))
        self._width = max(self._width, len(line))

    def clear(self) -> None:
        """Leaves the line as it was found."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal was closed: the answers still have a reader
            self._stream.write(text)
            self._stream.flush()
