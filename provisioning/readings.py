"""Prices as they were read, with where and when, and the dated tables that ship, which are made of them. Pure but for
`write_anew`.

A provider's ``readings.csv`` begins with the sources that its rows refer to:

    # source NAME YYYY-MM-DD read|remembered: what it is and where it can be found

A row has no day of its own: it is as old as its source, so that no price claims to be younger than what it was read in.
``remembered`` is what is generally known and was not looked up on that day.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Literal, NoReturn, cast

from provisioning.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = [
    "Reading",
    "Source",
    "TableRow",
    "merged",
    "read_readings",
    "table_rows",
    "write_anew",
    "write_readings",
    "write_table",
]

READINGS = "readings.csv"
COLUMNS = ("item", "places", "market", "low_usd", "high_usd", "source")
_SOURCE = re.compile(r"# source (\S+) (\d{4}-\d\d-\d\d) (read|remembered): (.+)")
Market = Literal["on-demand", "spot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something that states prices."""

    name: str
    day: date
    """Of the prices; where the source does not say it, a day on which they were certainly there already."""
    evidence: Literal["read", "remembered"]
    citation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a source says that something costs: USD per hour, from ``low_usd`` to ``high_usd``."""

    item: str
    """In the provider's words: an instance type, a GPU, a part of a machine."""
    places: tuple[str, ...]
    market: Market
    low_usd: float
    high_usd: float
    source: Source

    @property
    def usd_per_hour(self) -> float:
        """The middle: what a table of typical prices says."""
        return (self.low_usd + self.high_usd) / 2.0


@dataclass(frozen=True, slots=True, order=True)
class TableRow:
    """A price of a table that ships."""

    item: str
    place: str
    market: Market
    usd_per_hour: float
    as_of: str
    evidence: str


def read_readings(text: str) -> tuple[Reading, ...]:
    """Read a ``readings.csv``. Raises `ValueError`, naming the row, for what contradicts itself or has no source."""
    lines = text.splitlines()
    sources = {source.name: source for source in map(_source, lines) if source is not None}
    readings = []
    known: set[tuple[str, str, str]] = set()
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        low, high = float(row["low_usd"]), float(row["high_usd"] or row["low_usd"])
        places = tuple(row["places"].split())
        if row["source"] not in sources:
            _refuse(row, "refers to a source that is not described above")
        if not 0.0 < low <= high or row["market"] not in ("on-demand", "spot") or not places:
            _refuse(row, "is no price of a market in a place")
        keys = {(row["item"], place, row["market"]) for place in places}
        if keys & known:
            _refuse(row, "says the same as a row before")
        known |= keys
        readings.append(
            Reading(
                item=row["item"],
                places=places,
                market=cast("Market", row["market"]),
                low_usd=low,
                high_usd=high,
                source=sources[row["source"]],
            )
        )
    return tuple(readings)


def write_readings(readings: Iterable[Reading], about: Sequence[str]) -> str:
    """Return the text of a ``readings.csv``: lines about it, the sources that are referred to, the readings in order."""
    ordered = sorted(readings, key=lambda item: (item.item, item.market, item.places))
    out = io.StringIO()
    out.writelines(f"# {line}\n" for line in about)
    for source in sorted({item.source for item in ordered}, key=lambda source: source.name):
        out.write(f"# source {source.name} {source.day} {source.evidence}: {source.citation}\n")
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for item in ordered:
        high = "" if item.high_usd == item.low_usd else f"{item.high_usd:.8g}"
        place = " ".join(item.places)
        rows.writerow((item.item, place, item.market, f"{item.low_usd:.8g}", high, item.source.name))
    return out.getvalue()


def merged(known: Iterable[Reading], fresh: Sequence[Reading]) -> tuple[Reading, ...]:
    """Return ``fresh`` and what it does not say anew of ``known``."""
    said = {(item.item, place, item.market) for item in fresh for place in item.places}
    kept = []
    for item in known:
        places = tuple(place for place in item.places if (item.item, place, item.market) not in said)
        if places:
            kept.append(replace(item, places=places))
    return (*kept, *fresh)


def table_rows(readings: Iterable[Reading]) -> Iterator[TableRow]:
    """Yield one row per item, place and market, in order."""
    yield from sorted(
        TableRow(
            item.item,
            place,
            item.market,
            item.usd_per_hour,
            item.source.day.isoformat(),
            item.source.evidence,
        )
        for item in readings
        for place in item.places
    )


def write_anew(
    folder: Path,
    about: Sequence[str],
    tables: Callable[[Sequence[Reading]], Mapping[str, str]],
    ask: Callable[[], Sequence[Reading]] | None = None,
) -> int:
    """Write the tables that are made of ``readings.csv`` in ``folder``, with ``ask`` after reading prices anew into it.

    Returns an exit code: 1, said on stderr and nothing written, when the provider does not answer.
    """
    path = folder / READINGS
    readings = read_readings(path.read_text(encoding="utf-8"))
    if ask is not None:
        try:
            readings = merged(readings, ask())
        except CloudError as error:
            sys.stderr.write(f"{error}\n{error.hint or ''}\n")
            return 1
        path.write_text(write_readings(readings, about), encoding="utf-8")
    for name, text in tables(readings).items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


def write_table(about: Sequence[str], columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return the text of a table that ships."""
    out = io.StringIO()
    out.writelines(f"# {line}\n" for line in about)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def _source(line: str) -> Source | None:
    found = _SOURCE.fullmatch(line)
    if found is None:
        return None
    name, day, evidence, citation = found.groups()
    return Source(
        name=name,
        day=date.fromisoformat(day),
        evidence=cast("Literal['read', 'remembered']", evidence),
        citation=citation,
    )


def _refuse(row: dict[str, str], why: str) -> NoReturn:
    raise ValueError(f"readings: {row['item']} {row['market']} in {row['places']}: {why}")
