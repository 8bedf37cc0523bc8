"""Groups of fields: a record is a keyword-only dataclass that checks itself, whoever built it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar, Generic, TypeVar

from launcher.job.problem import FieldError, nearest
from launcher.job.rules import expected

__all__ = ["Record", "RecordOf", "fields_of", "names_of"]

RecordT = TypeVar("RecordT", bound="Record")


class Record:
    """A group of fields, each with a rule; it checks itself however it was built, and refuses with the path.

    Subclasses are frozen, keyword-only dataclasses. A field without a rule is no part of the job file.
    """

    __slots__ = ()

    also_accepted: ClassVar[tuple[str, ...]] = ()
    """Names that `prepare` turns into fields."""
    refused: ClassVar[Mapping[str, str]] = {}
    """Names that users of other launchers will try, and what to write instead."""

    def __post_init__(self) -> None:
        for item in fields_of(type(self)):
            value = getattr(self, item.name)
            if value is item.default:
                continue
            try:
                object.__setattr__(self, item.name, item.metadata["rule"].read(value))
            except FieldError as err:
                raise err.under(item.name) from None
        self.check()

    def check(self) -> None:
        """Refuse what no single field can see; raises `FieldError`."""

    @classmethod
    def prepare(cls, value: object) -> object:
        """Turn a short form into a mapping of fields, before anything is checked."""
        return value


def fields_of(record: type[Record]) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of the job file that ``record`` has."""
    every = dataclasses.fields(record)  # type: ignore[arg-type]  # every subclass is a dataclass
    return tuple(item for item in every if "rule" in item.metadata)


def names_of(record: type[Record]) -> tuple[str, ...]:
    """Return every name that may stand in a file where ``record`` is expected."""
    return tuple(item.name for item in fields_of(record)) + record.also_accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOf(Generic[RecordT]):
    """A group of fields; the type is given by a function, so that a record may hold its own kind."""

    type: Callable[[], type[RecordT]]

    def read(self, value: object, **outside: Any) -> RecordT:
        """``outside``: fields that the file does not hold."""
        cls = self.type()
        if isinstance(value, cls):
            return value
        value = cls.prepare(value)
        if not isinstance(value, Mapping):
            raise expected("a mapping with " + ", ".join(names_of(cls)), value)
        known = {item.name: item for item in fields_of(cls)}
        for key in value:
            if key not in known:
                raise _unknown(str(key), cls)
        given = {str(key): item for key, item in value.items() if item is not None}
        for name, item in known.items():
            if item.default is MISSING and item.default_factory is MISSING and name not in given:
                raise FieldError("is missing", path=(name,))
        return cls(**given, **outside)

    def write(self, value: RecordT) -> dict[str, Any]:
        """Only what differs from the defaults."""
        return {
            item.name: item.metadata["rule"].write(getattr(value, item.name))
            for item in fields_of(type(value))
            if getattr(value, item.name) != _default(item)
        }


def _default(item: dataclasses.Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _unknown(name: str, record: type[Record]) -> FieldError:
    field, colon, value = name.partition(":")
    if colon and field in names_of(record):  # to YAML a name with a colon in it
        return FieldError(f"a space is missing after the colon: {field}: {value or '…'}", path=(name,))
    instead = record.refused.get(name)
    close = nearest(name, names_of(record))
    if instead:
        hint: str | None = instead
    elif close:
        hint = f"did you mean {close!r}?"
    else:
        hint = "the fields here are " + ", ".join(sorted(names_of(record)))
    reason = "there is no such field" + (f"; did you mean {close!r}?" if close and not instead else "")
    return FieldError(reason, path=(name,), hint=hint if not (close and not instead) else None)
