"""What the stand-in sells: machine types, accelerators and images, in the API's words."""

from __future__ import annotations

from typing import Any

REGIONS = ("us-central1", "us-east1", "europe-west4")
ZONES = tuple(f"{region}-{letter}" for region in REGIONS for letter in ("b", "c"))
DL = "deeplearning-platform-release"


def _type(name: str, vcpus: int, memory_mb: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "guestCpus": vcpus, "memoryMb": memory_mb, "architecture": "X86_64", **more}


def _gpus(kind: str, count: int) -> list[dict[str, Any]]:
    return [{"guestAcceleratorType": kind, "guestAcceleratorCount": count}]


TYPES = (
    _type("e2-small", 2, 2048),
    _type("e2-medium", 2, 4096),
    _type("e2-standard-4", 4, 16384),
    _type("n1-standard-4", 4, 15360),
    _type("n1-standard-8", 8, 30720),
    _type("n1-standard-96", 96, 368640),
    _type("g2-standard-4", 4, 16384, accelerators=_gpus("nvidia-l4", 1)),
    _type("g2-standard-24", 24, 98304, accelerators=_gpus("nvidia-l4", 2)),
    _type("a2-highgpu-1g", 12, 87040, accelerators=_gpus("nvidia-tesla-a100", 1)),
    _type(
        "a2-ultragpu-1g",
        12,
        174080,
        accelerators=_gpus("nvidia-a100-80gb", 1),
        bundledLocalSsds={"defaultInterface": "NVME", "partitionCount": 1},
    ),
    _type("a4x-highgpu-4g", 140, 905216, architecture="ARM64", accelerators=_gpus("nvidia-gb200", 4)),
    _type("t2a-standard-4", 4, 16384, architecture="ARM64"),
    _type("c3-standard-4", 4, 16384),
)
CARDS = {"nvidia-tesla-t4": 4, "nvidia-tesla-v100": 8, "nvidia-tesla-p100": 4, "nvidia-l4": 8}
CARDS_ELSEWHERE = {"us-east1-c": {"nvidia-tesla-t4": 4}}


def cards_of(zone: str) -> dict[str, int]:
    return CARDS_ELSEWHERE.get(zone, CARDS)


def _image(project: str, name: str, family: str, gb: int, made: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "family": family,
        "status": "READY",
        "architecture": "X86_64",
        "diskSizeGb": str(gb),
        "creationTimestamp": made,
        "selfLink": f"https://www.googleapis.com/compute/v1/projects/{project}/global/images/{name}",
        **more,
    }


def images() -> dict[str, list[dict[str, Any]]]:
    """By project."""
    old = {"deprecated": {"state": "DEPRECATED"}}
    accelerated, ubuntu = "ubuntu-os-accelerator-images", "ubuntu-os-cloud"
    return {
        DL: [
            _image(
                DL, "common-570-old", "common-cu128-ubuntu-2204-nvidia-570", 50, "2026-04-01T00:00:00Z", **old
            ),
            _image(DL, "common-580-22", "common-cu129-ubuntu-2204-nvidia-580", 50, "2026-10-01T00:00:00Z"),
            _image(DL, "common-580-24-a", "common-cu129-ubuntu-2404-nvidia-580", 50, "2026-09-01T00:00:00Z"),
            _image(DL, "common-580-24-b", "common-cu129-ubuntu-2404-nvidia-580", 50, "2026-10-02T00:00:00Z"),
            _image(DL, "common-595-24", "common-cu132-ubuntu-2404-nvidia-595", 60, "2026-11-01T00:00:00Z"),
            _image(DL, "pytorch-595", "pytorch-2-9-cu132-ubuntu-2404-nvidia-595", 80, "2026-11-02T00:00:00Z"),
            _image(DL, "common-old-style", "common-cu124-debian-11-py310", 50, "2025-01-01T00:00:00Z", **old),
        ],
        accelerated: [
            _image(
                accelerated,
                "ubuntu-580",
                "ubuntu-accelerator-2404-amd64-with-nvidia-580",
                20,
                "2026-10-01T00:00:00Z",
            )
        ],
        ubuntu: [
            _image(ubuntu, "ubuntu-24", "ubuntu-2404-lts-amd64", 10, "2026-11-01T00:00:00Z"),
            _image(
                ubuntu,
                "ubuntu-24-arm",
                "ubuntu-2404-lts-arm64",
                10,
                "2026-11-01T00:00:00Z",
                architecture="ARM64",
            ),
            _image(ubuntu, "ubuntu-22", "ubuntu-2204-lts", 10, "2026-11-01T00:00:00Z"),
        ],
    }


def sku(
    description: str, usd: float, market: str = "OnDemand", regions: tuple[str, ...] = ("us-central1",)
) -> dict[str, Any]:
    """One entry of the billing catalog."""
    units = int(usd)
    return {
        "description": description,
        "category": {"resourceFamily": "Compute", "resourceGroup": "any", "usageType": market},
        "serviceRegions": list(regions),
        "pricingInfo": [
            {
                "pricingExpression": {
                    "usageUnit": "h",
                    "tieredRates": [
                        {
                            "startUsageAmount": 0,
                            "unitPrice": {"units": str(units), "nanos": round((usd - units) * 1e9)},
                        }
                    ],
                }
            }
        ],
    }


def skus() -> list[dict[str, Any]]:
    """A catalog with what is sold in one region more than the table has, and with what must not be taken for it."""
    spot, places = "Preemptible", ("us-central1", "us-east1", "europe-west4")
    return [
        sku("N1 Predefined Instance Core running in Americas", 0.031611, regions=places),
        sku("N1 Predefined Instance Ram running in Americas", 0.004237, regions=places),
        sku("Spot Preemptible N1 Predefined Instance Core running in Americas", 0.007, spot, places),
        sku("Spot Preemptible N1 Predefined Instance Ram running in Americas", 0.001, spot, places),
        sku("E2 Instance Core running in Americas", 0.022, regions=places),
        sku("E2 Instance Ram running in Americas", 0.003, regions=places),
        sku("Spot Preemptible E2 Instance Core running in Americas", 0.0065, spot, places),
        sku("Spot Preemptible E2 Instance Ram running in Americas", 0.0009, spot, places),
        sku("Nvidia Tesla T4 GPU running in Americas", 0.35, regions=places),
        sku("Nvidia Tesla T4 GPU attached to Spot Preemptible VMs running in Americas", 0.2, spot, places),
        sku("Commitment v1: Nvidia Tesla T4 GPU running in Americas for 1 year", 0.22, "Commit1Yr"),
        sku("Reserved Nvidia Tesla T4 GPU running in Americas", 0.01),
        sku("N1 Predefined Instance Core running in Americas", 0.0, regions=("nowhere-free1",)),
        sku("Network Internet Egress from Americas to China", 0.23),
    ]
