"""No secret, number or mail address in a line of the log; our own ids stay."""

from __future__ import annotations

import logging

import pytest

from bot.logs import RedactingFormatter, redact

SECRET = "AAFzeb-ra_crossing1234567890abcdefg"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"POST https://api.telegram.org/bot1234567890:{SECRET}/sendMessage", "https://api.telegram.org/bot<token>/"),
        (f"POST https://api.telegram.org/bot12345:{SECRET}/setWebhook", "bot<token>/setWebhook"),
        (f"The token `1234567890:{SECRET}` was rejected by the server.", "The token `<token>`"),
        (f"Authorization: Bearer {SECRET}", "<token>"),
        (f"{{'authorization': 'Bearer {SECRET}'}}", "<token>"),
        (f"sent with Basic {SECRET}==", "Basic <token>"),
        (f"GET /webhooks/whatsapp?hub.verify_token={SECRET}", "hub.verify_token=<hidden>"),
        ("from +1 (514) 555-0123", "from <number>"),
        ("to ana.b@example.org", "to <address>"),
    ],
)
def test_a_line_shows_no_secret_and_no_address(line: str, shown: str) -> None:
    assert shown in redact(line)
    for hidden in ("zeb", "crossing", "514", "ana", "1234567890"):
        assert hidden not in redact(line)


def test_our_own_ids_and_ordinary_words_stay() -> None:
    line = "conversation 01234567-89ab-4cde-8f01-23456789abcd: the basic idea, port 8000: open"
    assert redact(line) == line


def test_tracebacks_are_redacted_too() -> None:
    try:
        raise ValueError(f"https://api.telegram.org/bot1234567890:{SECRET}/getMe")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "it failed", (), (type(error), error, None))
    line = RedactingFormatter("%(asctime)s %(message)s", "%H:%M:%S").format(record)
    assert "bot<token>/getMe" in line
    assert SECRET not in line
