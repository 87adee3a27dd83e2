"""`passerelle doctor`: every setting and part, in plain words, with what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import date

import httpx

from bot import database, embedded, settings, spool, training
from bot.settings import KNOWN, PREFIX, Settings, SettingsError
from bot.supervisor import ENGINE_PYTHON
from bot.vault import Vault
from channels import more
from channels.checking import Finding
from channels.whatsapp_check import version_end
from nlu import language, patterns, risk_model
from translations import catalog

_NEEDED_SPACE = 4_000_000_000  # bytes: both environments, the database and room to breathe


_MARK = {"good": "✓", "note": "·", "wrong": "✗"}


def examine() -> int:
    """Prints what was found; 0 when nothing is wrong."""
    wrong = 0
    for finding in findings():
        wrong += finding.level == "wrong"
        print(f"{_MARK[finding.level]} {finding.text}", flush=True)
    print(f"{wrong} thing(s) to mend." if wrong else "All is well.")
    return 1 if wrong else 0


def findings() -> Iterator[Finding]:
    """Every check, in the order in which one would mend things."""
    yield _python()
    try:
        given = settings.read_environment()
        for name in settings.unknown(given):
            yield Finding("note", f"{name} is not a setting of Passerelle: a typing error?")
        found = settings.load(given)
    except SettingsError as error:
        for problem in error.problems:
            yield Finding("wrong", problem)
        return
    yield Finding("good", f"mode {found.mode}, data in {found.var_dir}, public address {found.public_url}")
    for name in found.generated:
        yield Finding("note", f"{PREFIX}{name} was made up for the demonstration ({KNOWN[name]}).")
    yield from _space(found)
    yield from _engine(found)
    yield from _database(found)
    yield from _spool(found)
    yield from _texts(found)
    yield from _screen()
    yield from _language(found)
    yield from _channels(found)
    yield _files(found)
    yield _running(found)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):
        return Finding("wrong", f"Python {version} is too old for the gateway: install 3.11 or newer.")
    return Finding("good", f"Python {version} for the gateway")


def _space(found: Settings) -> Iterator[Finding]:
    free = shutil.disk_usage(found.var_dir).free
    if free < _NEEDED_SPACE:
        yield Finding("wrong", f"Only {free // 10**6} MB are free in {found.var_dir}: make room (4 GB are needed).")


def _engine(found: Settings) -> Iterator[Finding]:
    if not ENGINE_PYTHON.exists():
        yield Finding("wrong", "The engine's environment .venv-rasa is missing: run `make setup`.")
        return
    try:
        answer = subprocess.run(  # noqa: S603 - our own interpreter
            [str(ENGINE_PYTHON), "--version"], capture_output=True, text=True, timeout=20, check=True
        )
        yield Finding("good", f"{answer.stdout.strip()} for the engine")
    except (OSError, subprocess.SubprocessError):
        yield Finding("wrong", "The engine's Python does not run: remove .venv-rasa and run `make setup`.")
    if not training.model_path(found).exists():
        yield Finding("note", "The assistant is not trained yet: `passerelle up` does it, or `passerelle train`.")
    elif not training.is_current(found):
        yield Finding("note", "The assistant's data changed since it was trained: run `passerelle train`.")
    else:
        yield Finding("good", "the assistant is trained on the present data")


def _database(found: Settings) -> Iterator[Finding]:
    running = None
    try:
        running = None if found.database_url else embedded.start(found.var_dir)
        url = running.url if running else found.database_url
        database.prepare(url, Vault.from_key(found.data_key))
        yield Finding("good", "the database answers, its tables are up to date, the data key fits")
    except SettingsError as error:
        for problem in error.problems:
            yield Finding("wrong", problem)
    finally:
        if running is not None:
            embedded.stop(running)


def _spool(found: Settings) -> Iterator[Finding]:
    """What came while the database was away, and is not in it yet."""
    held, room = spool.contents(found.spool), _size(spool.MAX_BYTES)
    if held.bytes:
        text = f"{_size(held.bytes)} of webhooks wait in {found.spool} for the database ({room} find room): "
        yield Finding("note", text + "the gateway brings them in by itself.")
    if held.unreadable:
        text = f"{_size(held.unreadable)} of webhooks in {found.spool / 'unreadable'} cannot be read: torn by a crash, "
        text += "damaged, or sealed with another data key. The provider's own log tells what came then; "
        yield Finding("wrong", text + "remove the files afterwards.")


def _size(count: int) -> str:
    return f"{count} bytes" if count < 10_000 else f"{count // 1000} kB" if count < 10**7 else f"{count // 10**6} MB"


def _texts(found: Settings) -> Iterator[Finding]:
    try:
        texts = catalog.load()
    except (catalog.CatalogError, OSError) as error:
        yield Finding("wrong", str(error))
        return
    drafted = [tag for tag, entries in texts.texts.items() if not all(text.reviewed for text in entries.values())]
    yield Finding("good", f"texts in {len(texts.texts)} languages")
    if drafted and not found.demo:
        yield Finding("note", f"not served yet, because drafts wait for a review: {', '.join(sorted(drafted))}")


def _screen() -> Iterator[Finding]:
    try:
        count = len(patterns.load())
    except (patterns.PatternError, OSError, KeyError) as error:
        told = " ".join(str(error).split())
        yield Finding("wrong", f"A pattern file of the risk screen cannot be used: {told}")
        return
    try:
        version = risk_model.load_model(risk_model.MODEL).version
        yield Finding("good", f"the risk screen has {count} patterns and its model ({version})")
    except FileNotFoundError:
        yield Finding("wrong", "The risk screen has no model, patterns alone decide: run `passerelle train`.")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        told = " ".join(str(error).split())
        yield Finding(
            "wrong", f"The risk model cannot be used, patterns alone decide ({told}): run `passerelle train`."
        )


def _language(found: Settings) -> Iterator[Finding]:
    if found.language_detector != "cascade":
        return
    try:
        tags = language.load_head(language.MODEL).tags
        language.load_lexicon(language.MODEL)
        yield Finding("good", f"the language detector knows {len(tags)} languages by spelling, others by script")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        told = " ".join(str(error).split())
        yield Finding(
            "wrong",
            f"The language model cannot be used, romanised languages are not told apart ({told}): "
            "take nlu/models/language.npz from the release again.",
        )


def _channels(found: Settings) -> Iterator[Finding]:
    yield Finding("good", f"web chat at {found.public_url}/chat")
    if found.twilio is None:
        yield Finding("note", "SMS is off: set the PASSERELLE_TWILIO_… settings to turn it on.")
    elif found.demo and found.twilio.api_url.startswith("http://127.0.0.1"):
        yield Finding("good", "SMS goes to the stand-in on this machine; no message leaves it")
    else:
        yield Finding("good", f"SMS from {found.twilio.sender} through {found.twilio.api_url}")
    yield from _whatsapp(found, date.today())
    yield _telegram(found)
    for module in more.MODULES:
        on = more.is_on(module, found.more)
        off = f"{module.NAME} is off: set {', '.join(PREFIX + name for name in module.SETTINGS)} to turn it on."
        yield Finding("good", f"{module.NAME} is set up") if on else Finding("note", off)


def _whatsapp(found: Settings, today: date) -> Iterator[Finding]:
    """The channel, and how long its version of the Graph API still lives."""
    ours = found.whatsapp
    if ours is None:
        yield Finding("note", "WhatsApp is off: set the PASSERELLE_WHATSAPP_… settings to turn it on.")
        return
    if found.demo and ours.api_url.startswith("http://127.0.0.1"):
        yield Finding("good", "WhatsApp goes to the stand-in on this machine; no message leaves it")
        return
    yield Finding("good", f"WhatsApp, {len(ours.numbers)} number(s), through {ours.api_url}/{ours.version}")
    end = version_end(ours.version, today)
    if end.level != "good":
        yield end


def _telegram(found: Settings) -> Finding:
    if found.telegram is None:
        return Finding("note", "Telegram is off: set the PASSERELLE_TELEGRAM_… settings to turn it on.")
    if found.demo and found.telegram.api_url.startswith("http://127.0.0.1"):
        return Finding("good", "Telegram goes to the stand-in on this machine; no message leaves it")
    return Finding("good", f"Telegram through {found.telegram.api_url}")


def _files(found: Settings) -> Finding:
    media = found.media
    rest = f"files that people send: up to {media.most // 2**20} MB, deleted after {media.days} days"
    if media.pictures:
        return Finding("good", f"{rest}; staff may open pictures and videos")
    return Finding("note", f"{rest}; pictures and videos are off (PASSERELLE_MEDIA_PICTURES=on lets staff open them).")


def _running(found: Settings) -> Finding:
    url = f"http://127.0.0.1:{found.port}/health/ready"
    try:
        state = httpx.get(url, timeout=5).json()
        stored = state["database"]
    except (httpx.HTTPError, ValueError, TypeError, KeyError):
        return Finding("note", f"no gateway answers on port {found.port}: start it with `passerelle up`.")
    if not stored:
        return Finding("wrong", f"The gateway runs and cannot reach its database: {_lost_database(found)}")
    if not state.get("engine"):
        return Finding("note", "the gateway runs; the assistant does not answer (yet): escalations work all the same.")
    return Finding("good", "the gateway and the assistant are running")


def _lost_database(found: Settings) -> str:
    if found.database_url:
        return "start the database."
    return (
        "`passerelle up` starts the embedded one again within a minute. If this stays, look at "
        f"{found.var_dir / 'postgres' / 'log'} (a full disk is the usual reason), stop Passerelle and start it again."
    )
