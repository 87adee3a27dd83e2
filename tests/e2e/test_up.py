"""`passerelle up`, as an operator meets it: everything starts, what falls comes back, Ctrl-C leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from bot.settings import ROOT
from tests.running import Gateway, free_port, until

pytestmark = pytest.mark.slow


class Everything(Gateway):
    """`passerelle up` as a child process, on the embedded database."""

    def start(self) -> None:
        with (self.folder / "up.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bot.cli", "up"], env=self.environment, cwd=ROOT, stdout=log, stderr=log
            )
        until(self.answers, seconds=60, what="the gateway's start")
        until(self.engine_answers, seconds=180, what="the engine's start")

    def engine_answers(self) -> bool:
        try:
            return bool(httpx.get(f"{self.base}/health/ready", timeout=5).json()["engine"])
        except (httpx.HTTPError, ValueError):
            return False

    def kill(self, word: str) -> bool:
        """`kill -9` of the child with this word in its command; False when there is none just now."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            if word in " ".join(child.cmdline()):
                child.kill()
                return True
        return False


@pytest.fixture(scope="module")
def installed() -> Iterator[Everything]:
    folder = Path(tempfile.mkdtemp(prefix="passerelle-up-"))  # not pytest's: see the fixture `postgres`
    folder.chmod(0o755)
    made = Everything("", folder)
    del made.environment["PASSERELLE_DATABASE_URL"], made.environment["PASSERELLE_DATA_KEY"]
    made.environment["PASSERELLE_ENGINE_URL"] = f"http://127.0.0.1:{free_port()}"
    trained = ROOT / "var" / "models"
    if (trained / "passerelle.tar.gz").exists():  # `up` trains anew when it is not of the present data
        shutil.copytree(trained, folder / "models")
    try:
        yield made
    finally:
        made.stop()
        if made.process is not None:
            made.process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def everything(installed: Everything) -> Everything:
    """Running, in whatever order the tests come: one of them ends it, and then this is its second start."""
    if installed.process is None or installed.process.poll() is not None:
        installed.start()
    return installed


def test_questions_are_answered_in_the_persons_language(everything: Everything) -> None:
    for number, (question, beginning) in enumerate(
        [
            ("what are the signs of trafficking?", "Some signs"),
            ("¿esto es confidencial?", "info.confidential"),
            ("saan ako pwede matulog ngayong gabi", "info.shelter"),
            ("मुझे मदद कहाँ मिलेगी", "info.services_ask_place"),
        ]
    ):
        sender = f"+1514555900{number}"
        assert everything.sms(question, sid=f"SMq{number}", sender=sender).status_code == 200
        answers = until(lambda sender=sender: everything.phone(sender), what=question)
        wanted = beginning if " " in beginning else texts(["es", "tl", "hi"][number - 1])[beginning]
        assert answers[0].startswith(wanted)


def texts(language: str) -> dict[str, str]:
    from translations import catalog

    return {key: text.text for key, text in catalog.load().texts[language].items()}


def test_say_prints_what_the_phone_shows(everything: Everything) -> None:
    said = everything.command("say", "--channel", "sms", "--from", "+15145550123", "mon patron garde mon passeport")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("← " + texts("fr")["handoff.high"][:30])


def test_without_the_engine_escalations_go_on_and_it_comes_back(everything: Everything) -> None:
    assert everything.kill("rasa")
    everything.sms("what are the signs of trafficking?", sid="SMd1", sender="+15145559100")
    everything.sms("my boss keeps my passport", sid="SMd2", sender="+15145559101")
    escalated = until(lambda: everything.phone("+15145559101"), what="the escalation's answer")
    assert escalated[0] == texts("en")["handoff.high"]

    def fallen_back() -> list[str]:
        everything.kill("rasa")  # as often as the supervisor starts it anew: a quick machine would answer in time
        return everything.phone("+15145559100")

    fallback = until(fallen_back, seconds=40, what="an honest fallback")
    assert fallback[0] == texts("en")["fallback.engine_down"]
    until(everything.engine_answers, seconds=90, what="the engine's return")


def test_a_killed_gateway_comes_back_by_itself(everything: Everything) -> None:
    everything.sms("my boss keeps my passport", sid="SMg1", sender="+15145559200")
    assert everything.kill("serve")
    until(everything.answers, seconds=40, what="the gateway's return")
    entries = until(
        lambda: [entry for entry in everything.log() if entry["direction"] == "out" and "calling" in entry["text"]],
        what="the answer",
    )
    assert entries


def ready(everything: Everything) -> bool:
    return httpx.get(f"{everything.base}/health/ready", timeout=10).status_code == 200


def test_a_second_one_with_another_port_is_refused_and_the_first_goes_on(everything: Everything) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "bot.cli", "up"],
        env={**everything.environment, "PASSERELLE_PORT": str(free_port())},
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert second.stdout == ""
    assert second.stderr == (
        f"passerelle: Another Passerelle already runs on the data in {everything.folder}: stop it, or set "
        "PASSERELLE_VAR_DIR (and PASSERELLE_PORT) too.\n"
    )
    assert ready(everything)


def test_a_killed_database_comes_back_by_itself(everything: Everything) -> None:
    mark = everything.folder / "postgres" / "postmaster.pid"
    dead = mark.read_text()
    os.kill(int(dead.split()[0]), signal.SIGKILL)
    until(lambda: mark.exists() and mark.read_text() != dead, seconds=40, what="the database's return")
    until(lambda: ready(everything), seconds=40, what="the gateway's return")
    assert everything.sms("my boss keeps my passport", sid="SMb1", sender="+15145559300").status_code == 200
    assert everything.sms("what are the signs of trafficking?", sid="SMb2", sender="+15145559301").status_code == 200
    escalated = until(lambda: everything.phone("+15145559300"), seconds=40, what="the escalation's answer")
    assert escalated[0] == texts("en")["handoff.high"]
    answered = until(lambda: everything.phone("+15145559301"), seconds=40, what="the assistant's answer")
    assert answered[0].startswith("Some signs")


def test_the_terminal_shows_what_an_operator_needs_and_no_warnings_of_old_libraries(everything: Everything) -> None:
    told = (everything.folder / "up.log").read_text()
    assert f"  phones    {everything.base}/demo\n  chat      {everything.base}/chat\n" in told
    assert "The assistant is loading" in told
    assert "DeprecationWarning" not in told
    (made_up,) = [line for line in told.splitlines() if "ade up" in line]
    assert made_up.startswith(f"! Made up for this demonstration, and kept in {everything.folder / 'secrets'}: ")
    assert made_up.endswith(" DATA_KEY.")


def test_after_a_kill_the_next_one_takes_the_database_over_and_stops_it(everything: Everything) -> None:
    assert everything.process is not None
    everything.process.kill()
    everything.process.wait()
    mark = everything.folder / "postgres" / "postmaster.pid"
    orphan = mark.read_text()
    everything.start()
    assert mark.read_text().splitlines()[0] == orphan.splitlines()[0]
    everything.process.send_signal(signal.SIGINT)
    assert everything.process.wait(40) == 0
    assert not mark.exists()


def test_ctrl_c_leaves_nothing_running(everything: Everything, tmp_path: Path) -> None:
    assert everything.process is not None
    family = [psutil.Process(everything.process.pid), *psutil.Process(everything.process.pid).children(recursive=True)]
    everything.process.send_signal(signal.SIGINT)
    assert everything.process.wait(40) == 0
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    postmaster = everything.folder / "postgres" / "postmaster.pid"
    assert not postmaster.exists()
    assert "Stopped." in (everything.folder / "up.log").read_text()
