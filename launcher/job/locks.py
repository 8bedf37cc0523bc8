"""Lock files: which kind one is, and whether it is one at all and still that of its project. Pure.

Only what can be said without a resolver: uv's own check needs an index, and a launch may not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from launcher.job.lock_format import LockFormat
from launcher.job.requirements import Line, is_of_this_computer, lines_of, normal_name

__all__ = ["extras_of", "lock_problem", "locked_groups", "outdated", "toml_of"]


_SHOWN = 3


def lock_problem(kind: LockFormat, text: str) -> str | None:
    """Say why ``text`` is no lock of that kind that can be installed elsewhere; None when nothing is known against it."""
    if kind is LockFormat.PINNED:
        return _pinned_problem(list(lines_of(text)))
    try:
        document = toml_of(text)
    except ValueError as err:
        return f"is no lock: {err}"
    if document is None:
        return None
    key, packages = ("version", "package") if kind is LockFormat.UV else ("lock-version", "packages")
    found = document.get(packages, [] if key in document else None)
    if key not in document or not isinstance(found, list):
        return f"is no lock: it has no {key} and no [[{packages}]]"
    elsewhere = sorted({str(one.get("name")) for one in found if _is_local(one) and not _is_root(one)})
    if elsewhere:
        return (
            f"locks what lies on this computer ({', '.join(elsewhere[:_SHOWN])}) and would not be on the machine; "
            "publish it, or install it in setup"
        )
    return None


def _pinned_problem(lines: Sequence[Line]) -> str | None:
    packages = [line for line in lines if not line.option]
    here = [line.text for line in lines if is_of_this_computer(line)]
    if here:
        return f"locks what lies on this computer ({here[0]}); install it in setup"
    if not packages:
        return "is no lock: it names no packages"
    loose = [line.name or line.text for line in packages if not line.is_pinned]
    if loose:
        more = f" and {len(loose) - _SHOWN} more" if len(loose) > _SHOWN else ""
        return (
            f"is no lock: {', '.join(loose[:_SHOWN])}{more} is not pinned to one version; "
            "name it under environment.requirements, or lock it with `uv pip compile --generate-hashes`"
        )
    bare = [line.name or line.text for line in packages if not line.hashes]
    if bare and len(bare) < len(packages):
        return f"has hashes, and none for {', '.join(bare[:_SHOWN])}: the installer refuses that"
    return None


def outdated(kind: LockFormat, text: str, source: str) -> str | None:
    """Say in what a lock and the file that it was made of differ; None when no difference is seen.

    ``source``: the ``pyproject.toml`` beside a lock of uv, the ``.in`` file beside a pinned one. Compares what it asks
    for with what the lock knows, package by package; versions are compared as they are written.
    """
    if kind is LockFormat.UV:
        return _outdated_project(text, source)
    if kind is LockFormat.PINNED:
        return _outdated_input(text, source)
    return None


def _outdated_input(text: str, source: str) -> str | None:
    locked = {line.name: line.specifier for line in lines_of(text) if line.name}
    asked = [line for line in lines_of(source) if line.name]
    new = [line.name for line in asked if line.name not in locked]
    if new:
        return f"its source asks for {', '.join(new[:_SHOWN])}, and the lock does not know that"
    other = [
        line.name + line.specifier
        for line in asked
        if line.is_pinned and locked[line.name].lstrip("=") != line.specifier.lstrip("=")
    ]
    return f"its source asks for {other[0]}, and the lock has another" if other else None


def _outdated_project(text: str, project: str) -> str | None:
    try:
        lock, declared = toml_of(text), toml_of(project)
    except ValueError as err:
        return f"pyproject.toml cannot be read: {err}"
    if lock is None or declared is None:
        return None
    root = next((one for one in lock.get("package", ()) if _is_root(one)), None)
    about = declared.get("project")
    if not isinstance(about, Mapping) or "dependencies" in about.get("dynamic", ()):
        return None
    if root is None:
        return "it locks another project" if about.get("name") else None
    if normal_name(str(about.get("name", ""))) != normal_name(str(root.get("name", ""))):
        return f"it locks {root.get('name')}, and the project is {about.get('name')}"
    now = set(_asked(about))
    then = {(normal_name(one["name"]), _sorted(one.get("specifier", ""))) for one in _locked(root)}
    new = sorted(name + specifier for name, specifier in now - then if not _is_sourced(declared, name))
    gone = sorted(name + specifier for name, specifier in then - now if not _is_sourced(declared, name))
    if new:
        return f"pyproject.toml asks for {', '.join(new[:_SHOWN])}, and the lock does not know that"
    if gone:
        return f"the lock was made for {', '.join(gone[:_SHOWN])}, which pyproject.toml does not ask for"
    return None


def locked_groups(text: str) -> set[str] | None:
    """Return the dependency groups of the project that a ``uv.lock`` knows; None where that cannot be told."""
    try:
        lock = toml_of(text)
    except ValueError:
        return None
    root = next((one for one in (lock or {}).get("package", ()) if _is_root(one)), None)
    return None if root is None else {normal_name(name) for name in root.get("dev-dependencies", {})}


def _asked(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    extras = about.get("optional-dependencies", {}).values()
    for text in [*about.get("dependencies", ()), *(one for group in extras for one in group)]:
        for line in lines_of(str(text)):
            if line.name and normal_name(str(about.get("name", ""))) != line.name:
                yield line.name, "" if line.specifier.startswith("@") else _sorted(line.specifier)


def _locked(root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        one
        for one in root.get("metadata", {}).get("requires-dist", ())
        if one.get("name") != root.get("name")
    ]


def _sorted(specifier: str) -> str:
    return ",".join(sorted(part for part in re.sub(r"\s", "", specifier).split(",") if part))


def _is_sourced(declared: Mapping[str, Any], name: str) -> bool:
    """With a source of its own (an index, git) uv writes the requirement in another way."""
    sources = declared.get("tool", {}).get("uv", {}).get("sources", {})
    return any(normal_name(one) == name for one in sources)


def _is_local(package: Mapping[str, Any]) -> bool:
    source = package.get("source", package)
    if not isinstance(source, Mapping):
        return False
    if any(kind in source for kind in ("editable", "directory", "virtual")):
        return True
    path = source.get("path") or (source.get("archive") or {}).get("path")
    return path is not None or "://" not in str(source.get("registry", "://"))


def _is_root(package: Mapping[str, Any]) -> bool:
    """The project itself, which runs from its working folder and is not installed."""
    source = package.get("source", {})
    if isinstance(source, Mapping) and "." in (source.get("editable"), source.get("virtual")):
        return True
    directory = package.get("directory")
    return isinstance(directory, Mapping) and directory.get("path") in (".", "./")


def extras_of(project: str) -> set[str] | None:
    """Return the extras that a ``pyproject.toml`` declares; None where that cannot be told."""
    try:
        about = (toml_of(project) or {}).get("project")
    except ValueError:
        return None
    if not isinstance(about, Mapping) or "optional-dependencies" in about.get("dynamic", ()):
        return None
    return {normal_name(name) for name in about.get("optional-dependencies", {})}


def toml_of(text: str) -> dict[str, Any] | None:
    """Parse; None where this Python has no parser: then the machine finds what is wrong. `ValueError` for no TOML."""
    try:
        tomllib = import_module("tomllib")  # from Python 3.11 on
    except ModuleNotFoundError:
        return None
    document: dict[str, Any] = tomllib.loads(text)
    return document
