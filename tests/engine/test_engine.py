"""The real engine: questions in sixteen ways of writing to response keys, places, memory, and silence of its log."""

import base64
import json
import os
import re
import subprocess
import uuid
from collections import Counter
from pathlib import Path

import numpy as np
import psycopg
import pytest
import yaml

from bot.vault import Vault
from nlu.encoder import E5Encoder

from .conftest import ENVIRONMENT, PYTHON, ROOT, Engine

pytestmark = pytest.mark.slow

QUESTIONS = [json.loads(line) for line in (ROOT / "nlu/data/held_out/questions.jsonl").read_text().splitlines()]
# reached: 0.91 with an encoder of the engine's own; 0.874 with the one that it shares with the risk screen, since that
# was adapted with more of the screen's messages. Nothing was tuned on these questions.
FLOOR = 0.87
FLOOR_OF_A_LANGUAGE = 0.4  # eight questions or so each: a coarse net; romanised Hindi is the worst, 4 of 9


def someone() -> str:
    """A fresh conversation."""
    return str(uuid.uuid4())


@pytest.mark.timeout(600)
def test_held_out_questions_get_their_keys(engine: Engine) -> None:
    right, asked, wrong = Counter[str](), Counter[str](), []
    for question in QUESTIONS:
        key = engine.key(someone(), question["text"])
        asked[question["language"]] += 1
        right[question["language"]] += key == question["key"]
        if key != question["key"]:
            wrong.append((question["language"], question["text"], question["key"], key))
    shares = {language: right[language] / count for language, count in asked.items()}
    print(f"held-out accuracy {right.total() / asked.total():.3f}", shares, *wrong, sep="\n")
    assert right.total() / asked.total() >= FLOOR, wrong
    assert min(shares.values()) >= FLOOR_OF_A_LANGUAGE, shares


def test_no_held_out_question_is_in_the_training_data() -> None:
    examples = set()
    for path in (ROOT / "nlu/data").glob("*.yml"):
        for block in yaml.safe_load(path.read_text())["nlu"]:
            examples.update(line.removeprefix("- ").strip().casefold() for line in block["examples"].splitlines())
    assert not [question for question in QUESTIONS if question["text"].casefold() in examples]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("what are the signs of trafficking?", "info.signs"),
        ("¿esto es confidencial?", "info.confidential"),
        ("saan ako pwede matulog ngayong gabi", "info.shelter"),
        ("मुझे मदद कहाँ मिलेगी", "info.services_ask_place"),
        ("I want to talk to a person", "human.request"),
        ("my boss beats me", "human.request"),
    ],
)
def test_a_question_gets_its_key(engine: Engine, text: str, key: str) -> None:
    assert engine.key(someone(), text) == key


@pytest.mark.parametrize(
    "text", ["fgh jklö qwe", "", "   ", "😭😭", "\ud800", "\x00", "/nope", "9" * 5000, "ж" * 20000]
)
def test_what_nobody_understands_is_answered(engine: Engine, text: str) -> None:
    assert engine.key(someone(), text) in {"fallback.unclear", "small.ok", "welcome", "small.goodbye"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Toronto", "Toronto"),
        ("I am in Brampton", "Brampton"),
        ("Montréal", "Montréal"),
        ("montreal", "Montréal"),
        ("5 rue X, Laval", "Laval"),
        ("M5V 2T6", "Toronto"),
        ("h2x1y4", "Montréal"),
        ("टोरंटो", "Toronto"),
        ("ਬਰੈਂਪਟਨ ਵਿੱਚ", "Brampton"),
        ("我在多伦多", "Toronto"),
        ("تورونتو", "Toronto"),
        ("토론토에 있어요", "Toronto"),
        ("у Ванкувері", "Vancouver"),
    ],
)
def test_a_place_answers_the_question_before(engine: Engine, text: str, place: str) -> None:
    conversation = someone()
    assert engine.key(conversation, "is there a shelter near me") == "info.shelter"
    found = engine.say(conversation, text)
    assert found == [{"key": "info.services_found", "slots": {"place": place, "need": "shelter"}}]


FOUND = {
    "M5V 2T6": "Toronto",
    "i live at m5v2t6": "Toronto",
    "near H2X please": "Montréal",
    "h2x-1y4": "Montréal",
    "我在M5V附近": "Toronto",
    "I'm in Laval": "Laval",
    **dict.fromkeys(["i'm here", "I’m", "M", "h", "H", "je m'appelle l'h", "k1", "M5", "a law clinic"]),
    **dict.fromkeys(["ok g2g", "see you l8r", "n3m", "ana m3a ommi", "AM5V", "M5V2", "h2x", ""]),
}
FINDER = """
import json, sys
from nlu.rasa_components import PLACES, PlaceFinder, read_places
finder = PlaceFinder(read_places(PLACES))
print(json.dumps([finder.find(text)[0] for text in json.load(sys.stdin)]))
"""


def test_a_place_is_found_by_its_name_or_its_whole_code_and_never_in_ordinary_words() -> None:
    """The function alone, in the engine's Python: no model and no server."""
    done = subprocess.run(
        [PYTHON, "-c", FINDER], cwd=ROOT, env=os.environ | ENVIRONMENT, input=json.dumps(list(FOUND)),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert dict(zip(FOUND, json.loads(done.stdout), strict=True)) == FOUND


@pytest.mark.parametrize(
    ("text", "need"),
    [
        ("shelter in Toronto", "shelter"),
        ("where can I get help in Calgary", "services"),
        ("necesito un abogado en Vancouver", "legal"),
        ("clinique gratuite à Gatineau", "health"),
    ],
)
def test_a_question_that_names_the_place_is_answered_at_once(engine: Engine, text: str, need: str) -> None:
    [payload] = engine.say(someone(), text)
    assert (payload["key"], payload["slots"]["need"]) == ("info.services_found", need)


def test_another_question_is_answered_while_the_place_is_awaited(engine: Engine) -> None:
    conversation = someone()
    assert engine.key(conversation, "where can I get help") == "info.services_ask_place"
    assert engine.key(conversation, "is this confidential") == "info.confidential"
    assert engine.key(conversation, "Toronto") == "info.services_found"


def test_a_place_that_the_gateway_knows_is_used(engine: Engine) -> None:
    [payload] = engine.say(someone(), "where can I get help", place="Guelph")
    assert payload == {"key": "info.services_found", "slots": {"place": "Guelph", "need": "services"}}


def test_an_unknown_village_is_handed_on_as_it_was_written(engine: Engine) -> None:
    [payload] = engine.say(someone(), "i live in Moose Factory")
    assert payload["slots"]["place"] == "i live in Moose Factory"


@pytest.mark.parametrize(("text", "key"), [("yes", "human.request"), ("no", "human.declined")])
def test_yes_and_no_mean_the_human_only_when_one_was_offered(engine: Engine, text: str, key: str) -> None:
    conversation = someone()
    assert engine.key(conversation, text) == "small.ok"
    assert engine.key(conversation, text, asked="human") == key
    assert engine.key(conversation, text) == "small.ok"


def test_a_vector_from_the_gateway_is_used_instead_of_the_text(engine: Engine) -> None:
    vector = E5Encoder().encode(["is this confidential"])[0].astype("<f4")
    assert engine.key(someone(), "zzz", vector=base64.b64encode(vector.tobytes()).decode()) == "info.confidential"


@pytest.mark.parametrize("vector", ["", "AAAA", "not base64", 7, base64.b64encode(b"\xff" * 1536).decode()])
def test_an_unsound_vector_is_ignored(engine: Engine, vector: object) -> None:
    assert engine.key(someone(), "is this confidential", vector=vector) == "info.confidential"


def test_the_table_holds_no_words_sealed_or_not(engine: Engine, database_url: str) -> None:
    conversation = someone()
    engine.say(conversation, "kestrelword is this confidential", vector="AAAA", note="kestrelnote")
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT conversation, sealed FROM engine_trackers").fetchall()
    assert not any(b"kestrel" in sealed or b"info.confidential" in sealed for _, sealed in rows)
    own = next(sealed for name, sealed in rows if name == conversation)
    opened = json.dumps(Vault.from_key(engine.data_key).open_json(own, context=f"tracker:{conversation}"))
    assert "ask_confidential" in opened
    assert "kestrel" not in opened


def test_memory_survives_a_restart(engine: Engine) -> None:
    conversation = someone()
    assert engine.key(conversation, "i need a lawyer") == "info.legal"
    engine.stop()
    engine.start()
    [payload] = engine.say(conversation, "Halifax")
    assert payload["slots"] == {"place": "Halifax", "need": "legal"}


def test_memory_is_bounded_and_keeps_what_it_needs(engine: Engine, database_url: str) -> None:
    conversation = someone()
    engine.say(conversation, "shelter in Toronto")
    for _ in range(70):
        engine.say(conversation, "thanks")
    with psycopg.connect(database_url) as connection:
        query = "SELECT sealed FROM engine_trackers WHERE conversation = %s"
        [sealed] = connection.execute(query, (conversation,)).fetchone() or [b""]
    events = Vault.from_key(engine.data_key).open_json(sealed, context=f"tracker:{conversation}")
    assert isinstance(events, list)
    assert len(events) <= 210
    assert engine.say(conversation, "where can I sleep tonight")[0]["slots"]["place"] == "Toronto"


def test_a_lost_connection_is_opened_again(engine: Engine, database_url: str) -> None:
    conversation = someone()
    engine.say(conversation, "i need a lawyer")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'passerelle engine'"
        )
    assert engine.say(conversation, "Halifax")[0]["slots"]["need"] == "legal"


def test_a_turn_is_answered_while_the_table_is_away(engine: Engine, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE engine_trackers RENAME TO engine_trackers_away")
        try:
            assert engine.key(someone(), "is this confidential") == "info.confidential"
        finally:
            connection.execute("ALTER TABLE engine_trackers_away RENAME TO engine_trackers")


def test_a_tracker_that_does_not_open_starts_the_conversation_anew(engine: Engine, database_url: str) -> None:
    conversation = someone()
    engine.say(conversation, "shelter in Toronto")
    with psycopg.connect(database_url, autocommit=True) as connection:
        spoilt = "UPDATE engine_trackers SET sealed = sealed || '\\x00'::bytea WHERE conversation = %s"
        connection.execute(spoilt, (conversation,))
    assert engine.key(conversation, "where can I sleep tonight") == "info.shelter"


def test_the_engine_answers_without_a_database(model: Path, tmp_path: Path) -> None:
    lonely = Engine(model, f"postgresql://postgres@/postgres?host={tmp_path}", tmp_path / "engine.log")
    try:
        lonely.start()
        assert lonely.key(someone(), "what are the signs of trafficking?") == "info.signs"
        assert lonely.key(someone(), "kestrelword kestrelword") == "fallback.unclear"
    finally:
        lonely.stop()
    log = lonely.log.read_text()
    assert "The tracker store could not" in log
    assert "kestrel" not in log


@pytest.mark.parametrize("missing", ["PASSERELLE_DATA_KEY", "PASSERELLE_ENGINE_DATABASE_URL"])
def test_the_engine_refuses_to_start_without_a_setting(model: Path, missing: str, tmp_path: Path) -> None:
    bare = Engine(model, "postgresql:///x", tmp_path / "engine.log")
    settings = bare.settings() | {missing: ""}
    bare.settings = lambda: settings  # type: ignore[method-assign]
    try:
        with pytest.raises(AssertionError):
            bare.start()
    finally:
        bare.stop()
    assert f"The setting {missing} is missing" in bare.log.read_text()


def test_the_log_holds_no_words_even_when_debugging(engine: Engine) -> None:
    for text in ("kestrelword shelter in Toronto", "/kestrelword", '/greet{"kestrelword', "kestrel\ud800\x00"):
        engine.say(someone(), text, note="kestrelnote")
    log = engine.log.read_text()
    assert "Rasa server is up and running" in log
    assert not re.search("kestrel", log)


PORTABLE = """
import sys
import numpy as np
from bot.vault import Vault
from nlu.encoder import E5Encoder
key, sealed = sys.argv[1:]
vault = Vault.from_key(key)
print(sys.version_info[:2] == (3, 10), vault.fingerprint(), vault.lookup("+1416", context="sms").hex())
print(vault.open_json(bytes.fromhex(sealed), context="x") == {"text": "a\\ud800"})
print(*E5Encoder().encode(["bonjour \\ud800\\x00"])[0].tolist())
"""


def test_vault_and_encoder_do_the_same_in_the_engines_python() -> None:
    vault = Vault.from_key(key := "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    sealed = vault.seal_json({"text": "a\ud800"}, context="x").hex()
    done = subprocess.run(
        [PYTHON, "-c", PORTABLE, key, sealed], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True
    )
    first, second, third = done.stdout.decode().splitlines()
    assert first == f"True {vault.fingerprint()} {vault.lookup('+1416', context='sms').hex()}"
    assert second == "True"
    ours = E5Encoder().encode(["bonjour \ud800\x00"])[0]
    assert np.allclose(ours, np.array(third.split(), dtype=np.float32), atol=1e-5)
