"""SMS segments: how many septets or UCS-2 units a text costs, and where it may be cut.

Source: 3GPP TS 23.038 (the GSM 7-bit default alphabet and its extension table); a concatenated message
spends a six-byte header per part, hence 153 septets or 67 UCS-2 units instead of 160 or 70.
"""

from __future__ import annotations

from dataclasses import dataclass

GSM7_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM7_EXTENDED = frozenset("\f^{}\\[~]|€")  # each costs an escape septet and its own

SINGLE = {"GSM-7": 160, "UCS-2": 70}
PART = {"GSM-7": 153, "UCS-2": 67}


@dataclass(frozen=True, slots=True)
class Segments:
    """How a text travels by SMS: its encoding, its cost in units, and the parts it becomes."""

    encoding: str  # "GSM-7" or "UCS-2"
    units: int  # septets, or UTF-16 code units
    parts: tuple[str, ...]


def encoding_of(text: str) -> str:
    """ "GSM-7" when every character is in the GSM alphabet, else "UCS-2"."""
    return "GSM-7" if all(c in GSM7_BASIC or c in GSM7_EXTENDED for c in text) else "UCS-2"


def cost(char: str, encoding: str) -> int:
    """Units one character takes: 2 for an extended septet or a character outside the BMP."""
    if encoding == "GSM-7":
        return 2 if char in GSM7_EXTENDED else 1
    return 2 if ord(char) > 0xFFFF else 1


def segment(text: str) -> Segments:
    """Cut a text as the network does; no pair (escape and character, or surrogates) straddles two parts."""
    encoding = encoding_of(text)
    units = sum(cost(char, encoding) for char in text)
    if units <= SINGLE[encoding]:
        return Segments(encoding, units, (text,) if text else ())
    parts: list[str] = []
    current: list[str] = []
    room = PART[encoding]
    for char in text:
        need = cost(char, encoding)
        if need > room:
            parts.append("".join(current))
            current, room = [], PART[encoding]
        current.append(char)
        room -= need
    parts.append("".join(current))
    return Segments(encoding, units, tuple(parts))
