"""docs/develop/new-channel.md keeps its word: the channel on it, put into a copy of the project, works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bot.settings import ROOT

PAGE = ROOT / "docs" / "develop" / "new-channel.md"
COPIED = ("bot", "channels", "docs", "handoff", "tests", "translations", "scripts", "stories")
LINKED = ("nlu", ".venv")

WAY = """
import httpx
from bot.app import make_channels
from bot.settings import SettingsError, load
from tests.bot.door import open_door, work
from tests.bot.command import run, logging_as_before  # noqa: F401
from tests.channels import cases_pigeon
from tests.conftest import *  # noqa: F403

async def test_a_message_comes_in_and_is_answered(services):
    import dataclasses, json
    sent = []
    def answer(request):
        sent.append(json.loads(request.content))
        return httpx.Response(200, json={"id": "out-1"})
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        given = dataclasses.replace(services.settings, more={"PIGEON_TOKEN": "t", "PIGEON_SECRET": cases_pigeon.SECRET})
        channels = make_channels(given, client)
        async with open_door(dataclasses.replace(services, settings=given, channels=channels)) as door:
            raw = cases_pigeon.request("my boss keeps my passport and i cannot leave", "m1")
            for headers, status in (({}, 403), (raw.headers, 200), (raw.headers, 200)):
                answer = await door.client.post("/webhooks/pigeon", content=raw.body, headers=headers)
                assert answer.status_code == status
            assert (await door.client.post("/webhooks/sms", content=raw.body)).status_code == 404
            await work(door.services)
            assert await door.words() == ["my boss keeps my passport and i cannot leave"]
            assert {row["to"] for row in sent} == {cases_pigeon.ADDRESS}

def test_half_a_set_up_is_a_problem_and_a_whole_one_is_checked(run, monkeypatch, tmp_path):
    import pytest
    with pytest.raises(SettingsError, match="PASSERELLE_PIGEON_SECRET must be set too"):
        load({"VAR_DIR": str(tmp_path), "PIGEON_TOKEN": "t"})
    monkeypatch.setenv("PASSERELLE_PIGEON_TOKEN", "t-secret")
    monkeypatch.setenv("PASSERELLE_PIGEON_SECRET", "s-secret")
    monkeypatch.setattr("channels.pigeon.API_URL", "http://127.0.0.1:9")
    out = run("channels", "check").out
    assert "pigeon\\n  ✗ The stand-in at http://127.0.0.1:9 does not answer" in out
    assert "-secret" not in out
"""


def blocks() -> dict[str, str]:
    """Path → content of every file on the page."""
    return dict(re.findall(r"^\*\*(\S+)\*\*\n\n```\w+\n(.*?)^```", PAGE.read_text("utf-8"), flags=re.M | re.S))


def hunks() -> list[tuple[str, str]]:
    """What is taken out of ``channels/more.py``, and what comes in its place."""
    (diff,) = re.findall(r"^```diff\n(.*?)^```", PAGE.read_text("utf-8"), flags=re.M | re.S)
    found = re.findall(r"^-(.*\n)((?:\+.*\n)+)", diff, flags=re.M)
    return [(removed, re.sub(r"^\+", "", added, flags=re.M)) for removed, added in found]


def test_the_page_has_one_module_one_case_table_one_page_and_the_codes() -> None:
    found = blocks()
    assert list(found) == [
        "channels/pigeon.py", "channels/errors/pigeon.csv", "tests/channels/cases_pigeon.py", "docs/channels/pigeon.md",
    ]  # fmt: skip
    assert not any((ROOT / path).exists() for path in found)


@pytest.mark.slow  # a copy of the project, and its tests run there
def test_the_channel_on_the_page_works_in_a_copy_of_the_project(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "test_new_channel.py"))
    for name in LINKED:
        (copy / name).symlink_to(ROOT / name)
    for path in (*ROOT.glob("*.toml"), *ROOT.glob("*.md"), *ROOT.glob("Makefile"), *ROOT.glob("LICENSE")):
        shutil.copy(path, copy)
    for path, content in blocks().items():
        (copy / path).write_text(content, encoding="utf-8")
    more = (copy / "channels" / "more.py").read_text("utf-8")
    for removed, added in hunks():
        assert more.count(removed) == 1
        more = more.replace(removed, added)
    (copy / "channels" / "more.py").write_text(more, encoding="utf-8")
    readme = (copy / "README.md").read_text("utf-8") + "\n[Pigeon](docs/channels/pigeon.md)\n"
    (copy / "README.md").write_text(readme, encoding="utf-8")
    (copy / "tests" / "test_pigeon.py").write_text(WAY, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*command: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=copy, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]

    run("ruff", "check", "channels", "tests/channels/cases_pigeon.py")
    run("ruff", "format", "--check", "channels/pigeon.py", "channels/more.py", "tests/channels/cases_pigeon.py")
    tests = ["tests/channels/test_every_channel.py", "tests/test_pigeon.py", "tests/project/test_docs.py"]
    chosen = "pigeon or (test_docs and (channel or settings_named or page_is_reached or codes))"
    run("pytest", "-p", "no:cacheprovider", *tests, "-k", chosen)
