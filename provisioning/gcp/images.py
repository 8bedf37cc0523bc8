"""Which image a machine boots: Google's deep-learning image for its GPU, found by listing what there is today."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioning.errors import BadOption
from provisioning.gcp.errors import GONE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioning.gcp.client import Client
    from provisioning.gcp.hardware import Hardware

__all__ = ["Image", "Images", "best"]

_GPU_SOURCES = (
    ("deeplearning-platform-release", r"common-cu.*-ubuntu-.*-nvidia-.*"),
    ("ubuntu-os-accelerator-images", r"ubuntu-accelerator-.*-amd64-with-nvidia-.*"),
)
"""Driver and CUDA without a framework: the job brings its own. Then plain Ubuntu with a driver."""
_CPU_SOURCES = (("ubuntu-os-cloud", r"ubuntu-2[24]04-lts-?(amd64)?"),)
_FAMILY = re.compile(
    r"(?:.*-cu(?P<cuda>\d+))?.*ubuntu-(?:accelerator-)?(?P<ubuntu>2\d04).*?(?:nvidia-(?P<driver>\d+))?$"
)
_LAST_DRIVER_OF_OLD_GPUS = 580
_OLD_GPUS = frozenset({"nvidia-tesla-v100", "nvidia-tesla-p100", "nvidia-tesla-p4"})
"""Volta and Pascal, which later drivers do not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image."""

    link: str
    """``projects/P/global/images/NAME``."""
    family: str
    disk_gib: int
    """The least size of the boot disk."""
    has_driver: bool
    """The driver is inside; else it is installed at the first boot, where the image can do that."""


def best(images: Sequence[Mapping[str, Any]], accelerator: str | None) -> Mapping[str, Any] | None:
    """Return the image to boot: newest Ubuntu, newest driver that knows the GPU, newest build; None when none fits."""
    usable = [image for image in images if _is_usable(image, accelerator)]
    return max(usable, key=_rank, default=None)


def _is_usable(image: Mapping[str, Any], accelerator: str | None) -> bool:
    if image.get("status", "READY") != "READY" or (image.get("deprecated") or {}).get("state"):
        return False
    if image.get("architecture", "X86_64") != "X86_64":
        return False
    found = _FAMILY.fullmatch(str(image.get("family", "")))
    if found is None:
        return False
    driver = int(found["driver"] or 0)
    return accelerator not in _OLD_GPUS or driver <= _LAST_DRIVER_OF_OLD_GPUS


def _rank(image: Mapping[str, Any]) -> tuple[int, int, int, str]:
    found = _FAMILY.fullmatch(str(image["family"]))
    assert found
    return (
        int(found["ubuntu"]),
        int(found["driver"] or 0),
        int(found["cuda"] or 0),
        str(image.get("creationTimestamp", "")),
    )


class Images:
    """Looks images up; what was found is kept."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._found: dict[tuple[str | None, bool], Image] = {}

    def image_for(self, hardware: Hardware, image_id: str | None) -> Image:
        """Return the image to boot; ``image_id`` wins.

        It is a name of this project, ``projects/P/global/images/NAME``, or the same with ``family/`` before the name.

        Raises:
            BadOption: there is none; says what was looked for.
        """
        key = (image_id or hardware.accelerator, image_id is not None)
        if key not in self._found:
            self._found[key] = self._named(image_id) if image_id else self._usual(hardware.accelerator)
        return self._found[key]

    def _named(self, image_id: str) -> Image:
        told = re.fullmatch(
            r"(?:(?:.*/)?projects/(?P<project>[^/]+)/)?(?:global/images/)?(?P<family>family/)?(?P<name>[a-z][a-z0-9-]*)",
            image_id,
        )
        if told is None:
            raise BadOption(
                f"image_id: {image_id!r} is no image of Compute Engine",
                hint="give a name, or projects/PROJECT/global/images/NAME, or …/images/family/FAMILY",
            )
        where: dict[str, Any] = {"project": told["project"]} if told["project"] else {}
        found = (
            self._client.attempt("images.getFromFamily", GONE, family=told["name"], **where)
            if told["family"]
            else self._client.attempt("images.get", GONE, image=told["name"], **where)
        )
        if found is None:
            raise BadOption(f"image_id: there is no image {image_id}")
        return _read(found)

    def _usual(self, accelerator: str | None) -> Image:
        sources = _GPU_SOURCES if accelerator else _CPU_SOURCES
        for project, families in sources:
            listed = self._client.items("images.list", project=project, filter=f'family eq "{families}"')
            if found := best(listed, accelerator):
                return _read(found)
        looked = ", ".join(f"{project} ({families})" for project, families in sources)
        raise BadOption(f"gcp: no image in {looked}", hint="name one: image_id: projects/…/global/images/…")


def _read(image: Mapping[str, Any]) -> Image:
    link = str(image["selfLink"])
    family = str(image.get("family", ""))
    return Image(
        link=link[link.index("projects/") :],
        family=family,
        disk_gib=int(image.get("diskSizeGb") or 10),
        has_driver="nvidia-" in family,
    )
