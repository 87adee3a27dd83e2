"""The directory: what is near comes first, each service once, and what is confidential never comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import directory
from bot.directory import DirectoryError, Service
from bot.tables import locations, services

TORONTO = {"city": "Toronto", "province": "ON"}


def service(key: str, *places: dict[str, str], need: str = "shelter", **more: Any) -> dict[str, Any]:
    return {"id": key, "name": key, "need": need, "locations": list(places), **more}


def organization(*offered: dict[str, Any], key: str = "o", **more: Any) -> dict[str, Any]:
    return {"id": key, "name": "Open Door", "services": list(offered), **more}


class Book:
    """The directory of a database."""

    def __init__(self, engine: AsyncEngine, folder: Path) -> None:
        self.engine = engine
        self.file = folder / "services.json"

    async def take(self, *entries: Any) -> int:
        self.file.write_text(json.dumps(entries), encoding="utf-8")
        return await self.read(self.file)

    async def read(self, path: Path) -> int:
        async with self.engine.begin() as conn:
            return await directory.import_file(conn, path)

    async def refusal(self, *entries: Any) -> str:
        with pytest.raises(DirectoryError) as refused:
            await self.take(*entries)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    async def near(self, place: str, need: str = "shelter") -> list[Service]:
        async with self.engine.connect() as conn:
            return await directory.find(conn, place, need)

    async def names(self, place: str, need: str = "shelter") -> list[str]:
        return [found.name for found in await self.near(place, need)]

    async def rows(self, table: sa.Table) -> list[Any]:
        async with self.engine.connect() as conn:
            return list(await conn.execute(sa.select(table).order_by(table.c.id)))


@pytest.fixture
def book(engine: AsyncEngine, tmp_path: Path) -> Book:
    return Book(engine, tmp_path)


# -- what is found


async def test_the_city_comes_before_the_province_and_all_of_canada(book: Book) -> None:
    everywhere, ontario = service("everywhere", {}), service("ontario", {"province": "ON"})
    await book.take(organization(everywhere, ontario, service("toronto", TORONTO)))
    assert await book.names("Toronto") == ["toronto", "ontario", "everywhere"]
    assert await book.names("i am in scarborough") == ["toronto", "ontario", "everywhere"]  # a part of Toronto
    assert await book.names("Ottawa") == ["ontario", "everywhere"]
    assert await book.names("Vancouver") == ["everywhere"]
    assert await book.names("nowhere that we know") == ["everywhere"]
    assert await book.names("") == ["everywhere"]


async def test_a_city_is_known_in_other_scripts_and_without_its_accents(book: Book) -> None:
    await book.take(organization(service("mtl", {"city": "Montréal", "province": "QC"}), service("to", TORONTO)))
    for place in ("montreal", "MONTRÉAL", "je suis a montreal!"):
        assert await book.names(place) == ["mtl"], place
    for place in ("ਟੋਰਾਂਟੋ", "我在多伦多", "Торонто"):
        assert await book.names(place) == ["to"], place


async def test_the_need_is_met_and_what_serves_every_need_comes_after(book: Book) -> None:
    offered = [service(need, TORONTO, need=need) for need in directory.NEEDS]
    await book.take(organization(*offered))
    assert await book.names("Toronto", "legal") == ["legal", "services"]
    assert await book.names("Toronto", "shelter") == ["shelter", "services"]
    assert len(await book.names("Toronto", "services")) == directory.SHOWN  # any will do
    assert await book.names("Toronto", "services") == await book.names("Toronto", "a need we do not know")


async def test_nearness_outweighs_the_exact_need(book: Book) -> None:
    far, near = service("far", {}, need="legal"), service("near", TORONTO, need="services")
    await book.take(organization(far, near))
    assert await book.names("Toronto", "legal") == ["near", "far"]


async def test_no_more_are_shown_than_fit_a_phone(book: Book) -> None:
    await book.take(organization(*(service(f"s{number}", TORONTO) for number in range(9))))
    assert await book.names("Toronto") == ["s0", "s1", "s2"]


async def test_when_there_is_none_nothing_is_said(book: Book) -> None:
    assert await book.near("Toronto") == []
    await book.take(organization(service("toronto", TORONTO)))
    assert await book.near("Vancouver") == []
    assert await book.near("Toronto", "health") == []


@pytest.mark.parametrize("need", [*directory.NEEDS, "anything"])
async def test_what_is_confidential_never_comes(book: Book, need: str) -> None:
    places = [TORONTO, {"province": "ON"}, {}]
    hidden = [
        service(f"{kind}-{number}", place, need=kind, confidential=True)
        for kind in directory.NEEDS
        for number, place in enumerate(places)
    ]
    await book.take(organization(*hidden))
    for place in ("Toronto", "Ottawa", "Vancouver", "", "shelter-0"):
        assert await book.near(place, need) == []


async def test_a_service_that_becomes_confidential_is_gone_at_once(book: Book) -> None:
    await book.take(organization(service("s", TORONTO)))
    assert await book.names("Toronto") == ["s"]
    await book.take(organization(service("s", TORONTO, confidential=True)))
    assert await book.names("Toronto") == []


async def test_a_service_at_several_places_is_listed_once_with_the_nearest(book: Book) -> None:
    await book.take(
        organization(
            service("s", {}, {"province": "ON"}, {"city": "Ottawa", "province": "ON"}, TORONTO), service("t", {})
        )
    )
    assert [(found.name, found.city) for found in await book.near("Toronto")] == [("s", "Toronto"), ("t", None)]
    assert [(found.name, found.city) for found in await book.near("Ottawa")] == [("s", "Ottawa"), ("t", None)]


async def test_a_place_without_its_province_is_not_all_of_canada(book: Book) -> None:
    await book.take(organization(service("s", {"city": "Toronto"})))
    assert await book.names("Vancouver") == []
    assert await book.names("Toronto") == ["s"]


async def test_cities_of_one_name_in_two_provinces_are_two(book: Book) -> None:
    await book.take(organization(service("s", {"city": "Hamilton", "province": "NS"})))
    assert directory.locate("hamilton") == ("Hamilton", "ON")
    assert await book.names("Hamilton") == []


@pytest.mark.parametrize(
    ("text", "city"),
    [
        ("M5V 2T6", "Toronto"),
        ("i live at m5v2t6", "Toronto"),
        ("h2x-1y4", "Montréal"),
        ("near H2X please", "Montréal"),
        ("h2x", "Montréal"),  # all there is
        (" H2X. ", "Montréal"),
        ("K1A 0B1", "Ottawa"),
        ("L6P", "Brampton"),
        ("L4W 1A1", "Mississauga"),
        ("我在M5V附近", "Toronto"),
        ("V6B 1A1, Richmond", "Richmond"),  # a name says more than a code
    ],
)
def test_a_postal_code_is_a_place(text: str, city: str) -> None:
    assert directory.locate(text)[0] == city


@pytest.mark.parametrize(
    "text",
    [
        "i'm in a small village", "I’m here", "M", "h", "H", "je m'appelle", "c'est l'h", "l", "k1", "M5", "m 5 v",
        "ok g2g", "see you l8r", "ana m3a ommi", "i need a law clinic", "nie wiem", "a lit in til", "vip", "X1234",
        "M5V2T", "AM5V", "M5V2", "", "\ud83d", "\x00",
    ],
)  # fmt: skip
def test_letters_of_ordinary_words_are_none(text: str) -> None:
    assert directory.locate(text) == (None, None)


def test_no_listed_postal_code_is_a_word() -> None:
    """Names are compared in a spelling in which "L4W" is "law": none of those may be left among them."""
    assert not [name for name in directory._places().names if name.isascii() and len(name) < 3]
    assert {"M", "H", "L4W", "N1E"} <= set(directory._places().codes)
    for word in ("law", "nie", "lit", "vip", "til", "lim", "tan", "i", "m", "h"):
        assert word not in directory._places().names


@pytest.mark.parametrize("written", ["montreal", "MONTREAL", "Montréal", "蒙特利尔"])
async def test_the_directorys_own_spelling_does_not_matter(book: Book, written: str) -> None:
    await book.take(organization(service("s", {"city": written, "province": "qc"})))
    assert [(found.name, found.city) for found in await book.near("Montréal")] == [("s", "Montréal")]


def test_a_line_says_what_a_person_needs() -> None:
    assert Service("House", "416-555-0110", "Toronto", False).line() == "- House (Toronto): 416-555-0110"
    assert Service("House", None, None, False).line() == "- House"
    assert Service("House", None, "Toronto", True).line() == "- House (Toronto) [fictitious]"


# -- what is imported


async def test_the_demonstrations_directory_is_good_and_says_that_it_is_made_up(book: Book) -> None:
    assert await book.read(directory.DEMONSTRATION) > 30
    for found in await book.near("Toronto"):
        assert found.line().endswith("[fictitious]") == (
            found.name != "Canadian Human Trafficking Hotline, day and night"
        )
    everything = await book.rows(services)
    assert {row.name for row in everything if row.confidential}
    for city in {row.city for row in await book.rows(locations)}:
        for need in directory.NEEDS:
            named = await book.names(city or "", need)
            assert named
            assert not any("safe apartment" in name for name in named)


async def test_repeating_an_import_changes_nothing(book: Book) -> None:
    assert await book.read(directory.DEMONSTRATION) == await book.read(directory.DEMONSTRATION)
    before = await book.rows(services), await book.rows(locations)
    await book.read(directory.DEMONSTRATION)
    assert (await book.rows(services), await book.rows(locations)) == before


async def test_a_service_that_moved_is_found_only_where_it_is(book: Book) -> None:
    await book.take(organization(service("s", {"city": "Ottawa", "province": "ON"}, TORONTO)))
    await book.take(organization(service("s", {"city": "Ottawa", "province": "ON"})))
    assert await book.names("Toronto") == []
    assert await book.names("Ottawa") == ["s"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "organization 2: 'id' is missing or wrong."),
        ("Open Door", "organization 2: "),
        (None, "organization 2: "),
        (organization(key="x") | {"services": None}, "organization 2: "),
        (organization({"id": "s"}), "'need' is missing or wrong."),
        (organization(service("s", need="housing")), "need 'housing' is missing or wrong."),
        (organization(service("s") | {"locations": ["Toronto"]}), "organization 2: "),
        (organization(service("s", {"city": "Toronto", "province": "Upper Canada"})), "province 'Upper Canada'"),
        (organization(service("s", assured_date="soon")), "organization 2: Invalid isoformat string: 'soon'"),
        (organization(service("s", confidential="no")), "a value is missing or wrong (Not a boolean value: 'no')."),
        (organization(service("s", confidential=None)), "a value is missing or wrong ("),
        (organization(service("s", name={"en": "House"})), "a value is missing or wrong ("),
        (organization(service("s", phone="\u0000")), "a value is missing or wrong ("),
        (organization(service("s", phone="\ud83d")), "organization 2: "),
    ],
)
async def test_a_bad_entry_is_named_and_nothing_of_the_file_is_taken(book: Book, entry: Any, words: str) -> None:
    told = await book.refusal(organization(service("good", TORONTO), key="good"), entry)
    assert told.startswith(f"{book.file}, organization 2: ")
    assert words in told
    assert await book.rows(services) == []


@pytest.mark.parametrize("text", ["", "{", "\ufeff", '{"id": "o"}', "5", "null", '"Open Door"'])
async def test_a_file_of_another_kind_is_one_sentence(book: Book, text: str) -> None:
    book.file.write_text(text, encoding="utf-8")
    with pytest.raises(DirectoryError, match=str(book.file)) as refused:
        await book.read(book.file)
    assert "\n" not in str(refused.value)


async def test_a_file_that_is_not_there_is_one_sentence(book: Book, tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(DirectoryError, match="is not a readable JSON file"):
            await book.read(path)


async def test_an_empty_list_is_no_mistake(book: Book) -> None:
    assert await book.take() == 0
