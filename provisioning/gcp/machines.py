"""The machines and disks of a project, as Compute Engine describes them, and the calls that change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioning.errors import BadOption, MayHaveBeenCreated
from provisioning.gcp.convert import last_part
from provisioning.gcp.errors import (
    GONE,
    TAKEN,
    Refusal,
    create_error,
    error_for,
    failed_create_error,
)
from provisioning.gcp.request import BOOT_DEVICE, carrier_name, request_id, scheduling_with

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from provisioning.gcp.client import Client

__all__ = ["History", "Machines", "zone_of"]

_OURS = "labels.launch-run:*"


@dataclass(frozen=True, slots=True)
class History:
    """What the operations of a project tell about a machine; they are kept for two weeks."""

    is_being_made: bool = False
    failure: str = ""
    """Why it was never made."""
    was_preempted: bool = False
    was_deleted: bool = False

    @property
    def reason(self) -> str:
        """Why it is not there, in words."""
        if self.failure:
            return self.failure
        if self.was_preempted:
            return "preempted: Google took the Spot machine back"
        return "deleted" if self.was_deleted else ""


class Machines:
    """Calls about single machines and disks; answers stay in Google's words."""

    def __init__(self, client: Client) -> None:
        self._client = client

    # Looking

    def describe(self, zone: str, name: str) -> dict[str, Any] | None:
        """Return one machine; None for one that Compute Engine does not know (any more)."""
        return self._client.attempt("instances.get", GONE, zone=zone, instance=name)

    def carrier(self, zone: str, name: str) -> dict[str, Any] | None:
        """Return the machine that was rented to read the disk of ``name``."""
        return self.describe(zone, carrier_name(name))

    def disk(self, zone: str, name: str) -> dict[str, Any] | None:
        """Return the boot disk of a machine, which has the machine's name, whether that still exists or not."""
        found = self._client.attempt("disks.get", GONE, zone=zone, disk=name)
        ours = found is not None and (found.get("labels") or {}).get("launch-token") == name
        return found if ours else None

    def ours(self, run_id: str | None) -> list[dict[str, Any]]:
        """Return the machines of all zones, of one run or of all."""
        return self._client.items("instances.aggregatedList", filter=_of_run(run_id))

    def our_disks(self, run_id: str | None) -> list[dict[str, Any]]:
        """Return the boot disks of all zones, of one run or of all."""
        return self._client.items("disks.aggregatedList", filter=_of_run(run_id))

    def history(self, zone: str, name: str) -> History:
        """Return what became of a machine that is not there, or has stopped."""
        found = self._client.items(
            "zoneOperations.list", zone=zone, filter=f'targetLink eq ".*/zones/{zone}/instances/{name}"'
        )
        made = [item for item in found if item.get("operationType") == "insert"]
        newest = max(made, key=lambda item: str(item.get("insertTime", "")), default={})
        errors = (newest.get("error") or {}).get("errors") or []
        kinds = {item.get("operationType") for item in found}
        return History(
            is_being_made=bool(newest) and newest.get("status") != "DONE",
            failure="; ".join(f"{item.get('message', '')} ({item.get('code', '')})" for item in errors),
            was_preempted="compute.instances.preempted" in kinds,
            was_deleted="delete" in kinds,
        )

    # Making

    def insert(self, zone: str, body: Mapping[str, Any], *, token: str) -> dict[str, Any] | None:
        """Make a machine, or find the one that the same call has made before; None when that one has ended.

        Failures come in two ways: as the answer, and later in the operation, which is waited for.

        Raises:
            MayHaveBeenCreated, or what `provisioning.gcp.errors` says.
        """
        name, permission = str(body["name"]), "compute.instances.create"
        # With the deadline in it: the machine that reads a kept disk has the same name each time.
        call_id = request_id("insert", zone, name, body["scheduling"]["terminationTime"])
        asked = self._client.ask("instances.insert", zone=zone, request_id=call_id, body=body)
        if isinstance(asked, Refusal):
            if asked.code in TAKEN:
                return self._adopted(zone, name, body, asked)
            raise create_error(asked, token=token)
        try:
            failed = self._client.finish(asked, permission)
            made = self.describe(zone, name)
        except Exception as error:
            raise MayHaveBeenCreated(
                f"gcp {zone}: {name} was asked for, and then: {error}", token=token
            ) from error
        if failed is None:
            return made
        if failed.code in TAKEN:
            return self._adopted(zone, name, body, failed)
        if made is not None and _is_same(made, body):
            raise MayHaveBeenCreated(f"{failed.text}; and a machine of that name is there", token=token)
        raise failed_create_error(failed)

    def _adopted(
        self, zone: str, name: str, body: Mapping[str, Any], refusal: Refusal
    ) -> dict[str, Any] | None:
        """Return the machine that has the name, if it is ours."""
        present = self.describe(zone, name)
        if present is not None and not _is_same(present, body):
            raise BadOption(
                f"gcp {zone}: there is a machine {name} that is not ours: {refusal.words}",
                hint="rename or delete it, or launch again under another --name",
            )
        return present

    # Changing

    def delete(self, zone: str, name: str) -> None:
        """End a machine, with its disk where that was said when it was made."""
        self._client.attempt("instances.delete", GONE, zone=zone, instance=name)

    def delete_disk(self, zone: str, name: str) -> None:
        """Delete a disk; one that is still let go of is left alone: `get` still tells of it."""
        busy = {"resourceInUseByAnotherResource", "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE"}
        self._client.attempt("disks.delete", {*GONE, *busy}, zone=zone, disk=name)

    def end_with(self, zone: str, name: str) -> None:
        """Let a machine's boot disk be deleted together with it."""
        self._change(
            "instances.setDiskAutoDelete",
            zone,
            instance=name,
            auto_delete=True,
            device_name=BOOT_DEVICE,
        )

    def stop(self, zone: str, machine: Mapping[str, Any]) -> None:
        """End compute; the boot disk stays. Disks of the host cannot stay, and must be given up by name."""
        scratch = any(disk.get("type") == "SCRATCH" for disk in machine.get("disks") or ())
        more: dict[str, Any] = {"discard_local_ssd": True} if scratch else {}
        self._client.attempt("instances.stop", GONE, zone=zone, instance=machine["name"], **more)

    def start(self, zone: str, machine: Mapping[str, Any], deadline: datetime) -> None:
        """Start a stopped machine with a new deadline.

        Raises:
            NoCapacity: its zone is full now; the machine stays stopped.
        """
        name = str(machine["name"])
        if not machine.get("disks"):
            self.attach(zone, name)
        self._change(
            "instances.setScheduling",
            zone,
            instance=name,
            body=scheduling_with(machine.get("scheduling") or {}, deadline),
        )
        self._change("instances.start", zone, instance=name)

    def attach(self, zone: str, name: str) -> None:
        """Give a stopped machine its boot disk back."""
        disk = {
            "source": f"projects/{self._client.project}/zones/{zone}/disks/{name}",
            "boot": True,
            "autoDelete": True,
            "deviceName": BOOT_DEVICE,
        }
        self._change("instances.attachDisk", zone, instance=name, body=disk)

    def detach(self, zone: str, machine: Mapping[str, Any]) -> None:
        """Take the boot disk from a stopped machine, so that another can boot it."""
        for disk in machine.get("disks") or ():
            if disk.get("boot"):
                device = disk.get("deviceName", BOOT_DEVICE)
                self._change("instances.detachDisk", zone, instance=machine["name"], device_name=device)

    def _change(self, name: str, zone: str, *, body: Mapping[str, Any] | None = None, **fields: Any) -> None:
        asked = self._client.call(name, body=body, zone=zone, **fields)
        permission = f"compute.{name}"
        if (failed := self._client.finish(asked, permission)) is not None:
            raise error_for(failed)


def _is_same(machine: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether a machine is the one that a body asks for: its labels say which try of which home made it."""
    have, want = machine.get("labels") or {}, body["labels"]
    return all(have.get(label) == want.get(label) for label in ("launch-token", "launch-home"))


def _of_run(run_id: str | None) -> str:
    return f'labels.launch-run="{run_id}"' if run_id else _OURS


def zone_of(resource: Mapping[str, Any]) -> str:
    """Return the zone of a machine or disk."""
    return last_part(str(resource["zone"]))
