"""The machines and kept disks of an account, as EC2 describes them, and the calls that change them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioning.aws import userdata
from provisioning.aws.convert import (
    CARRIER_TAG,
    DEADLINE_TAG,
    INSTANCE_TAG,
    KEPT_TAG,
    aws_tags,
    instances_of,
    root_volume_id,
    tags_of,
)
from provisioning.aws.errors import GONE
from provisioning.errors import BadOption

if TYPE_CHECKING:
    from datetime import datetime

    from provisioning.aws.client import Client

__all__ = ["Machines"]

_NOT_TERMINATED = ["pending", "running", "shutting-down", "stopping", "stopped"]


class Machines:
    """Calls about single machines and disks; answers stay in EC2's words."""

    def __init__(self, client: Client) -> None:
        self._client = client

    # Looking

    def describe(self, region: str, instance_id: str) -> dict[str, Any] | None:
        """Return one machine; None for one that EC2 does not know (any more)."""
        answer = self._client.attempt("ec2", region, "describe_instances", GONE, InstanceIds=[instance_id])
        found = instances_of(answer["Reservations"]) if answer else []
        return found[0] if found else None

    def by_token(self, region: str, token: str) -> dict[str, Any] | None:
        """Return the machine of a try, ended or not; a living one first."""
        found = self._list(region, [_tag("launch-token", token)])
        found.sort(key=lambda machine: machine["State"]["Name"] == "terminated")
        return found[0] if found else None

    def ours(self, region: str, run_id: str | None) -> list[dict[str, Any]]:
        """Return the machines that are not terminated, of one run or of all."""
        states = {"Name": "instance-state-name", "Values": _NOT_TERMINATED}
        return self._list(region, [_of_run(run_id), states])

    def kept_disks(self, region: str, run_id: str | None) -> list[dict[str, Any]]:
        """Return the disks that have outlived their machines, of one run or of all."""
        return self._volumes(region, [_of_run(run_id), _tag(KEPT_TAG, "yes")], "available")

    def kept_disk(
        self, region: str, instance_id: str, machine: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        """Return what is left of one ended machine: by its id, or by its token while EC2 still lists it."""
        token = tags_of(machine).get("launch-token") if machine else None
        filters = [_tag("launch-token", token)] if token else [_tag(INSTANCE_TAG, instance_id)]
        if instance_id.startswith("vol-"):
            filters = [{"Name": "volume-id", "Values": [instance_id]}]
        found = self._volumes(region, [*filters, _tag(KEPT_TAG, "yes")], "available", "in-use")
        return found[0] if found else None

    def carrier(self, region: str, instance_id: str) -> dict[str, Any] | None:
        """Return the machine that was rented to read the disk of one that is gone."""
        states = {"Name": "instance-state-name", "Values": ["pending", "running", "shutting-down"]}
        carries = {"Name": "tag-key", "Values": [CARRIER_TAG]}
        found = self._list(region, [_tag(INSTANCE_TAG, instance_id), carries, states])
        return found[0] if found else None

    def _volumes(self, region: str, filters: list[dict[str, Any]], *states: str) -> list[dict[str, Any]]:
        """``in-use`` is also a disk that its ended machine has not let go of yet."""
        status = {"Name": "status", "Values": list(states)}
        return self._client.pages("ec2", region, "describe_volumes", "Volumes", Filters=[*filters, status])

    def _list(self, region: str, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return instances_of(
            self._client.pages("ec2", region, "describe_instances", "Reservations", Filters=filters)
        )

    # Changing

    def tag(self, region: str, resource_id: str, tags: dict[str, str]) -> None:
        """Set tags on a machine or disk."""
        self._client.attempt("ec2", region, "create_tags", GONE, Resources=[resource_id], Tags=aws_tags(tags))

    def name_disk(self, region: str, machine: dict[str, Any]) -> bool:
        """Write a machine's id on its root disk, so that the disk is found by it afterwards; False if not yet there."""
        volume = root_volume_id(machine)
        if volume:
            self.tag(region, volume, {INSTANCE_TAG: machine["InstanceId"]})
        return volume is not None

    def keep_disk(self, region: str, machine: dict[str, Any], *, keep: bool) -> None:
        """Decide what becomes of the root disk when the machine ends."""
        if keep:
            tags = {KEPT_TAG: "yes", INSTANCE_TAG: machine["InstanceId"]}
            self.tag(region, machine["InstanceId"], {KEPT_TAG: "yes"})
            if volume := root_volume_id(machine):
                self.tag(region, volume, tags)
        self._client.attempt(
            "ec2",
            region,
            "modify_instance_attribute",
            {*GONE, "IncorrectInstanceState", "IncorrectState"},
            InstanceId=machine["InstanceId"],
            BlockDeviceMappings=[
                {"DeviceName": machine["RootDeviceName"], "Ebs": {"DeleteOnTermination": not keep}}
            ],
        )

    def terminate(self, region: str, machine: dict[str, Any]) -> None:
        """Cancel the machine's spot request first: EC2 would fill an open one again. Then end the machine."""
        if request := machine.get("SpotInstanceRequestId"):
            self._client.attempt(
                "ec2", region, "cancel_spot_instance_requests", GONE, SpotInstanceRequestIds=[request]
            )
        self._client.attempt("ec2", region, "terminate_instances", GONE, InstanceIds=[machine["InstanceId"]])

    def attach(self, region: str, machine: dict[str, Any], volume_id: str, device: str) -> None:
        """Attach a kept disk as a further one; one that is being attached already is left alone."""
        self._client.attempt(
            "ec2",
            region,
            "attach_volume",
            {*GONE, "VolumeInUse", "IncorrectState", "InvalidParameterValue"},
            VolumeId=volume_id,
            InstanceId=machine["InstanceId"],
            Device=device,
        )

    def end_with(self, region: str, machine: dict[str, Any], device: str) -> None:
        """Let the disk at ``device`` be deleted together with its machine."""
        self._client.attempt(
            "ec2",
            region,
            "modify_instance_attribute",
            {*GONE, "IncorrectInstanceState", "IncorrectState"},
            InstanceId=machine["InstanceId"],
            BlockDeviceMappings=[{"DeviceName": device, "Ebs": {"DeleteOnTermination": True}}],
        )

    def delete_disk(self, region: str, volume_id: str) -> None:
        """Delete a disk; one that is gone, or not let go of yet, is left alone: `get` still tells of it."""
        self._client.attempt("ec2", region, "delete_volume", {*GONE, "VolumeInUse"}, VolumeId=volume_id)

    def stop(self, region: str, instance_id: str) -> None:
        """End compute; the disk stays."""
        self._client.attempt("ec2", region, "stop_instances", GONE, InstanceIds=[instance_id])

    def start(self, region: str, instance_id: str, deadline: datetime) -> None:
        """Start a stopped machine with a new deadline, which is in its user-data before it boots."""
        asked = self._client.call(
            "ec2", region, "describe_instance_attribute", InstanceId=instance_id, Attribute="userData"
        )
        text = _decoded(str((asked.get("UserData") or {}).get("Value") or ""))
        try:
            changed = userdata.with_deadline(text, deadline)
        except ValueError as error:
            raise BadOption(
                f"aws {region}: {instance_id} cannot be started with a deadline: {error}"
            ) from None
        self._client.call(
            "ec2",
            region,
            "modify_instance_attribute",
            InstanceId=instance_id,
            UserData={"Value": changed.encode()},
        )
        self.tag(region, instance_id, {DEADLINE_TAG: deadline.isoformat()})
        self._client.call("ec2", region, "start_instances", InstanceIds=[instance_id])


def _tag(name: str, value: str) -> dict[str, Any]:
    return {"Name": f"tag:{name}", "Values": [value]}


def _of_run(run_id: str | None) -> dict[str, Any]:
    return _tag("launch-run", run_id) if run_id else {"Name": "tag-key", "Values": ["launch-run"]}


def _decoded(text: str) -> str:
    import base64

    return base64.b64decode(text).decode("utf-8", "replace")
