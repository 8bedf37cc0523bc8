"""Which image a machine boots: AWS's deep-learning image for its GPU, found through its SSM parameter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioning.errors import BadOption, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioning.aws.client import Client
    from provisioning.aws.hardware import Hardware

__all__ = ["Image", "Images", "login_of", "newest", "parameters_for"]

_DEEP_LEARNING = "/aws/service/deeplearning/ami/x86_64/{}/latest/ami-id"
_GPU_LINES = (
    "base-oss-nvidia-driver-gpu-ubuntu-24.04",
    "base-oss-nvidia-driver-gpu-ubuntu-22.04",
    "base-with-single-cuda-ubuntu-24.04",
    "base-with-single-cuda-ubuntu-22.04",
)
"""Driver and CUDA without a framework: the job brings its own. Lines are frozen by AWS now and then, hence several."""
_NEWEST_GPU_LINES = (
    "base-with-single-cuda-ubuntu-24.04",
    "base-oss-nvidia-driver-gpu-ubuntu-24.04",
)
"""For GPUs younger than the multi-CUDA images."""
_NEWEST_FAMILIES = ("g7.", "g7e.", "p6-b300.")
_CPU_PARAMETERS = (
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
    "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",
)
_GPU_NAMES = (
    "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) *",
    "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) *",
)
_CPU_NAMES = ("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*",)
_CANONICAL = "099720109477"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One machine image of one region."""

    id: str
    name: str
    user: str
    """Who logs in."""
    root_device: str
    root_gib: int
    """The least size of the root disk: that of the image's snapshot."""


def parameters_for(hardware: Hardware) -> tuple[str, ...]:
    """Return the SSM parameters that may name the image for a type, best first."""
    if hardware.gpu_name is None:
        return _CPU_PARAMETERS
    is_newest = hardware.instance_type.startswith(_NEWEST_FAMILIES)
    lines = _NEWEST_GPU_LINES if is_newest else _GPU_LINES
    return tuple(_DEEP_LEARNING.format(line) for line in lines)


def newest(images: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the image that was made last; None when there is none."""
    return max(images, key=lambda image: str(image.get("CreationDate", "")), default=None)


def login_of(image: Mapping[str, Any], wanted: str | None) -> str:
    """Return who logs in: what the job says, else by the kind of system that the image's name tells of."""
    if wanted:
        return wanted
    name = f"{image.get('Name', '')} {image.get('Description', '')}".lower()
    if re.search(r"amazon linux|al2023|amzn", name):
        return "ec2-user"
    return "admin" if "debian" in name else "ubuntu"


class Images:
    """Looks images up; what was found is kept, region by region."""

    def __init__(self, client: Client, ssh_user: str | None) -> None:
        self._client = client
        self._ssh_user = ssh_user
        self._found: dict[tuple[str, ...], Image] = {}

    def image_for(self, region: str, hardware: Hardware, image_id: str | None) -> Image:
        """Return the image to boot; ``image_id`` (``ami-…`` or ``ssm:/parameter``) wins.

        Raises:
            BadOption: there is none; says what was looked for.
        """
        sought = (image_id,) if image_id else parameters_for(hardware)
        key = (region, *sought)
        if key not in self._found:
            ami = self._named(region, image_id) if image_id else self._usual(region, hardware, sought)
            self._found[key] = self._read(region, ami)
        return self._found[key]

    def _named(self, region: str, image_id: str) -> str:
        if image_id.startswith("ami-"):
            return image_id
        if not image_id.startswith("ssm:/"):
            raise BadOption(
                f"image_id: {image_id!r} is no image of EC2", hint="give ami-…, or ssm:/path/of/a/parameter"
            )
        found = self._by_parameter(region, (image_id.removeprefix("ssm:"),))
        if found is None:
            raise BadOption(f"image_id: aws {region} has no parameter {image_id.removeprefix('ssm:')}")
        return found

    def _usual(self, region: str, hardware: Hardware, parameters: tuple[str, ...]) -> str:
        try:
            found = self._by_parameter(region, parameters)
        except PermissionDenied:
            found = None  # the images are public: what one may not look up by parameter is found by name
        found = found or self._by_name(region, hardware)
        if found is None:
            raise BadOption(
                f"aws {region}: no image for {hardware.instance_type}: none of {', '.join(parameters)}",
                hint="name one: image_id: ami-…",
            )
        return found

    def _by_parameter(self, region: str, parameters: tuple[str, ...]) -> str | None:
        answer = self._client.call("ssm", region, "get_parameters", Names=list(parameters))
        values = {item["Name"]: item["Value"] for item in answer.get("Parameters", [])}
        return next((values[name] for name in parameters if name in values), None)

    def _by_name(self, region: str, hardware: Hardware) -> str | None:
        names = _GPU_NAMES if hardware.gpu_name else _CPU_NAMES
        owner = "amazon" if hardware.gpu_name else _CANONICAL
        for name in names:
            found = newest(
                self._client.pages(
                    "ec2",
                    region,
                    "describe_images",
                    "Images",
                    Owners=[owner],
                    Filters=[
                        {"Name": "name", "Values": [name]},
                        {"Name": "state", "Values": ["available"]},
                        {"Name": "architecture", "Values": ["x86_64"]},
                    ],
                )
            )
            if found:
                return str(found["ImageId"])
        return None

    def _read(self, region: str, ami: str) -> Image:
        found = self._client.pages("ec2", region, "describe_images", "Images", ImageIds=[ami])
        if not found:
            raise BadOption(f"aws {region}: there is no image {ami}", hint="images belong to one region each")
        image = found[0]
        root = str(image.get("RootDeviceName") or "/dev/sda1")
        sizes = [
            int((device.get("Ebs") or {}).get("VolumeSize") or 0)
            for device in image.get("BlockDeviceMappings") or ()
            if device.get("DeviceName") == root
        ]
        return Image(
            id=ami,
            name=str(image.get("Name", "")),
            user=login_of(image, self._ssh_user),
            root_device=root,
            root_gib=max(sizes, default=8),
        )
