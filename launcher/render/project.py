"""What `launch init` saw in a folder, a line for each kind of thing. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher.quantities import size

if TYPE_CHECKING:
    from launcher.project import Project

__all__ = ["project_lines"]

MOST = 4
WIDTH = 12


def project_lines(project: Project) -> Iterator[str]:
    """Describe a project; what was not found is left out."""
    yield f"{project.root}"
    if project.official is not None:
        yield _line("checkout", "the Brain-to-Text '25 baseline")
    if project.programs:
        yield _line("programs", _some([program.path for program in project.programs]))
    elif project.shell_scripts:
        yield _line("scripts", _some(list(project.shell_scripts)))
    if project.environment:
        yield _line("environment", _some([path for _, path in project.environment]))
    if project.data:
        yield _line("data", _some([f"{one.path} ({size(one.size_bytes)})" for one in project.data]))
    if project.results:
        yield _line("results", _some([f"{name}/" for name in project.results]) + ", of earlier runs")
    if project.unreadable:
        yield _line("unreadable", _some([path for path, _ in project.unreadable]))


def _line(what: str, words: str) -> str:
    return f"  {what:<{WIDTH}} {words}"


def _some(names: list[str]) -> str:
    more = len(names) - MOST
    return ", ".join(names[:MOST]) + (f" and {more} more" if more > 0 else "")
