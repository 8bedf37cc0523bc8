"""Which build of torch a machine's GPU and driver can use, where the one on PyPI is not it. Pure; the tables are data.

Sources, read 2026-11-28:

- compute capabilities by build: "PyTorch CUDA Support Matrix" of pytorch/pytorch, RELEASE.md, for releases 2.11 to 2.14; for
  earlier ones its `.ci/manywheel/build_cuda.sh` and issue 157517. Some releases hold 7.0 in their CUDA 12.8 build and some
  do not: it is not counted on.
- releases by build: the torch builds that data.pyg.org/whl is made for.
- CUDA of the wheel on PyPI: the `nvidia-cuda-runtime` or `cuda-toolkit` that its metadata asks for, resolved with uv for the
  newest patch of every release from 2.4 to 2.13; 2.14 is taken to be as 2.13.
- drivers: minor version compatibility in the CUDA release notes (11.x from 450.80.02, 12.x from 525.60.13, 13.x from
  580.65.06), as uv's own table has it too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.job.requirements import chooses_an_index, lines_of

if TYPE_CHECKING:
    from launcher.runners.base import Environment

__all__ = ["Gpus", "TorchBuild", "allowed_releases", "build_for", "torch_build"]

INDEX = "https://download.pytorch.org/whl/"
FAMILY = ("torch", "torchvision", "torchaudio")
"""Packages whose builds belong together."""
_CHOICES = (
    "UV_TORCH_BACKEND",
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
)
_CHOICES_OF_PIP = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX")

Release = tuple[int, int]
Capability = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Build:
    name: str
    cuda: tuple[int, int]
    driver: tuple[int, ...]
    """The oldest that runs it (minor version compatibility)."""
    capabilities: tuple[Capability, ...]
    """Of the machine code in it: it runs on GPUs of the same major number and an equal or higher minor one."""
    first: Release
    last: Release
    """Releases of torch that it exists for; ``last`` of one that is still made is `NEWEST`."""


NEWEST: Release = (2, 14)
_OLD = ((5, 0), (6, 0), (7, 0), (7, 5), (8, 0), (8, 6), (9, 0))
_NEW = ((7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0))
_CUDA_11, _CUDA_12, _CUDA_13 = (450, 80, 2), (525, 60, 13), (580, 65, 6)

_BUILDS = (
    _Build(name="cu132", cuda=(13, 2), driver=_CUDA_13, capabilities=_NEW, first=(2, 12), last=NEWEST),
    _Build(name="cu130", cuda=(13, 0), driver=_CUDA_13, capabilities=_NEW, first=(2, 9), last=NEWEST),
    _Build(name="cu129", cuda=(12, 9), driver=_CUDA_12, capabilities=_NEW, first=(2, 8), last=(2, 8)),
    _Build(name="cu128", cuda=(12, 8), driver=_CUDA_12, capabilities=_NEW, first=(2, 7), last=(2, 11)),
    _Build(name="cu126", cuda=(12, 6), driver=_CUDA_12, capabilities=_OLD, first=(2, 6), last=NEWEST),
    _Build(name="cu124", cuda=(12, 4), driver=_CUDA_12, capabilities=_OLD, first=(2, 4), last=(2, 6)),
    _Build(name="cu121", cuda=(12, 1), driver=_CUDA_12, capabilities=_OLD, first=(2, 1), last=(2, 5)),
    _Build(name="cu118", cuda=(11, 8), driver=_CUDA_11, capabilities=_OLD, first=(2, 0), last=(2, 7)),
)
"""The newest CUDA first."""
_ON_PYPI: dict[Release, str] = {
    (2, 1): "cu121",
    (2, 2): "cu121",
    (2, 3): "cu121",
    (2, 4): "cu121",
    (2, 5): "cu124",
    (2, 6): "cu124",
    (2, 7): "cu126",
    (2, 8): "cu128",
    (2, 9): "cu128",
    (2, 10): "cu128",
    (2, 11): "cu130",
    (2, 12): "cu130",
    (2, 13): "cu130",
    (2, 14): "cu130",
}
_PATCHES = 3
"""How many patch releases of each are thought of when a requirement names one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """What a machine's own tool says of its GPUs."""

    driver: str = ""
    """NVIDIA's, ``580.95.05``; empty where there is none."""
    capabilities: tuple[Capability, ...] = ()
    """Of each GPU; empty where the driver does not tell."""
    name: str = ""
    amd: bool = False

    @property
    def driver_version(self) -> tuple[int, ...]:
        """The driver's, to be compared."""
        return tuple(int(part) for part in re.findall(r"\d+", self.driver))


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchBuild:
    """What torch is taken from."""

    reason: str
    """For people, in one line."""
    backend: str | None = None
    """As uv calls it (``cu126``); None: the index that is used anyway."""
    packages: tuple[str, ...] = ()
    """What of torch's family the requirements name, for pip, which has to be told by index."""

    @property
    def index(self) -> str:
        """The index of that build."""
        return INDEX + (self.backend or "")


def torch_build(environment: Environment, gpus: Gpus, *, variables: Iterable[str] = ()) -> TorchBuild | None:
    """Return the build for the torch of a requirements file on a machine; None where there is nothing to choose or to say.

    A lock is never looked at: what it pins is what is installed. Neither are requirements that choose an index
    themselves, nor jobs whose ``variables`` do.
    """
    texts = [environment.requirements or "", *environment.included.values()]
    if environment.requirements is None or not (gpus.driver or gpus.amd):
        return None
    lines = [line for text in texts for line in lines_of(text)]
    named = [line for line in lines if line.name in FAMILY]
    if any(chooses_an_index(text) for text in texts) or set(variables) & {*_CHOICES, *_CHOICES_OF_PIP}:
        return None
    if any(line.specifier.startswith("@") or "+" in line.specifier or line.hashes for line in named):
        return None
    found = build_for(gpus, [line.specifier for line in named if line.name == "torch"])
    if found is None or found.backend is None:
        return found if named else None
    packages = tuple(re.split(r"\s--", line.text, maxsplit=1)[0].strip() for line in named)
    return TorchBuild(reason=found.reason, backend=found.backend, packages=packages)


def build_for(gpus: Gpus, specifiers: Sequence[str]) -> TorchBuild | None:
    """Return the build for a machine; ``specifiers``: what is asked of torch's version. None: nothing is known of those releases.

    The newest release that is allowed, in the build that lies on PyPI where that runs; else the newest CUDA that does.
    """
    if gpus.amd and not gpus.driver:
        return TorchBuild(
            reason="torch from PyPI is built for NVIDIA, and this machine's GPU is AMD's: name an index of ROCm builds "
            "in the requirements (--index-url https://download.pytorch.org/whl/rocm…)"
        )
    releases = sorted(allowed_releases(specifiers), reverse=True)
    if not releases:
        return None
    machine = _machine(gpus)
    default = _named(_ON_PYPI[releases[0]])
    why_not = _why_not(default, gpus)
    if why_not is None:
        return TorchBuild(reason=f"torch as on PyPI (CUDA {_dotted(default.cuda)}): {machine}")
    for release, build in itertools.product(releases, _BUILDS):
        if build.first <= release <= build.last and _why_not(build, gpus) is None:
            return TorchBuild(
                backend=build.name,
                reason=f"torch for CUDA {_dotted(build.cuda)} ({build.name}): {machine}, and the build on PyPI {why_not}",
            )
    return TorchBuild(
        reason=f"no build of the torch that is asked for runs here: {machine}, and the build on PyPI {why_not}"
    )


def _machine(gpus: Gpus) -> str:
    capability = f", compute capability {_dotted(min(gpus.capabilities))}" if gpus.capabilities else ""
    return f"{gpus.name or 'a GPU'}{capability}, driver {gpus.driver}"


def _why_not(build: _Build, gpus: Gpus) -> str | None:
    if gpus.driver_version < build.driver:
        return f"(CUDA {_dotted(build.cuda)}) needs driver {build.driver[0]} or newer"
    for capability in gpus.capabilities:
        if not any(own[0] == capability[0] and own[1] <= capability[1] for own in build.capabilities):
            return f"(CUDA {_dotted(build.cuda)}) has no code for compute capability {_dotted(capability)}"
    return None


def _named(name: str) -> _Build:
    return next(build for build in _BUILDS if build.name == name)


def _dotted(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]}.{numbers[1]}"


def allowed_releases(specifiers: Sequence[str]) -> set[Release]:
    """Return the releases that are known and that all of ``specifiers`` (``>=2.4,<3``) allow; what is not understood allows all."""
    parts = [part for specifier in specifiers for part in specifier.split(",") if part]
    return {
        release
        for release in _ON_PYPI
        if any(all(_allows(part, (*release, patch)) for part in parts) for patch in range(_PATCHES))
    }


def _allows(part: str, version: tuple[int, int, int]) -> bool:
    found = re.fullmatch(r"(~=|===?|!=|<=|>=|<|>)v?([0-9]+(?:\.[0-9]+)*)(\.\*)?.*", part)
    if found is None:
        return True
    operator, numbers = found[1], tuple(map(int, found[2].split(".")))
    if found[3] or operator == "~=":
        prefix = numbers if found[3] else numbers[:-1]
        same = version[: len(prefix)] == prefix[: len(version)]
        return not same if operator == "!=" else same and (found[3] is not None or version >= numbers)
    other = (*numbers, 0, 0, 0)[:3]
    return {
        "==": version == other,
        "===": version == other,
        "!=": version != other,
        "<=": version <= other,
        ">=": version >= other,
        "<": version < other,
        ">": version > other,
    }[operator]
