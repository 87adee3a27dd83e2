"""Settings: each problem is one sentence that says what to do, all of them are told together, no secret is quoted."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from bot import settings
from bot.settings import KNOWN, PREFIX, Settings, SettingsError, load, read_environment, unknown
from bot.vault import Vault, new_key
from tests.conftest import DATA_KEY

PRODUCTION = {
    "MODE": "production",
    "DATA_KEY": DATA_KEY,
    "PUBLIC_URL": "https://line.example",
    "DATABASE_URL": "postgresql://passerelle@db.example/passerelle",
    "ENGINE_TOKEN": "a-shared-secret",
}


def loaded(folder: Path, **given: str) -> Settings:
    return load({"VAR_DIR": str(folder / "var"), **given})


def problems(folder: Path, **given: str) -> list[str]:
    """Every problem; each a sentence that names a setting or a file and ends in a full stop or an example."""
    with pytest.raises(SettingsError) as refused:
        loaded(folder, **given)
    for problem in refused.value.problems:
        assert "\n" not in problem
        assert problem.endswith((".", "…"))
    assert str(refused.value) == "\n".join(refused.value.problems)
    return refused.value.problems


def test_nothing_has_to_be_set_for_the_demonstration(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert found.demo
    assert found.database_url == ""  # the embedded one
    assert (found.host, found.port, found.public_url) == ("127.0.0.1", 8000, "http://127.0.0.1:8000")
    assert found.engine_urls == ("http://127.0.0.1:8005",)
    assert found.twilio is not None
    assert found.twilio.api_url == "http://127.0.0.1:8000"  # the stand-in: no message leaves the machine
    assert found.models == found.var_dir / "models"


def test_the_port_moves_everything_that_depends_on_it(tmp_path: Path) -> None:
    found = loaded(tmp_path, PORT="9100")
    assert found.public_url == "http://127.0.0.1:9100"
    assert found.engine_urls == ("http://127.0.0.1:9105",)
    assert found.twilio is not None
    assert found.twilio.api_url == "http://127.0.0.1:9100"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MODE", "prod", "set it to demo or production"),
        ("LANGUAGE_DETECTOR", "guess", "must be one of: cascade, langdetect"),
        ("DEFAULT_LANGUAGE", "fra", "must be one of: ar, en,"),
        *[
            ("PORT", port, "a number from 1 to 65530")
            for port in ("http", "0", "65531", "-1", "8000.5", "²", "9" * 5000)
        ],
        ("DATABASE_URL", "mysql://db/passerelle", "write it like postgresql://host/"),
        ("DATABASE_URL", "passerelle.db", "write it like postgresql://host/"),
        ("DATABASE_URL", "postgresql://", "write it like postgresql://host/"),
        ("DATABASE_URL", "postgresql://user@db:port/passerelle", "write it like postgresql://host/"),
        ("PUBLIC_URL", "line.example.org", "write it like http://host/"),
        ("PUBLIC_URL", "https://a.example,https://b.example:x", "write it like http://host/"),
        ("PUBLIC_URL", "http://[", "write it like http://host/"),
        ("ENGINE_URL", "http://127.0.0.1:8005,engine", "write it like http://host/"),
        ("ENGINE_URL", ",", "write it like http://host/"),
        ("ENGINE_URL", "http://127.0.0.1:99999", "write it like http://host/"),
        ("EXIT_URL", "weather", "write it like http://host/"),
        ("EXIT_URL", "javascript:alert(1)", "write it like http://host/"),
        ("CHAT_ORIGINS", "https://a.example, b.example", "write it like http://host/"),
        ("TWILIO_API_URL", "ftp://api.example", "write it like http://host/"),
        ("WHATSAPP_API_URL", "graph", "write it like http://host/"),
        ("TELEGRAM_API_URL", "/bot", "write it like http://host/"),
        ("DATA_KEY", "not a key!", "not urlsafe base64"),
        ("DATA_KEY", "c2hvcnQ=", "must be 32 bytes"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_its_setting(
    tmp_path: Path, name: str, value: str, words: str
) -> None:
    (problem,) = problems(tmp_path, **{name: value})
    assert problem.startswith(f"{PREFIX}{name}")
    assert words in problem


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    found = problems(tmp_path, MODE="prod", PORT="x", DATABASE_URL="y", DATA_KEY="!", EXIT_URL="z")
    named = [re.match(rf"{PREFIX}([A-Z_]+)", problem) for problem in found]
    assert {match[1] for match in named if match} == {"MODE", "PORT", "DATABASE_URL", "DATA_KEY", "EXIT_URL"}
    assert len(found) == 5
    assert not (tmp_path / "var").exists()  # nothing is made before all of it is understood


def test_no_problem_quotes_a_secret(tmp_path: Path) -> None:
    told = "\n".join(
        problems(tmp_path, DATA_KEY="hunter2hunter2", DATABASE_URL="postgresql://u:hunter2@h:hunter2/x", PORT="x")
    )
    assert "hunter2" not in told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:a,b@db.example/passerelle",
        "postgres://db.example/passerelle",
        "postgresql:///passerelle?host=/run/postgresql",
        "postgresql://one.example:5432,two.example:5433/passerelle",
    ],
)
def test_what_libpq_takes_as_an_address_is_taken(tmp_path: Path, url: str) -> None:
    assert loaded(tmp_path, DATABASE_URL=url).database_url == url


def test_a_driver_in_the_databases_address_is_left_out(tmp_path: Path) -> None:
    found = loaded(tmp_path, DATABASE_URL="postgresql+psycopg2://db.example/passerelle")
    assert found.database_url == "postgresql://db.example/passerelle"  # listening, and the engine, ask libpq itself


def test_spaces_around_a_value_are_not_part_of_it(tmp_path: Path) -> None:
    assert loaded(tmp_path, PUBLIC_URL=" https://line.example/ ", HOST=" ").public_url == "https://line.example"


def test_lists_have_commas_and_final_slashes_do_not_matter(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        ENGINE_URL="http://127.0.0.1:1/, http://127.0.0.1:2",
        CHAT_ORIGINS="https://a.example/ ,https://b.example",
        PUBLIC_URL="https://line.example/",
    )
    assert found.engine_urls == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert found.chat_origins == ("https://a.example", "https://b.example")
    assert found.public_url == "https://line.example"


# -- production


def test_production_starts_with_what_it_needs(tmp_path: Path) -> None:
    found = loaded(tmp_path, **PRODUCTION)
    assert not found.demo
    assert found.generated == ()
    assert found.twilio is None  # SMS is off until it is configured; nothing is made up
    assert found.host == "0.0.0.0"
    assert not (found.var_dir / "secrets").exists()


@pytest.mark.parametrize("name", ["DATA_KEY", "PUBLIC_URL", "DATABASE_URL", "ENGINE_TOKEN"])
def test_production_makes_up_no_secret(tmp_path: Path, name: str) -> None:
    given = {key: value for key, value in PRODUCTION.items() if key != name}
    assert problems(tmp_path, **given) == [f"{PREFIX}{name} must be set in production: {KNOWN[name]}."]


def test_production_lists_everything_that_is_missing(tmp_path: Path) -> None:
    found = problems(tmp_path, MODE="production", TWILIO_AUTH_TOKEN="t")
    for name in ("DATA_KEY", "PUBLIC_URL", "DATABASE_URL", "ENGINE_TOKEN", "TWILIO_ACCOUNT_SID", "TWILIO_FROM"):
        assert f"{PREFIX}{name} must be set in production: {KNOWN[name]}." in found
    assert len(found) == 6


@pytest.mark.parametrize("url", ["http://line.example", "HTTP://line.example", " http://line.example"])
def test_production_wants_https(tmp_path: Path, url: str) -> None:
    assert f"{PREFIX}PUBLIC_URL must start with https:// in production." in problems(
        tmp_path, **{**PRODUCTION, "PUBLIC_URL": url}
    )


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8000"])
def test_production_sends_to_no_stand_in(tmp_path: Path, host: str) -> None:
    given = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t", "TWILIO_FROM": "+15005550006"}
    (problem,) = problems(tmp_path, **PRODUCTION, **given, TWILIO_API_URL=f"http://{host}")
    assert problem == f"{PREFIX}TWILIO_API_URL points to a stand-in: remove it in production."


@pytest.mark.parametrize("name", ["PUBLIC_URL", "TWILIO_API_URL"])
def test_an_address_that_is_none_is_told_in_production_too(tmp_path: Path, name: str) -> None:
    assert f"{PREFIX}{name}: not a URL; write it like http://host/…" in problems(
        tmp_path, **{**PRODUCTION, name: "http://["}
    )


# -- made-up secrets and the folder


def test_made_up_secrets_are_the_same_at_every_start_and_for_their_owner_only(tmp_path: Path) -> None:
    first, second = loaded(tmp_path), loaded(tmp_path)
    assert first == second
    assert sorted(first.generated) == [
        "DATA_KEY", "TELEGRAM_BOT_TOKEN", "TELEGRAM_SECRET_TOKEN", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN",
        "WHATSAPP_ACCESS_TOKEN", "WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN",
    ]  # fmt: skip
    Vault.from_key(first.data_key)
    kept = tmp_path / "var" / "secrets"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    for path in kept.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_a_given_secret_is_not_made_up(tmp_path: Path) -> None:
    key = new_key()
    found = loaded(tmp_path, DATA_KEY=key)
    assert found.data_key == key
    assert "DATA_KEY" not in found.generated
    assert not (tmp_path / "var" / "secrets" / "data_key").exists()


@pytest.mark.parametrize("damage", [b"", b"\n", b"garbage", b"\xff\xfe", b"c2hvcnQ="])
def test_a_damaged_data_key_is_one_sentence_and_stays_as_it_is(tmp_path: Path, damage: bytes) -> None:
    loaded(tmp_path)
    kept = tmp_path / "var" / "secrets" / "data_key"
    kept.write_bytes(damage)
    (problem,) = problems(tmp_path)
    assert str(kept) in problem
    assert problem.endswith(f"or set {PREFIX}DATA_KEY.")
    assert kept.read_bytes() == damage


def test_a_file_in_the_place_of_the_secrets_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "secrets").write_text("")
    (problem,) = problems(tmp_path)
    assert str(tmp_path / "var" / "secrets") in problem


@pytest.mark.parametrize("below", ["", "further/down"])
def test_a_file_in_the_place_of_the_folder_is_one_sentence(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError) as refused:
        load({"VAR_DIR": str(tmp_path / "file" / below)})
    (problem,) = refused.value.problems
    assert problem.startswith(f"The folder {tmp_path / 'file' / below} cannot be written (")
    assert problem.endswith(f"change its owner, or {PREFIX}VAR_DIR.")


def test_the_folder_is_made_and_left_clean(tmp_path: Path) -> None:
    loaded(tmp_path / "a" / "b", **PRODUCTION)
    assert list((tmp_path / "a" / "b" / "var").iterdir()) == []


def test_a_relative_folder_is_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({"VAR_DIR": "here"}).var_dir == tmp_path / "here"


# -- where they come from


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PASSERELLE_PORT=1\nPASSERELLE_HOST=127.0.0.2\nOTHER=x\n")
    monkeypatch.setenv("PASSERELLE_PORT", "2")
    monkeypatch.setenv("PASSERELLE_MODE", "")  # set to nothing is not set
    assert read_environment(tmp_path / ".env") == {"PORT": "2", "HOST": "127.0.0.2"}


def test_without_a_file_the_environment_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSERELLE_PORT", "2")
    assert read_environment(tmp_path / ".env") == {"PORT": "2"}


def test_a_file_in_another_encoding_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("PASSERELLE_HOST=é".encode("latin-1"))
    with pytest.raises(SettingsError) as refused:
        read_environment(tmp_path / ".env")
    assert refused.value.problems == [f"The file {tmp_path / '.env'} cannot be read: make it readable, in UTF-8."]


def test_a_mistyped_name_is_found() -> None:
    assert unknown({"PORT": "1", "PROT": "2", "ENGINE_DATABASE_URL": "x"}) == ["PASSERELLE_PROT"]


def test_load_reads_the_environment_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "dotenv_values", lambda _path: {"PASSERELLE_PORT": "8111"})
    monkeypatch.setenv("PASSERELLE_VAR_DIR", str(tmp_path))
    assert load().port == 8111


# -- WhatsApp


WHATSAPP = {
    "WHATSAPP_PHONE_NUMBER_ID": "100000000000001, 100000000000002",
    "WHATSAPP_ACCESS_TOKEN": "EAAtoken",
    "WHATSAPP_APP_SECRET": "a-secret",
    "WHATSAPP_VERIFY_TOKEN": "a-word",
}


def test_whatsapp_in_the_demonstration_is_a_stand_in_with_made_up_secrets(tmp_path: Path) -> None:
    found, again = loaded(tmp_path, PORT="9100").whatsapp, loaded(tmp_path, PORT="9100").whatsapp
    assert found is not None
    assert found == again
    assert found.api_url == "http://127.0.0.1:9100"
    assert all((found.numbers, found.access_token, found.app_secret, found.verify_token))


def test_whatsapp_in_production_is_metas_or_off(tmp_path: Path) -> None:
    assert loaded(tmp_path, **PRODUCTION).whatsapp is None
    found = loaded(tmp_path, **PRODUCTION, **WHATSAPP, WHATSAPP_API_VERSION="v24.0").whatsapp
    assert found is not None
    assert (found.api_url, found.version) == ("https://graph.facebook.com", "v24.0")
    assert found.numbers == ("100000000000001", "100000000000002")


@pytest.mark.parametrize("name", ["WHATSAPP_PHONE_NUMBER_ID", "WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN"])
def test_whatsapp_in_production_needs_all_of_its_secrets(tmp_path: Path, name: str) -> None:
    given = {key: value for key, value in WHATSAPP.items() if key != name}
    (problem,) = problems(tmp_path, **PRODUCTION, **given)
    assert problem.startswith(f"{PREFIX}{name} must be set in production")


def test_a_stand_in_of_the_graph_api_is_refused_in_production(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, **PRODUCTION, **WHATSAPP, WHATSAPP_API_URL="http://127.0.0.1:8000")
    assert problem.startswith(f"{PREFIX}WHATSAPP_API_URL points to a stand-in")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("WHATSAPP_PHONE_NUMBER_ID", value) for value in ("+15145550123", "a", ",", "1/messages")],
        *[("WHATSAPP_API_VERSION", value) for value in ("25", "v25", "v25.0/me", "latest")],
    ],
)
def test_a_wrong_number_id_or_version_is_told(tmp_path: Path, name: str, value: str) -> None:
    (problem,) = problems(tmp_path, **{name: value})
    assert problem.startswith(f"{PREFIX}{name}")


# -- Telegram


TELEGRAM = {"TELEGRAM_BOT_TOKEN": "1000000001:AAE-token", "TELEGRAM_SECRET_TOKEN": "a-Secret_1"}


def test_telegram_in_the_demonstration_is_a_stand_in_with_made_up_secrets(tmp_path: Path) -> None:
    found, again = loaded(tmp_path, PORT="9100").telegram, loaded(tmp_path, PORT="9100").telegram
    assert found is not None
    assert found == again
    assert found.api_url == "http://127.0.0.1:9100"
    assert re.fullmatch(r"\d{10}:[\w-]{20,}", found.bot_token)
    assert re.fullmatch(r"[\w-]{40,256}", found.secret_token, re.ASCII)


def test_telegram_in_production_is_telegrams_own_or_off(tmp_path: Path) -> None:
    assert loaded(tmp_path, **PRODUCTION).telegram is None
    found = loaded(tmp_path, **PRODUCTION, **TELEGRAM).telegram
    assert found is not None
    assert (found.api_url, found.secret_token) == ("https://api.telegram.org", "a-Secret_1")


@pytest.mark.parametrize(
    ("secret", "words"),
    [("", "must be set in production"), ("not allowed!", "letters, digits"), ("é", "letters"), ("x" * 257, "1 to 256")],
)
def test_telegram_in_production_needs_a_secret_that_telegram_takes(tmp_path: Path, secret: str, words: str) -> None:
    (problem,) = problems(tmp_path, **{**PRODUCTION, **TELEGRAM, "TELEGRAM_SECRET_TOKEN": secret})
    assert problem.startswith(f"{PREFIX}TELEGRAM_SECRET_TOKEN")
    assert words in problem
    assert not secret or secret not in problem


def test_a_stand_in_of_the_bot_api_is_refused_in_production(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, **PRODUCTION, **TELEGRAM, TELEGRAM_API_URL="http://localhost:8000")
    assert problem == f"{PREFIX}TELEGRAM_API_URL points to a stand-in: remove it in production."
