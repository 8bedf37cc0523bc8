"""Google's own description of compute v1, and what it has to say about a request: nothing unknown, nothing of a wrong type.

The document is the published one, as google-api-python-client carries it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Route:
    """One method of the API."""

    id: str
    """``instances.insert``."""
    verb: str
    pattern: re.Pattern[str]
    parameters: Mapping[str, Any]
    body: str | None
    answer: str


@cache
def document() -> dict[str, Any]:
    path = resources.files("googleapiclient.discovery_cache.documents").joinpath("compute.v1.json")
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return told


@cache
def routes() -> tuple[Route, ...]:
    return tuple(_routes(document()["resources"]))


def _routes(branches: Mapping[str, Any]) -> Iterator[Route]:
    for branch in branches.values():
        for method in branch.get("methods", {}).values():
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", "/compute/v1/" + method["flatPath"])
            yield Route(
                id=method["id"].removeprefix("compute."),
                verb=method["httpMethod"],
                pattern=re.compile(pattern),
                parameters={**document()["parameters"], **method.get("parameters", {})},
                body=method.get("request", {}).get("$ref"),
                answer=method.get("response", {}).get("$ref", ""),
            )


def route_of(verb: str, path: str) -> tuple[Route, dict[str, str]] | None:
    for route in routes():
        if route.verb == verb and (found := route.pattern.fullmatch(path)):
            return route, found.groupdict()
    return None


def faults_of_query(route: Route, query: Mapping[str, str]) -> list[str]:
    faults = []
    for name, value in query.items():
        told = route.parameters.get(name)
        if told is None:
            faults.append(f"{route.id} has no parameter {name!r}")
        elif told["type"] == "integer" and not re.fullmatch(r"-?\d+", value):
            faults.append(f"{name}={value!r} is no integer")
        elif told["type"] == "boolean" and value.lower() not in ("true", "false"):
            faults.append(f"{name}={value!r} is no boolean")
    for name, told in route.parameters.items():
        if told.get("required") and told.get("location") == "query" and name not in query:
            faults.append(f"{route.id} needs {name!r}")
    return faults


def faults_of(schema: str, value: Any, path: str = "resource") -> list[str]:
    """Return what is wrong with a body, by the path of the field."""
    return list(_faults({"$ref": schema}, value, path))


def _faults(told: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    if ref := told.get("$ref"):
        told = document()["schemas"][ref]
    kind = told.get("type")
    if kind == "object":
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is no object"
            return
        known, others = told.get("properties", {}), told.get("additionalProperties")
        for name, item in value.items():
            inner = known.get(name, others)
            if inner is None:
                yield f"{path}.{name}: no such field"
            else:
                yield from _faults(inner, item, f"{path}.{name}")
    elif kind == "array":
        if not isinstance(value, list):
            yield f"{path}: {value!r} is no list"
            return
        for number, item in enumerate(value):
            yield from _faults(told["items"], item, f"{path}[{number}]")
    else:
        yield from _scalar(told, value, path)


def _scalar(told: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    kind = told.get("type")
    right = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, (int, float)) and not isinstance(value, bool),
        "any": True,
    }
    if not right[str(kind)]:
        yield f"{path}: {value!r} is no {kind}"
    elif told.get("format") in ("int64", "uint64") and not re.fullmatch(r"-?\d+", str(value)):
        yield f"{path}: {value!r} is no {told['format']}"
    elif "enum" in told and value not in told["enum"]:
        yield f"{path}: {value!r} is none of {', '.join(told['enum'])}"
    elif "pattern" in told and not re.fullmatch(told["pattern"], str(value)):
        yield f"{path}: {value!r} does not match {told['pattern']}"
