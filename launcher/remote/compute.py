"""What a machine is: system, GPUs, driver, room on its disk, and by how much its clock is wrong. For the record, and for people."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from launcher.events import Kind
from launcher.quantities import duration
from launcher.remote.shell import check
from launcher.remote.torch_builds import Gpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePosixPath

    from launcher.events import Report
    from launcher.remote.facts import Facts
    from launcher.remote.shell import Shell

__all__ = ["Compute", "ask", "ask_gpus", "tell"]

TOLERATED_S = 5.0
"""A clock that is further off is warned of."""
TIMEOUT_S = 120.0
"""The first question to a GPU's driver may take its time."""

SCRIPT = r"""
export LC_ALL=C
echo "now=$(date +%s)"
echo "kernel=$(uname -sr)"
(. /etc/os-release && echo "os=$PRETTY_NAME") 2>/dev/null
folder=$1
until [ -d "$folder" ]; do folder=${folder%/*}; [ -n "$folder" ] || folder=/; done
df -Pk "$folder" 2>/dev/null | while read -r _ _ _ free _; do echo "disk_kib=$free"; done
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader,nounits 2>/dev/null |
  while IFS= read -r line; do echo "gpu=$line"; done
nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9.]*\).*/cuda=\1/p'
"""


GPUS_SCRIPT = r"""
nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader 2>/dev/null ||
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null
if [ -e /dev/kfd ] || command -v rocm-smi >/dev/null 2>&1; then echo amd; fi
"""
"""Drivers before R470 do not know ``compute_cap``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Empty or None where the machine does not say."""

    os: str
    kernel: str
    gpus: tuple[str, ...]
    """Names, one for each."""
    gpu_memory_gib: float | None
    """Of the smallest."""
    driver: str
    cuda: str
    """The newest that the driver can run."""
    disk_free_gib: float | None
    clock_ahead_s: float | None
    """Of the clock here."""


def ask(shell: Shell, folder: PurePosixPath, *, clock: Callable[[], float] = time.time) -> Compute:
    """Ask the machine, in one command; ``folder``: where runs will lie, there or not."""
    before = clock()
    result = shell.run(["sh", "-c", SCRIPT, "sh", str(folder)], timeout_s=TIMEOUT_S)
    told: dict[str, list[str]] = {}
    for line in (
        check(result, what="asking the machine what it is").stdout.decode(errors="replace").splitlines()
    ):
        name, _, value = line.partition("=")
        told.setdefault(name, []).append(value.strip())
    gpus = [
        [part.strip() for part in line.split(",")] for line in told.get("gpu", []) if line.count(",") == 2
    ]
    memory = [float(mib) / 1024 for _, mib, _ in gpus if mib.replace(".", "").isdigit()]
    disk = [int(value) for value in told.get("disk_kib", []) if value.isdigit()]
    return Compute(
        os=_one(told, "os"),
        kernel=_one(told, "kernel"),
        gpus=tuple(name for name, _, _ in gpus),
        gpu_memory_gib=round(min(memory), 1) if memory else None,
        driver=gpus[0][2] if gpus else "",
        cuda=_one(told, "cuda"),
        disk_free_gib=round(disk[-1] / 2**20, 1) if disk else None,
        clock_ahead_s=_ahead(_one(told, "now"), before, clock()),
    )


def ask_gpus(shell: Shell) -> Gpus:
    """Ask the machine what a build of torch has to fit, in one command; a driver that fails is as good as none here."""
    result = shell.run(["sh", "-c", GPUS_SCRIPT], timeout_s=TIMEOUT_S)
    lines = [line.strip() for line in result.stdout.decode(errors="replace").splitlines()]
    rows = [[part.strip() for part in line.split(",")] for line in lines if "," in line]
    rows = [row for row in rows if re.fullmatch(r"\d+(\.\d+)*", row[1])]
    capabilities = [row[2].split(".") for row in rows if len(row) > 2 and re.fullmatch(r"\d+\.\d+", row[2])]
    return Gpus(
        driver=rows[0][1] if rows else "",
        capabilities=tuple((int(major), int(minor)) for major, minor in capabilities),
        name=rows[0][0] if rows else "",
        amd="amd" in lines,
    )


def _one(told: dict[str, list[str]], name: str) -> str:
    return told.get(name, [""])[0]


def _ahead(now: str, before: float, after: float) -> float | None:
    """By how much at least: the machine was asked between two moments, and tells whole seconds."""
    if not now.isdigit():
        return None
    seconds = int(now)
    if seconds > after:
        return round(seconds - after, 1)
    return round(min(0.0, seconds + 1 - before), 1)


def tell(compute: Compute, facts: Facts, report: Report) -> None:
    """Put it on the record; a clock that is wrong is warned of."""
    report(
        Kind.INSTANCE,
        f"the machine: {_words(compute, facts)}",
        machine={**asdict(compute), "python": _python(facts)},
    )
    ahead = compute.clock_ahead_s
    if ahead is not None and abs(ahead) > TOLERATED_S:
        which = "ahead of" if ahead > 0 else "behind"
        report(
            Kind.WARNING,
            f"the machine's clock is {duration(abs(ahead))} {which} the one here: deadlines are kept by the machine's, "
            "and times in its files are its own",
            clock_ahead_s=ahead,
        )


def _words(compute: Compute, facts: Facts) -> str:
    parts = [compute.os or compute.kernel or facts.system, f"Python {_python(facts)}"]
    if compute.gpus:
        count = f"{len(compute.gpus)} × " if len(compute.gpus) > 1 else ""
        memory = f"{compute.gpu_memory_gib:g} GiB, " if compute.gpu_memory_gib is not None else ""
        cuda = f", CUDA up to {compute.cuda}" if compute.cuda else ""
        parts.append(f"{count}{compute.gpus[0]} ({memory}driver {compute.driver}{cuda})")
    if compute.disk_free_gib is not None:
        parts.append(f"{compute.disk_free_gib:g} GiB free")
    return ", ".join(parts)


def _python(facts: Facts) -> str:
    return ".".join(map(str, facts.python_version))
