"""Keywords of Canadian texting practice: the whole message, in any case, with or without accents.

"make him stop" is not STOP. The answer goes out in the keyword's language. In messengers words of this kind are
commands, with a slash: /stop.
Source: Canadian Common Short Code guidelines of the CWTA (STOP/ARRET, HELP/AIDE, INFO in both languages).
"""

from __future__ import annotations

import unicodedata

_WORDS = {
    "stop": ("stop", "en"),
    "stopall": ("stop", "en"),
    "unsubscribe": ("stop", "en"),
    "arret": ("stop", "fr"),
    "arreter": ("stop", "fr"),
    "desabonner": ("stop", "fr"),
    "start": ("start", "en"),
    "unstop": ("start", "en"),
    "debut": ("start", "fr"),
    "help": ("help", "en"),
    "aide": ("help", "fr"),
    "info": ("info", "en"),
    # the words by which our own HELP and INFO answers offer a person
    "human": ("human", "en"),
    "humain": ("human", "fr"),
    "persona": ("human", "es"),
    "tao": ("human", "tl"),
    "pessoa": ("human", "pt"),
    "om": ("human", "ro"),
    "nguoi": ("human", "vi"),
    "людина": ("human", "uk"),
    "इंसान": ("human", "hi"),
    "ਇਨਸਾਨ": ("human", "pa"),
    "انسان": ("human", "ur"),
    "شخص": ("human", "ar"),
    "真人": ("human", "zh-Hans"),
    "사람": ("human", "ko"),
}


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    kept = "".join(c for c in decomposed if not 0x0300 <= ord(c) <= 0x036F)
    return unicodedata.normalize("NFC", kept).strip(" \t\r\n.!?'\"“”«»।。！\u00a0\u200b")


_BY_PLAIN = {_plain(word): meaning for word, meaning in _WORDS.items()}


def keyword(text: str) -> tuple[str, str] | None:
    """(action, language) when the whole message is a keyword, else None."""
    if len(text) > 40:
        return None
    return _BY_PLAIN.get(_plain(text.removeprefix("/")))
