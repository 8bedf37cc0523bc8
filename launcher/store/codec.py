"""Rows to columns and back: JSON, times and enums by the type hints of the row classes."""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from launcher.store.rows import (
    AccountRow,
    AttemptRow,
    InstanceRow,
    Intent,
    RunRow,
    SpeedRow,
    TryOutcome,
    TryRow,
    WorkRow,
)

__all__ = ["COLUMNS", "KEYS", "TABLES", "Row", "encode", "read", "readable", "values_of"]

Row = TypeVar("Row", RunRow, AttemptRow, TryRow, InstanceRow, SpeedRow, WorkRow, AccountRow)

TABLES: dict[type, str] = {
    RunRow: "runs",
    AttemptRow: "attempts",
    TryRow: "tries",
    InstanceRow: "instances",
    SpeedRow: "speeds",
    WorkRow: "works",
    AccountRow: "accounts",
}
KEYS: dict[type, tuple[str, ...]] = {
    RunRow: ("run_id",),
    AttemptRow: ("run_id", "stage", "n"),
    TryRow: ("token",),
    InstanceRow: ("ref", "token"),
}


def read(cls: type[Row], values: Sequence[Any]) -> Row:
    """Build a row from the values of its columns, in their order."""
    decoded = (
        decoder(value) if decoder is not None and value is not None else value
        for decoder, value in zip(_decoders(cls), values, strict=True)
    )
    return cls(**dict(zip(COLUMNS[cls], decoded, strict=True)))


def values_of(row: Any) -> list[Any]:
    """Return what is stored of a row, in the order of its columns."""
    return [encode(getattr(row, name)) for name in COLUMNS[type(row)]]


def encode(value: Any) -> Any:
    """Return one value as SQLite holds it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (Mapping, tuple)):
        return json.dumps(value, default=str)
    if isinstance(value, str):
        return readable(value)
    return value


def readable(text: str) -> str:
    """Return a text that SQLite can hold: bytes of file names that are no UTF-8 are written as ``\\udcff``."""
    return text.encode(errors="backslashreplace").decode()


_Decoders = tuple[Callable[[Any], Any] | None, ...]
_known_decoders: dict[type, _Decoders] = {}


def _decoders(cls: type) -> _Decoders:
    """Of each column, made when first wanted: evaluating hints is slow, and most commands read one kind of row."""
    if cls not in _known_decoders:
        hints = typing.get_type_hints(cls)
        _known_decoders[cls] = tuple(_decoder(hints[name]) for name in COLUMNS[cls])
    return _known_decoders[cls]


def _decoder(hint: Any) -> Callable[[Any], Any] | None:
    parts = set(typing.get_args(hint)) or {hint}
    origins = {typing.get_origin(part) for part in (hint, *parts)}
    if datetime in parts:
        return datetime.fromisoformat
    if Mapping in origins:
        return json.loads
    if tuple in origins:
        return lambda text: tuple(json.loads(text))
    for known in (Intent, TryOutcome, bool):
        if known in parts:
            return known
    return None


COLUMNS = {cls: tuple(field.name for field in dataclasses.fields(cls)) for cls in TABLES}
