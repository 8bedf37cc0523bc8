"""What a machine is, asked over SSH: with stand-ins for the system's programs."""

from __future__ import annotations

import os
import time
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from launcher.events import Kind
from launcher.remote.compute import Compute, ask, tell
from launcher.remote.facts import look
from tests.launcher.ssh.test_bootstrap import program
from tests.system.ssh.machines import shell_on
from tests.system.ssh.server import Sshd

SMI = """if [ $# = 0 ]; then echo '| NVIDIA-SMI 550.54   Driver Version: 550.54   CUDA Version: 12.4  |'
else echo 'Tesla T4, 15360, 550.54'; echo 'Tesla T4, 15360, 550.54'; fi"""


def told(machine: Sshd) -> tuple[Compute, list[tuple[Kind, str, dict[str, Any]]]]:
    shell = shell_on(machine.start())
    events: list[tuple[Kind, str, dict[str, Any]]] = []
    found = ask(shell, PurePosixPath(machine.home) / "not there" / "yet")
    tell(found, look(shell), lambda kind, message, **data: events.append((kind, message, data)))
    shell.close()
    return found, events


def test_a_machine_with_gpus_is_put_on_the_record(own_machine: Sshd, tmp_path: Path) -> None:
    program(tmp_path / "bin", "nvidia-smi", SMI)
    own_machine.environ = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    found, [(kind, message, data)] = told(own_machine)
    assert (found.gpus, found.gpu_memory_gib) == (("Tesla T4", "Tesla T4"), 15.0)
    assert (found.driver, found.cuda) == ("550.54", "12.4")
    assert found.disk_free_gib and found.os and found.kernel.startswith("Linux ")
    assert found.clock_ahead_s == 0.0
    assert kind is Kind.INSTANCE
    assert "2 × Tesla T4 (15 GiB, driver 550.54, CUDA up to 12.4)" in message
    assert data["machine"]["gpus"] == ("Tesla T4", "Tesla T4")


@pytest.mark.parametrize(
    ("off_s", "words"), [(3700, "is 1 h 1 min ahead of"), (-7300, "behind the one here")]
)
def test_a_clock_that_is_wrong_is_warned_of(
    own_machine: Sshd, tmp_path: Path, off_s: int, words: str
) -> None:
    program(tmp_path / "bin", "date", f'echo $(($(/bin/date "$@") + {off_s}))')
    own_machine.environ = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    found, events = told(own_machine)
    assert found.gpus == () and found.gpu_memory_gib is None
    assert found.clock_ahead_s is not None and abs(found.clock_ahead_s - off_s) < 60
    assert [kind for kind, _, _ in events] == [Kind.INSTANCE, Kind.WARNING]
    assert words in events[1][1]


def test_no_clock_is_wrong_for_being_asked_slowly(own_machine: Sshd) -> None:
    shell = shell_on(own_machine.start())
    moments = iter([time.time() - 30, time.time() + 30])
    assert ask(shell, PurePosixPath("/"), clock=lambda: next(moments)).clock_ahead_s == 0.0
    shell.close()
