"""From YAML and ``--set`` overrides to a checked `Config`.

Unknown keys are refused with their full path and the nearest valid name, wrong types with the type that
was expected, and values that cannot be honoured by the name of their field and the reason.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trainer.config import Config
from trainer.config_checks import check
from trainer.errors import ConfigError

__all__ = ["from_mapping", "load_config", "parse_override", "to_mapping"]


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file (None: defaults only), apply ``dotted.path=value`` overrides, check the result.

    Raises `ConfigError`, always naming the field.
    """
    tree = _read_yaml(path) if path is not None else {}
    for text in overrides:
        keys, value = parse_override(text)
        _assign(tree, keys, value, text)
    config = from_mapping(tree)
    check(config)
    return config


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split ``model.n_units=64`` into its path and its value, read as YAML."""
    name, equals, raw = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"override {text!r} is not of the form dotted.path=value")
    try:
        return name.strip().split("."), yaml.safe_load(raw) if raw else None
    except yaml.YAMLError as error:
        raise ConfigError(f"override {text!r}: the value is not YAML: {_one_line(error)}") from error


def from_mapping(tree: Mapping[str, Any]) -> Config:
    """Build a `Config` from nested mappings in the official names. Raises `ConfigError`."""
    return typing.cast("Config", _build(Config, tree, ""))


def to_mapping(config: Config) -> dict[str, Any]:
    """The inverse of `from_mapping`: plain dicts, lists and scalars, fit for YAML and JSON."""
    return typing.cast("dict[str, Any]", _plain(dataclasses.asdict(config)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"configuration {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path} is not YAML: {_one_line(error)}") from error
    except ConfigError as error:
        raise ConfigError(f"configuration {path}: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"configuration {path}: expected a mapping, found {_kind(tree)}")
    return tree


class _Loader(yaml.SafeLoader):
    """Refuses a field that is given twice: plain YAML takes the last one in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Called for every section as it stands in the file, before others are merged into it."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise ConfigError(
                    f"{key.value}: given twice, the second time in line {key.start_mark.line + 1}"
                )
            seen.add(str(key.value))
        return node


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _assign(tree: dict[str, Any], keys: Sequence[str], value: Any, text: str) -> None:
    node = tree
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {text!r}: {key} is not a section")
        node = child
    node[keys[-1]] = value


def _build(kind: type, tree: Any, path: str) -> object:
    """Build dataclass `kind` from `tree`, which was found at `path`."""
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{path or 'configuration'}: expected a section, found {_kind(tree)}")
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    values = {}
    for key, raw in tree.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in names:
            raise _unknown(where, str(key), names, path)
        values[key] = _convert(raw, hints[key], where)
    return kind(**values)


def _unknown(where: str, key: str, names: Sequence[str], path: str) -> ConfigError:
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    near.sort(key=lambda name: sorted(name) != sorted(key))  # swapped letters are the commonest slip
    prefix = f"{path}." if path else ""
    meant = f"; did you mean {prefix}{near[0]}?" if near else ""
    return ConfigError(
        f"{where}: unknown field{meant}", hint=f"valid here: {', '.join(names)}" if not near else None
    )


def _convert(raw: Any, hint: Any, where: str) -> Any:
    """`raw` as the type of `hint`, or `ConfigError` naming `where`."""
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type", hint), raw, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if raw is None or raw == "None":  # the official file writes a missing path as the word None
            return None
        return _convert(raw, next(a for a in arguments if a is not type(None)), where)
    if origin is typing.Literal:
        if raw not in arguments:
            raise ConfigError(f"{where}: expected one of {', '.join(map(str, arguments))}, found {raw!r}")
        return raw
    if origin is tuple:
        if not isinstance(raw, (list, tuple)):
            raise ConfigError(f"{where}: expected a list, found {_kind(raw)}")
        return tuple(_convert(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(raw))
    if origin is Mapping:
        if not isinstance(raw, dict):
            raise ConfigError(f"{where}: expected a mapping, found {_kind(raw)}")
        return {str(key): _convert(item, arguments[1], f"{where}.{key}") for key, item in raw.items()}
    return _scalar(raw, hint, where)


def _scalar(raw: Any, hint: type, where: str) -> bool | int | float | str:
    if hint is bool and isinstance(raw, bool):
        return raw
    if hint is int:
        whole = _integer(raw)
        if whole is not None:
            return whole
    if hint is float and not isinstance(raw, bool):
        try:  # YAML 1.1 reads 1e-3 as a string
            number = float(raw)
        except (TypeError, ValueError):
            pass
        else:
            if not math.isfinite(number):
                raise ConfigError(f"{where}: {raw} is not a number to compute with")
            return number
    if hint is str and isinstance(raw, str):
        return raw
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    raise ConfigError(f"{where}: expected {names[hint]}, found {_kind(raw)} {raw!r}")


def _integer(raw: Any) -> int | None:
    """Whole numbers, also as text ('1', as the official file writes its GPU number) or 1e5."""
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int):
        return raw
    try:
        number = float(raw)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None


def _kind(value: Any) -> str:
    names: dict[type, str] = {
        type(None): "nothing", bool: "a truth value", int: "a number", float: "a number",
        str: "the text", list: "a list", dict: "a section",
    }  # fmt: skip
    return names.get(type(value), type(value).__name__)
