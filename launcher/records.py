"""Records to JSON and back: the one codec for everything that is stored.

Handles dataclasses, enums, aware datetimes, paths, tuples, mappings and optional values by their type hints, and
refuses what it cannot give back unchanged. An unknown field in stored data is an error: a newer version wrote it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from launcher.errors import StoreError

__all__ = ["from_json", "to_json"]

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return ``value`` as plain JSON data; `TypeError` for what `from_json` could not restore."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError(f"a time without time zone cannot be stored: {value}")
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    raise TypeError(f"cannot store a {type(value).__name__}: {value!r}")


def from_json(cls: type[T], data: Any) -> T:
    """Restore a dataclass from what `to_json` made of it; `StoreError` names the field that does not fit."""
    try:
        return typing.cast("T", _restore(cls, data))
    except (KeyError, TypeError, ValueError) as err:
        raise StoreError(
            f"stored {cls.__name__} cannot be read: {err}",
            hint="a newer version of launch may have written it: use that one, or `launch gc` to clean up",
        ) from err


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _restore(hint: Any, data: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _restore_union(typing.get_args(hint), data)
    if hint is Any or hint is type(None):
        return data
    if origin in (list, tuple, Sequence):
        args = typing.get_args(hint)
        if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
            return tuple(_restore(arg, item) for arg, item in zip(args, data, strict=True))
        items = [_restore(args[0] if args else Any, item) for item in data]
        return items if origin is list else tuple(items)
    if origin in (dict, Mapping):
        args = typing.get_args(hint) or (str, Any)
        return {_restore(args[0], key): _restore(args[1], item) for key, item in data.items()}
    return _restore_plain(hint, data)


def _restore_union(choices: tuple[Any, ...], data: Any) -> Any:
    if data is None and type(None) in choices:
        return None
    failures = []
    for choice in choices:
        if choice is type(None):
            continue
        try:
            return _restore(choice, data)
        except (KeyError, TypeError, ValueError) as err:
            failures.append(str(err))
    raise ValueError("; ".join(failures))


def _restore_plain(hint: Any, data: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(data, Mapping):
            raise TypeError(f"expected a mapping for {hint}, got {data!r}")
        unknown = set(data) - {field.name for field in dataclasses.fields(hint)}
        if unknown:
            raise ValueError(f"unknown fields {sorted(unknown)}")
        hints = _hints(typing.cast("type", hint))
        return typing.cast("type", hint)(**{name: _restore(hints[name], item) for name, item in data.items()})
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(data)
    if hint is datetime:
        return datetime.fromisoformat(data)
    if hint is Path:
        return Path(data)
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if isinstance(hint, type) and not isinstance(data, hint):
        raise TypeError(f"expected {hint.__name__}, got {data!r}")
    return data
