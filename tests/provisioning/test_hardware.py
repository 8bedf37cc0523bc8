"""What this computer has, read from the shapes that drivers and kernels really print."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provisioning.local.hardware import (
    Gpu,
    free_disk_gib,
    gpus,
    memory_gib,
    parse_cgroup_cpus,
    parse_nvidia_smi,
    parse_rocm_smi,
    usable_cpus,
    visible,
)

TWO_T4 = """\
0, GPU-5f3e9c1a-0b9c-7c0f-3b7e-1d2c3b4a5f60, Tesla T4, 15360
1, GPU-8a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9, Tesla T4, 15360
"""
MI250X = """\
WARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status

{"card1": {"Card Series": "AMD INSTINCT MI250X", "Card Model": "0x740c", "Unique ID": "0x6e1f", "VRAM Total Memory (B)": "68702699520", "VRAM Total Used Memory (B)": "10960896"},
 "card0": {"Card series": "0x740c", "Card model": "AMD INSTINCT MI250X", "Unique ID": "0x5d2c", "VRAM Total Memory (B)": "68702699520"},
 "system": {"Driver version": "6.7.0"}}
"""


def tool(folder: Path, name: str, script: str) -> dict[str, str]:
    """Put a driver's tool into an otherwise ordinary PATH and return the environment that has it."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_nvidia_gpus_are_read() -> None:
    first, second = parse_nvidia_smi(TWO_T4)
    assert first == Gpu("nvidia", 0, "GPU-5f3e9c1a-0b9c-7c0f-3b7e-1d2c3b4a5f60", "Tesla T4", 15.0)
    assert second.index == 1


@pytest.mark.parametrize(
    "output",
    [
        "",
        "No devices were found\n",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest\n",
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n",
        "0, [GPU is lost], [GPU is lost], [GPU is lost]\n",
        "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error\n",
    ],
)
def test_a_broken_nvidia_driver_is_no_gpu(output: str) -> None:
    assert parse_nvidia_smi(output) == ()


def test_a_gpu_that_shares_the_computers_memory_does_not_say_how_much() -> None:
    (gpu,) = parse_nvidia_smi("0, GPU-11111111-2222-3333-4444-555555555555, NVIDIA GB10, [N/A]\n")
    assert (gpu.name, gpu.memory_gib) == ("NVIDIA GB10", 0.0)


def test_one_lost_gpu_does_not_hide_the_others() -> None:
    assert [
        gpu.index for gpu in parse_nvidia_smi("0, [Unknown Error], [Unknown Error], [N/A]\n" + TWO_T4)
    ] == [0, 1]


def test_amd_gpus_are_read_after_warnings_whatever_the_case_of_the_keys() -> None:
    found = parse_rocm_smi(MI250X)
    assert [(gpu.index, gpu.name, gpu.uuid) for gpu in found] == [
        (0, "AMD INSTINCT MI250X", "0x5d2c"),
        (1, "AMD INSTINCT MI250X", "0x6e1f"),
    ]
    assert found[0].memory_gib == pytest.approx(63.98, abs=0.01)


@pytest.mark.parametrize(
    "output", ["", "ERROR: No AMD GPUs", "{}", '{"card0": "N/A"}', "{broken", '{"card0": {}}']
)
def test_a_broken_amd_driver_is_no_gpu(output: str) -> None:
    assert parse_rocm_smi(output) == ()


@pytest.mark.parametrize(
    ("chosen", "indices"),
    [
        (None, [0, 1]),
        ("", []),
        ("1", [1]),
        ("1,0", [1, 0]),
        ("GPU-8a1b", [1]),
        ("0,7,1", [0]),
        ("-1", []),
        ("0,0", [0]),
        ("NoDevFiles", []),
    ],
)
def test_only_visible_gpus_count(chosen: str | None, indices: list[int]) -> None:
    assert [gpu.index for gpu in visible(parse_nvidia_smi(TWO_T4), chosen)] == indices


def test_a_real_tool_is_asked(tmp_path: Path) -> None:
    environ = tool(tmp_path, "nvidia-smi", f"cat <<'END'\n{TWO_T4}END")
    assert len(gpus(environ)) == 2
    assert [gpu.index for gpu in gpus({**environ, "CUDA_VISIBLE_DEVICES": "1"})] == [1]


def test_a_tool_that_fails_is_no_gpu(tmp_path: Path) -> None:
    assert gpus(tool(tmp_path, "nvidia-smi", f"echo '{TWO_T4}'; exit 9")) == ()


def test_the_amd_tool_is_asked_where_there_is_no_other(tmp_path: Path) -> None:
    environ = tool(tmp_path, "rocm-smi", f"cat <<'END'\n{MI250X}END")
    assert [gpu.vendor for gpu in gpus(environ)] == ["amd", "amd"]


def test_without_tools_there_is_no_gpu() -> None:
    assert gpus({"PATH": "/nowhere"}) == ()


@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [("150000 100000", 1.5), ("max 100000", None), ("", None), ("-1 100000", None), ("0 0", None)],
)
def test_the_share_of_a_cgroup(cpu_max: str, cores: float | None) -> None:
    assert parse_cgroup_cpus(cpu_max) == cores


def test_this_computer_has_something() -> None:
    assert 0 < usable_cpus() <= (os.cpu_count() or 1)
    assert memory_gib() > 0.1


def test_an_affinity_mask_is_respected() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity masks")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cpus() <= 1
    finally:
        os.sched_setaffinity(0, before)


def test_free_disk_of_a_folder_that_will_be_made(tmp_path: Path) -> None:
    assert free_disk_gib(tmp_path / "not" / "yet") == pytest.approx(free_disk_gib(tmp_path), abs=1.0)
