"""Verdicts on their way to a reviewer and back: de-identified, audited, and learnt only when a person approved."""

from __future__ import annotations

import asyncio
import json
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot import cli, database, inbox
from bot.settings import SettingsError
from bot.tables import audit, messages, staff, verdicts
from bot.vault import Vault
from channels.channel import Inbound
from handoff import reviewed
from nlu.examples import Example, read_risk
from tests.conftest import DATA_KEY

ID = "0b7f6f0e-6a0c-4b6e-9d0c-0c9a2f6f1a11"


@pytest.fixture(autouse=True)
def _installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PASSERELLE_DATA_KEY", DATA_KEY)
    monkeypatch.setenv("PASSERELLE_VAR_DIR", str(tmp_path / "var"))


@pytest.fixture
def learnt(tmp_path: Path) -> Callable[[], list[Example]]:
    return lambda: read_risk(tmp_path / "var" / "approved")


def run(*arguments: str | Path) -> int:
    parsed = cli.make_parser().parse_args(["verdicts", *(str(argument) for argument in arguments)])
    return int(parsed.run(parsed))


def refusal(*arguments: str | Path) -> str:
    with pytest.raises(SettingsError) as refused:
        run(*arguments)
    (sentence,) = refused.value.problems
    return sentence


# -- out


class Line:
    """A database with people's messages and one advocate's verdicts."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.vault = Vault.from_key(DATA_KEY)
        self.advocate = uuid.uuid4()
        values = {"id": self.advocate, "name": "nour", "display": "Nour", "role": "advocate", "password_hash": "-"}
        self.execute(staff.insert().values(**values))

    def execute(self, *statements: sa.Executable) -> list[Any]:
        async def work() -> list[Any]:
            engine = database.engine_for(self.url, pool_size=1)
            async with engine.begin() as conn:
                done = [await conn.execute(statement) for statement in statements]
                found = list(done[-1]) if done[-1].returns_rows else []
            await engine.dispose()
            return found

        return asyncio.run(work())

    def person(
        self, text: str, verdict: str = "", *, indicators: tuple[str, ...] = (), language: str = "en", choice: str = "",
        screened: bool = True,
    ) -> uuid.UUID:  # fmt: skip
        """One message, judged by the screen and perhaps by the advocate."""

        async def work() -> tuple[uuid.UUID, int]:
            engine = database.engine_for(self.url, pool_size=1)
            async with engine.begin() as conn:
                item = Inbound(uuid.uuid4().hex, "+15145550123", "text", text, choice=choice)
                stored = await inbox.store(conn, self.vault, "sms", item)
            await engine.dispose()
            assert stored is not None
            return stored

        conversation, seq = asyncio.run(work())
        understanding = {"language": language, "severity": "high" if indicators else "none", "indicators": indicators}
        ((message,),) = self.execute(
            messages.update()
            .where(messages.c.conversation_id == conversation, messages.c.seq == seq)
            .values(understanding=understanding if screened else None)
            .returning(messages.c.id)
        )
        row = {"id": uuid.uuid4(), "message_id": message, "conversation_id": conversation, "staff_id": self.advocate}
        if verdict:
            self.execute(verdicts.insert().values(**row, verdict=verdict))
        key: uuid.UUID = message
        return key


@pytest.fixture
def line(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setenv("PASSERELLE_DATABASE_URL", database_url)
    return Line(database_url)


def exported(path: Path) -> list[dict[str, Any]]:
    assert run("export", path) == 0
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


def test_a_verdict_goes_out_with_what_the_screen_said(line: Line, tmp_path: Path) -> None:
    line.person("hi im in toronto")
    line.person("i came by bus")
    told = line.person("he keeps my papers, call 514-555-0123", "should")
    harmless = line.person("ok", "should_not", indicators=("confinement",))
    first, second = exported(tmp_path / "out.jsonl")
    assert first == {
        "id": str(told),
        "language": "en",
        "text": "he keeps my papers, call 000-000-0000",
        "history": ["hi im in [place]", "i came by bus"],
        "escalated": False,
        "indicators": [],
        "verdict": "should",
        "approved": False,
        "want": [],
    }
    assert (second["id"], second["verdict"]) == (str(harmless), "should_not")
    assert (second["escalated"], second["indicators"]) == (True, ["confinement"])
    assert len(second["history"]) == 3


def test_every_script_stays_readable_in_the_file(line: Line, tmp_path: Path) -> None:
    line.person("أخذ جوازي، اتصل ٠٥٥١٢٣٤٥٦٧", "should", language="ar")
    path = tmp_path / "out.jsonl"
    (found,) = exported(path)
    assert found["text"] == "أخذ جوازي، اتصل 0000"
    assert "جوازي" in path.read_text(encoding="utf-8")


def test_half_a_character_and_odd_line_ends_do_not_break_the_file(line: Line, tmp_path: Path) -> None:
    line.person("help \ud83d me\u2028now\u0085!", "should")
    (found,) = exported(tmp_path / "out.jsonl")
    assert found["text"] == "help ? me\u2028now\u0085!"


def test_the_reviewer_is_told_what_no_program_finds(
    line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line.person("marie took my papers", "should")
    line.person("", "should")  # a picture
    line.person("Talk to a person", "should", choice="choice.human")  # our own text on a button
    line.person("no turn has read this", "should", screened=False)
    assert len(exported(tmp_path / "out.jsonl")) == 1
    said = capsys.readouterr().out
    assert "1 verdicts are in" in said
    assert "Left out: 3 without words to learn from." in said
    assert "Names of people, streets and employers are NOT" in said


def test_an_export_is_in_the_audit_trail_and_for_its_owner_only(line: Line, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    assert exported(path) == []
    (row,) = line.execute(sa.select(audit))
    assert row.actor.startswith("command line (")
    assert (row.action, row.purpose) == ("verdicts exported", "review")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_message_does_not_stop_the_others(line: Line, tmp_path: Path) -> None:
    damaged = line.person("one", "should")
    line.person("two", "should")
    line.execute(messages.update().where(messages.c.id == damaged).values(words=b"\x01" + b"x" * 40))
    assert [found["text"] for found in exported(tmp_path / "out.jsonl")] == ["two"]


def test_no_review_is_written_over(line: Line, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("hours of work")
    assert refusal("export", path) == f"{path} exists: name another file, so that nobody's review is written over."
    assert path.read_text() == "hours of work"
    missing = tmp_path / "missing" / "out.jsonl"
    assert refusal("export", missing) == f"{missing} cannot be written (No such file or directory)."
    assert line.execute(sa.select(audit)) == []


def test_a_failed_export_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with pytest.raises(RuntimeError), reviewed.new_file(path):
        raise RuntimeError
    assert not path.exists()


# -- in


def entry(**changes: object) -> dict[str, object]:
    """A line that a reviewer has approved."""
    approved = {
        "id": ID, "language": "en", "text": "he keeps my papers", "history": [], "escalated": False, "indicators": [],
        "verdict": "should", "approved": True, "want": ["document_retention"],
    }  # fmt: skip
    return {**approved, **changes}


def review(tmp_path: Path, *lines: object) -> Path:
    """The file as it comes back; a text is a line of its own."""
    path = tmp_path / f"{uuid.uuid4().hex}.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def other() -> str:
    return str(uuid.uuid4())


def test_an_approved_line_is_learnt(tmp_path: Path, learnt: Callable[[], list[Example]]) -> None:
    assert run("import", review(tmp_path, entry(history=["hi", "i am in [place]"]))) == 0
    assert learnt() == [
        Example(
            "en", "he keeps my papers", ("document_retention",), f"approved-{ID}", ("hi", "i am in [place]"), "plain"
        )
    ]


def test_what_nobody_approved_is_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], learnt: Callable[[], list[Example]]
) -> None:
    silent = entry(id=other())
    del silent["approved"]
    path = review(tmp_path, entry(approved=False), silent, entry(id=other(), want=[], verdict="should_not"), "")
    assert run("import", path) == 0
    said = capsys.readouterr()
    assert f"1 approved lines were added to {tmp_path / 'var' / 'approved'}." in said.out
    assert "Left out: 2 not approved, 0 imported before, 0 bad." in said.out
    assert said.err == ""
    assert [example.indicators for example in learnt()] == [()]


def test_nothing_is_learnt_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], learnt: Callable[[], list[Example]]
) -> None:
    path = review(tmp_path, entry(), entry(verdict="should_not"), entry(id=ID.upper(), language="fr"))
    assert run("import", path) == 0
    assert run("import", path) == 0
    assert "Left out: 0 not approved, 3 imported before, 0 bad." in capsys.readouterr().out
    assert [example.language for example in learnt()] == ["en"]
    assert run("import", review(tmp_path, entry(id=other(), text="two"))) == 0
    assert [example.text for example in learnt()] == ["he keeps my papers", "two"]


BAD = [
    ("{", "it is not JSON"),
    ("[" * 100_000, "it is not JSON"),
    ("[]", "it is not an object in braces"),
    (entry(approved="yes"), '"approved" must be true or false'),
    (entry(text=" "), '"text" must hold the words'),
    (entry(text=None), '"text" must hold the words'),
    (entry(history="hi"), '"history" must be a list of texts'),
    (entry(history=[1]), '"history" must be a list of texts'),
    (entry(want=None), '"want" must be a list of indicators, empty when the message is harmless'),
    (entry(want="confinement"), '"want" must be a list of indicators, empty when the message is harmless'),
    (entry(want=[["confinement"]]), '"want" must be a list of indicators, empty when the message is harmless'),
    (entry(want=["confinement", "evil"]), '"want" names what is no indicator: evil'),
    (entry(id=7), '"id" must be as it was exported'),
    (entry(id="../../x"), '"id" must be as it was exported'),
    (entry(language="../../etc/passwd"), '"language" must be a tag such as "en" or "pa-Latn"'),
    (entry(language="und"), '"language" must be a tag such as "en" or "pa-Latn"'),
    (entry(language=None), '"language" must be a tag such as "en" or "pa-Latn"'),
]


@pytest.mark.parametrize(("bad", "why"), BAD, ids=[why[:20] + str(number) for number, (_, why) in enumerate(BAD)])
def test_a_bad_line_is_named_and_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], learnt: Callable[[], list[Example]], bad: object, why: str
) -> None:
    assert run("import", review(tmp_path, entry(text="one"), "", bad, entry(id=other(), text="two"))) == 1
    said = capsys.readouterr()
    (problem,) = said.err.splitlines()
    assert problem.startswith(f"passerelle: Line 3 is left out: {why}")
    assert "0 imported before, 1 bad." in said.out
    assert [example.text for example in learnt()] == ["one", "two"]


def test_a_bad_line_that_nobody_approved_is_only_not_approved(tmp_path: Path) -> None:
    assert run("import", review(tmp_path, entry(approved=False, want=["evil"], language="und"))) == 0


def test_a_reviewer_who_sees_it_otherwise_is_asked_to_look_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], learnt: Callable[[], list[Example]]
) -> None:
    path = review(tmp_path, entry(), entry(id=other(), want=[]), entry(id=other(), verdict="should_not"))
    assert run("import", path) == 0
    assert "Please look again at line 2, 3." in capsys.readouterr().err
    assert len(learnt()) == 3


def test_files_from_other_editors_are_read(tmp_path: Path, learnt: Callable[[], list[Example]]) -> None:
    path = tmp_path / "windows.jsonl"
    lines = [json.dumps(entry(text="один", language="ru"), ensure_ascii=False).encode(), b'{"text": "\xe9"}']
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n")
    assert run("import", path) == 1
    assert [(example.language, example.text) for example in learnt()] == [("ru", "один")]


def test_arabic_digits_and_odd_line_ends_survive_to_the_training(
    tmp_path: Path, learnt: Callable[[], list[Example]]
) -> None:
    text = "عندي ٣ أيام\u2028بدون أكل\u0085"
    half = json.dumps(entry(id=other(), text="\ud83d"))
    assert run("import", review(tmp_path, entry(text=text, language="AR"), half)) == 0
    assert [(example.language, example.text) for example in learnt()] == [("ar", text), ("en", "?")]


def test_the_way_out_and_in_fits_together(line: Line, tmp_path: Path, learnt: Callable[[], list[Example]]) -> None:
    line.person("mera malik passport nahi deta", "should", language="hi-Latn")
    path = tmp_path / "out.jsonl"
    (found,) = exported(path)
    path.write_text(json.dumps({**found, "approved": True, "want": ["document_retention", "document_retention"]}))
    assert run("import", path) == 0
    (example,) = learnt()
    assert (example.language, example.indicators) == ("hi-Latn", ("document_retention",))


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    assert (
        refusal("import", tmp_path / "missing") == f"{tmp_path / 'missing'} cannot be read (No such file or directory)."
    )
    assert refusal("import", tmp_path) == f"{tmp_path} cannot be read (Is a directory)."


def test_damaged_training_lines_are_named_and_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "var" / "approved" / "en.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"text": "x"}\n')
    sentence = f"{kept}, line 1 is no training line: mend or remove it. Nothing was imported."
    assert refusal("import", review(tmp_path, entry())) == sentence
    assert kept.read_text() == '{"text": "x"}\n'


def test_a_missing_line_end_is_mended(tmp_path: Path, learnt: Callable[[], list[Example]]) -> None:
    assert run("import", review(tmp_path, entry())) == 0
    kept = tmp_path / "var" / "approved" / "en.jsonl"
    kept.write_text(kept.read_text(encoding="utf-8").rstrip("\n"), encoding="utf-8")
    assert run("import", review(tmp_path, entry(id=other()))) == 0
    assert len(learnt()) == 2
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [path.name for path in kept.parent.iterdir()] == ["en.jsonl"]


def test_a_folder_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "approved").write_text("")
    assert "approved cannot be written (File exists)" in refusal("import", review(tmp_path, entry()))
