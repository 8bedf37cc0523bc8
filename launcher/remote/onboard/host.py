"""CPU, memory, disk and GPU of the machine, as rows of ``system.csv``."""

from __future__ import annotations

import os
import re
from typing import Optional, Tuple

from .files import read_text, utc
from .gpu import Gpu


class HostMetrics:
    """Appends a row to ``system.csv`` every few seconds; each column is empty where it cannot be read."""

    HEADER = (
        "time,cpu_percent,memory_used_gib,memory_total_gib,disk_used_gib,disk_free_gib,"
        "gpu_percent,gpu_memory_used_gib,gpu_memory_total_gib,gpu_power_w,gpu_temperature_c\n"
    )

    def __init__(self, path: str, folder: str) -> None:
        self._path = path
        self._folder = folder
        self._cpu = self._cpu_times()

    def write_row(self, gpu: Optional[Gpu]) -> None:
        """Sample and append; a full disk costs the row."""
        columns = [self._cpu_percent(), *self._memory(), *self._disk(), *(gpu or Gpu(None))]
        row = ",".join([utc()] + ["" if value is None else "%.2f" % value for value in columns]) + "\n"
        try:
            with open(self._path, "a") as file:
                file.write(row if file.tell() else self.HEADER + row)
        except OSError:
            pass

    def _cpu_times(self) -> Tuple[float, float]:
        first = read_text("/proc/stat").partition("\n")[0].split()
        if len(first) < 6:
            return 0.0, 0.0
        times = [float(part) for part in first[1:9]]
        idle = times[3] + times[4]
        return sum(times) - idle, sum(times)

    def _cpu_percent(self) -> Optional[float]:
        before, self._cpu = self._cpu, self._cpu_times()
        whole = self._cpu[1] - before[1]
        return 100.0 * (self._cpu[0] - before[0]) / whole if whole > 0 else None

    def _memory(self) -> Tuple[Optional[float], Optional[float]]:
        kib = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+)", read_text("/proc/meminfo"), re.MULTILINE))
        if len(kib) < 2:
            return None, None
        total = int(kib["MemTotal"]) / (1 << 20)
        return total - int(kib["MemAvailable"]) / (1 << 20), total

    def _disk(self) -> Tuple[Optional[float], Optional[float]]:
        try:
            info = os.statvfs(self._folder)
        except OSError:
            return None, None
        block = info.f_frsize / (1 << 30)
        return (info.f_blocks - info.f_bfree) * block, info.f_bavail * block
