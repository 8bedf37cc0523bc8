"""``--set dotted.path=VALUE``: one value of a job replaced, before everything is checked again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from launcher.job.problem import FieldError, dotted
from launcher.job.rules import came
from launcher.job.written import read_scalar

__all__ = ["replaced"]

_PART = re.compile(r"""(?:\["([^"]*)"\]|\[(\d+)\]|"([^"]*)"|([^."\[\]]+))""")


def replaced(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of ``tree`` with ``value`` at ``path``; a text is read as YAML, None removes.

    Paths are written as errors write them: ``resources.cpus``, ``stages[0].run``, ``file_outputs["*.csv"]``.
    """
    parts = _split(path)
    if parts == ("resources", "infra"):
        tree = {**tree, "resources": _without(tree.get("resources"), ("cloud", "region", "zone"))}
    new = read_scalar(value) if isinstance(value, str) else value
    result = _set(tree, parts, new, ())
    assert isinstance(result, dict)
    return result


def _split(path: str) -> tuple[str | int, ...]:
    parts: list[str | int] = []
    position = 0
    while match := _PART.match(path, position):
        quoted, index, name = match[1] if match[1] is not None else match[3], match[2], match[4]
        parts.append(int(index) if index is not None else quoted if quoted is not None else name)
        position = match.end()
        if path[position : position + 1] == "." and position + 1 < len(path):
            position += 1
        elif path[position : position + 1] != "[":
            break
    if not parts or position != len(path) or isinstance(parts[0], int):
        raise FieldError(
            f"not a path to a field: {path!r}",
            hint='as in resources.cpus=8, stages[0].run=… or file_outputs."*.csv"=…',
        )
    return tuple(parts)


def _set(node: Any, parts: tuple[str | int, ...], value: Any, seen: tuple[str | int, ...]) -> Any:
    if not parts:
        return value
    head, rest = parts[0], parts[1:]
    if isinstance(head, int):
        if not isinstance(node, list | tuple) or head >= len(node):
            raise FieldError(f"there is no item {head} in {dotted(seen)}", path=(*seen, head))
        return [_set(item, rest, value, (*seen, head)) if n == head else item for n, item in enumerate(node)]
    if node is not None and not isinstance(node, Mapping):
        raise FieldError(f"has no field {head!r}: it is {came(node)}", path=seen)
    result = dict(node or {})
    result[head] = _set(result.get(head), rest, value, (*seen, head))
    return result


def _without(node: Any, names: tuple[str, ...]) -> Any:
    return (
        {key: item for key, item in node.items() if key not in names} if isinstance(node, Mapping) else node
    )
