"""The command line: one function a command. Errors of use are one sentence, never a traceback."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bot import logs, settings
from bot.settings import Settings, SettingsError

Arguments = argparse.Namespace


def main(argv: list[str] | None = None) -> int:
    """Runs a command; its exit code."""
    arguments = make_parser().parse_args(argv)
    logs.set_up("INFO" if arguments.command in ("up", "serve", "engine") else "WARNING")
    try:
        return int(arguments.run(arguments) or 0)
    except SettingsError as error:
        for problem in error.problems:
            print(f"passerelle: {problem}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, EOFError):  # Ctrl-C, or Ctrl-D where a password is asked for
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="passerelle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Arguments], int | None], help_: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_, description=help_)
        sub.set_defaults(run=run)
        return sub

    command("up", run_up, "everything, on the embedded database; prints the URLs")
    command("serve", run_serve, "the gateway alone")
    command("engine", run_engine, "the dialogue engine alone")
    train = command("train", run_train, "train the assistant, and the heads of screen and language detector")
    train.add_argument("--only", choices=("engine", "risk", "language"), help="one of them")
    for name, run in (("screen", run_screen), ("language", run_language)):
        sub = command(name, run, f"{name} of texts: JSON lines in, JSON lines out")
        sub.add_argument("--jsonl", action="store_true", required=True, help="read and write JSON lines")
    say = command("say", run_say, "write to the running gateway as a person would; prints the replies")
    say.add_argument("--channel", choices=("sms", "whatsapp", "telegram", "web"), default="sms")
    say.add_argument("--from", dest="sender", default="+15145550100", help="the person's number, or chat at Telegram")
    say.add_argument("--wait", type=float, default=12.0, help="seconds to wait for a first reply")
    say.add_argument("text")
    log = command("log", run_log, "the stored messages, oldest first")
    log.add_argument("--jsonl", action="store_true", required=True, help="write JSON lines")
    log.add_argument("--words", action="store_true", help="with what was written; this is put into the audit trail")
    _staff_parser(command)
    imports = command("directory", run_directory, "the referral directory")
    imports.add_argument("action", choices=("import",))
    imports.add_argument("file", type=Path)
    verdicts = command("verdicts", run_verdicts, "what advocates say of the screen: out for review, approved lines in")
    verdicts.add_argument("action", choices=("export", "import"))
    verdicts.add_argument("file", type=Path)
    command("doctor", run_doctor, "check every setting and part, and say what to do")
    channels = command("channels", run_channels, "ask each provider whether its channel is set up; sets the webhooks")
    channels.add_argument("action", choices=("check",))
    channels.add_argument("--look", action="store_true", help="change nothing at the providers")
    channels.add_argument("--json", action="store_true", help="the report as one JSON object")
    evaluate = command("evaluate", run_evaluate, "how good the understanding is: risk, language, intents")
    evaluate.add_argument("what", choices=("risk", "language", "intents"))
    evaluate.add_argument(
        "--write", action="store_true", help="keep the figures that the tests compare with, and write the model card"
    )
    bench = command("bench", run_bench, "measure speed, as ratios in one run")
    bench.add_argument("--seconds", type=float, default=5.0, help="of each load")
    bench.add_argument("--steady", type=float, default=10.0, help="seconds of 1000 webhooks offered each second")
    return parser


def _staff_parser(command: Callable[[str, Callable[[Arguments], int | None], str], argparse.ArgumentParser]) -> None:
    staff = command("staff", run_staff, "accounts of advocates and others")
    actions = staff.add_subparsers(dest="action", required=True)
    add = actions.add_parser("add", help="a new account; the password is asked for, or read from stdin")
    add.add_argument("name")
    add.add_argument("--role", required=True, help="advocate, supervisor, content, analyst or admin")
    add.add_argument("--display", default="", help="the name that others see")
    actions.add_parser("list", help="all accounts")
    for name in ("remove", "password"):
        actions.add_parser(name, help=f"{name} of an account").add_argument("name")
    token = command("token", run_token, "personal API tokens")
    token.add_argument("action", choices=("add",))
    token.add_argument("name")
    token.add_argument("--label", default="")


@contextlib.contextmanager
def open_database(given: Settings) -> Iterator[str]:
    """The database's URL; starts the embedded one when it sleeps, and lets it sleep again when nobody uses it."""
    from bot import database, embedded
    from bot.vault import Vault

    running = None if given.database_url else embedded.start(given.var_dir)
    url = running.url if running else given.database_url
    try:
        database.prepare(url, Vault.from_key(given.data_key))
        yield url
    finally:
        if running is not None:
            embedded.stop(running)


def run_up(_arguments: Arguments) -> int:
    from bot.supervisor import up

    asyncio.run(up(settings.load()))
    return 0


def run_serve(_arguments: Arguments) -> int:
    from bot.app import make_app
    from bot.embedded import alone
    from bot.supervisor import ensure_port_free

    given = settings.load()
    sys.setswitchinterval(0.0005)  # the loop that takes messages waits this long for a thread that understands one
    with alone(given):
        ensure_port_free(given.host, given.port)
        with open_database(given) as url:
            app = make_app(given, url)
            app.run(host=given.host, port=given.port, single_process=True, access_log=False, motd=False, debug=False)
    return 0


def run_engine(_arguments: Arguments) -> int:
    from bot import supervisor, training

    given = settings.load()
    model = training.model_path(given)
    supervisor.ensure_port_free("127.0.0.1", supervisor.engine_port(given))
    if not supervisor.ENGINE_PYTHON.exists():
        raise SettingsError(["The engine's environment .venv-rasa is missing: run `make setup`."])
    if not model.exists() and not asyncio.run(training.ensure_trained(given, print)):
        raise SettingsError([f"There is no trained model ({model}): run `passerelle train`."])
    if given.database_url:
        url = given.database_url
    else:
        from bot import embedded

        url = embedded.start(given.var_dir).url
    os.chdir(settings.ROOT)
    command = supervisor.engine_command(given, model)
    supervisor.die_with_parent()
    os.execve(command[0], command, supervisor.engine_environment(given, url))  # noqa: S606 - no shell wanted


def run_train(arguments: Arguments) -> int:
    from bot import training

    given = settings.load()
    good = True
    if arguments.only in (None, "language"):
        from nlu.language_training import train_language

        print("Training the language detector's head …", flush=True)
        try:
            print(train_language(), flush=True)
        except ValueError as error:  # it needs a package that only a developer has; what is there stays good
            if arguments.only:
                raise SettingsError([f"{error}."]) from error
            print(f"The detector's head stays as it is: {error}.", flush=True)
    if arguments.only in (None, "risk"):
        from nlu.risk_training import train_risk

        print("Training the risk heads …", flush=True)
        print(train_risk(approved=given.var_dir / "approved"), flush=True)
    if arguments.only in (None, "engine"):
        print("Training the assistant (under a minute) …", flush=True)
        good = asyncio.run(training.train_engine(given))
        print("done" if good else f"failed: see {given.var_dir / 'train.log'}", flush=True)
    return 0 if good else 1


def run_screen(_arguments: Arguments) -> int:
    from bot import jsonl

    return jsonl.screen(settings.load())


def run_language(_arguments: Arguments) -> int:
    from bot import jsonl

    return jsonl.detect(settings.load())


def run_say(arguments: Arguments) -> int:
    from bot.say import say

    count = asyncio.run(say(settings.load(), arguments.channel, arguments.sender, arguments.text, wait=arguments.wait))
    if not count:
        print("(no reply)", file=sys.stderr)
    return 0 if count else 1


def run_log(arguments: Arguments) -> int:
    given = settings.load()
    with open_database(given) as url:
        asyncio.run(_print_log(given, url, words=arguments.words))
    return 0


async def _print_log(given: Settings, url: str, *, words: bool) -> None:
    from bot import database, inbox
    from bot.tables import deliveries, messages
    from bot.vault import Vault, VaultError
    from handoff import access

    vault = Vault.from_key(given.data_key)
    engine = database.engine_for(url, pool_size=2)
    order_of_states = sa.func.array_position(list(access._STATE_ORDER), deliveries.c.state)
    worst = (
        sa.select(deliveries.c.state)
        .where(deliveries.c.message_id == messages.c.id)
        .order_by(order_of_states)
        .limit(1)
        .scalar_subquery()
    )
    order = (messages.c.created_at, messages.c.conversation_id, messages.c.seq)
    async with engine.begin() as conn:
        if words:
            await access.write_audit(conn, access.command_line(), "log with words", purpose="log")
    async with engine.connect() as conn:
        async for row in await conn.stream(sa.select(messages, worst.label("delivery")).order_by(*order)):
            entry = {
                "id": str(row.id),
                "conversation": str(row.conversation_id),
                "channel": row.channel,
                "provider_id": row.provider_id,
                "direction": row.direction,
                "kind": row.kind,
                "state": row.delivery or row.state,
                "time": row.created_at.isoformat(),
            }
            if words:
                try:
                    entry["text"] = inbox.open_words(vault, row.id, row.words).get("text", "")
                except VaultError:  # a damaged row does not hide the others
                    entry["text"] = None
            print(json.dumps(entry, ensure_ascii=True))
    await engine.dispose()


def run_staff(arguments: Arguments) -> int:
    from handoff import staff

    async def act(conn: Any) -> str:
        if arguments.action == "list":
            rows = await staff.names(conn)
            return "\n".join(f"{r.name:<20} {r.role:<12} {'' if r.active else 'ended '}{r.display}" for r in rows)
        if arguments.action == "remove":
            if not await staff.deactivate(conn, arguments.name):
                raise staff.StaffError(f"There is no account named {arguments.name}.")
            return "ended"
        password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        if arguments.action == "password":
            if not await staff.set_password(conn, arguments.name, password):
                raise staff.StaffError(f"There is no account named {arguments.name}.")
            return "changed"
        await staff.add(conn, name=arguments.name, display=arguments.display, role=arguments.role, password=password)
        return f"added {arguments.name.lower()} ({arguments.role})"

    return _with_database(act)


def run_token(arguments: Arguments) -> int:
    from bot.vault import Vault
    from handoff import staff

    vault = Vault.from_key(settings.load().data_key)
    return _with_database(lambda conn: staff.add_token(conn, vault, name=arguments.name, label=arguments.label))


def run_directory(arguments: Arguments) -> int:
    from bot import directory

    async def act(conn: Any) -> str:
        return f"{await directory.import_file(conn, arguments.file)} services imported"

    return _with_database(act)


def run_verdicts(arguments: Arguments) -> int:
    from bot import review
    from handoff.reviewed import ReviewError

    given = settings.load()
    try:
        if arguments.action == "import":
            return review.take_in(given, arguments.file)
        with open_database(given) as url:
            print(asyncio.run(review.export(given, url, arguments.file)))
    except ReviewError as error:
        raise SettingsError([str(error)]) from error
    return 0


def _with_database(act: Callable[[Any], Any]) -> int:
    """Runs one transaction and prints its answer; errors of use in one sentence."""
    from bot import database
    from bot.directory import DirectoryError
    from handoff.staff import StaffError

    given = settings.load()

    async def run(url: str) -> str:
        engine = database.engine_for(url, pool_size=1)
        try:
            async with engine.begin() as conn:
                return str(await act(conn))
        finally:
            await engine.dispose()

    with open_database(given) as url:
        try:
            print(asyncio.run(run(url)))
        except (StaffError, DirectoryError) as error:
            raise SettingsError([str(error)]) from error
        except UnicodeError as error:
            raise SettingsError(["The names and the password must be text in UTF-8."]) from error
    return 0


def run_doctor(_arguments: Arguments) -> int:
    from bot.doctor import examine

    return examine()


def run_channels(arguments: Arguments) -> int:
    from bot import channels_check

    return channels_check.run(settings.load(), repair=not arguments.look, as_json=arguments.json)


def run_evaluate(arguments: Arguments) -> int:
    from nlu import evaluation

    if arguments.what == "language":
        print(evaluation.language_report())
        return 0
    if arguments.what == "intents":
        from nlu import intent_evaluation

        print(intent_evaluation.intents_report())
        return 0
    judged = evaluation.judge_development(_progress)
    print(evaluation.risk_report(judged))
    print("\n" + evaluation.worst_cases(judged), file=sys.stderr)
    if arguments.write:
        from nlu import model_card

        evaluation.write_figures(judged)
        model_card.write(judged)
    return 0


def _progress(line: str) -> None:
    """On a terminal only: a line that is written over."""
    if sys.stderr.isatty():
        print(f"  {line}", end="\r", file=sys.stderr, flush=True)


def run_bench(arguments: Arguments) -> int:
    from bot.bench import run

    return run(settings.load(), seconds=arguments.seconds, steady=arguments.steady)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
