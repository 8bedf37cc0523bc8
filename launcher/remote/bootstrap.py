"""Makes a machine ready: installs what a run needs and the machine lacks, where it lets us."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from launcher.events import Kind, keep_going
from launcher.remote.facts import look

if TYPE_CHECKING:
    from launcher.events import Listen, Report
    from launcher.remote.facts import Facts
    from launcher.remote.shell import Shell

__all__ = ["install_missing"]

INSTALL_TIMEOUT_S = 600.0
REFRESH = {"apt-get": "apt-get update -q"}
"""Fresh images have no package lists."""


def install_missing(shell: Shell, facts: Facts, report: Report, listen: Listen = keep_going) -> Facts:
    """Install tmux, bash, Python and rsync when they are missing, as root or with a sudo that asks nothing.

    Returns what the machine has then; what could not be installed is said by `launcher.remote.facts.require`, and
    without rsync files travel another way. Takes up to minutes, and nothing when there is nothing missing.
    """
    needed = {"tmux": facts.tmux, "bash": facts.bash, "python3": facts.python, "rsync": facts.rsync}
    missing = [package for package, found in needed.items() if not found]
    if not missing or facts.installer is None or not _may_install(shell, facts):
        return facts
    listed = " and ".join(missing)
    report(Kind.TRANSFER, f"installing {listed} on the machine", what=listed, bytes=0, files=0)
    script = f"export DEBIAN_FRONTEND=noninteractive\n{_as_root(facts, facts.install_line(*missing))}"
    if facts.installer in REFRESH:
        script = f"{_as_root(facts, 'sudo ' + REFRESH[facts.installer])}\n{script}"
    try:
        ended = shell.run(["sh", "-c", script], timeout_s=INSTALL_TIMEOUT_S, listen=listen)
        output = (ended.stderr or ended.stdout).decode(errors="replace").strip()
        failed = output.splitlines()[-1:] if ended.exit_code else []
    except TimeoutError:
        failed = [f"not done within {INSTALL_TIMEOUT_S:g} s"]
    found = look(shell)
    for words in failed:
        report(Kind.WARNING, f"{listed} could not be installed on the machine: {words}")
    return found


def _may_install(shell: Shell, facts: Facts) -> bool:
    """Nobody is there to type a password."""
    if facts.is_root or facts.installer == "brew":
        return True
    return facts.has_sudo and shell.run(["sudo", "-n", "true"]).exit_code == 0


def _as_root(facts: Facts, line: str) -> str:
    bare = shlex.join(word for word in shlex.split(line) if word != "sudo")
    return bare if facts.is_root or facts.installer == "brew" else f"sudo -n {bare}"
