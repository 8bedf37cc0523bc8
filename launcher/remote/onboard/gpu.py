"""GPU use, from ``nvidia-smi`` or ``rocm-smi``."""

from __future__ import annotations

import json
import shutil
import time
from typing import Callable, List, NamedTuple, Optional

from .children import Children

TIMEOUT_S = 10.0
IDLE_PERCENT = 5.0


class Gpu(NamedTuple):
    """All GPUs of the machine together; None for what cannot be read."""

    percent: Optional[float]
    memory_used_gib: Optional[float] = None
    memory_total_gib: Optional[float] = None
    power_w: Optional[float] = None
    temperature_c: Optional[float] = None


NVIDIA_QUERY = "utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu"


def gpu_command() -> Optional[List[str]]:
    """The command that reports GPU use here, if there is one."""
    if shutil.which("nvidia-smi"):
        return ["nvidia-smi", "--query-gpu=" + NVIDIA_QUERY, "--format=csv,noheader,nounits"]
    if shutil.which("rocm-smi"):
        return ["rocm-smi", "--showuse", "--showmeminfo", "vram", "--json"]
    return None


def parse_nvidia(text: str) -> Optional[Gpu]:
    """Mean use, summed memory and power, highest temperature; None when there is no GPU in the answer."""
    rows = [[number(part) for part in line.split(",")] for line in text.splitlines() if line.count(",") == 4]
    if not rows:
        return None
    column = [[row[at] for row in rows if row[at] is not None] for at in range(5)]
    values: List[List[float]] = [[value for value in part if value is not None] for part in column]
    use, used, total, power, heat = values
    mib = 1024.0
    return Gpu(
        sum(use) / len(use) if use else None,
        sum(used) / mib if used else None,
        sum(total) / mib if total else None,
        sum(power) if power else None,
        max(heat) if heat else None,
    )


def parse_rocm(text: str) -> Optional[Gpu]:
    """The same from ``rocm-smi --json``, whose keys differ between versions."""
    try:
        cards = [card for card in json.loads(text).values() if isinstance(card, dict)]
    except (ValueError, AttributeError):
        return None

    def values(wanted: str) -> List[float]:
        found = [number(str(value)) for card in cards for key, value in card.items() if wanted in key.lower()]
        return [value for value in found if value is not None]

    use = values("gpu use")
    used, total = values("total used memory"), values("total memory")
    gib = float(1 << 30)
    return Gpu(
        sum(use) / len(use) if use else None,
        sum(used) / gib if used else None,
        sum(total) / gib if total else None,
    )


def number(text: str) -> Optional[float]:
    """A number, or None for ``[N/A]`` and the like."""
    try:
        return float(text.strip())
    except ValueError:
        return None


class GpuUse:
    """Asks now and then how busy the GPUs are, beside the job; where that cannot be read, nothing is ever idle."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._command = gpu_command()
        self._busy_at: Optional[float] = None
        self.newest: Optional[Gpu] = None

    def job_began(self) -> None:
        """From here on the GPUs are expected to work."""
        self._busy_at = time.monotonic()

    def sample(self, done: Callable[[], None]) -> None:
        """Ask; ``done`` is called when the answer is in ``newest``, at once where there is nobody to ask."""
        if self._command is None:
            done()
            return
        try:
            self._children.start_helper(
                self._command, TIMEOUT_S, lambda code, text: self._take(code, text, done)
            )
        except OSError:
            self._command = None

    def idle_s(self) -> Optional[float]:
        """How long the GPUs have done nothing since the job began; None when that is not known."""
        return None if self._busy_at is None or self.newest is None else time.monotonic() - self._busy_at

    def _take(self, code: int, text: str, done: Callable[[], None]) -> None:
        assert self._command is not None
        parse = parse_nvidia if self._command[0] == "nvidia-smi" else parse_rocm
        self.newest = parse(text) if code == 0 else None
        percent = self.newest.percent if self.newest else None
        if self._busy_at is not None and (percent is None or percent >= IDLE_PERCENT):
            self._busy_at = time.monotonic()
        done()
