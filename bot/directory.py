"""The referral directory (HSDS 3.1: organizations, services, locations): services by place, and the first entries.

Confidential services never leave this module towards a person.
"""

from __future__ import annotations

import asyncio
import csv
import json
import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.settings import ROOT
from bot.tables import locations, organizations, services
from nlu.normalise import normalise

DEMONSTRATION = Path(__file__).parent / "data" / "directory.json"
PLACES = ROOT / "nlu" / "data" / "places.csv"
SHOWN = 3  # on a phone, more is less
_LISTED_CODE = re.compile(r"[A-Z](\d[A-Z]?)?")  # a beginning of a postal code, as the list of places has it: M, K1, L6P
# As people write them. The first half alone must be in capitals, or all there is: "g2g" and "l8r" are words of chats.
_CODE = re.compile(
    r"(?<![A-Za-z0-9])(?:(?P<whole>(?i:[A-Z]\d[A-Z]))[ -]{0,2}(?i:\d[A-Z]\d)|(?P<half>[A-Z]\d[A-Z]))(?![A-Za-z0-9])",
    re.ASCII,
)
NEEDS = ("shelter", "legal", "health", "services")


class DirectoryError(ValueError):
    """A directory file that cannot be imported; names the entry and says what to do."""


@dataclass(frozen=True, slots=True)
class Service:
    """One line for a person: name, telephone, and whether it is made up for the demonstration."""

    name: str
    phone: str | None
    city: str | None
    demonstration: bool

    def line(self) -> str:
        place = f" ({self.city})" if self.city else ""
        phone = f": {self.phone}" if self.phone else ""
        return f"- {self.name}{place}{phone}" + (" [fictitious]" if self.demonstration else "")


Place = tuple[str | None, str | None]  # city, province code


async def find(conn: AsyncConnection, place: str, need: str) -> list[Service]:
    """Up to three services for a need, each once: in the city first, then the province, then all of Canada."""
    city, province = locate(place)
    nearness = sa.case(
        (sa.and_(locations.c.city == city, sa.func.coalesce(locations.c.province, province) == province), 0),
        (sa.and_(locations.c.city.is_(None), locations.c.province == province), 1),
        (sa.and_(locations.c.city.is_(None), locations.c.province.is_(None)), 2),
        else_=None,
    )
    wanted = need if need in NEEDS else "services"
    near = (
        sa.select(services.c.name, services.c.phone, locations.c.city, organizations.c.demonstration)
        .add_columns((services.c.need != wanted).label("other"), nearness.label("nearness"))
        .add_columns(sa.func.row_number().over(partition_by=services.c.id, order_by=nearness).label("rank"))
        .join(locations, locations.c.service_id == services.c.id)
        .join(organizations, organizations.c.id == services.c.organization_id)
        .where(
            nearness.is_not(None),
            services.c.confidential.is_(False),
            sa.true() if wanted == "services" else services.c.need.in_((wanted, "services")),
        )
        .subquery()
    )
    rows = await conn.execute(
        sa.select(near.c.name, near.c.phone, near.c.city, near.c.demonstration)
        .where(near.c.rank == 1)  # of a service's places the nearest
        .order_by(near.c.nearness, near.c.other, near.c.name)
        .limit(SHOWN)
    )
    return [Service(*row) for row in rows]


def locate(place: str) -> Place:
    """(canonical city, province code) of what a person wrote; (None, None) when it is not known."""
    spelt = normalise(place).text
    words = f" {' '.join(''.join(c if c.isalnum() else ' ' for c in spelt).split())} "
    known = _places().names
    for name in sorted(known, key=len, reverse=True):
        if f" {name} " in words or (not name.isascii() and name in spelt):
            return known[name]
    return _of_code(place)


def _of_code(place: str) -> Place:
    """Of a postal code. Its letters alone name nothing: "M" is Toronto's, and stands in "I'm" too."""
    alone = place.strip().upper()
    found = _CODE.search(place) or (_CODE.search(alone) if len(alone) == 3 else None)
    if found is None:
        return None, None
    district, codes = (found["whole"] or found["half"]).upper(), _places().codes
    return next((codes[key] for key in (district, district[:2], district[:1]) if key in codes), (None, None))


@dataclass(frozen=True, slots=True)
class _Places:
    """The list of places: normalised names, and beginnings of postal codes."""

    names: dict[str, Place]
    codes: dict[str, Place]


@lru_cache(maxsize=1)
def _places() -> _Places:
    found = _Places({}, {})
    with PLACES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            place = row["city"] or None, row["province"] or None
            if _LISTED_CODE.fullmatch(row["name"]):  # never among the names: "L4W" is read as "law" there
                found.codes[row["name"]] = place
            else:
                found.names[normalise(row["name"]).text] = place
    return found


async def import_file(conn: AsyncConnection, path: Path) -> int:
    """Imports a JSON list of organizations with their services and locations; repeating it changes nothing.

    Raises DirectoryError. Returns the number of services.
    """
    try:
        entries = json.loads(await asyncio.to_thread(path.read_text, encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DirectoryError(f"{path} is not a readable JSON file ({error}).") from error
    if not isinstance(entries, list):
        raise DirectoryError(f"{path} must be a list of organizations.")
    count = 0
    for number, entry in enumerate(entries, 1):
        try:
            count += await _import_organization(conn, entry)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DirectoryError(f"{path}, organization {number}: {error} is missing or wrong.") from error
        except sa.exc.StatementError as error:  # the database refuses the value
            cause = next(iter(str(error.orig).splitlines()), "refused")
            raise DirectoryError(f"{path}, organization {number}: a value is missing or wrong ({cause}).") from error
    return count


async def _import_organization(conn: AsyncConnection, entry: dict[str, Any]) -> int:
    await _upsert(
        conn, organizations, id=entry["id"], name=entry["name"], demonstration=entry.get("demonstration", False)
    )
    for service in entry["services"]:
        if service["need"] not in NEEDS:
            raise ValueError(f"need {service['need']!r}")
        await _upsert(
            conn,
            services,
            id=service["id"],
            organization_id=entry["id"],
            name=service["name"],
            need=service["need"],
            phone=service.get("phone"),
            url=service.get("url"),
            languages=service.get("languages", []),
            confidential=service.get("confidential", False),
            assured_date=date.fromisoformat(service["assured_date"]) if service.get("assured_date") else None,
        )
        await conn.execute(locations.delete().where(locations.c.service_id == service["id"]))
        for number, location in enumerate(service["locations"], 1):
            city, province = _spelt(location)
            await _upsert(
                conn,
                locations,
                id=f"{service['id']}-{number}",
                service_id=service["id"],
                city=city,
                province=province,
            )
    return len(entry["services"])


def _spelt(location: dict[str, Any]) -> tuple[str | None, str | None]:
    """City and province as `locate` spells them: another spelling would never be found."""
    city, province = location.get("city"), location.get("province")
    if province:
        _, province = _places().names.get(normalise(province).text, (None, province.upper()))
        if province not in {code for _, code in _places().names.values()}:
            raise ValueError(f"province {location['province']!r}")
    if city:
        known, place = _places().names.get(normalise(city).text, (None, None))
        if known and province in (None, place):
            city, province = known, place
    return city, province


async def _upsert(conn: AsyncConnection, table: sa.Table, **values: object) -> None:
    statement = insert(table).values(**values)
    changed = {name: statement.excluded[name] for name in values if name != "id"}
    await conn.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changed))
