"""What a project declares that it needs, as a requirements file that says the same. Pure.

``pyproject.toml`` as PEP 621 and PEP 735 have it: dependencies, extras, dependency groups. ``setup.py`` and ``setup.cfg``
say it to the tool that builds them alone, so that the project itself is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launcher.job.locks import toml_of
from launcher.job.requirements import lines_of, normal_name

__all__ = ["BUILT", "PROJECT", "Undeclared", "asked_python", "editable_line", "groups_of", "requirements_of"]

PROJECT = "pyproject.toml"
BUILT = ("setup.py", "setup.cfg")
"""Files whose project has to be built before anybody knows what it needs."""
_POETRY = "`poetry export --format requirements.txt --output requirements.lock`, under environment.lock"


class Undeclared(ValueError):
    """The words say why nothing can be read from it; ``hint`` what to write instead, None where it declares nothing at all."""

    def __init__(self, words: str, hint: str | None = None) -> None:
        super().__init__(words)
        self.hint = hint


def requirements_of(text: str, *, extras: Sequence[str] = (), groups: Sequence[str] = ()) -> str:
    """Return the requirements file of a ``pyproject.toml``: its dependencies, and those of these extras and groups.

    Raises:
        Undeclared: it leaves them to a tool, or says them in the words of one.
    """
    document = _document(text)
    about = document.get("project")
    if not isinstance(about, Mapping):
        if "poetry" in document.get("tool", {}):
            raise Undeclared("declares its dependencies in Poetry's own way", _POETRY)
        raise Undeclared("has no [project] table: nothing in it says what the program needs")
    dynamic = set(about.get("dynamic", ())) & {"dependencies", *(["optional-dependencies"] if extras else [])}
    if dynamic:
        raise Undeclared(f"leaves its {min(dynamic)} to its build", _instead_of_dynamic(document))
    lines = [str(line) for line in about.get("dependencies", ())]
    for extra in extras:
        lines += _extra(about, extra, set())
    for group in groups:
        lines += _group(document.get("dependency-groups", {}), group, ())
    sources = {normal_name(name) for name in document.get("tool", {}).get("uv", {}).get("sources", {})}
    sourced = [line.name for text in lines for line in lines_of(text) if line.name in sources]
    if sourced:
        raise Undeclared(
            f"takes {sourced[0]} from a source of uv's own ([tool.uv.sources])",
            "`uv lock`, and environment: {lock: uv.lock}",
        )
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


def groups_of(text: str) -> set[str] | None:
    """Return the dependency groups that a ``pyproject.toml`` declares; None where that cannot be told."""
    try:
        document = toml_of(text)
    except ValueError:
        return None
    if document is None:
        return None
    legacy = {"dev"} if "dev-dependencies" in document.get("tool", {}).get("uv", {}) else set()
    return legacy | {normal_name(name) for name in document.get("dependency-groups", {})}


def asked_python(text: str) -> tuple[int, int] | None:
    """Return the oldest Python that a ``pyproject.toml`` takes, (3, 12); None where it does not say."""
    try:
        about = (toml_of(text) or {}).get("project", {})
    except ValueError:
        return None
    found = re.search(r"(?:>=|==|~=)\s*3\.(\d+)", str(about.get("requires-python", "")))
    return (3, int(found[1])) if found else None


def editable_line(folder: str) -> str:
    """Return the line that installs the project of ``folder``, which is relative to the working folder."""
    return "-e .\n" if folder in ("", ".") else f"-e ./{folder}\n"


def _document(text: str) -> Mapping[str, Any]:
    try:
        document = toml_of(text)
    except ValueError as err:
        raise Undeclared(f"is no TOML: {err}") from None
    if document is None:
        raise Undeclared(
            "is read with Python 3.11 or newer alone, and launch runs with an older one here",
            f"`uv pip compile {PROJECT} -o requirements.lock`, under environment.lock",
        )
    return document


def _instead_of_dynamic(document: Mapping[str, Any]) -> str:
    """setuptools may say in which file they stand."""
    told = document.get("tool", {}).get("setuptools", {}).get("dynamic", {}).get("dependencies")
    file = told.get("file") if isinstance(told, Mapping) else None
    first = file[0] if isinstance(file, list) and file else file
    if isinstance(first, str):
        return f"they stand in {first}: environment: {{requirements: {first}}}"
    return "write a requirements.txt with the line `-e .`, and environment: {requirements: requirements.txt}"


def _extra(about: Mapping[str, Any], wanted: str, seen: set[str]) -> Iterator[str]:
    """The lines of an extra; one that names the project itself with other extras is replaced by these."""
    if normal_name(wanted) in seen:
        return
    seen.add(normal_name(wanted))
    declared = {normal_name(name): lines for name, lines in about.get("optional-dependencies", {}).items()}
    own = normal_name(str(about.get("name", "")))
    for text in declared.get(normal_name(wanted), ()):
        for line in lines_of(str(text)):
            if line.name == own:
                for other in line.text.partition("[")[2].partition("]")[0].split(","):
                    yield from _extra(about, other.strip(), seen)
            else:
                yield str(text)


def _group(declared: Mapping[str, Any], wanted: str, above: tuple[str, ...]) -> Iterator[str]:
    named = {normal_name(name): items for name, items in declared.items()}
    name = normal_name(wanted)
    for item in named.get(name, ()) if name not in above else ():
        if isinstance(item, Mapping):
            yield from _group(declared, str(item.get("include-group", "")), (*above, name))
        else:
            yield str(item)
