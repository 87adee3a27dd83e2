"""From a response key to what a person reads: the language, the reviewed text, the choices offered.

Production serves reviewed texts only. What a language lacks comes from the nearest one that has it, and
``Rendered.interpreter`` says that the person should be offered somebody who speaks theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from translations.catalog import SOURCE, Catalog, Text

# Where to look when a language has no text of its own. A romanised language is read in its own script by
# many who type it, and is nearer than English; Haitian schools teach in French.
NEAREST = {
    "pa-Latn": "pa",
    "hi-Latn": "hi",
    "ur-Latn": "ur",
    "ar-Latn": "ar",
    "zh-Latn": "zh-Hans",
    "bn-Latn": "bn",
    "ta-Latn": "ta",
    "zh-Hant": "zh-Hans",
    "zh": "zh-Hans",
    "ht": "fr",
}
# No machine-written text is served in these; people are addressed in both official languages.
INDIGENOUS = frozenset({"iu", "cr", "oj", "ikt", "moh", "mic", "dene"})
RIGHT_TO_LEFT = frozenset({"ar", "ur", "fa"})

OWN_NAMES = {
    "en": "English",
    "fr": "Français",
    "es": "Español",
    "pt": "Português",
    "tl": "Tagalog",
    "pa": "ਪੰਜਾਬੀ",
    "hi": "हिन्दी",
    "ur": "اردو",
    "zh-Hans": "简体中文",
    "zh-Hant": "繁體中文",
    "ar": "العربية",
    "uk": "Українська",
    "vi": "Tiếng Việt",
    "ro": "Română",
    "ko": "한국어",
}
ENGLISH_NAMES = {
    "en": "English",
    "fr": "French",
    "es": "Spanish",
    "pt": "Portuguese",
    "tl": "Tagalog",
    "pa": "Punjabi",
    "hi": "Hindi",
    "ur": "Urdu",
    "zh-Hans": "Chinese (simplified)",
    "zh-Hant": "Chinese (traditional)",
    "ar": "Arabic",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "ro": "Romanian",
    "ko": "Korean",
    "bn": "Bengali",
    "ta": "Tamil",
    "fa": "Persian",
    "ru": "Russian",
    "hu": "Hungarian",
    "ht": "Haitian Creole",
    "am": "Amharic",
    "ti": "Tigrinya",
    "so": "Somali",
    "iu": "Inuktitut",
    "cr": "Cree",
    "oj": "Ojibwe",
    "zh": "Chinese",
    "ja": "Japanese",
    "el": "Greek",
    "he": "Hebrew",
    "th": "Thai",
    "gu": "Gujarati",
    "te": "Telugu",
    "kn": "Kannada",
    "ml": "Malayalam",
    "si": "Sinhala",
    "ka": "Georgian",
    "hy": "Armenian",
    "km": "Khmer",
    "my": "Burmese",
    "lo": "Lao",
    "bo": "Tibetan",
    "und": "not known yet",
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """One response ready for a channel. ``choices``: (id, label) pairs."""

    key: str
    text: str
    language: str
    drafted: bool
    interpreter: bool
    choices: tuple[tuple[str, str], ...]


def language_name(tag: str | None) -> str:
    """A language's English name for staff: "Punjabi (typed in Latin letters)" for pa-Latn."""
    if not tag:
        return ENGLISH_NAMES["und"]
    if tag.endswith("-Latn"):
        return f"{ENGLISH_NAMES.get(tag[:-5], tag[:-5])} (in Latin letters)"
    return ENGLISH_NAMES.get(tag, tag)


def direction(tag: str | None) -> str:
    """The writing direction: "rtl" or "ltr"."""
    return "rtl" if tag in RIGHT_TO_LEFT else "ltr"


def chain(language: str) -> tuple[str, ...]:
    """The languages to look in, nearest first, the source last."""
    tags = [language]
    while tags[-1] in NEAREST:
        tags.append(NEAREST[tags[-1]])
    return (*dict.fromkeys(tags), *((SOURCE,) if SOURCE not in tags else ()))


def render(
    catalog: Catalog, key: str, language: str, *, drafts: bool, slots: Mapping[str, str] | None = None
) -> Rendered:
    """The text of a response key in the nearest language that has it. Raises KeyError for an unknown key."""
    served, found = _find(catalog, key, language, drafts=drafts)
    text = _fill(found.text, slots or {})
    if language in INDIGENOUS:
        _, french = _find(catalog, key, "fr", drafts=drafts)
        text = text if french is found else f"{text}\n\n{_fill(french.text, slots or {})}"
    offered = catalog.keys[key].choices if key in catalog.keys else ()
    return Rendered(
        key=key,
        text=text,
        language=served,
        drafted=not found.reviewed,
        interpreter=served.split("-")[0] != language.split("-")[0],
        choices=tuple((choice, _find(catalog, choice, language, drafts=drafts)[1].text) for choice in offered),
    )


def _find(catalog: Catalog, key: str, language: str, *, drafts: bool) -> tuple[str, Text]:
    for tag in chain(language):
        found = catalog.texts.get(tag, {}).get(key)
        if found and (drafts or found.reviewed):
            return tag, found
    raise KeyError(f"no text for {key}")


def _fill(text: str, slots: Mapping[str, str]) -> str:
    """Puts slots in; by plain replacement, so that a slot with braces in it is only ever text."""
    for name, value in slots.items():
        text = text.replace("{" + name + "}", value)
    return text
