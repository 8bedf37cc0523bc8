"""Tries a rented machine before any data is sent to it: GPU, disk, and the way there and back."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.errors import MachineUnfit
from launcher.events import Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePosixPath

    from launcher.events import Report
    from launcher.remote.shell import Shell
    from launcher.remote.tools import Tools
    from provisioning import Demands

__all__ = ["Findings", "shortcomings", "try_machine"]

LINK_BYTES = 2 << 20
"""Each way: at 2 Mbit/s eight seconds, and nowhere a matter of money."""
DISK_MB = 64
TIMEOUT_S = 600.0
"""Torch's first use of a GPU loads hundreds of megabytes of libraries, on a disk that may be slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a machine turned out to be."""

    up_mbit_s: float
    down_mbit_s: float
    disk_mb_s: float
    gpu: str = ""
    """What the driver lists first."""
    torch: str = ""
    """What the image's own torch says; empty where it has none."""
    at_fault: tuple[str, ...] = ()
    """What is wrong with its GPU."""


def try_machine(
    shell: Shell,
    tools: Tools,
    folder: PurePosixPath,
    demands: Demands,
    report: Report,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Findings:
    """Try it, and say what was found; takes seconds to a minute.

    Raises:
        MachineUnfit: it is not what the job needs; nothing of the job was sent.
    """
    request = {"gpu": demands.gpu, "folder": str(folder), "disk_mb": DISK_MB}
    result, answer = tools.call("trial", request, timeout_s=TIMEOUT_S)
    if not answer:
        words = result.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise MachineUnfit(f"the machine could not be tried: {words[0]}", left_behind="nothing was sent")
    up, down = _link(shell, folder / ".trial-link", clock)
    found = Findings(
        up_mbit_s=up,
        down_mbit_s=down,
        disk_mb_s=float(answer.get("disk_mb_s") or 0.0),
        gpu=str(answer.get("gpu") or ""),
        torch=str(answer.get("torch") or ""),
        at_fault=tuple(map(str, answer.get("unfit") or ())),
    )
    if lacks := shortcomings(found, demands):
        raise MachineUnfit(
            f"the machine is unfit: {'; '.join(lacks)}", left_behind="nothing of the job was sent"
        )
    report(Kind.INSTANCE, f"the machine was tried: {_words(found)}", trial=_words(found))
    return found


def shortcomings(found: Findings, demands: Demands) -> list[str]:
    """Say what a machine lacks, with the numbers; empty where it will do. Pure."""
    floors = (
        ("Mbit/s from here to it", found.up_mbit_s, demands.up_mbit_s),
        ("Mbit/s from it to here", found.down_mbit_s, demands.down_mbit_s),
        ("MB/s to its disk", found.disk_mb_s, demands.disk_mb_s),
    )
    return [
        *found.at_fault,
        *(f"{have:.3g} {what}, {least:g} are needed" for what, have, least in floors if have < least),
    ]


def _link(shell: Shell, path: PurePosixPath, clock: Callable[[], float]) -> tuple[float, float]:
    """Send random bytes there and back; random, since a link may compress."""
    data = os.urandom(LINK_BYTES)
    began = clock()
    shell.write(path, data, mode=0o600)
    sent = clock()
    back = shell.read(path)
    got = clock()
    shell.run(["rm", "-f", "--", str(path)])
    if back != data:
        raise MachineUnfit(
            "the machine gave back other bytes than were sent to it", left_behind="nothing was sent"
        )
    megabits = LINK_BYTES * 8 / 1e6
    return megabits / max(sent - began, 1e-6), megabits / max(got - sent, 1e-6)


def _words(found: Findings) -> str:
    parts = [
        found.torch or found.gpu,
        f"{found.up_mbit_s:.0f} Mbit/s there, {found.down_mbit_s:.0f} back",
        f"disk {found.disk_mb_s:.0f} MB/s",
    ]
    return ", ".join(part for part in parts if part)
