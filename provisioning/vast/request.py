"""The body of a create call: pure, and the same for the same try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioning.errors import BadOption
from provisioning.vast.label import Label
from provisioning.vast.market import disk_to_rent
from provisioning.vast.onstart import script

if TYPE_CHECKING:
    from provisioning.models import InstanceSpec, Offer
    from provisioning.vast.options import Options

__all__ = ["create_request", "label_for"]

LONGEST_IMAGE = 1024


def label_for(offer: Offer, spec: InstanceSpec) -> Label:
    """Return what the instance's label says."""
    return Label(
        token=spec.token,
        home_id=spec.home_id,
        owner=spec.owner,
        deadline=spec.deadline,
        max_usd_per_hour=spec.max_usd_per_hour if offer.spot else None,
        host_key=spec.host_key.public if spec.host_key else None,
    )


def create_request(offer: Offer, spec: InstanceSpec, options: Options) -> dict[str, Any]:
    """Return the body. ``price`` is what makes an instance interruptible: there for a bid, and never otherwise.

    Raises:
        BadOption: the keys do not fit, or the image's name is too long.
    """
    try:
        onstart = script(spec)
    except ValueError as error:
        raise BadOption(f"vast: {error}") from None
    image = (spec.image_id or options.image).removeprefix("docker:")
    if len(image) > LONGEST_IMAGE:
        raise BadOption(
            f"vast: an image's name has at most {LONGEST_IMAGE} characters, this one {len(image)}"
        )
    request: dict[str, Any] = {
        "image": image,
        "disk": disk_to_rent(spec.disk_gib),
        "label": str(label_for(offer, spec)),
        "runtype": "ssh_proxy" if options.connect == "proxy" else "ssh_direct",
        "onstart": onstart,
        "target_state": "running",
        "cancel_unavail": True,
    }
    if offer.spot:
        request["price"] = offer.usd_per_hour
    return request
