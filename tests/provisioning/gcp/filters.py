"""The part of the API's filter language that is in use: regular expressions, equality, and whether a field is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_MATCHES = re.compile(r'(?P<field>[\w.-]+) (?P<how>eq|ne) "(?P<pattern>[^"]*)"')
_EQUALS = re.compile(r'(?P<field>[\w.-]+)="(?P<value>[^"]*)"')
_EXISTS = re.compile(r"(?P<field>[\w.-]+):\*")


def condition(text: str | None) -> Callable[[Mapping[str, Any]], bool]:
    """Return whether a resource passes a filter; `ValueError` for one that is not understood."""
    if not text:
        return lambda resource: True
    if found := _MATCHES.fullmatch(text):
        field, pattern, wanted = found["field"], re.compile(found["pattern"]), found["how"] == "eq"
        return lambda resource: bool(pattern.fullmatch(str(_field(resource, field) or ""))) is wanted
    if found := _EQUALS.fullmatch(text):
        field, value = found["field"], found["value"]
        return lambda resource: _field(resource, field) == value
    if found := _EXISTS.fullmatch(text):
        field = found["field"]
        return lambda resource: _field(resource, field) is not None
    raise ValueError(f"Invalid value for field 'filter': '{text}'. Invalid list filter expression.")


def _field(resource: Mapping[str, Any], path: str) -> Any:
    head, _, rest = path.partition(".")
    value = resource.get(head)
    return _field(value, rest) if rest and isinstance(value, Mapping) else None if rest else value
