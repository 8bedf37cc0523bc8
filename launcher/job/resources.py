"""What a job asks of a machine, and where: the vocabulary of other launchers, checked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from launcher.job.problem import FieldError
from launcher.job.record import Record, RecordOf, fields_of
from launcher.job.rules import Amounts, Flag, ListOf, MapOf, Memory, Number, Sizes, Text, came, ruled
from launcher.job.units import Amount, MemoryAmount, Size
from launcher.job.written import natural
from provisioning.models import Query

__all__ = ["Accelerator", "Resources"]


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A kind of GPU and how many of it one machine must have, printed ``T4:2``."""

    name: str
    count: int = 1

    def __str__(self) -> str:
        return f"{self.name}:{self.count}"


class _AcceleratorRule:
    """``T4``, ``T4:2``, ``RTX 4090:1`` or ``{T4: 2}``."""

    def read(self, value: object) -> Accelerator:
        """Read any of the three forms."""
        if isinstance(value, Accelerator):
            name, count = value.name, value.count
        elif isinstance(value, str):
            name, _, digits = value.strip().partition(":")
            count = int(digits) if digits.isdigit() else 0 if digits or value.endswith(":") else 1
        elif isinstance(value, Mapping) and len(value) == 1:
            name, amount = next(iter(value.items()))
            number = natural(amount)
            count = number if isinstance(number, int) and not isinstance(number, bool) else 0
        elif isinstance(value, Mapping | list | tuple | set):
            raise FieldError(
                f"expected one kind of GPU, came {came(value)} of {len(value)}",
                hint="several kinds that would do are alternatives: resources.any_of (cheapest) or ordered",
            )
        else:
            raise FieldError(f"expected a GPU such as T4 or T4:2, came {came(value)}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", str(name).strip()):
            raise FieldError(f"expected a GPU such as T4 or T4:2, came {came(value)}")
        if count < 1:
            raise FieldError(f"the number of GPUs must be whole and at least 1, in {value}")
        return Accelerator(str(name).strip(), count)

    def write(self, value: Accelerator) -> str:
        """Write ``T4:1``."""
        return str(value)


def _label_problem(key: str) -> str | None:
    return "labels that start with launch- are the launcher's own" if key.startswith("launch-") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources(Record):
    """What a machine must have. Every field that is None accepts anything."""

    cloud: str | None = field(default=None, metadata=ruled(Text(what="a provider's name")))
    """Provider: ``aws``, ``gcp``, ``vast``, ``local``, … ``infra: aws/us-east-1/us-east-1a`` says all three at once."""
    region: str | None = field(default=None, metadata=ruled(Text(what="a region")))
    zone: str | None = field(default=None, metadata=ruled(Text(what="a zone")))
    instance_type: str | None = field(default=None, metadata=ruled(Text(what="an instance type")))
    accelerators: Accelerator | None = field(default=None, metadata=ruled(_AcceleratorRule()))
    gpu_memory: Size | None = field(default=None, metadata=ruled(Sizes()))
    """The least memory of one GPU; without ``accelerators`` any GPU that has it."""
    cpus: Amount | None = field(default=None, metadata=ruled(Amounts()))
    """Virtual CPUs."""
    memory: MemoryAmount | None = field(default=None, metadata=ruled(Memory()))
    disk_size: Size | None = field(default=None, metadata=ruled(Sizes()))
    """The disk that is rented; None lets the plan compute it from code, data and checkpoints."""
    use_spot: bool | None = field(default=None, metadata=ruled(Flag()))
    """True: may be taken away, cheaper. None is on-demand, unless the command line says otherwise."""
    image_id: str | None = field(default=None, metadata=ruled(Text(what="an image")))
    max_hourly_cost: float | None = field(
        default=None, metadata=ruled(Number(kind=float, what="a price in USD per hour", more_than=0))
    )
    """USD per hour for the whole machine; dearer offers are not considered."""
    labels: Mapping[str, str] | None = field(
        default=None,
        metadata=ruled(
            MapOf(item=Text(allow_empty=True), what="a mapping of labels", check_key=_label_problem)
        ),
    )
    """Put on everything that is rented, beside the launcher's own."""
    any_of: tuple[Resources, ...] | None = field(
        default=None,
        metadata=ruled(ListOf(item=RecordOf(type=lambda: Resources), what="a list of alternatives")),
    )
    """Alternatives, the cheapest wins; what stands beside it holds for each."""
    ordered: tuple[Resources, ...] | None = field(
        default=None,
        metadata=ruled(ListOf(item=RecordOf(type=lambda: Resources), what="a list of alternatives")),
    )
    """Alternatives, the first that can be had wins; what stands beside it holds for each."""

    also_accepted: ClassVar[tuple[str, ...]] = ("infra",)
    refused: ClassVar[Mapping[str, str]] = {
        "autostop": "a machine ends with its job; `idle_stop: 20m` at the top ends it when the GPU idles",
        "job_recovery": "write `recovery: {max_restarts_on_errors: 2}` at the top",
        "spot_recovery": "interrupted runs always recover; `use_spot: true` is enough",
        "ports": "no port but SSH is opened; `launch ssh RUN` forwards others with -L",
        "gpu": "write `accelerators: T4:1`",
        "gpus": "write `accelerators: T4:1`",
        "spot": "write `use_spot: true`",
        "provider": "write `cloud: aws`, or `infra: aws/us-east-1`",
        "instance": "write `instance_type: g4dn.xlarge`",
        "disk_tier": "the plan takes each provider's general-purpose disk",
    }

    @classmethod
    def prepare(cls, value: object) -> object:
        """Take ``infra`` apart into cloud, region and zone."""
        if not isinstance(value, Mapping) or value.get("infra") is None:
            return value
        parts = value["infra"].split("/", 2) if isinstance(value["infra"], str) else []
        if not parts or any(not part for part in parts):
            raise FieldError(
                f"expected cloud, cloud/region or cloud/region/zone, came {came(value['infra'])}",
                path=("infra",),
            )
        names = ("cloud", "region", "zone")
        for name in names:
            if value.get(name) is not None:
                raise FieldError(f"says the same as {name}; give one of the two", path=("infra",))
        given = {name: part for name, part in zip(names, parts, strict=False) if part != "*"}
        return {**{key: item for key, item in value.items() if key != "infra"}, **given}

    def check(self) -> None:
        """Refuse alternatives that are empty, of two kinds, or inside others."""
        if self.any_of is not None and self.ordered is not None:
            raise FieldError(
                "any_of and ordered contradict each other; give one of the two", path=("any_of",)
            )
        for name, alternatives in (("any_of", self.any_of), ("ordered", self.ordered)):
            if alternatives is not None and not alternatives:
                raise FieldError("names no alternative", path=(name,))
            for position, alternative in enumerate(alternatives or ()):
                if alternative.any_of is not None or alternative.ordered is not None:
                    raise FieldError("alternatives cannot hold alternatives", path=(name, position))

    def over(self, defaults: Resources) -> Resources:
        """Return ``defaults`` with everything that is said here instead.

        A place narrows from left to right: another cloud drops the default region, another region the zone.
        """
        said = {item.name: getattr(self, item.name) for item in fields_of(Resources)}
        said = {name: value for name, value in said.items() if value is not None}
        dropped: dict[str, Any] = {}
        if "cloud" in said or "region" in said:
            dropped["zone"] = None
        if "cloud" in said:
            dropped["region"] = None
        if "any_of" in said or "ordered" in said:
            dropped |= {"any_of": None, "ordered": None}
        return dataclasses.replace(defaults, **{**dropped, **said})

    def alternatives(self) -> tuple[Resources, ...]:
        """Return every machine that would do, each complete; one when there is no choice."""
        choices = self.any_of or self.ordered
        if not choices:
            return (self,)
        common = dataclasses.replace(self, any_of=None, ordered=None)
        return tuple(choice.over(common) for choice in choices)

    @property
    def gpus_wanted(self) -> int | None:
        """How many GPUs the job uses; None when nobody said."""
        if self.accelerators is not None:
            return self.accelerators.count
        return 1 if self.gpu_memory is not None else None

    @property
    def gpus_used(self) -> int:
        """How many GPUs of its machine the job is taken to use: one, where nobody said."""
        return self.gpus_wanted or 1

    def query(self) -> Query:
        """Ask a provider for what is wanted here; ``cpus`` and ``memory`` as least amounts (see `accepts`)."""
        return Query(
            instance_type=self.instance_type,
            gpu_name=self.accelerators.name if self.accelerators else None,
            gpu_count=self.gpus_wanted,
            min_gpu_memory_gib=self.gpu_memory.gib if self.gpu_memory else None,
            region=self.region,
            zone=self.zone,
            spot=self.use_spot,
            max_usd_per_hour=self.max_hourly_cost,
            min_vcpus=self.cpus.value if self.cpus else None,
            min_memory_gib=self.memory.size.gib if self.memory else None,
            disk_gib=self.disk_size.gib if self.disk_size else None,
        )

    def accepts(self, *, vcpus: float, memory_gib: float) -> bool:
        """Do a machine's CPUs and memory do? An amount without ``+`` is exact."""
        return (self.cpus is None or self.cpus.accepts(vcpus)) and (
            self.memory is None or self.memory.accepts(memory_gib)
        )
