"""Rules: what a field accepts, and how its value is written back. Every field of a record carries one.

A rule reads what stands in a file, what Python code passes, and its own results (so that a record can check
itself whoever built it). ``write`` returns plain data, from which ``read`` makes an equal value.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from launcher.job.problem import FieldError, nearest
from launcher.job.units import Amount, MemoryAmount, Size, format_duration, parse_duration
from launcher.job.written import Plain, natural

__all__ = [
    "Amounts",
    "Choice",
    "Duration",
    "Flag",
    "Folder",
    "ListOf",
    "MapOf",
    "Memory",
    "Number",
    "Rule",
    "Sizes",
    "Text",
    "VariableText",
    "came",
    "expected",
    "outside_working_folder",
    "ruled",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
EnumT = TypeVar("EnumT", bound=enum.Enum)


class Rule(Protocol[T_co]):
    """What one kind of field accepts."""

    def read(self, value: object) -> T_co:
        """Return the checked value; `FieldError` with an empty path for anything wrong."""

    def write(self, value: Any) -> Any:
        """Return plain data (text, numbers, lists, mappings) that ``read`` takes back."""


def ruled(rule: Rule[Any]) -> dict[str, Rule[Any]]:
    """Return the ``metadata`` of a dataclass field that carries ``rule``."""
    return {"rule": rule}


def came(value: object) -> str:
    """Name a value in an error: ``the number 3``, ``the text 'abc'``, ``a list``."""
    value = natural(value) if isinstance(value, Plain) else value
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value if len(value) <= 60 else value[:57] + '...'!r}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple | set):
        return "a list"
    return f"a {type(value).__name__}"


def expected(what: str, value: object, *, hint: str | None = None) -> FieldError:
    """Return the error for a value that is no ``what``."""
    return FieldError(f"expected {what}, came {came(value)}", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text that is not empty; ``check`` returns what is wrong with it, or None."""

    what: str = "a text"
    check: Callable[[str], str | None] | None = None
    allow_empty: bool = False

    def read(self, value: object) -> str:
        """Return the checked value."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise expected(self.what, value)
        text = str(value)
        if not (text or self.allow_empty):
            raise FieldError(f"expected {self.what}, came an empty text")
        if "\0" in text:
            raise FieldError("holds a NUL character, which no program can be given")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise FieldError(f"is not valid Unicode: {text!r}")
        problem = self.check(text) if self.check else None
        if problem:
            raise FieldError(problem)
        return text

    def write(self, value: str) -> str:
        """Return it as plain data."""
        return value


@dataclass(frozen=True, slots=True)
class VariableText:
    """The value of an environment variable: a text, possibly empty; numbers and flags as they are written."""

    def read(self, value: object) -> str:
        """Return the checked value."""
        if isinstance(value, bool):
            return "true" if value else "false"
        return Text(what="a text", allow_empty=True).read(value)

    def write(self, value: str) -> str:
        """Return it as plain data."""
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """True or false; ``yes``, ``no``, ``on`` and ``off`` are understood too."""

    def read(self, value: object) -> bool:
        """Return the checked value."""
        if isinstance(value, bool):
            return value
        words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
        if isinstance(value, Plain) and value.lower() in words:
            return words[value.lower()]
        raise expected("true or false", value)

    def write(self, value: bool) -> bool:
        """Return it as plain data."""
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Generic[T]):
    """A finite number within a range."""

    kind: Callable[[float], T]
    """`int` or `float`."""
    what: str
    at_least: float | None = None
    more_than: float | None = None
    at_most: float | None = None
    """Beyond it lies a slip of the finger."""

    def read(self, value: object) -> T:
        """Return the checked value."""
        number = natural(value)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise expected(self.what, value)
        if self.at_most is not None and self.at_most < number < math.inf:
            raise FieldError(f"must be at most {self.at_most:,.15g}, is {_short(number)}")
        if not _is_finite(number) or (self.kind is int and number != int(number)):
            raise expected(self.what, value)
        if self.at_least is not None and number < self.at_least:
            raise FieldError(f"must be at least {self.at_least:g}, is {number:g}")
        if self.more_than is not None and number <= self.more_than:
            raise FieldError(f"must be more than {self.more_than:g}, is {number:g}")
        return self.kind(number)

    def write(self, value: T) -> T:
        """Return it as plain data."""
        return value


def _is_finite(number: int | float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer that no float can hold
        return False


def _short(number: int | float) -> str:
    try:
        return f"{number:,.12g}"
    except OverflowError:
        return f"a number of {len(str(number))} digits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """A span of time with its unit; ``word`` (``auto``) stands for None where a field has one."""

    word: str | None = None

    def read(self, value: object) -> timedelta | None:
        """Return the checked value."""
        if self.word is not None and value == self.word:
            return None
        if isinstance(value, timedelta):
            duration = value
        else:
            duration = self._parse(value)
        if duration <= timedelta(0):
            raise FieldError(f"must be longer than nothing, is {format_duration(duration)}")
        return duration

    def _parse(self, value: object) -> timedelta:
        what = "a duration such as 8h, 90m or 1d12h" + (f", or {self.word}" if self.word else "")
        number = natural(value)
        if isinstance(number, int | float) and not isinstance(number, bool):
            raise expected(what, value, hint=f"a number has no unit: {number}m is minutes, {number}h hours")
        if not isinstance(value, str):
            raise expected(what, value)
        try:
            return parse_duration(value)
        except ValueError:
            raise expected(what, value) from None

    def write(self, value: timedelta | None) -> str | None:
        """Return it as plain data."""
        return self.word if value is None else format_duration(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured(Generic[T]):
    """A value with a textual form: a size, an amount."""

    what: str
    type: type[T]
    parse: Callable[[str], T]
    magnitude: Callable[[T], float]

    def read(self, value: object) -> T:
        """Return the checked value."""
        if isinstance(value, self.type):
            measured = value
        else:
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise expected(self.what, value)
            try:
                measured = self.parse(str(value))
            except ValueError:
                raise expected(self.what, value) from None
        if not self.magnitude(measured) > 0:
            raise FieldError(f"must be more than 0, is {measured}")
        return measured

    def write(self, value: T) -> str:
        """Return it as plain data."""
        return str(value)


def Sizes() -> _Measured[Size]:
    """``100GB``, ``100GiB``, ``100`` (GB)."""
    return _Measured(
        what="a size such as 100GB", type=Size, parse=Size.parse, magnitude=lambda size: size.bytes
    )


def Amounts() -> _Measured[Amount]:
    """``16`` or ``16+``."""
    return _Measured(
        what="a number such as 16 or 16+", type=Amount, parse=Amount.parse, magnitude=lambda a: a.value
    )


def Memory() -> _Measured[MemoryAmount]:
    """``64``, ``64GB``, ``64GB+``."""
    return _Measured(
        what="an amount of memory such as 64GB or 64+",
        type=MemoryAmount,
        parse=MemoryAmount.parse,
        magnitude=lambda amount: amount.size.bytes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Generic[EnumT]):
    """One of a closed set of words."""

    of: type[EnumT]

    def read(self, value: object) -> EnumT:
        """Return the checked value."""
        words = [str(member.value) for member in self.of]
        if isinstance(value, self.of):
            return value
        if isinstance(value, str) and value in words:
            return self.of(str(value))
        close = nearest(value, words) if isinstance(value, str) else None
        hint = f"did you mean {close!r}?" if close else None
        raise expected("one of " + ", ".join(words), value, hint=hint)

    def write(self, value: EnumT) -> str:
        """Return it as plain data."""
        return str(value.value)


def Folder(what: str) -> Text:
    """A path inside the working folder, on the machine."""
    return Text(what=what, check=outside_working_folder)


def outside_working_folder(text: str) -> str | None:
    """Say why ``text`` is no path inside the working folder; None when it is one."""
    parts = text.split("/")
    if text.startswith("/"):
        return f"must be relative to the working folder, is {text!r}"
    if text.startswith("~"):
        return f"must be relative to the working folder; ~ is not expanded: {text!r}"
    if ".." in parts:
        return f"must stay inside the working folder, is {text!r}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf(Generic[T]):
    """A list, kept as a tuple; one item may stand alone."""

    item: Rule[T]
    what: str = "a list"
    single: bool = False
    if_empty: str | None = None
    """Why nothing in it is refused; None where that is fine."""

    def read(self, value: object) -> tuple[T, ...]:
        """Return the checked value."""
        if self.single and isinstance(value, str | Mapping):
            value = [value]
        if not isinstance(value, list | tuple):
            raise expected(self.what, value)
        if not value and self.if_empty:
            raise FieldError(self.if_empty)
        items = []
        for position, item in enumerate(value):
            try:
                items.append(self.item.read(item))
            except FieldError as err:
                raise err.under(position) from None
        return tuple(items)

    def write(self, value: tuple[T, ...]) -> list[Any]:
        """Return it as plain data."""
        return [self.item.write(item) for item in value]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOf(Generic[T]):
    """A mapping whose keys the user chooses; ``check_key`` returns what is wrong with one, or None."""

    item: Rule[T]
    what: str
    check_key: Callable[[str], str | None] | None = None
    null: bool = False
    """A key without a value is kept, as None."""

    def read(self, value: object) -> dict[str, T | None]:
        """Return the checked value."""
        if not isinstance(value, Mapping):
            raise expected(self.what, value)
        result: dict[str, T | None] = {}
        for key, item in value.items():
            name = Text(what="a name", check=self.check_key)
            try:
                text = name.read(key)
                result[text] = None if item is None and self.null else self.item.read(item)
            except FieldError as err:
                raise err.under(str(key)) from None
        return result

    def write(self, value: Mapping[str, T | None]) -> dict[str, Any]:
        """Return it as plain data."""
        return {key: None if item is None else self.item.write(item) for key, item in value.items()}
