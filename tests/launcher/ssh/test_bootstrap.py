"""What a machine has, what is installed on it, and whether its GPU works: with stand-ins for the system's programs."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from launcher.events import Kind
from launcher.remote.bootstrap import install_missing
from launcher.remote.facts import look
from launcher.remote.ssh.shell import SshShell
from launcher.remote.tools import Tools
from tests.system.ssh.machines import shell_on
from tests.system.ssh.server import Sshd


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def bare(machine: Sshd, *names: str) -> Path:
    """A machine whose PATH has these of our programs, and whatever the test puts there."""
    folder = machine.folder / "bin"
    folder.mkdir(exist_ok=True)
    for name in ("sh", "uname", "id", "head", "cat", "dd", "cut", *names):
        source = next(Path(one) / name for one in ("/usr/bin", "/bin") if (Path(one) / name).exists())
        (folder / name).symlink_to(source)
    machine.environ = {"PATH": str(folder)}
    return folder


def test_what_is_missing_is_installed(own_machine: Sshd) -> None:
    folder = bare(own_machine, "bash", "python3", "chmod", "cp")
    install = f'[ "$1" = update ] || for last; do [ -x "{folder}/$last" ] || cp "{folder}/true" "{folder}/$last"; done'
    program(folder, "true", "exit 0")
    program(folder, "apt-get", f'echo "$@" >> {own_machine.folder}/asked; {install}')
    shell = shell_on(own_machine.start())
    told: list[tuple[Kind, str]] = []

    def report(kind: Kind, message: str, **_: Any) -> None:
        told.append((kind, message))

    facts = install_missing(shell, look(shell), report)
    assert (own_machine.folder / "asked").read_text().splitlines() == ["update -q", "install -y tmux rsync"]
    assert facts.tmux == str(folder / "tmux")
    assert told == [(Kind.TRANSFER, "installing tmux and rsync on the machine")]
    shell.close()


def test_what_cannot_be_installed_is_said(own_machine: Sshd) -> None:
    folder = bare(own_machine, "bash", "python3")
    program(folder, "apt-get", "echo 'E: Unable to locate package' >&2; exit 100")
    shell = shell_on(own_machine.start())
    told: list[str] = []
    facts = install_missing(shell, look(shell), lambda _, message, **__: told.append(message))
    assert facts.tmux == ""
    assert "could not be installed" in told[-1]
    assert "Unable to locate package" in told[-1]
    shell.close()


@pytest.mark.parametrize(
    ("torch", "exit_code", "words"),
    [
        (None, 0, "no torch here"),
        ("cuda = None\nhip = None", 2, "a build for CPUs only"),
        ("cuda = '12.6'\nhip = None", 1, "does not see the GPU"),
    ],
)
def test_the_gpu_is_tried_in_words(
    shell: SshShell, tools: Tools, tmp_path: Path, torch: str | None, exit_code: int, words: str
) -> None:
    program(tmp_path / "bin", "nvidia-smi", "echo 'GPU 0: NVIDIA T4'")
    library = tmp_path / "lib"
    library.mkdir()
    if torch is not None:
        body = "".join(f"    {line}\n" for line in torch.splitlines())
        fake = f"__version__ = '2.9'\nclass version:\n{body}class cuda:\n    is_available = staticmethod(lambda: False)\n"
        (library / "torch.py").write_text(fake)
    else:
        (library / "torch.py").write_text("raise ImportError\n")
    environ = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PYTHONPATH": str(library)}
    result = shell.run(tools.argv("probe"), environ=environ, cwd=PurePosixPath(tmp_path))
    assert result.exit_code == exit_code
    assert words in result.stdout.decode()


def test_a_driver_that_does_not_answer(shell: SshShell, tools: Tools, tmp_path: Path) -> None:
    program(tmp_path / "bin", "nvidia-smi", "echo 'Failed to initialize NVML'; exit 9")
    environ = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    result = shell.run(tools.argv("probe"), environ=environ)
    assert result.exit_code == 1
    assert b"driver does not answer" in result.stdout
    hidden = shell.run(tools.argv("probe"), environ={**environ, "CUDA_VISIBLE_DEVICES": ""})
    assert (hidden.exit_code, hidden.stdout) == (0, b"")
