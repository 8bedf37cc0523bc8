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


TORCH = """
__version__ = "2.9"
class version:
    cuda, hip = {cuda}, None
class Sum:
    def __init__(self, value): self.value = value
    def __matmul__(self, other): {multiply}
    def sum(self): return self
    def item(self): return self.value
class cuda:
    is_available = staticmethod(lambda: {sees})
    device_count = staticmethod(lambda: 1)
    get_device_name = staticmethod(lambda at: "NVIDIA GeForce")
    get_device_capability = staticmethod(lambda at: {capability})
    get_arch_list = staticmethod(lambda: ["sm_75", "sm_90"])
def ones(*size, device): return Sum(256.0 ** 3)
"""


def torch(**changes: str) -> str:
    """A stand-in that answers as torch would on a machine that works, but for ``changes``."""
    return TORCH.format(
        **{"cuda": "'12.6'", "sees": "True", "capability": "(8, 9)", "multiply": "return self", **changes}
    )


class Trial:
    """The GPU is tried with these stand-ins."""

    def __init__(self, shell: SshShell, tools: Tools, folder: Path) -> None:
        self._shell, self._tools, self.folder = shell, tools, folder
        self.words = folder / "gpu.words"

    def __call__(
        self, library: str | None, smi: str | None, *, gpus: int = 1, **environ: str
    ) -> tuple[int, str]:
        (self.folder / "torch.py").write_text(library or "raise ImportError\n")
        path = os.environ["PATH"]
        if smi is not None:
            program(self.folder / "bin", "nvidia-smi", smi)
            path = f"{self.folder}/bin:{path}"
        result = self._shell.run(
            self._tools.argv("probe", str(self.words), str(gpus)),
            environ={"PATH": path, "PYTHONPATH": str(self.folder), **environ},
            cwd=PurePosixPath(self.folder),
        )
        assert result.stderr == b""
        return result.exit_code, result.stdout.decode()


@pytest.fixture
def trial(shell: SshShell, tools: Tools, tmp_path: Path) -> Trial:
    return Trial(shell, tools, tmp_path)


LISTS_ONE = "echo 'GPU 0: NVIDIA T4 (UUID: GPU-1)'"


@pytest.mark.parametrize(
    ("library", "exit_code", "words"),
    [
        (None, 0, "no torch here"),
        (torch(), 0, "NVIDIA GeForce works with torch 2.9 (CUDA 12.6)"),
        (torch(cuda="None"), 2, "torch 2.9 is a build for CPUs only, and this machine has a GPU"),
        (torch(sees="False"), 1, "torch 2.9 (CUDA 12.6) does not see the GPU"),
        (torch(capability="(6, 0)"), 2, "compute capability 6.0; torch 2.9 supports 75, 90"),
        (torch(multiply="return Sum(1.0)"), 1, "NVIDIA GeForce multiplies wrongly: 1.0"),
        (torch(multiply="raise RuntimeError('ECC error')"), 1, "NVIDIA GeForce cannot multiply: ECC error"),
        (
            torch(multiply="raise RuntimeError('no kernel image is available')"),
            2,
            "cannot multiply: no kernel",
        ),
        ("import os; os._exit(3)", 2, "torch cannot be used: no reason given"),
    ],
)
def test_the_gpu_is_tried_in_words(trial: Trial, library: str | None, exit_code: int, words: str) -> None:
    code, said = trial(library, LISTS_ONE)
    assert code == exit_code
    assert words in said
    assert exit_code == 0 or words in trial.words.read_text()


@pytest.mark.parametrize(
    ("smi", "gpus", "words"),
    [
        ("echo 'Failed to initialize NVML'; exit 9", 0, "the GPU's driver does not answer"),
        (LISTS_ONE, 2, "2 GPUs were rented, and the driver lists 1"),
        (None, 1, "a machine with 1 GPU was rented, and it has neither nvidia-smi nor rocm-smi"),
    ],
)
def test_a_machine_that_is_not_what_was_rented(trial: Trial, smi: str | None, gpus: int, words: str) -> None:
    code, said = trial(torch(), smi, gpus=gpus)
    assert code == 1
    assert words in said
    assert words in trial.words.read_text()
    assert trial(torch(), smi, gpus=gpus, CUDA_VISIBLE_DEVICES="") == (0, "")


def test_where_no_gpu_was_rented_none_is_looked_for(trial: Trial) -> None:
    assert trial(torch(cuda="None"), None, gpus=0) == (0, "")
