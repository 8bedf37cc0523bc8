"""Which precision a device gets, by what it can do: no GPU is needed to decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.contract import Exit
from trainer.errors import DeviceUnavailable, OutOfMemory
from trainer.precision import check_device, cpu_flags, for_gpu, to_device

T4, V100, P100, A100, H100 = (
    ("Tesla T4", (7, 5)), ("Tesla V100", (7, 0)), ("Tesla P100", (6, 0)), ("A100", (8, 0)), ("H100", (9, 0))
)  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "use_amp", "gpu", "name", "reason"),
    [
        ("auto", True, A100, "bf16", "8.0, has bf16 units; the GRU in fp16, with loss scaling"),
        ("auto", True, H100, "bf16", "has bf16 units; the GRU in fp16, with loss scaling"),
        ("auto", True, T4, "fp16", "has fp16 units but no bf16; with loss scaling"),
        ("auto", True, V100, "fp16", "has fp16 units but no bf16; with loss scaling"),
        ("auto", True, P100, "fp32", "has neither bf16 nor fp16 tensor units"),
        ("auto", False, T4, "fp32", "use_amp is false"),
        ("auto", False, A100, "fp32", "use_amp is false; its large products in TF32"),
        ("fp32", True, A100, "fp32", "asked for; its large products in TF32"),
        (
            "bf16",
            True,
            T4,
            "bf16",
            "asked for, but slow: Tesla T4, compute capability 7.5, has no bf16 units; the GRU in fp16, with loss scaling",
        ),
        ("bf16", True, A100, "bf16", "asked for; the GRU in fp16, with loss scaling"),
        ("fp16", True, A100, "fp16", "asked for; with loss scaling"),
    ],
)
def test_a_gpu_computes_in_what_it_has_units_for(
    wanted: str, use_amp: bool, gpu: tuple[str, tuple[int, int]], name: str, reason: str
) -> None:
    chosen = for_gpu(wanted, use_amp, *gpu)
    assert chosen.name == name
    assert chosen.reason.endswith(reason)
    assert chosen.needs_scaler is (name != "fp32")


def test_amd_counts_its_gpus_in_another_way_and_keeps_its_gru_in_fp32() -> None:
    chosen = for_gpu("auto", True, "gfx1030", (10, 3), amd=True)
    assert (chosen.name, chosen.reason) == ("bf16", "gfx1030, AMD, has bf16 units; the GRU in fp32")
    assert not chosen.needs_scaler
    assert not for_gpu("bf16", True, "gfx90a", (9, 0), amd=True).needs_scaler
    assert for_gpu("fp32", True, "gfx90a", (9, 0), amd=True).reason == "asked for"
    half = for_gpu("fp16", True, "gfx90a", (9, 0), amd=True)
    assert (half.needs_scaler, half.reason) == (
        True,
        "asked for; the GRU in fp32, the rest with loss scaling",
    )


def test_what_a_cpu_can_do_is_read_from_the_system(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags\t\t: fpu avx512_bf16 amx_bf16\n")
    assert {"avx512_bf16", "amx_bf16"} <= cpu_flags(tmp_path / "cpuinfo")
    assert cpu_flags(tmp_path / "absent") == frozenset()


class Refuses(TorchDispatchMode):
    """A device on which nothing can be multiplied, nor brought there."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket.__name__ in ("mm", "_to_copy"):
            raise RuntimeError(self.words)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("CUDA error: no kernel image is available for execution on the device", Exit.BAD_CONFIG),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", Exit.FAILED),
    ],
)
def test_a_device_that_cannot_compute_is_named_before_anything_begins(words: str, code: Exit) -> None:
    check_device(torch.device("cpu"))
    with Refuses(words), pytest.raises(DeviceUnavailable, match="cannot compute on it: CUDA error") as caught:
        check_device(torch.device("cpu"))
    assert caught.value.exit_code is code


def test_a_device_whose_memory_others_have_taken_is_named_too() -> None:
    with Refuses("CUDA error: out of memory"), pytest.raises(OutOfMemory, match="cpu has no memory left"):
        check_device(torch.device("cpu"))
    model = torch.nn.Linear(2, 2)
    with Refuses("CUDA error: out of memory"), pytest.raises(OutOfMemory, match="do not fit the memory"):
        to_device(model, torch.device("meta"))
