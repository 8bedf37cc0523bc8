"""Reading ``provider_options.<name>`` into a provider's own frozen dataclass, strictly.

The dataclass is the whole declaration: field names, types and defaults. Supported types are bool, int, float,
str, ``Literal[...]``, ``X | None``, ``tuple[X, ...]``, ``Mapping[str, X]`` and further dataclasses. A value
that contradicts others is refused by the dataclass's ``__post_init__`` with a `ValueError`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union

from provisioning.catalog import nearest
from provisioning.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "read_options"]

Options = TypeVar("Options")


def read_options(cls: type[Options], values: Mapping[str, Any], path: str) -> Options:
    """Build ``cls`` from ``values``; ``path`` is what the user wrote before them, ``provider_options.fake``.

    Raises:
        BadOption: an unknown field, a missing one, a wrong type or value; names the full path of the field
            and, for a misspelt name, the nearest valid one.
    """
    return typing.cast("Options", _dataclass(cls, values, path))


def did_you_mean(what: str, value: str, choices: Iterable[str]) -> BadOption:
    """Return the error for a name that is not among ``choices``; the caller raises it."""
    valid = sorted(choices)
    guess = nearest(value, valid)
    question = f"; did you mean {guess!r}?" if guess else ""
    return BadOption(f"{what}: unknown {value!r}{question}", hint=f"valid are: {', '.join(valid) or 'none'}")


def _dataclass(cls: Any, values: Any, path: str) -> Any:
    if not isinstance(values, Mapping):
        raise _wrong(path, values, "fields with values")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise did_you_mean(f"{path}.{name}", str(name), fields)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise BadOption(f"{path}.{name}: missing", hint=f"add {name!r} to {path}")
    hints = typing.get_type_hints(cls)
    read = {name: _value(hints[name], value, f"{path}.{name}") for name, value in values.items()}
    try:
        return cls(**read)
    except ValueError as error:
        raise BadOption(f"{path}: {error}") from error


def _value(kind: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, path)
    if origin in (Union, types.UnionType):
        return _optional(arguments, value, path)
    if origin is Literal:
        if value not in arguments:
            raise did_you_mean(path, str(value), map(str, arguments))
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise _wrong(path, value, "a list")
        return tuple(_value(arguments[0], item, f"{path}[{n}]") for n, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise _wrong(path, value, "names with values")
        return {str(name): _value(arguments[1], item, f"{path}.{name}") for name, item in value.items()}
    return _scalar(kind, value, path)


def _optional(arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None:
        return None
    (kind,) = (argument for argument in arguments if argument is not type(None))
    return _value(kind, value, path)


def _scalar(kind: Any, value: Any, path: str) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str):
        return value
    if kind is int and is_number and float(value).is_integer():
        return int(value)
    if kind is float and is_number and value == value:
        return float(value)
    raise _wrong(
        path, value, {bool: "true or false", str: "text", int: "a whole number"}.get(kind, "a number")
    )


def _wrong(path: str, value: Any, expected: str) -> BadOption:
    return BadOption(f"{path}: {value!r} is not {expected}")
