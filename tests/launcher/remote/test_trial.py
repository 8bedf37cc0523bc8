"""A machine is tried before data is sent: on a real shell, with a driver that answers, one that does not, and none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import MachineUnfit
from launcher.remote.local import LocalShell
from launcher.remote.tools import Tools
from launcher.remote.trial import Findings, shortcomings, try_machine
from provisioning import Demands, LocalAccess

Try = Callable[..., Findings]
WORKS = 'echo "GPU 0: NVIDIA GeForce RTX 4090"'


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def tried(tmp_path: Path, said: list[str]) -> Try:
    def tried(demands: Demands, *, nvidia_smi: str | None = WORKS, python: str | None = None) -> Findings:
        tools_folder = tmp_path / "bin"
        tools_folder.mkdir()
        for name, script in (("nvidia-smi", nvidia_smi), ("python3", python)):
            if script is not None:
                (tools_folder / name).write_text(f"#!/bin/sh\n{script}\n")
                (tools_folder / name).chmod(0o755)
        starter = tools_folder / "starter"  # this computer's own python3 and driver stay out of it
        starter.write_text(f'#!/bin/sh\nPATH={tools_folder} exec {sys.executable} "$@"\n')
        starter.chmod(0o755)
        shell = LocalShell(LocalAccess(work_root=tmp_path))
        tools = Tools(shell, str(starter), PurePosixPath(tmp_path / "control"))
        tools.install()

        def report(kind: Any, message: str, **data: Any) -> None:
            said.append(message)

        return try_machine(shell, tools, PurePosixPath(tmp_path / "control"), demands, report)

    return tried


def test_a_good_machine_is_described(tried: Try, said: list[str], tmp_path: Path) -> None:
    works = "echo 'RTX 4090 works with torch 2.13.0 (CUDA 13.0)'"
    found = tried(Demands(gpu=True, up_mbit_s=0.1, down_mbit_s=0.1, disk_mb_s=0.1), python=works)
    assert found.torch == "RTX 4090 works with torch 2.13.0 (CUDA 13.0)"
    assert min(found.up_mbit_s, found.down_mbit_s, found.disk_mb_s) > 0.1
    assert "the machine was tried: RTX 4090 works" in said[0]
    assert not [path for path in (tmp_path / "control").iterdir() if "trial" in path.name], "it tidies up"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"nvidia_smi": "exit 9"}, "its GPU driver does not answer"),
        ({"python": "echo 'torch 2.13.0 (CUDA 13.0) does not see the GPU'; exit 1"}, "does not see the GPU"),
    ],
)
def test_a_gpu_that_does_not_work_is_the_machines_fault(tried: Try, how: dict[str, str], words: str) -> None:
    with pytest.raises(MachineUnfit, match=words) as unfit:
        tried(Demands(gpu=True), **how)
    assert unfit.value.left_behind


def test_an_image_whose_torch_is_for_cpus_says_nothing_of_the_machine(tried: Try) -> None:
    found = tried(Demands(gpu=True), python="echo 'torch 2.13.0 is a build for CPUs only'; exit 2")
    assert "CPUs only" in found.torch


def test_what_is_too_slow_is_said_with_its_numbers(tried: Try) -> None:
    with pytest.raises(MachineUnfit, match=r"MB/s to its disk, 1e\+09 are needed"):
        tried(Demands(disk_mb_s=1e9))


def test_a_machine_without_a_driver_is_given_back(tried: Try) -> None:
    with pytest.raises(MachineUnfit, match="no GPU driver"):
        tried(Demands(gpu=True), nvidia_smi=None)


@given(
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
)
def test_a_machine_is_fit_when_it_has_what_is_asked_for(
    up: float, down: float, disk: float, least_up: float, least_down: float, least_disk: float
) -> None:
    found = Findings(up_mbit_s=up, down_mbit_s=down, disk_mb_s=disk)
    lacks = shortcomings(found, Demands(up_mbit_s=least_up, down_mbit_s=least_down, disk_mb_s=least_disk))
    assert len(lacks) == (up < least_up) + (down < least_down) + (disk < least_disk)
