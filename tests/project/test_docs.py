"""The documentation says what the code does: commands, settings, codes, indicators, texts, links."""

import argparse
import csv
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.cli import make_parser
from bot.settings import KNOWN, PREFIX, ROOT
from channels import more
from channels.keywords import _WORDS as KEYWORDS
from nlu.indicators import SEVERITY_OF
from translations import catalog

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
DOCS = ROOT / "docs"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows(page: str) -> Iterator[list[str]]:
    """The cells of every table row of a page."""
    for line in read(page).splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def code(page: str) -> list[str]:
    """What stands in backticks, and the lines of code blocks."""
    fenced = re.findall(r"^ *```\w*\n(.*?)^ *```", page, flags=re.M | re.S)
    indented = re.findall(r"^    (\S.*)$", page, flags=re.M)
    spans = re.findall(r"``(.+?)``|`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", page, flags=re.M | re.S))
    return [line.strip() for block in fenced for line in block.splitlines()] + indented + [a or b for a, b in spans]


# -- commands


def actions(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def commands() -> set[str]:
    """Every command, with its action where it has some: "up", "staff add", "directory import"."""
    found = set()
    for name, parser in actions(make_parser()).items():
        choices = [c for a in parser._actions if not a.option_strings for c in (a.choices or ())]
        found |= {f"{name} {choice}" for choice in choices} or {name}
    return found


def documented_lines() -> list[str]:
    """Command lines in code blocks, without the prompt and the folder."""
    found = []
    for name in ("README.md", "docs/operator.md"):
        for line in code(read(name)):
            line = line.removeprefix("$ ").removeprefix(".venv/bin/")
            if line.startswith("passerelle "):
                found.append(line)
    return found


def test_every_command_is_documented() -> None:
    said = {" ".join(line.split()[1:3]) for line in documented_lines()}
    said |= {line.split()[1] for line in documented_lines()}
    assert commands() - said == set()


def test_every_command_is_in_the_readme() -> None:
    table = [cells[0] for cells in rows("README.md")]
    missing = [name for name in actions(make_parser()) if not any(f"`passerelle {name}" in cell for cell in table)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_a_command_that_does_not_exist(page: Path) -> None:
    known = actions(make_parser())
    for text in code(page.read_text(encoding="utf-8")):
        for name in re.findall(r"\bpasserelle ([a-z]+)", text):
            assert name in known, text


def test_documented_command_lines_parse() -> None:
    lines = [line for line in read("docs/operator.md").splitlines() if line.startswith("passerelle ")]
    assert len(lines) >= len(commands())
    for line in lines:
        make_parser().parse_args(shlex.split(line)[1:])


def test_documented_options_exist() -> None:
    known = set()
    parsers = [make_parser()]
    while parsers:
        parser = parsers.pop()
        known |= {option for action in parser._actions for option in action.option_strings}
        parsers += actions(parser).values()
    for line in documented_lines():
        assert set(re.findall(r"(?<![\w-])--[a-z]+", line)) <= known, line


def test_make_targets_in_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), flags=re.M))
    said = {
        name for page in PAGES for line in code(page.read_text("utf-8")) for name in re.findall(r"^make (\S+)", line)
    }
    assert said
    assert said - targets == set()


# -- settings


def documented_settings() -> list[str]:
    """On the operator's page; those of a channel that is only a module, on its own page."""
    found = [m[1] for cells in rows("docs/operator.md") if (m := re.fullmatch(r"`([A-Z][A-Z_]+)`", cells[0]))]
    return found + [
        name for module in more.MODULES for name in module.SETTINGS if f"`{PREFIX}{name}`" in channel_page(module.NAME)
    ]


def channel_page(name: str) -> str:
    return read(f"docs/channels/{name}.md")


def test_every_setting_is_documented_once_and_no_other() -> None:
    assert sorted(documented_settings()) == sorted(KNOWN)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_named_on_a_page_exist(page: Path) -> None:
    named = re.findall(rf"{PREFIX}([A-Z][A-Z_]*[A-Z])", page.read_text(encoding="utf-8"))
    fictitious = {"PIGEON_TOKEN", "PIGEON_SECRET"} if page.name == "new-channel.md" else set()
    assert set(named) - set(KNOWN) - fictitious == set()


@pytest.mark.parametrize(
    ("sentence", "module"),
    [
        ("The database is of a newer release than this program", "bot/database.py"),
        ("is not the key this database was made with: nothing in it could be read.", "bot/database.py"),
        ("The database cannot be reached (", "bot/database.py"),
        ("start it, or correct PASSERELLE_DATABASE_URL.", "bot/database.py"),
        ("The embedded PostgreSQL in ", "bot/embedded.py"),
        ("Another Passerelle already runs on the data in ", "bot/embedded.py"),
        ("PASSERELLE_PORT (and PASSERELLE_VAR_DIR for a second Passerelle).", "bot/supervisor.py"),
        ("! the database stopped; it is started again", "bot/supervisor.py"),
        ("`passerelle up` starts the embedded one again within a minute.", "bot/doctor.py"),
        ("cannot be written (", "bot/settings.py"),
        ("no Python 3.11, 3.12 or 3.13 found.", "scripts/setup.sh"),
        ("no Python 3.10 for Rasa.", "scripts/setup.sh"),
        ("The engine's environment .venv-rasa is missing: run `make setup`.", "bot/cli.py"),
        ("run `passerelle train`.", "bot/cli.py"),
        ("start it with `passerelle up`, or set PASSERELLE_PORT.", "bot/say.py"),
    ],
)
def test_error_sentences_are_quoted_as_the_code_says_them(sentence: str, module: str) -> None:
    assert sentence in read("docs/operator.md")
    assert sentence in read(module).replace('"\n                "', "")


# -- channels, indicators, words


def test_every_twilio_code_is_documented_with_its_action() -> None:
    with (ROOT / "channels" / "errors" / "twilio.csv").open(encoding="utf-8", newline="") as file:
        known = {(row["code"], row["action"], row["meaning"]) for row in csv.DictReader(file)}
    assert {tuple(cells) for cells in rows("docs/channels/sms.md") if cells[0].isdigit() and len(cells) == 3} == known


def test_every_whatsapp_code_is_documented_with_its_action() -> None:
    with (ROOT / "channels" / "errors" / "whatsapp.csv").open(encoding="utf-8", newline="") as file:
        known = {(row["code"], row["action"], row["meaning"]) for row in csv.DictReader(file)}
    assert {
        tuple(cells) for cells in rows("docs/channels/whatsapp.md") if cells[0][:1].isdigit() and len(cells) == 3
    } == known


def test_every_telegram_code_is_documented_with_its_action() -> None:
    with (ROOT / "channels" / "errors" / "telegram.csv").open(encoding="utf-8", newline="") as file:
        known = {(row["code"], row["action"], row["meaning"]) for row in csv.DictReader(file)}
    said = [tuple(cells) for cells in rows("docs/channels/telegram.md") if len(cells) == 3 and cells[0].isdigit()]
    assert set(said) == known


def test_a_module_of_a_channel_has_its_address_and_its_codes_on_its_page() -> None:
    for name in (module.NAME for module in more.MODULES):
        assert f"`/webhooks/{name}`" in channel_page(name)
        with (ROOT / "channels" / "errors" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            known = {(row["code"], row["action"], row["meaning"]) for row in csv.DictReader(file)}
        assert known - {tuple(cells) for cells in rows(f"docs/channels/{name}.md")} == set()


def test_every_keyword_that_stops_or_starts_is_documented() -> None:
    page = read("docs/channels/sms.md")
    for word, (action, language) in KEYWORDS.items():
        if action != "human" or language in ("en", "fr"):
            assert re.search(rf"\b{word.upper()}\b", page), word


def test_every_webhook_is_documented() -> None:
    routes = re.findall(r'@webhooks\.post\("([^"]+)"', read("bot/webhooks.py"))
    pages = "".join(page.read_text("utf-8") for page in (DOCS / "channels").glob("*.md"))
    assert [route for route in routes if f"`/webhooks{route}`" not in pages] == []


def test_every_channel_has_a_page() -> None:
    modules = {path.stem for path in (ROOT / "channels").glob("*.py") if "def verify(" in path.read_text("utf-8")}
    pages = {path.stem for path in (DOCS / "channels").glob("*.md")}
    assert modules - {"channel"} == pages


def test_every_indicator_is_documented_with_its_severity_and_no_other() -> None:
    said = {cells[0].strip("`"): cells[1] for cells in rows("docs/risk-indicators.md") if cells[0].startswith("`")}
    assert said == SEVERITY_OF


def test_every_response_key_has_english_and_french() -> None:
    texts = catalog.load()
    for language in ("en", "fr"):
        assert set(texts.keys) - set(texts.texts[language]) == set(), language


def test_no_language_has_a_text_without_a_key() -> None:
    texts = catalog.load()
    for language, entries in texts.texts.items():
        assert set(entries) - set(texts.keys) == set(), language


def test_every_key_that_the_code_or_the_engine_says_exists() -> None:
    said = set(re.findall(r"^ +key: (\S+)$", read("bot/domain/responses.yml"), flags=re.M))
    assert "info.wages" in said
    for path in [*(ROOT / "bot").glob("*.py"), *(ROOT / "handoff").rglob("*.py")]:
        for family in ("handoff", "info", "keyword", "kind", "notice", "fallback", "offer"):
            said |= set(re.findall(rf'"({family}\.[a-z_]+)"', path.read_text(encoding="utf-8")))
    assert said - set(catalog.load().keys) == set()


# -- links


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_local_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        waiting += [(page.parent / link).resolve() for link in links if ":" not in link]
    assert set(PAGES) - reached == set()


def test_files_named_in_the_documentation_exist() -> None:
    for page in PAGES:
        for text in code(page.read_text(encoding="utf-8")):
            for name in re.findall(
                r"\b(?:bot|channels|handoff|nlu|scripts|stories|tests|translations)/[\w./-]+\.\w+", text
            ):
                fictitious = page.name == "new-channel.md" and "pigeon" in name
                assert fictitious or (ROOT / name).exists(), f"{page.name}: {name}"
