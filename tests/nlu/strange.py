"""Texts that no reader of messages may stumble over, and a strategy for more of them."""

from hypothesis import strategies as st

STRANGE = {
    "empty": "",
    "space": "   \n\t ",
    "nul": "help\x00me",
    "only nul": "\x00" * 20,
    "lone surrogate": "help\ud800me",
    "only surrogates": "\udfff" * 50,
    "100 kB": "word " * 20_000,
    "100 kB without a space": "x" * 100_000,
    "10 000 emoji": "😭" * 10_000,
    "family emoji": "👨‍👩‍👧‍👦" * 100,
    "combining marks": "e" + "\u0301" * 5_000,
    "the longest ligature": "\ufdfa" * 1_000,
    "bidi": "\u202ehelp\u202c \u2066me\u2069 \u200f",
    "zero-width": "\u200b\u200c\u200d\u2060\ufeff" * 100,
    "only punctuation": "?!.…" * 500,
    "line ends": "\r\n" * 2_000,
    "outside every plane in use": "\U0010ffff" * 300,
    "private use": "\ue000" * 300,
}

any_text = st.text(st.characters(codec=None), max_size=80)  # lone surrogates too
# Where normalisation has most to do: look-alikes, fillers, halves of letters, leetspeak.
crafted_text = st.text(
    "aeeehlp n013$@.-_' éÉаеорκ각\u1100\u1161\u11a8ㅋ\u0301\u200b\u202eﬁßकि़ো😭\x00\ud800", max_size=60
)
texts = any_text | crafted_text
