"""Paces that were measured in ``benchmarks/`` or published, by workload and hardware; the table ships with the product."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from launcher.forecast.speeds import Speed, speed_on
from provisioning.catalog import same_gpu

if TYPE_CHECKING:
    from provisioning import Offer

__all__ = ["Benchmark", "benchmarks", "workloads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One pace: a workload on one kind of hardware."""

    workload: str
    """``b2t25-full``; what it is stands in ``benchmarks/train_step``."""
    gpu_name: str | None
    vcpus: float
    steps_per_s: float
    precision: str
    measured_on: str
    """A date."""
    source: str

    @property
    def speed(self) -> Speed | None:
        """What it ran on."""
        return speed_on(self.gpu_name, self.vcpus)

    @property
    def words(self) -> str:
        """For people: ``b2t25-full on RTX 4090, published by …``."""
        where = self.gpu_name or f"{self.vcpus:g} CPU cores"
        return f"{self.workload} on {where}, {self.source} ({self.measured_on})"

    def is_of(self, offer: Offer) -> bool:
        """Whether an offer has this hardware: the GPU by its name, a CPU by its cores."""
        if self.gpu_name is None or offer.gpu_name is None:
            return self.gpu_name is None and offer.gpu_name is None and offer.vcpus == self.vcpus
        return same_gpu(self.gpu_name, offer.gpu_name, offer.gpu_memory_gib)


@cache
def benchmarks() -> tuple[Benchmark, ...]:
    """Return the table, GPUs before CPUs and the newest first: a GPU's pace says more about another GPU's."""
    import csv  # a job that names no workload needs neither
    from importlib import resources

    text = resources.files("launcher").joinpath("data/paces.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    found = [
        Benchmark(
            workload=row["workload"],
            gpu_name=row["gpu"] or None,
            vcpus=float(row["vcpus"] or 0.0),
            steps_per_s=float(row["steps_per_s"]),
            precision=row["precision"],
            measured_on=row["measured_on"],
            source=row["source"],
        )
        for row in rows
    ]
    newest = sorted(found, key=lambda item: item.measured_on, reverse=True)
    return tuple(sorted(newest, key=lambda item: item.gpu_name is None))


def workloads() -> tuple[str, ...]:
    """Return the names that ``work.like`` may have."""
    return tuple(sorted({item.workload for item in benchmarks()}))
