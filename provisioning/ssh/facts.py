"""What a host has: asked with one small script, read by the parsers that read this computer."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.local.hardware import parse_nvidia_smi, parse_rocm_smi

if TYPE_CHECKING:
    from provisioning.local.hardware import Gpu

__all__ = ["HostFacts", "parse", "script"]

BEGIN = "launch-facts"
"""Printed first: what a start-up file says before it is not ours."""

SCRIPT = r"""
export LC_ALL=C
part() { printf '\n%s %s\n' launch-facts "$1"; }
part system; uname -sm
part home; cd && pwd -P
part python; command -v python3 && python3 -I -S -c 'import sys; print("%d.%d" % sys.version_info[:2])'
part cpus; getconf _NPROCESSORS_ONLN 2>/dev/null || nproc
part memory; awk '/^MemTotal/ {print $2 * 1024}' /proc/meminfo 2>/dev/null || sysctl -n hw.memsize
part disk; until [ -d "$folder" ]; do folder=${folder%/*}; [ -n "$folder" ] || folder=/; done
df -Pk "$folder" 2>/dev/null | awk 'NR == 2 {print $4 * 1024}'
part nvidia; command -v nvidia-smi >/dev/null &&
  nvidia-smi --query-gpu=index,uuid,name,memory.total --format=csv,noheader,nounits
part amd; command -v rocm-smi >/dev/null &&
  rocm-smi --showproductname --showuniqueid --showmeminfo vram --json
part end
"""
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """A host as it is now."""

    system: str
    home: str
    """Absolute."""
    python: str
    """Absolute path of ``python3``; empty where there is none."""
    python_version: tuple[int, ...]
    vcpus: float
    memory_gib: float
    free_disk_gib: float
    gpus: tuple[Gpu, ...]


def script(folder: str | None) -> str:
    """The script for ``sh``; ``folder``: where runs will lie, whose disk counts; None is the login's home."""
    wanted = shlex.quote(folder) if folder else '"$HOME"'
    return f"folder={wanted}\n{SCRIPT}"


def parse(output: str) -> HostFacts | None:
    """Read what the script printed; None when it did not come to its end."""
    parts: dict[str, str] = {}
    for piece in output.split(f"\n{BEGIN} ")[1:]:
        name, _, text = piece.partition("\n")
        parts[name] = text.strip()
    if "end" not in parts:
        return None
    python, _, version = parts["python"].partition("\n")
    numbers = version.strip().split(".")
    return HostFacts(
        system=parts["system"],
        home=parts["home"],
        python=python,
        python_version=tuple(map(int, numbers)) if all(one.isdigit() for one in numbers) else (),
        vcpus=_number(parts["cpus"]) or 1.0,
        memory_gib=_number(parts["memory"]) / GIB,
        free_disk_gib=_number(parts["disk"]) / GIB,
        gpus=parse_nvidia_smi(parts["nvidia"]) or parse_rocm_smi(parts["amd"]),
    )


def _number(text: str) -> float:
    try:
        return float(text.split()[0])
    except (IndexError, ValueError):
        return 0.0
