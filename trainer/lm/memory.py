"""How much memory this process may still take."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["available_bytes", "gib"]


def available_bytes() -> int:
    """Free memory of the machine, or of the container that this runs in, whichever is less."""
    found = [_of_machine()]
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        found.append(limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return max(0, min(found))


def _of_machine() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    # macOS says no more than what is built in; half of it is a fair guess.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def gib(count: float) -> str:
    """Bytes for people: ``1.4 GiB``, ``320 MiB``."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
