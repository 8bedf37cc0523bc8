"""Vast's names of GPUs, and our instance types made of them. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioning.catalog import same_gpu
from provisioning.options import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NAMES", "names_for", "read_type", "type_name"]

NAMES = (
    "A10",
    "A100 PCIE",
    "A100 SXM4",
    "A100X",
    "A40",
    "A800 PCIE",
    "B200",
    "B300 SXM6 AC",
    "GH200 SXM",
    "GTX 1070",
    "GTX 1080",
    "GTX 1080 Ti",
    "GTX 1660 S",
    "H100 NVL",
    "H100 PCIE",
    "H100 SXM",
    "H200",
    "H200 NVL",
    "L4",
    "L40",
    "L40S",
    "Q RTX 6000",
    "Q RTX 8000",
    "RTX 2060",
    "RTX 2070",
    "RTX 2080",
    "RTX 2080 Ti",
    "RTX 3060",
    "RTX 3060 Ti",
    "RTX 3070",
    "RTX 3070 Ti",
    "RTX 3080",
    "RTX 3080 Ti",
    "RTX 3090",
    "RTX 3090 Ti",
    "RTX 4000Ada",
    "RTX 4060",
    "RTX 4060 Ti",
    "RTX 4070",
    "RTX 4070 Ti",
    "RTX 4070S",
    "RTX 4070S Ti",
    "RTX 4080",
    "RTX 4080S",
    "RTX 4090",
    "RTX 4090D",
    "RTX 4500Ada",
    "RTX 5000Ada",
    "RTX 5060",
    "RTX 5060 Ti",
    "RTX 5070",
    "RTX 5070 Ti",
    "RTX 5080",
    "RTX 5090",
    "RTX 5880Ada",
    "RTX 6000Ada",
    "RTX A2000",
    "RTX A4000",
    "RTX A4500",
    "RTX A5000",
    "RTX A6000",
    "RTX PRO 4000",
    "RTX PRO 4500",
    "RTX PRO 5000",
    "RTX PRO 6000 S",
    "RTX PRO 6000 WS",
    "Tesla P100",
    "Tesla P4",
    "Tesla P40",
    "Tesla T4",
    "Tesla V100",
    "Titan RTX",
    "Titan V",
    "Titan Xp",
)
"""As Vast spells them; what is not here is found all the same, only without Vast's help in the search."""

_TYPE = re.compile(r"(\d+)x-(.+)")


def type_name(gpu_name: str, num_gpus: int) -> str:
    """Return our name of so many GPUs: ``1x-RTX-4090``."""
    return f"{num_gpus}x-{gpu_name.strip().replace(' ', '-')}"


def read_type(instance_type: str, also: Iterable[str] = ()) -> tuple[int, str]:
    """Return how many GPUs of which name (Vast's) a type is; ``also``: names seen on the market.

    Raises:
        BadOption: there is no such type; names the nearest one.
    """
    known = {type_name(name, 1).partition("-")[2]: name for name in (*NAMES, *also)}
    found = _TYPE.fullmatch(instance_type)
    if found and found[2] in known and int(found[1]) > 0:
        return int(found[1]), known[found[2]]
    count = found[1] if found and int(found[1]) > 0 else "1"
    raise did_you_mean("vast: instance type", instance_type, (f"{count}x-{name}" for name in known))


def names_for(gpu: str) -> list[str]:
    """Return Vast's names of what a person calls a GPU; empty where none is known."""
    return [name for name in NAMES if same_gpu(re.sub(r"\d+\s*GI?B", "", gpu.upper()), name)]
