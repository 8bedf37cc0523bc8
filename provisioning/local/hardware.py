"""What this computer has to offer, as a process started here could use it: cores, memory, disk, GPUs.

A cgroup, an affinity mask or ``CUDA_VISIBLE_DEVICES`` may leave us less than the computer has; the smaller
figure is the true one. A tool that is missing, broken or odd means "no GPU", never an error.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "Gpu",
    "free_disk_gib",
    "gpus",
    "memory_gib",
    "parse_cgroup_cpus",
    "parse_nvidia_smi",
    "parse_rocm_smi",
    "usable_cpus",
    "visible",
]

_GIB = 2**30
_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
_ROCM_SMI = ("rocm-smi", "--showproductname", "--showuniqueid", "--showmeminfo", "vram", "--json")
_TOOL_TIMEOUT_S = 20.0
"""A driver that has to wake eight GPUs takes some seconds; one that hangs must not hang us."""
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of this computer."""

    vendor: str
    """``nvidia`` or ``amd``."""
    index: int
    uuid: str
    """What the driver calls it whatever the order; empty when it does not say."""
    name: str
    memory_gib: float
    """0.0 when the driver does not say (GPUs that share the computer's memory)."""

    @property
    def selector(self) -> str:
        """How this GPU is named in ``CUDA_VISIBLE_DEVICES`` or ``HIP_VISIBLE_DEVICES``."""
        return self.uuid if self.vendor == "nvidia" and self.uuid else str(self.index)


def gpus(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Ask the drivers; only GPUs that ``environ`` leaves visible. Takes up to seconds; empty when there is none."""
    nvidia = visible(parse_nvidia_smi(_output(_NVIDIA_SMI, environ)), environ.get("CUDA_VISIBLE_DEVICES"))
    if nvidia:
        return nvidia
    chosen = environ.get("HIP_VISIBLE_DEVICES", environ.get("ROCR_VISIBLE_DEVICES"))
    return visible(parse_rocm_smi(_output(_ROCM_SMI, environ)), chosen)


def parse_nvidia_smi(output: str) -> tuple[Gpu, ...]:
    """Read the answer to ``--query-gpu=index,uuid,name,memory.total``; lines that are none are passed over."""
    found = []
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 4 or not cells[0].isdigit() or not cells[2] or cells[2].startswith("["):
            continue
        uuid = cells[1] if cells[1].startswith("GPU-") else ""
        memory_mib = float(cells[3]) if cells[3].replace(".", "", 1).isdigit() else 0.0
        found.append(Gpu("nvidia", int(cells[0]), uuid, cells[2], memory_mib / 1024))
    return tuple(found)


def parse_rocm_smi(output: str) -> tuple[Gpu, ...]:
    """Read the JSON of ``rocm-smi``, which may follow lines of warnings; its keys change case between versions."""
    try:
        cards = json.loads(output[output.index("{") :])
    except ValueError:
        return ()
    if not isinstance(cards, dict):
        return ()
    found = (_amd_gpu(card, facts) for card, facts in cards.items() if isinstance(facts, dict))
    return tuple(sorted(filter(None, found), key=lambda gpu: gpu.index))


def _amd_gpu(card: str, facts: dict[str, Any]) -> Gpu | None:
    index = card.removeprefix("card")
    said = {key.lower(): str(value).strip() for key, value in facts.items()}
    names = (said.get(key, "") for key in ("card series", "card model", "device name"))
    name = next((name for name in names if name and name != "N/A" and not name.startswith("0x")), "")
    if not index.isdigit() or not name:
        return None
    memory = said.get("vram total memory (b)", "")
    return Gpu(
        "amd", int(index), said.get("unique id", ""), name, int(memory) / _GIB if memory.isdigit() else 0.0
    )


def visible(found: Sequence[Gpu], chosen: str | None) -> tuple[Gpu, ...]:
    """Keep the GPUs that a ``…_VISIBLE_DEVICES`` variable names, in its order; all when it is not set.

    As the drivers read it: indices or (beginnings of) UUIDs, and the first entry that names none ends the list.
    """
    if chosen is None:
        return tuple(found)
    kept: list[Gpu] = []
    for entry in (part.strip() for part in chosen.split(",")):
        named = [gpu for gpu in found if str(gpu.index) == entry or (entry and gpu.uuid.startswith(entry))]
        if not named or named[0] in kept:
            break
        kept.append(named[0])
    return tuple(kept)


def _output(command: Sequence[str], environ: Mapping[str, str]) -> str:
    if not shutil.which(command[0], path=environ.get("PATH", os.defpath)):
        return ""
    try:
        finished = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TOOL_TIMEOUT_S,
            check=False,
            env={**environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout if finished.returncode == 0 else ""


def usable_cpus() -> float:
    """Return how many cores a process may keep busy: the affinity mask or the cgroup's share, the smaller one."""
    if hasattr(os, "sched_getaffinity"):
        cores = float(len(os.sched_getaffinity(0)))
    else:
        cores = float(os.cpu_count() or 1)
    return min([cores, *_cgroup_shares()])


def parse_cgroup_cpus(cpu_max: str) -> float | None:
    """Read a cgroup's ``cpu.max`` (``"150000 100000"`` is 1.5 cores); None without a limit."""
    words = cpu_max.split()
    if len(words) != 2 or not all(word.isdigit() and int(word) > 0 for word in words):
        return None
    return int(words[0]) / int(words[1])


def _cgroup_shares() -> Iterable[float]:
    for folder in _cgroup_folders(""):
        if share := parse_cgroup_cpus(_read(folder / "cpu.max")):
            yield share
    for folder in _cgroup_folders("cpu"):  # version 1 keeps quota and period apart
        quota = f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
        if share := parse_cgroup_cpus(quota):
            yield share


def memory_gib() -> float:
    """Return the memory that processes here may use in all; 0.0 when this system does not say."""
    limits = [_read(folder / "memory.max") for folder in _cgroup_folders("")]
    limits += [_read(folder / "memory.limit_in_bytes") for folder in _cgroup_folders("memory")]
    sizes = [int(limit) for limit in limits if limit.isdigit()]
    try:
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):
        return 0.0
    return min(sizes) / _GIB


def _cgroup_folders(controller: str) -> list[Path]:
    """Return our cgroup and those around it: every one of them may set a limit. Empty where there are none."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            top = _CGROUPS / controller
            folder = top / path.lstrip("/")
            return [top, *(parent for parent in (folder, *folder.parents) if top in parent.parents)]
    return []


def free_disk_gib(folder: Path) -> float:
    """Return the free space where ``folder`` is, or would be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free / _GIB


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
