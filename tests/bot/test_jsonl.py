"""JSON lines: the progress line on a terminal, texts that no line may stumble over, and a reader that leaves."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

from bot.jsonl import Progress, each_line
from bot.settings import ROOT
from tests.bot.command import Run
from tests.nlu.strange import STRANGE
from tests.running import Gateway


@dataclass
class Terminal:
    """A pseudo-terminal: ``slave`` is what a program writes to, ``text`` what has been shown."""

    master: int
    slave: TextIO

    def text(self) -> str:
        """Everything until the program's end is closed."""
        self.slave.close()
        shown = b""
        while True:
            try:
                piece = os.read(self.master, 65536)
            except OSError:  # EIO: how Linux says that nobody writes to it any more
                return shown.decode()
            if not piece:
                return shown.decode()
            shown += piece


@pytest.fixture
def terminals() -> Iterator[Callable[[], Terminal]]:
    opened: list[Terminal] = []

    def make() -> Terminal:
        master, slave = pty.openpty()
        opened.append(Terminal(master, os.fdopen(slave, "w")))
        return opened[-1]

    yield make
    for terminal in opened:
        terminal.slave.close()
        os.close(terminal.master)


def given_lines(monkeypatch: pytest.MonkeyPatch, *items: object, bad: str = "") -> None:
    text = "".join(json.dumps(item) + "\n" for item in items) + bad
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def slowly(item: dict[str, Any]) -> dict[str, Any]:
    time.sleep(0.03)
    return {"id": item["id"]}


def on_screen(shown: str) -> list[str]:
    """What a terminal shows after every carriage return and line end, without what was written over."""
    rows = []
    for row in shown.replace("\r\n", "\n").split("\n"):
        cells = ""
        for piece in row.split("\r"):
            cells = piece + cells[len(piece) :]
        rows.append(cells.rstrip())
    return rows


# -- progress


def test_a_terminal_sees_how_far_it_is_and_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch, terminals: Callable[[], Terminal], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = terminals()
    monkeypatch.setattr(sys, "stderr", terminal.slave)
    given_lines(monkeypatch, *({"id": number, "text": "a"} for number in range(30)))
    started = time.monotonic()
    assert each_line(slowly) == 0
    took = time.monotonic() - started
    shown = terminal.text()
    told = [piece for piece in shown.split("\r") if "messages" in piece]
    assert 1 <= len(told) <= took * 5
    assert all(piece.split()[1:2] == ["messages,"] and piece.rstrip().endswith("a second") for piece in told)
    counts = [int(piece.split()[0]) for piece in told]
    assert counts == sorted(counts)
    assert "\n" not in shown
    assert on_screen(shown) == [""]
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == list(range(30))


def test_a_line_that_is_left_out_is_not_written_into_the_progress(
    monkeypatch: pytest.MonkeyPatch, terminals: Callable[[], Terminal], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = terminals()
    monkeypatch.setattr(sys, "stderr", terminal.slave)
    given_lines(monkeypatch, *({"id": number, "text": "a"} for number in range(15)), bad="nonsense")
    assert each_line(slowly) == 1
    shown = terminal.text()
    assert "messages" in shown
    told, rest = on_screen(shown)
    assert told.rstrip() == "passerelle: line 16 is left out: it is not JSON (expecting value at character 1)"
    assert "messages" not in told
    assert rest == ""


def test_answers_on_the_same_terminal_are_not_mixed_with_progress(
    monkeypatch: pytest.MonkeyPatch, terminals: Callable[[], Terminal]
) -> None:
    out, err = terminals(), terminals()
    monkeypatch.setattr(sys, "stdout", out.slave)
    monkeypatch.setattr(sys, "stderr", err.slave)
    given_lines(monkeypatch, *({"id": number, "text": "a"} for number in range(15)))
    assert each_line(slowly) == 0
    assert err.text() == ""
    assert len(out.text().splitlines()) == 15


def test_a_file_sees_no_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given_lines(monkeypatch, *({"id": number, "text": "a"} for number in range(15)))
    assert each_line(slowly) == 0
    assert capsys.readouterr().err == ""


def test_progress_is_told_five_times_a_second_at_most() -> None:
    now = 100.0
    stream = io.StringIO()
    progress = Progress(stream, shown=True, clock=lambda: now)
    for _ in range(1000):
        now += 0.001
        progress.step()
    assert [piece.strip() for piece in stream.getvalue().split("\r")] == [
        "", *(f"{count} messages, 1000 a second" for count in (200, 400, 600, 800, 1000)),
    ]  # fmt: skip


def test_a_shorter_line_covers_the_longer_one() -> None:
    now = 0.0
    stream = io.StringIO()
    progress = Progress(stream, shown=True, clock=lambda: now)
    for now in (0.2, 1000.0):  # noqa: B007 - the clock reads it
        progress.step()
    first, second = stream.getvalue().split("\r")[1:]
    assert (first, second) == ("1 messages, 5 a second", "2 messages, 0 a second")
    progress.clear()
    assert on_screen(stream.getvalue()) == [""]
    before = stream.getvalue()
    progress.clear()
    assert stream.getvalue() == before


class HungUp(io.StringIO):
    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


def test_a_terminal_that_was_closed_stops_nothing() -> None:
    stream = HungUp()
    progress = Progress(stream, shown=True, clock=iter((0.0, 1.0)).__next__)
    progress.step()
    progress.clear()
    assert "1 messages" in stream.getvalue()  # it was tried


# -- lines


EXTREME = {
    **STRANGE,
    "4 MB": "he took my passport " * 200_000,
    "a megabyte of surrogates": "\ud83d" * 1_000_000,
    "a megabyte of NUL": "\x00" * 1_000_000,
}


@pytest.mark.parametrize("command", ["screen", "language"])
def test_no_text_is_left_out(run: Run, command: str) -> None:
    given = [{"id": name, "text": text, "history": [text]} for name, text in EXTREME.items()]
    done = run(command, "--jsonl", stdin="".join(json.dumps(item) + "\n" for item in given))
    assert (done.code, done.err) == (0, "")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == list(EXTREME)


def test_what_breaks_on_one_line_is_named_without_its_words_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(item: dict[str, Any]) -> dict[str, Any]:
        if item["id"] == 1:
            raise LookupError(item["text"])
        return {"id": item["id"]}

    given_lines(monkeypatch, *({"id": number, "text": "zebra"} for number in range(3)))
    assert each_line(answer) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["id"] for line in out.splitlines()] == [0, 2]
    assert err == "passerelle: line 2 is left out: LookupError\n"


@pytest.mark.parametrize("identity", ["NaN", "Infinity", "-1e999", "[" * 900 + "]" * 900])
def test_an_answer_is_json_whatever_the_id(run: Run, identity: str) -> None:
    done = run("language", "--jsonl", stdin=f'{{"id": {identity}, "text": "1"}}\n{{"id": 2, "text": "1"}}')

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = [json.loads(line, parse_constant=refuse) for line in done.out.splitlines()]
    assert found[-1]["id"] == 2
    assert (done.code, len(found)) in ((0, 2), (1, 1))
    assert "Traceback" not in done.err


def test_a_closed_stdin_is_an_empty_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert each_line(slowly) == 0


# -- as a pipe


def command(*arguments: str, folder: Path, **pipes: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "bot.cli", *arguments], env=Gateway("", folder).environment, cwd=ROOT, **pipes
    )


def test_every_answer_comes_before_the_next_question(tmp_path: Path) -> None:
    process = command("language", "--jsonl", folder=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for number in range(3):
        process.stdin.write(f'{{"id": {number}, "text": "1"}}\n'.encode())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == number
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


def test_head_ends_it_quietly_on_a_terminal_too(tmp_path: Path, terminals: Callable[[], Terminal]) -> None:
    """`passerelle language --jsonl < many | head -1`, as somebody sees it who sits before it."""
    terminal = terminals()
    given = tmp_path / "many.jsonl"
    given.write_text('{"id": 1, "text": "where can i get help"}\n' * 20_000)
    with given.open("rb") as many:
        process = command(
            "language", "--jsonl", folder=tmp_path, stdin=many, stdout=subprocess.PIPE, stderr=terminal.slave
        )
        assert process.stdout is not None
        head = subprocess.run(["head", "-1"], stdin=process.stdout, capture_output=True, check=True)
        process.stdout.close()
        assert process.wait(60) == 0
    assert json.loads(head.stdout)["id"] == 1
    assert on_screen(terminal.text()) == [""]
