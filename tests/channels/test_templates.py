"""Files of WhatsApp templates: what is taken, what is refused in one sentence, and what is sent of them."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from channels.templates import TemplateError, find, load
from tests.bot import graph

KEYS = ("handoff.accepted", "handoff.closed")
GOOD = """
- for: advocate
  name: we_have_an_answer
  language: en_US
  body: "We have an answer for you.  Write back."
- {for: advocate, name: an_answer, language: zh_CN, body: "回复：{{words}}。"}
- {for: advocate, name: an_answer, language: es, body: "Respuesta: {{1}}."}
- {for: handoff.closed, name: closed, language: fil, body: "Tapos na."}
"""


def made(folder: Path, text: str) -> Path:
    path = folder / "templates.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_template_is_found_by_what_it_stands_for_and_by_language(tmp_path: Path) -> None:
    templates = load(made(tmp_path, GOOD), KEYS)
    for stands_for, languages, name in (
        ("advocate", ["en", "fr"], "we_have_an_answer"),
        ("advocate", ["fr", "zh-Hans"], "an_answer"),
        ("handoff.closed", ["tl"], "closed"),
    ):
        found = find(templates, stands_for, languages)
        assert found is not None
        assert found.name == name
    assert find(templates, "handoff.closed", ["en"]) is None
    assert find(templates, "handoff.accepted", ["tl"]) is None


async def test_what_meta_is_asked_to_send(tmp_path: Path) -> None:
    """On one line, for Meta takes no other; a dollar sign and a backslash mean nothing."""
    fixed, named, counted, _ = load(made(tmp_path, GOOD), KEYS)
    assert fixed.part("never used").text == "We have an answer for you.  Write back."
    assert named.part("a\n b\t\\1 $1").text == "回复：a b \\1 $1。"
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(200, json={"messages": [{"id": "wamid.1"}]})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        for part in (fixed.part("x"), named.part("a\nb"), counted.part("c")):
            await graph.channel(client).send(f"{graph.NUMBER}:{graph.PERSON}", part, delivery="d1")
    assert {row["type"] for row in asked} == {"template"}
    assert [row["template"] for row in asked] == [
        {"name": "we_have_an_answer", "language": {"code": "en_US"}},
        {
            "name": "an_answer",
            "language": {"code": "zh_CN"},
            "components": [
                {"type": "body", "parameters": [{"type": "text", "text": "a b", "parameter_name": "words"}]}
            ],
        },
        {
            "name": "an_answer",
            "language": {"code": "es"},
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "c"}]}],
        },
    ]


ROW = "- {for: %s, name: %s, language: %s, body: %s}\n"
BAD = {
    "no list": ("a: b", "must be a list"),
    "no YAML": ("{", "cannot be read"),
    "a field too many": ('- {for: advocate, name: a, language: en, body: "x", more: "y"}', "give it exactly"),
    "a number": (ROW % ("advocate", "a", "en", "7"), "give it exactly"),
    "no such key": (ROW % ("handoff.nothing", "a", "en", "x"), "no response key"),
    "a name with capitals": (ROW % ("advocate", "A", "en", "x"), "as Meta shows them"),
    "a language of ours": (ROW % ("advocate", "a", "zh-Hans", "x"), "as Meta shows them"),
    "no text": (ROW % ("advocate", "a", "en", "' '"), "1 to 1024"),
    "two places": (ROW % ("advocate", "a", "en", "'{{1}} {{2}}'"), "one placeholder at most"),
    "another place": (ROW % ("advocate", "a", "en", "'{{name}}'"), "one placeholder at most"),
    "a place in a fixed text": (ROW % ("handoff.closed", "a", "en", "'{{1}}'"), "only for advocate"),
    "twice": ((ROW % ("advocate", "a", "en", "x")) + ROW % ("advocate", "b", "en_GB", "y"), "the same language"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD.keys())
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said) as caught:
        load(made(tmp_path, text), KEYS)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="cannot be read"):
        load(tmp_path / "nothing.yml", KEYS)
