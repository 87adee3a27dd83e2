"""Settings: from the environment and ``.env`` to frozen records, checked once at the start.

Every problem is one sentence that says what to do; all of them are reported together.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from bot import vault
from channels import more
from channels.sms import RATE as SMS_RATE
from channels.templates import Template, TemplateError
from channels.templates import load as load_templates
from channels.whatsapp import VERSION as GRAPH_VERSION
from translations import catalog

PREFIX = "PASSERELLE_"
ROOT = Path(__file__).resolve().parent.parent
MODES = ("demo", "production")
LANGUAGE_DETECTORS = ("cascade", "langdetect")

# Every setting, with what it is for: `doctor` and the documentation's test read this table.
KNOWN = {
    "MODE": "demo (default) or production",
    "DATABASE_URL": "postgresql://… ; empty: the embedded database in VAR_DIR",
    "PUBLIC_URL": "how providers reach this gateway; part of what they sign",
    "DATA_KEY": "seals words and addresses in the database; 32 random bytes in base64",
    "HOST": "address to listen on",
    "PORT": "port to listen on (8000)",
    "VAR_DIR": "folder of the embedded database and the models (var)",
    "DEFAULT_LANGUAGE": "language used while the person's is unknown (en)",
    "LANGUAGE_DETECTOR": "cascade (default) or langdetect",
    "ENGINE_URL": "the engine's address, or several with commas",
    "ENGINE_TOKEN": "shared secret of gateway and engine",
    "EXIT_URL": "harmless page that quick exit leads to",
    "CHAT_ORIGINS": "other origins whose pages may open the web chat, with commas",
    "TWILIO_ACCOUNT_SID": "the Twilio account",
    "TWILIO_AUTH_TOKEN": "signs Twilio's webhooks and our requests",
    "TWILIO_FROM": "the SMS number people write to",
    "TWILIO_API_URL": "replaces the scheme and host of Twilio's API",
    "TWILIO_RATE": "SMS segments a second that the number may send (1)",
    "WHATSAPP_PHONE_NUMBER_ID": "WhatsApp number id, or several with commas",
    "WHATSAPP_ACCESS_TOKEN": "lets us send on WhatsApp",
    "WHATSAPP_APP_SECRET": "signs WhatsApp's webhooks",
    "WHATSAPP_VERIFY_TOKEN": "answers Meta's verification request",
    "WHATSAPP_API_URL": "replaces the scheme and host of the Graph API",
    "WHATSAPP_API_VERSION": "version of the Graph API",
    "WHATSAPP_TEMPLATES": "file of the templates that Meta has approved, for after 24 hours of silence",
    "TELEGRAM_BOT_TOKEN": "the Telegram bot",
    "TELEGRAM_SECRET_TOKEN": "proves that an update comes from Telegram",
    "TELEGRAM_API_URL": "replaces the scheme and host of Telegram's API",
    "MEDIA_PICTURES": "on: staff may open the pictures and videos that people send (off)",
    "MEDIA_MAX_MB": "largest file that is fetched, in megabytes (16)",
    "MEDIA_DAYS": "days after which files that people sent are deleted (30)",
    "MEDIA_END_WITH_HANDOFF": "on: they are deleted as soon as the handoff is closed (off)",
    **more.settings(),
}


class SettingsError(ValueError):
    """Settings that cannot be used. ``problems``: one clear sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class TwilioSettings:
    account_sid: str
    auth_token: str
    sender: str
    api_url: str
    rate: float  # segments a second


@dataclass(frozen=True, slots=True)
class WhatsAppSettings:
    numbers: tuple[str, ...]  # ids of our phone numbers
    access_token: str
    app_secret: str
    verify_token: str
    api_url: str
    version: str
    templates: tuple[Template, ...] = ()


@dataclass(frozen=True, slots=True)
class TelegramSettings:
    bot_token: str
    secret_token: str
    api_url: str


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """Files that people send."""

    pictures: bool  # videos too
    most: int  # bytes of one
    days: int
    end_with_handoff: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """All of a gateway's settings; secrets are kept out of ``repr``-able logs by the log redaction."""

    mode: str
    database_url: str  # empty: embedded
    public_url: str
    data_key: str
    host: str
    port: int
    var_dir: Path
    default_language: str
    language_detector: str
    engine_urls: tuple[str, ...]
    engine_token: str
    exit_url: str
    chat_origins: tuple[str, ...]
    twilio: TwilioSettings | None
    telegram: TelegramSettings | None
    whatsapp: WhatsAppSettings | None
    media: MediaSettings
    generated: tuple[str, ...]  # secrets made up for the demonstration
    more: Mapping[str, str]  # what was given for the channels of ``channels.more``

    @property
    def demo(self) -> bool:
        return self.mode == "demo"

    @property
    def models(self) -> Path:
        return self.var_dir / "models"

    @property
    def spool(self) -> Path:
        return self.var_dir / "spool"


def read_environment(env_file: Path = ROOT / ".env") -> dict[str, str]:
    """The settings as given, prefix removed: ``.env`` first, the environment over it. Raises SettingsError."""
    try:
        found = {**dotenv_values(env_file), **os.environ}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"The file {env_file} cannot be read: make it readable, in UTF-8."]) from error
    return {name[len(PREFIX) :]: value for name, value in found.items() if name.startswith(PREFIX) and value}


def load(given: Mapping[str, str] | None = None) -> Settings:
    """Checked settings. Demonstration secrets that are missing are made up and kept in VAR_DIR.

    Raises SettingsError with every problem found.
    """
    given = read_environment() if given is None else given
    given = {name: value.strip() for name, value in given.items() if value.strip()}
    problems = _check(given)
    if problems:
        raise SettingsError(problems)
    mode = given.get("MODE", "demo")
    port = int(given.get("PORT", "8000"))
    var_dir = Path(given.get("VAR_DIR", str(ROOT / "var"))).absolute()
    _make_folder(var_dir)
    generated: list[str] = []

    def secret(name: str, make: str) -> str:
        if name in given:
            return given[name]
        generated.append(name)
        return _kept_secret(var_dir, name, make)

    demo = mode == "demo"
    twilio = None
    if demo or "TWILIO_AUTH_TOKEN" in given:
        twilio = TwilioSettings(
            account_sid=secret("TWILIO_ACCOUNT_SID", "AC" + secrets.token_hex(16)),
            auth_token=secret("TWILIO_AUTH_TOKEN", secrets.token_hex(16)),
            sender=given.get("TWILIO_FROM", "+15005550006"),  # Twilio's own magic test number
            api_url=given.get("TWILIO_API_URL", f"http://127.0.0.1:{port}" if demo else "https://api.twilio.com"),
            # the demonstration's own stand-in is in no network that would have to be spared
            rate=float(given.get("TWILIO_RATE", 100 if demo and "TWILIO_API_URL" not in given else SMS_RATE)),
        )
    whatsapp = None
    if demo or "WHATSAPP_ACCESS_TOKEN" in given:
        whatsapp = WhatsAppSettings(
            numbers=tuple(_list(given.get("WHATSAPP_PHONE_NUMBER_ID", ""))) or ("100000000000001",),
            access_token=secret("WHATSAPP_ACCESS_TOKEN", secrets.token_hex(16)),
            app_secret=secret("WHATSAPP_APP_SECRET", secrets.token_hex(16)),
            verify_token=secret("WHATSAPP_VERIFY_TOKEN", secrets.token_hex(16)),
            api_url=given.get("WHATSAPP_API_URL", f"http://127.0.0.1:{port}" if demo else "https://graph.facebook.com"),
            version=given.get("WHATSAPP_API_VERSION", GRAPH_VERSION),
            templates=_templates(given),
        )
    telegram = None
    if demo or "TELEGRAM_BOT_TOKEN" in given:
        telegram = TelegramSettings(
            bot_token=secret("TELEGRAM_BOT_TOKEN", f"{secrets.randbelow(10**9) + 10**9}:{secrets.token_urlsafe(24)}"),
            secret_token=secret("TELEGRAM_SECRET_TOKEN", secrets.token_urlsafe(32)),
            api_url=given.get("TELEGRAM_API_URL", f"http://127.0.0.1:{port}" if demo else "https://api.telegram.org"),
        )
    return Settings(
        mode=mode,
        database_url=_libpq(given.get("DATABASE_URL", "")),
        public_url=given.get("PUBLIC_URL", f"http://127.0.0.1:{port}").rstrip("/"),
        data_key=_usable_key(secret("DATA_KEY", vault.new_key()), var_dir),
        host=given.get("HOST", "127.0.0.1" if demo else "0.0.0.0"),  # noqa: S104 - production listens behind a proxy
        port=port,
        var_dir=var_dir,
        default_language=given.get("DEFAULT_LANGUAGE", "en"),
        language_detector=given.get("LANGUAGE_DETECTOR", "cascade"),
        engine_urls=tuple(_list(given.get("ENGINE_URL", f"http://127.0.0.1:{port + 5}"))),
        engine_token=secret("ENGINE_TOKEN", secrets.token_urlsafe(24)),
        exit_url=given.get("EXIT_URL", "https://www.google.ca/search?q=weather"),
        chat_origins=tuple(_list(given.get("CHAT_ORIGINS", ""))),
        twilio=twilio,
        telegram=telegram,
        whatsapp=whatsapp,
        media=MediaSettings(
            pictures=given.get("MEDIA_PICTURES") == "on",
            most=int(given.get("MEDIA_MAX_MB", "16")) * 2**20,
            days=int(given.get("MEDIA_DAYS", "30")),
            end_with_handoff=given.get("MEDIA_END_WITH_HANDOFF") == "on",
        ),
        generated=tuple(name for name in generated if name != "ENGINE_TOKEN"),
        more={name: given[name] for name in more.settings() if name in given},
    )


def unknown(given: Mapping[str, str]) -> list[str]:
    """Names that start like ours and are none: most often a typing error, which `doctor` points out."""
    return [PREFIX + name for name in given if name not in KNOWN and not name.startswith("ENGINE_DATABASE")]


def _list(value: str) -> list[str]:
    return [item.strip().rstrip("/") for item in value.split(",") if item.strip()]


def _check(given: Mapping[str, str]) -> list[str]:
    problems = []
    mode = given.get("MODE", "demo")
    if mode not in MODES:
        problems.append(f"{PREFIX}MODE is {mode!r}: set it to demo or production.")
    if given.get("LANGUAGE_DETECTOR", "cascade") not in LANGUAGE_DETECTORS:
        problems.append(f"{PREFIX}LANGUAGE_DETECTOR must be one of: {', '.join(LANGUAGE_DETECTORS)}.")
    languages = {path.stem for path in catalog.FOLDER.glob("*.po")}
    if languages and given.get("DEFAULT_LANGUAGE", "en") not in languages:
        problems.append(f"{PREFIX}DEFAULT_LANGUAGE must be one of: {', '.join(sorted(languages))}.")
    port = given.get("PORT", "8000")
    if not (port.isdecimal() and len(port) < 6 and 1 <= int(port) <= 65530):
        problems.append(f"{PREFIX}PORT is {port!r}: set it to a number from 1 to 65530.")
    rate = given.get("TWILIO_RATE", "1")
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", rate, re.ASCII) or not float(rate):
        problems.append(f"{PREFIX}TWILIO_RATE is {rate!r}: set it to the SMS segments a second, such as 1 or 3.")
    if re.search("[^0-9, ]|^[, ]+$", given.get("WHATSAPP_PHONE_NUMBER_ID", "")):
        problems.append(f"{PREFIX}WHATSAPP_PHONE_NUMBER_ID: write Meta's ids of the numbers, digits only, with commas.")
    if not re.fullmatch(r"v[0-9]{1,3}\.[0-9]", given.get("WHATSAPP_API_VERSION", GRAPH_VERSION)):
        problems.append(f"{PREFIX}WHATSAPP_API_VERSION: write it like {GRAPH_VERSION}.")
    try:
        _templates(given)
    except TemplateError as error:
        problems.append(f"{PREFIX}WHATSAPP_TEMPLATES: {error}")
    problems += [
        f"{PREFIX}{name} is {given[name]!r}: set it to a number from 1 to {most}."
        for name, most in (("MEDIA_MAX_MB", 100), ("MEDIA_DAYS", 3650))
        if name in given and not (re.fullmatch("[0-9]{1,4}", given[name]) and 1 <= int(given[name]) <= most)
    ]
    problems += [
        f"{PREFIX}{name} is {given[name]!r}: set it to on or off."
        for name in ("MEDIA_PICTURES", "MEDIA_END_WITH_HANDOFF")
        if given.get(name, "off") not in ("on", "off")
    ]
    problems += [f"{PREFIX}{name}: {trouble}" for name in _URLS if (trouble := _check_url(name, given.get(name, "")))]
    problems += more.problems(given)
    if "DATA_KEY" in given:
        try:
            vault.Vault.from_key(given["DATA_KEY"])
        except vault.VaultError as error:
            problems.append(f"{PREFIX}DATA_KEY: {error}")
    return problems + (_check_production(given) if mode == "production" else [])


def _templates(given: Mapping[str, str]) -> tuple[Template, ...]:
    """Raises TemplateError."""
    path = given.get("WHATSAPP_TEMPLATES", "")
    return load_templates(Path(path), catalog.read_keys(catalog.FOLDER / "keys.yml")) if path else ()


_URLS = (
    "DATABASE_URL", "PUBLIC_URL", "ENGINE_URL", "EXIT_URL", "CHAT_ORIGINS",
    "TWILIO_API_URL", "WHATSAPP_API_URL", "TELEGRAM_API_URL",
)  # fmt: skip
_SEVERAL = ("ENGINE_URL", "CHAT_ORIGINS")  # with commas


def _check_url(name: str, value: str) -> str:
    """What is wrong with a URL; never quotes it, for it may hold a password."""
    wanted = ("postgresql", "postgres") if name == "DATABASE_URL" else ("http", "https")
    for item in (value.split(",") if name in _SEVERAL else [value]) if value else ():
        try:
            parts = urlsplit(item.strip())
            good = parts.scheme.split("+")[0] in wanted and bool(parts.netloc or parts.query)
            # libpq tries several hosts, each with a port of its own
            good = good and (name == "DATABASE_URL" if "," in parts.netloc else parts.port != 0)
        except ValueError:
            good = False
        if not good:
            return f"not a URL; write it like {wanted[0]}://host/…"
    return ""


def _libpq(url: str) -> str:
    """As libpq wants it: a driver in the scheme ("postgresql+psycopg") is SQLAlchemy's own habit."""
    scheme, mark, rest = url.partition("://")
    return scheme.split("+")[0] + mark + rest


def _scheme_and_host(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url.strip())
        return parts.scheme, parts.hostname or ""
    except ValueError:  # said already
        return "", ""


def _check_production(given: Mapping[str, str]) -> list[str]:
    problems = [
        f"{PREFIX}{name} must be set in production: {KNOWN[name]}."
        for name in ("DATA_KEY", "PUBLIC_URL", "DATABASE_URL", "ENGINE_TOKEN")
        if name not in given
    ]
    if _scheme_and_host(given.get("PUBLIC_URL", ""))[0] == "http":
        problems.append(f"{PREFIX}PUBLIC_URL must start with https:// in production.")
    if "TWILIO_AUTH_TOKEN" in given:
        problems += [
            f"{PREFIX}{name} must be set in production: {KNOWN[name]}."
            for name in ("TWILIO_ACCOUNT_SID", "TWILIO_FROM")
            if name not in given
        ]
    if "WHATSAPP_ACCESS_TOKEN" in given:
        problems += [
            f"{PREFIX}{name} must be set in production: {KNOWN[name]}."
            for name in ("WHATSAPP_PHONE_NUMBER_ID", "WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN")
            if name not in given
        ]
    if "TELEGRAM_BOT_TOKEN" in given:
        problems += _check_secret_token(given.get("TELEGRAM_SECRET_TOKEN", ""))
    for name in ("TWILIO_API_URL", "WHATSAPP_API_URL", "TELEGRAM_API_URL"):
        if _scheme_and_host(given.get(name, ""))[1] in ("127.0.0.1", "localhost", "::1"):
            problems.append(f"{PREFIX}{name} points to a stand-in: remove it in production.")
    return problems


def _check_secret_token(token: str) -> list[str]:
    name = f"{PREFIX}TELEGRAM_SECRET_TOKEN"
    if not token:
        return [f"{name} must be set in production: {KNOWN['TELEGRAM_SECRET_TOKEN']}."]
    if not re.fullmatch("[A-Za-z0-9_-]{1,256}", token):  # core.telegram.org/bots/api#setwebhook, 2026-11
        return [f"{name}: use 1 to 256 letters, digits, _ and -; Telegram takes no others."]
    return []


def _make_folder(var_dir: Path) -> None:
    try:
        var_dir.mkdir(parents=True, exist_ok=True)
        probe = var_dir / f".writable-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise SettingsError(
            [f"The folder {var_dir} cannot be written ({error.strerror}): change its owner, or {PREFIX}VAR_DIR."]
        ) from error


def _kept_secret(var_dir: Path, name: str, value: str) -> str:
    """A made-up secret of the demonstration, the same at every start; readable by its owner only."""
    path = var_dir / "secrets" / name.lower()
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            value = path.read_text(encoding="ascii").strip()
        else:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(value)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path} cannot be read or written: restore it, or set {PREFIX}{name}."]) from error
    if not value:
        raise SettingsError([f"{path} is empty: restore it, or set {PREFIX}{name}."])
    return value


def _usable_key(data_key: str, var_dir: Path) -> str:
    """The key again; a given one was checked before, a kept one may have been damaged since."""
    try:
        vault.Vault.from_key(data_key)
    except vault.VaultError as error:
        kept = var_dir / "secrets" / "data_key"
        raise SettingsError([f"The key in {kept} is damaged: restore that file, or set {PREFIX}DATA_KEY."]) from error
    return data_key
