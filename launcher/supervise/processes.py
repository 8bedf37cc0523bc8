"""Is this process still the one we knew? A pid alone does not say: pids are used again."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["is_alive", "start_mark"]

PROC = Path("/proc/self")


def start_mark(pid: int) -> str:
    """Return when a process started, as an opaque text that another process with its pid would not have.

    Empty when there is no such process, or it is a zombie.
    """
    if PROC.is_dir():
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except (OSError, ValueError):
            return ""
        return "" if fields[0] in (b"Z", b"X") else f"{boot}:{fields[19].decode()}"
    listing = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listing.stdout.strip()


def is_alive(pid: int, started: str) -> bool:
    """Say whether the process that had ``pid`` and `start_mark` ``started`` still lives."""
    return pid > 0 and bool(started) and started == start_mark(pid)
