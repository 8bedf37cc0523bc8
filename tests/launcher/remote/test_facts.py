"""What a machine lacks is said with the line that installs it there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import DependencyMissing
from launcher.remote.facts import Facts, look, require
from launcher.remote.local import LocalShell
from provisioning import LocalAccess

COMPLETE = Facts(
    system="Linux",
    is_root=False,
    python="/usr/bin/python3",
    python_version=(3, 8, 0),
    tmux="/usr/bin/tmux",
    bash="/bin/bash",
    has_sudo=True,
    installer="apt-get",
)


def test_a_machine_with_everything_is_fine() -> None:
    require(COMPLETE)


@pytest.mark.parametrize(
    ("facts", "what", "hint"),
    [
        (replace(COMPLETE, tmux=""), "tmux", "sudo apt-get install -y tmux"),
        (replace(COMPLETE, tmux="", is_root=True), "tmux", "apt-get install -y tmux"),
        (replace(COMPLETE, tmux="", system="Darwin", installer="brew"), "tmux", "brew install tmux"),
        (replace(COMPLETE, tmux="", installer=None), "tmux", "install tmux on the machine"),
        (replace(COMPLETE, bash="", installer="apk"), "bash", "sudo apk add bash"),
        (replace(COMPLETE, python="", python_version=()), "Python", "sudo apt-get install -y python3"),
        (
            replace(COMPLETE, python_version=(3, 6, 9)),
            r"3\.6\.9",
            "put a newer python3 first in PATH on the machine",
        ),
    ],
)
def test_what_is_missing_has_a_remedy(facts: Facts, what: str, hint: str) -> None:
    with pytest.raises(DependencyMissing, match=what) as caught:
        require(facts)
    assert caught.value.hint == hint


def test_this_computer_is_understood(tmp_path: Path) -> None:
    facts = look(LocalShell(LocalAccess(work_root=tmp_path)))
    assert facts.python_version >= (3, 10)
    assert Path(facts.tmux).is_absolute()
    require(facts)
