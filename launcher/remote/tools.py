"""The one file of ours on a machine, and calling it there."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import zipfile
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from launcher.events import keep_going

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from launcher.events import Listen
    from launcher.remote.shell import Result, Shell

__all__ = ["Tools", "archive"]

PACKAGE = "onboard"
MAIN = f"import sys\nfrom {PACKAGE}.main import main\nsys.exit(main(sys.argv[1:]))\n"
ISOLATED = ("-I", "-S")
"""No user site, no PYTHON* variables, no site-packages: it runs on the standard library, and starts faster."""
LONG_AGO = (1980, 1, 1, 0, 0, 0)


class Tools:
    """``watchdog-<version>.pyz`` in a folder of one machine, run by that machine's Python."""

    def __init__(self, shell: Shell, python: str, folder: PurePosixPath) -> None:
        self._shell = shell
        self._python = python
        digest = hashlib.sha256(archive()).hexdigest()
        self._file = folder / f"watchdog-{digest[:12]}.pyz"

    def install(self) -> None:
        """Put it there unless it is; its name tells its version."""
        try:
            self._shell.read(self._file, limit=1)
        except FileNotFoundError:
            self._shell.write(self._file, archive())

    def argv(self, command: str, *arguments: str) -> tuple[str, ...]:
        """The command line of one of its commands."""
        return (self._python, *ISOLATED, str(self._file), command, *arguments)

    def in_environment(self, command: str, *arguments: str) -> str:
        """The line for a shell that runs one of its commands with the Python that is first in PATH, and its packages."""
        return shlex.join(("python3", str(self._file), command, *arguments))

    def call(
        self, command: str, request: dict[str, Any], *, timeout_s: float, listen: Listen = keep_going
    ) -> tuple[Result, dict[str, Any]]:
        """Give a command its JSON request and return its answer, which is empty when it gave none."""
        stdin = json.dumps(request).encode("ascii")
        result = self._shell.run(self.argv(command), stdin=stdin, timeout_s=timeout_s, listen=listen)
        try:
            answer = json.loads(result.stdout)
        except ValueError:
            answer = None
        return result, answer if isinstance(answer, dict) else {}


@cache
def archive() -> bytes:
    """The folder ``onboard`` as an archive that Python runs; the same bytes for the same sources."""
    folder = resources.files("launcher.remote").joinpath(PACKAGE)
    sources = {
        f"{PACKAGE}/{file.name}": file.read_bytes() for file in folder.iterdir() if file.name.endswith(".py")
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as pyz:
        for name, content in sorted({**sources, "__main__.py": MAIN.encode()}.items()):
            member = zipfile.ZipInfo(name, LONG_AGO)
            member.compress_type = zipfile.ZIP_DEFLATED
            pyz.writestr(member, content)
    return packed.getvalue()
