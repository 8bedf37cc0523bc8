"""The programs that we put on a machine, and calling them there."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from launcher.remote.shell import Result, Shell

__all__ = ["Tools"]

NAMES = ("watchdog.py", "place.py", "manifest.py", "environment.py", "download.py")
ISOLATED = ("-I", "-S")
"""No user site, no PYTHON* variables, no site-packages: they run on the standard library, and start faster."""


class Tools:
    """Our programs in a folder of one machine; the folder's name is their version."""

    def __init__(self, shell: Shell, python: str, parent: PurePosixPath) -> None:
        self._shell = shell
        self._python = python
        self._folder = parent / f"tools-{_version()}"

    def install(self) -> None:
        """Put them there unless they are; the last one written marks them complete."""
        marker = self._folder / "complete"
        try:
            self._shell.read(marker, limit=1)
        except FileNotFoundError:
            for name, content in _contents().items():
                self._shell.write(self._folder / name, content)
            self._shell.write(marker, b"")

    def argv(self, name: str, *arguments: str) -> tuple[str, ...]:
        """The command line of ``<name>.py``."""
        return (self._python, *ISOLATED, str(self._folder / f"{name}.py"), *arguments)

    def call(self, name: str, request: dict[str, Any], *, timeout_s: float) -> tuple[Result, dict[str, Any]]:
        """Run a program that takes a JSON request and answers with one; the answer is empty when it gave none."""
        result = self._shell.run(
            self.argv(name), stdin=json.dumps(request).encode("ascii"), timeout_s=timeout_s
        )
        try:
            answer = json.loads(result.stdout)
        except ValueError:
            answer = None
        return result, answer if isinstance(answer, dict) else {}


@cache
def _contents() -> dict[str, bytes]:
    package = resources.files("launcher.remote")
    return {name: package.joinpath(name).read_bytes() for name in NAMES}


@cache
def _version() -> str:
    digest = hashlib.sha256()
    for name, content in _contents().items():
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:12]
