"""The parameters of RunInstances for a try: pure, and the same for the same try."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from provisioning.aws import userdata
from provisioning.aws.convert import (
    DEADLINE_TAG,
    HOST_KEY_TAG,
    KEPT_TAG,
    PERSISTENT_TAG,
    PRICE_TAG,
    USER_TAG,
    aws_tags,
)
from provisioning.errors import BadOption
from provisioning.models import WhenUnattended

if TYPE_CHECKING:
    from provisioning.aws.images import Image
    from provisioning.aws.options import Options
    from provisioning.models import InstanceSpec, Offer

__all__ = ["home_tags", "interface", "keeps_disk", "machine_tags", "run_request", "stops"]

_MOST_TAGS = 50
_LONGEST_VALUE = 256


def stops(offer: Offer, spec: InstanceSpec, options: Options) -> bool:
    """Whether powering off stops the machine, with its disk: not what one-time spot machines can do."""
    is_persistent = not offer.spot or options.spot_request == "persistent"
    return spec.when_unattended is WhenUnattended.PARK and is_persistent


def keeps_disk(offer: Offer, spec: InstanceSpec, options: Options) -> bool:
    """Whether the root volume outlives the machine: how a one-time spot machine is parked."""
    return spec.when_unattended is WhenUnattended.PARK and not stops(offer, spec, options)


def machine_tags(offer: Offer, spec: InstanceSpec, options: Options, image: Image) -> dict[str, str]:
    """Return the tags of machine and disk; everything that `get` needs to know is in them."""
    tags = {
        **spec.tags,
        "Name": spec.token,
        DEADLINE_TAG: spec.deadline.isoformat(),
        PRICE_TAG: f"{offer.usd_per_hour:.6g}",
        USER_TAG: image.user,
    }
    if spec.host_key is not None and len(spec.host_key.public) <= _LONGEST_VALUE:
        tags[HOST_KEY_TAG] = spec.host_key.public
    if keeps_disk(offer, spec, options):
        tags[KEPT_TAG] = "yes"
    if offer.spot and options.spot_request == "persistent":
        tags[PERSISTENT_TAG] = "yes"
    if len(tags) > _MOST_TAGS:
        raise BadOption(
            f"labels: {len(spec.labels)} of them; EC2 allows {_MOST_TAGS} tags with our {len(tags) - len(spec.labels)}"
        )
    return tags


def home_tags(spec: InstanceSpec) -> dict[str, str]:
    """Return the tags of what all runs of a home share."""
    return {"launch-home": spec.home_id, "launch-owner": spec.owner}


def run_request(
    offer: Offer, spec: InstanceSpec, options: Options, *, image: Image, subnet: str, group: str
) -> dict[str, Any]:
    """Return the parameters of the create call.

    Raises:
        BadOption: the keys or labels do not fit into what EC2 allows.
    """
    try:
        text = userdata.user_data(spec.ssh_public_keys, spec.host_key, spec.deadline)
    except ValueError as error:
        raise BadOption(f"aws: {error}") from None
    tags = aws_tags(machine_tags(offer, spec, options, image))
    resources = ["instance", "volume", "network-interface"]
    if offer.spot:
        resources.append("spot-instances-request")
    request: dict[str, Any] = {
        "ClientToken": spec.token,
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": image.id,
        "InstanceType": offer.instance_type,
        "UserData": text,
        "NetworkInterfaces": [interface(options, subnet, group)],
        "BlockDeviceMappings": [_root_disk(offer, spec, options, image)],
        "InstanceInitiatedShutdownBehavior": "stop" if stops(offer, spec, options) else "terminate",
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpEndpoint": "enabled",
            "HttpPutResponseHopLimit": 2,
        },
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in resources],
    }
    if offer.spot:
        request["InstanceMarketOptions"] = _spot(options)
    return request


def interface(options: Options, subnet: str, group: str) -> dict[str, Any]:
    """Return the one network interface of a machine."""
    told: dict[str, Any] = {
        "DeviceIndex": 0,
        "SubnetId": subnet,
        "Groups": [group],
        "AssociatePublicIpAddress": options.address == "public",
        "DeleteOnTermination": True,
    }
    if options.address == "ipv6":
        told["Ipv6AddressCount"] = 1
    return told


def _root_disk(offer: Offer, spec: InstanceSpec, options: Options, image: Image) -> dict[str, Any]:
    return {
        "DeviceName": image.root_device,
        "Ebs": {
            "VolumeSize": max(math.ceil(spec.disk_gib), image.root_gib),
            "VolumeType": "gp3",
            "DeleteOnTermination": not keeps_disk(offer, spec, options),
        },
    }


def _spot(options: Options) -> dict[str, Any]:
    """No highest price: one leads to more interruptions, and the on-demand price is EC2's own limit."""
    persistent = options.spot_request == "persistent"
    return {
        "MarketType": "spot",
        "SpotOptions": {
            "SpotInstanceType": "persistent" if persistent else "one-time",
            "InstanceInterruptionBehavior": "stop" if persistent else "terminate",
        },
    }
