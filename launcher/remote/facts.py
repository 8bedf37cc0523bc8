"""What a machine has, asked once in one small POSIX shell script, and what it lacks in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.errors import DependencyMissing
from launcher.remote.shell import check

if TYPE_CHECKING:
    from launcher.remote.shell import Shell

__all__ = ["Facts", "look", "require"]

OLDEST_PYTHON = (3, 8)

SCRIPT = r"""
echo "system=$(uname -s)"
echo "user=$(id -u)"
for tool in python3 tmux bash uv apt-get dnf yum zypper pacman apk brew sudo; do
    echo "$tool=$(command -v "$tool" 2>/dev/null)"
done
echo "rsync=$(rsync --version 2>/dev/null | head -n 1)"
python3 -I -c 'import sys; print("version=%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || echo version=
"""

INSTALLERS = {
    "apt-get": "apt-get install -y {}",
    "dnf": "dnf install -y {}",
    "yum": "yum install -y {}",
    "zypper": "zypper install -y {}",
    "pacman": "pacman -S --noconfirm {}",
    "apk": "apk add {}",
    "brew": "brew install {}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Paths are absolute, or empty where the machine has no such tool."""

    system: str
    """As ``uname -s`` says it."""
    is_root: bool
    python: str
    python_version: tuple[int, ...]
    tmux: str
    bash: str
    rsync: str = ""
    """The first line of ``rsync --version``."""
    has_sudo: bool
    installer: str | None
    """The package manager."""

    def install_line(self, *packages: str) -> str:
        """The command that installs packages here."""
        if self.installer is None:
            return f"install {' and '.join(packages)} on the machine"
        line = INSTALLERS[self.installer].format(" ".join(packages))
        needs_sudo = not self.is_root and self.installer != "brew"
        return f"sudo {line}" if needs_sudo else line


def look(shell: Shell) -> Facts:
    """Ask the machine; one command."""
    result = check(shell.run(["sh", "-c", SCRIPT]), what="asking the machine what it has")
    told = dict(line.partition("=")[::2] for line in result.stdout.decode(errors="replace").splitlines())
    version = told.get("version", "")
    return Facts(
        system=told.get("system", ""),
        is_root=told.get("user") == "0",
        python=told.get("python3", ""),
        python_version=tuple(int(part) for part in version.split(".")) if version else (),
        tmux=told.get("tmux", ""),
        bash=told.get("bash", ""),
        rsync=told.get("rsync", ""),
        has_sudo=bool(told.get("sudo")),
        installer=next((name for name in INSTALLERS if told.get(name)), None),
    )


def require(facts: Facts) -> None:
    """Raise `DependencyMissing` for the first thing that a run needs and the machine lacks."""
    if not facts.tmux:
        raise DependencyMissing("tmux is not installed on the machine", hint=facts.install_line("tmux"))
    if not facts.bash:
        raise DependencyMissing("bash is not installed on the machine", hint=facts.install_line("bash"))
    if not facts.python_version:
        raise DependencyMissing("Python is not installed on the machine", hint=facts.install_line("python3"))
    if facts.python_version < OLDEST_PYTHON:
        found = ".".join(map(str, facts.python_version))
        raise DependencyMissing(
            f"the machine's python3 is {found}; the watchdog needs 3.8 or later",
            hint="put a newer python3 first in PATH on the machine",
        )
