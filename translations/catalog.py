"""The catalogs: what the assistant and the screens say, one gettext file a language, English the source.

An entry with gettext's *fuzzy* flag is a draft: nobody but its writer has read it yet. Facts about each
response key (context, safety, limits, choices offered) stand in ``catalog/keys.yml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from babel.messages.pofile import PoFileError, read_po

FOLDER = Path(__file__).parent / "catalog"
SOURCE = "en"


class CatalogError(ValueError):
    """A catalog that cannot be used; names the file and says what to do."""


@dataclass(frozen=True, slots=True)
class Text:
    """One response in one language."""

    text: str
    reviewed: bool


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a response key in every language."""

    context: str
    safety: bool
    max_segments: int
    placeholders: tuple[str, ...]
    choices: tuple[str, ...]
    revealing: bool = False  # would give away, to whoever reads along, what the person asked for


@dataclass(frozen=True, slots=True)
class Catalog:
    """``texts``: language tag → response key → Text. ``keys``: response key → Key."""

    texts: dict[str, dict[str, Text]]
    keys: dict[str, Key]

    @property
    def languages(self) -> tuple[str, ...]:
        """Tags with a catalog, the two official languages first."""
        return tuple(sorted(self.texts, key=lambda tag: (tag != "en", tag != "fr", tag)))


def load(folder: Path = FOLDER) -> Catalog:
    """Every catalog of the folder. Raises CatalogError for a file that cannot be read or lacks the source."""
    texts = {path.stem: _read(path) for path in sorted(folder.glob("*.po"))}
    if SOURCE not in texts:
        raise CatalogError(f"{folder} holds no {SOURCE}.po: the source texts are missing.")
    return Catalog(texts=texts, keys=read_keys(folder / "keys.yml"))


def _read(path: Path) -> dict[str, Text]:
    try:
        with path.open("rb") as file:
            found = read_po(file, locale=None, abort_invalid=True)
    except (PoFileError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path.name} is not a readable gettext catalog ({error}): correct it.") from error
    return {
        str(message.context): Text(str(message.string), reviewed=not message.fuzzy)
        for message in found
        if message.context and message.string
    }


def read_keys(path: Path) -> dict[str, Key]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        name: Key(
            context=facts["context"],
            safety=bool(facts.get("safety")),
            max_segments=int(facts.get("max_segments", 3)),
            placeholders=tuple(facts.get("placeholders") or ()),
            choices=tuple(facts.get("choices") or ()),
            revealing=bool(facts.get("revealing")),
        )
        for name, facts in (document.get("keys") or document).items()
    }
