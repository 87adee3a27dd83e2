"""WhatsApp templates: what Meta lets us send when the person last wrote more than a day ago.

An organisation has its texts approved at Meta and names them in a file of its own; nothing else of ours goes out then.

    - for: advocate            # "advocate": in place of what an advocate writes; or a response key
      name: we_have_an_answer  # as at Meta
      language: en             # as at Meta: en, en_US, fr, pt_BR, zh_CN …
      body: "Hello. We have an answer for you. Write back when it is safe."

A body may hold one placeholder, {{1}} or {{words}}: the advocate's own words take its place.
Source: Meta's pages "Template components", "Utility templates" and "Supported languages" (2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from channels.channel import Part, TemplateCall

ADVOCATE = "advocate"
MAX_BODY = 1024  # characters, with what took the placeholder's place

_NAME = re.compile(r"[a-z0-9_]{1,512}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z]{2}|_[A-Z]{3})?")
_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
# Meta's codes → ours, where they are not the same
_OURS = {"fil": "tl", "zh_CN": "zh-Hans", "zh_TW": "zh-Hant", "zh_HK": "zh-Hant"}


class TemplateError(ValueError):
    """A file of templates that cannot be used, in one sentence."""


@dataclass(frozen=True, slots=True)
class Template:
    """One approved text."""

    stands_for: str  # "advocate", or a response key
    name: str
    language: str  # Meta's code
    body: str

    @property
    def placeholder(self) -> str:
        """The name in the braces, "" without any."""
        found = _PLACEHOLDER.search(self.body)
        return found[1] if found else ""

    @property
    def tag(self) -> str:
        """The language as we write it."""
        return _OURS.get(self.language) or self.language.partition("_")[0]

    def text(self, words: str = "") -> str:
        """What the person reads."""
        return _PLACEHOLDER.sub(lambda _: _line(words), self.body)

    def part(self, words: str = "") -> Part:
        """The same as a part that the channel sends."""
        values = ((self.placeholder, _line(words)),) if self.placeholder else ()
        return Part(self.text(words), template=TemplateCall(self.name, self.language, values))


def load(path: Path, keys: Collection[str]) -> tuple[Template, ...]:
    """The templates of a file; ``keys`` are the response keys there are. Raises TemplateError."""
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TemplateError(f"{path} cannot be read ({type(error).__name__}): write it in YAML, in UTF-8.") from error
    if not isinstance(rows, list):
        raise TemplateError(f"{path} must be a list of templates: see docs/channels/whatsapp.md.")
    found = tuple(_template(row, f"{path}, template {number}", keys) for number, row in enumerate(rows, start=1))
    doubled = len({(template.stands_for, template.tag) for template in found}) < len(found)
    if doubled:
        raise TemplateError(f"{path}: two templates stand for the same in the same language: remove one.")
    return found


def _template(row: object, where: str, keys: Collection[str]) -> Template:
    fields = {"for", "name", "language", "body"}
    if not isinstance(row, dict) or set(row) != fields or not all(isinstance(value, str) for value in row.values()):
        raise TemplateError(f"{where}: give it exactly for, name, language and body, each a text.")
    template = Template(row["for"], row["name"], row["language"], row["body"].strip())
    places = _PLACEHOLDER.findall(template.body)
    if template.stands_for != ADVOCATE and template.stands_for not in keys:
        raise TemplateError(f"{where}: {template.stands_for!r} is no response key; write advocate or one of keys.yml.")
    if not _NAME.fullmatch(template.name) or not _LANGUAGE.fullmatch(template.language):
        raise TemplateError(f"{where}: write name and language as Meta shows them.")
    if not template.body or len(template.body) > MAX_BODY:
        raise TemplateError(f"{where}: the body must have 1 to {MAX_BODY} characters.")
    if places and (template.stands_for != ADVOCATE or len(places) > 1 or places[0] not in ("1", "words")):
        raise TemplateError(f"{where}: one placeholder at most, {{{{1}}}} or {{{{words}}}}, and only for advocate.")
    return template


def find(templates: Iterable[Template], stands_for: str, languages: Sequence[str]) -> Template | None:
    """The template in the first of the languages that has one."""
    known = {template.tag: template for template in templates if template.stands_for == stands_for}
    return next((known[tag] for tag in languages if tag in known), None)


def _line(words: str) -> str:
    """Meta takes no line breaks, no tabs and no row of spaces in a placeholder's place."""
    return " ".join(words.split())
