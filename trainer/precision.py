"""Which processor computes, and in which precision; both chosen once, both with a reason in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from trainer.config import Config
from trainer.contract import Exit
from trainer.errors import DeviceUnavailable, OutOfMemory
from trainer.memory import is_out_of_memory

__all__ = [
    "Precision",
    "check_device",
    "choose_device",
    "choose_precision",
    "cpu_flags",
    "for_gpu",
    "to_device",
]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Precision:
    """Precision of the large products; weights, gates and losses stay in float32."""

    name: str
    reason: str
    needs_scaler: bool = False
    """Whether gradients would vanish without loss scaling."""

    @property
    def dtype(self) -> torch.dtype:
        """As torch names it."""
        return DTYPES[self.name]

    @property
    def bits(self) -> int:
        """Of each number in those products: 16 or 32."""
        return self.dtype.itemsize * 8


def choose_device(config: Config) -> tuple[torch.device, str]:
    """The device and why. Raises `DeviceUnavailable` when a GPU was named that is not there."""
    wanted = config.compute.device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu":
        return torch.device("cpu"), "asked for"
    if wanted.startswith("cuda"):
        number = int(wanted[5:]) if ":" in wanted else max(0, config.gpu_number)
        if ":" not in wanted and number >= count > 0:
            number = 0
        if number >= count:
            raise DeviceUnavailable(
                f"compute.device: {wanted} was asked for, but torch sees {count} GPUs",
                hint="check nvidia-smi and that this torch build has CUDA, or say --device cpu",
            )
        return torch.device("cuda", number), "asked for"
    if config.gpu_number < 0:
        return torch.device("cpu"), f"gpu_number is {config.gpu_number}"
    if count == 0:
        return torch.device("cpu"), "torch sees no GPU; say --device cuda to make that an error"
    if config.gpu_number >= count:
        return torch.device("cuda", 0), f"gpu_number {config.gpu_number} does not exist here"
    return torch.device("cuda", config.gpu_number), "found"


def check_device(device: torch.device) -> None:
    """Make it the current one and multiply two small matrices there. Raises `DeviceUnavailable` in words where torch
    cannot, and `OutOfMemory` where no memory is left for so little.

    A GPU may be older or newer than this build of torch has code for: trying again cannot help. It may also be
    broken or somebody else's: another attempt may find a better one.
    """
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        ones = torch.ones(8, 8, device=device)
        torch.mm(ones, ones).sum().item()
    except RuntimeError as error:
        words = " ".join(str(error).split())[:160]
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"compute.device: {device} has no memory left, somebody else has taken it: {words}",
                hint="nvidia-smi shows who; end that program, or name another GPU with --device cuda:NUMBER",
            ) from error
        refusal = DeviceUnavailable(
            f"compute.device: {device} is there, but torch {torch.__version__} cannot compute on it: {words}",
            hint="install a build of torch for this GPU (V100 and P100 need one for CUDA 12.6), or say --device cpu",
        )
        if "no kernel image" not in words:
            refusal.exit_code = Exit.FAILED
        raise refusal from error


def to_device(model: nn.Module, device: torch.device) -> None:
    """Move a model there. Raises `OutOfMemory` where it does not fit."""
    try:
        model.to(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"the weights of the model do not fit the memory that is left on {device}",
            hint="look whether another program has taken it (nvidia-smi), or take a device with more memory",
        ) from error


def choose_precision(config: Config, device: torch.device) -> Precision:
    """The precision for `device` and why. Raises `DeviceUnavailable` when the one named cannot work there."""
    wanted = config.compute.precision
    if wanted == "fp16" and device.type == "cpu":
        raise DeviceUnavailable("compute.precision: fp16 needs a GPU", hint="use bf16 or fp32 on the CPU")
    if device.type == "cpu":
        if wanted != "auto":
            return Precision(wanted, "asked for")
        return _for_cpu(cpu_flags()) if config.use_amp else Precision("fp32", "use_amp is false")
    name, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    return for_gpu(wanted, config.use_amp, name, capability, amd=torch.version.hip is not None)


def _for_cpu(flags: frozenset[str]) -> Precision:
    for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-bf16")):
        if flag in flags:
            return Precision("bf16", f"this CPU has {name}")
    return Precision("fp32", "this CPU has neither AMX nor AVX512-bf16")


def for_gpu(
    wanted: str, use_amp: bool, name: str, capability: tuple[int, int], *, amd: bool = False
) -> Precision:
    """The precision on a GPU of this name and compute capability; `wanted` is auto or the one asked for.

    With 16 bits the loss is always scaled: the GRU is computed in fp16 also where the rest is in bf16
    (`trainer.model.gru_dtype`). The numbers of AMD's GPUs are of another kind, and all of them take bf16; their GRU is
    computed in fp32, so that bf16 leaves nothing there to scale.
    """
    has_bf16, has_fp16 = amd or capability >= (8, 0), amd or capability >= (7, 0)
    kind = f"{name}, AMD" if amd else f"{name}, compute capability {capability[0]}.{capability[1]}"
    gru = "the GRU in fp32" if amd else "the GRU in fp16, with loss scaling"
    tf32 = "; its large products in TF32" if has_bf16 and not amd else ""
    if wanted == "bf16" and not has_bf16:
        return Precision("bf16", f"asked for, but slow: {kind}, has no bf16 units; {gru}", True)
    if wanted == "fp32":
        return Precision("fp32", f"asked for{tf32}")
    if wanted == "bf16":
        return Precision("bf16", f"asked for; {gru}", not amd)
    if wanted == "fp16":
        kept = f"{gru}, the rest " if amd else ""
        return Precision("fp16", f"asked for; {kept}with loss scaling", True)
    if not use_amp:
        return Precision("fp32", f"use_amp is false{tf32}")
    if has_bf16:
        return Precision("bf16", f"{kind}, has bf16 units; {gru}", not amd)
    if has_fp16:
        return Precision("fp16", f"{kind}, has fp16 units but no bf16; with loss scaling", True)
    return Precision("fp32", f"{kind}, has neither bf16 nor fp16 tensor units")


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction-set flags of this computer's CPU; empty where the system does not tell."""
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()
