"""Reading YAML as it was written: what a plain scalar means is decided by the field that holds it.

YAML 1.1 turns the key ``on`` into true, ``3.10`` into 3.1, ``1:30`` into 90 and the country NO into false. Here
a plain scalar stays a `Plain` text until a rule (or `natural`) reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from launcher.job.problem import FieldError

__all__ = ["Plain", "natural", "read_scalar", "read_yaml"]

_NULL = ("", "~", "null", "Null", "NULL")
_TRUE = ("true", "True", "TRUE")
_FALSE = ("false", "False", "FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class Plain(str):
    """An unquoted scalar, exactly as it was written."""

    __slots__ = ()


def natural(value: object) -> Any:
    """Give every `Plain` in ``value`` the type that it looks like: true, false, a whole or another number, text."""
    if isinstance(value, Plain):
        return _natural_scalar(value)
    if isinstance(value, Mapping):
        return {str(key): natural(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [natural(item) for item in value]
    return value


def _natural_scalar(text: Plain) -> bool | int | float | str:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return str(text)


def read_yaml(text: str) -> Any:
    """Read one YAML document whose plain scalars are `Plain`; absent values are None.

    Raises:
        FieldError: not YAML, a key twice, an unknown tag; names the line.
    """
    try:
        tree = yaml.load(text, Loader=_Loader)
        _refuse_endless(tree, ())
        return tree
    except yaml.MarkedYAMLError as err:
        raise FieldError(_in_words(err), hint=_hint(err)) from None
    except (yaml.YAMLError, RecursionError, ValueError) as err:
        raise FieldError(f"not readable as YAML: {_one_line(str(err))}") from None


def _refuse_endless(node: object, above: tuple[int, ...]) -> None:
    """An alias inside of what it stands for makes a tree without an end."""
    if not isinstance(node, Mapping | list):
        return
    if id(node) in above:
        raise FieldError("an alias stands inside of what it stands for")
    for item in node.values() if isinstance(node, Mapping) else node:
        _refuse_endless(item, (*above, id(node)))


def read_scalar(text: str) -> Any:
    """Read the value of a ``--set`` option: a scalar, a list in ``[]``, a mapping in ``{}``; any other text as it is."""
    try:
        value = read_yaml(text)
    except FieldError:
        return text
    bare = isinstance(value, Mapping | list) and not text.lstrip().startswith(("{", "["))
    return text if bare else value


class _Loader(yaml.SafeLoader):
    """SafeLoader without guessing: no implicit types but the merge key, and no key twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way to declare them
        "<": [("tag:yaml.org,2002:merge", re.compile(r"<<"))],
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that stands there twice; PyYAML would take the last."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        self._refuse_twice(node)
        return node

    def construct_written(self, node: yaml.ScalarNode) -> str | None:
        """Keep whether a scalar was quoted."""
        if node.style is not None:
            return str(node.value)
        return None if node.value in _NULL else Plain(node.value)

    def _refuse_twice(self, node: yaml.MappingNode) -> None:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or (key.style is None and key.value in _NULL):
                raise yaml.constructor.ConstructorError(None, None, "a key has to be text", key.start_mark)
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in lines:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"{key.value!r} is given twice, first in line {lines[key.value]}",
                    key.start_mark,
                )
            lines[key.value] = line


_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_written)


def _in_words(err: yaml.MarkedYAMLError) -> str:
    mark = err.problem_mark or err.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = err.problem or "not readable as YAML"
    if "'\\t'" in problem:
        problem = "a tab, where YAML wants spaces"
    elif "found another document" in problem or "expected a single document" in (err.context or ""):
        problem = "a second document; a job file holds one"
    elif "could not determine a constructor for the tag" in problem:
        problem = problem.replace("could not determine a constructor for the tag", "unknown tag")
    return where + _one_line(problem)


def _hint(err: yaml.MarkedYAMLError) -> str | None:
    problem = err.problem or ""
    if "mapping values are not allowed here" in problem:
        return "a text that contains ': ' needs quotes"
    if "'%'" in problem or "'@'" in problem or "'`'" in problem:
        return "a text that starts with this character needs quotes"
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split())
