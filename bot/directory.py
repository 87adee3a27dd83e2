"""The referral directory (HSDS 3.1: organizations, services, locations): services by place, and the first entries.

Confidential services never leave this module towards a person.
"""

from __future__ import annotations

import asyncio
import csv
import json
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


def locate(place: str) -> tuple[str | None, str | None]:
    """(canonical city, province code) of what a person wrote; (None, None) when it is not known."""
    spelt = normalise(place).text
    words = f" {' '.join(''.join(c if c.isalnum() else ' ' for c in spelt).split())} "
    known = _places()
    for name in sorted(known, key=len, reverse=True):
        if f" {name} " in words or (not name.isascii() and name in spelt):
            return known[name]
    return None, None


@lru_cache(maxsize=1)
def _places() -> dict[str, tuple[str | None, str | None]]:
    with PLACES.open(encoding="utf-8", newline="") as file:
        return {
            normalise(row["name"]).text: (row["city"] or None, row["province"] or None) for row in csv.DictReader(file)
        }


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
        _, province = _places().get(normalise(province).text, (None, province.upper()))
        if province not in {code for _, code in _places().values()}:
            raise ValueError(f"province {location['province']!r}")
    if city:
        known, place = _places().get(normalise(city).text, (None, None))
        if known and province in (None, place):
            city, province = known, place
    return city, province


async def _upsert(conn: AsyncConnection, table: sa.Table, **values: object) -> None:
    statement = insert(table).values(**values)
    changed = {name: statement.excluded[name] for name in values if name != "id"}
    await conn.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changed))
