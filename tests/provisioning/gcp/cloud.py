"""Compute Engine on loopback: what it knows, what it refuses, and what happens to machines. `server` speaks HTTP for it.

Requests reach it only after they have passed Google's published description of the API (`discovery`). Beyond that it is
as strict as Compute Engine is known to be: operations take time and fail late, a machine without a termination action has
no deadline, GPUs cannot be migrated, names are unique, a disk in use cannot be deleted.
"""

from __future__ import annotations

import copy
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.provisioning.gcp import stock
from tests.provisioning.gcp.buckets import Buckets

PROJECT = "a-project-of-tests"
ADDRESS = "198.51.100.7"
HOST_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAINotAKeyOfAnybody"
ROOT = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}"
Machine = dict[str, Any]


class Refused(Exception):
    """An answer that is a refusal, at once."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass
class Fault:
    """Strikes calls of one method until it has struck ``times``."""

    method: str
    """``instances.insert``."""
    code: str = "backendError"
    status: int = 500
    times: int = 1
    zone: str | None = None
    kind: str = "refuse"
    """``refuse``, ``fail`` (accepted, and the operation fails), ``hang_up`` (no answer, nothing done), ``lose`` (done, no
    answer)."""
    message: str = "as the test wants it"


@dataclass
class Call:
    method: str
    places: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any] | None


@dataclass
class Operation:
    resource: dict[str, Any]
    ends_at: float
    finish: Callable[[], None]
    errors: list[dict[str, str]] = field(default_factory=list)


@dataclass
class GceCloud:
    """What a test may look at and change. Use `server.serving`."""

    url: str = ""
    key_file: str = ""
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    allowed: frozenset[str] | None = None
    """``compute.instances.create``: with a set, every other call is refused as IAM would."""
    used: set[str] = field(default_factory=set)
    """The permissions that calls have needed."""
    skus: list[dict[str, Any]] | None = None
    """The billing catalog; None: the API is not enabled."""
    operation_s: float = 0.0
    boots: bool = True
    """False: machines stay in staging."""
    tells_host_keys: bool = True
    guest_attributes: dict[tuple[str, str], str] = field(default_factory=dict)
    """By machine and path, beside the host keys."""
    page_size: int = 4
    host_of: Callable[[int], str] = lambda n: f"127.78.{n // 250}.{n % 250 + 1}"
    on_start: Callable[[Machine], str | None] | None = None
    """May return the host key that the machine tells."""
    on_end: Callable[[Machine], None] | None = None
    machines: dict[tuple[str, str], Machine] = field(default_factory=dict)
    disks: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    firewalls: dict[str, dict[str, Any]] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    buckets: Buckets = field(default_factory=Buckets)
    quotas: dict[tuple[str, str], float] = field(default_factory=lambda: {("", "GPUS_ALL_REGIONS"): 1.0})
    """By region, empty for the project's own, and metric."""
    networks: set[str] = field(default_factory=lambda: {"default"})
    _requests: dict[str, str] = field(default_factory=dict)
    _host_keys: dict[str, str] = field(default_factory=dict)
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    lock: threading.RLock = field(default_factory=threading.RLock)

    # For tests

    def environ(self, **more: str) -> dict[str, str]:
        return {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{self.url}/compute/v1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBILLING": self.url,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{self.url}/storage/v1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": self.url,
            "GOOGLE_APPLICATION_CREDENTIALS": self.key_file,
            "NO_GCE_CHECK": "true",
            "LAUNCH_ADDRESS_URL": f"{self.url}/address",
            "HOME": "/nonexistent",
            **more,
        }

    def machine(self, name: str) -> Machine:
        return next(machine for (_, known), machine in self.machines.items() if known == name)

    def living(self) -> list[Machine]:
        with self.lock:
            self.advance()
            return list(self.machines.values())

    def made(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method == method]

    def metadata(self, name: str) -> dict[str, str]:
        return {item["key"]: item["value"] for item in self.machine(name)["metadata"]["items"]}

    def preempt(self, name: str) -> None:
        """What Google does when it takes a Spot machine back; one that is gone already is left alone."""
        with self.lock:
            machine = next((item for (_, known), item in self.machines.items() if known == name), None)
            if machine is None or machine["status"] != "RUNNING":
                return
            assert machine["scheduling"]["provisioningModel"] == "SPOT"
            self._record(machine, "compute.instances.preempted")
            self._end_as_told(machine)

    def expire(self, name: str) -> None:
        """What Google does at the termination time."""
        with self.lock:
            machine = self.machine(name)
            assert "terminationTime" in machine["scheduling"]
            self._end_as_told(machine)

    def remove(self, name: str) -> None:
        """What somebody else does in the console."""
        with self.lock:
            self._deleted(self.machine(name))

    def reset(self) -> None:
        with self.lock:
            fresh = GceCloud(url=self.url, key_file=self.key_file)
            for name in vars(fresh):
                if name not in ("lock", "_count", "url", "key_file"):
                    setattr(self, name, getattr(fresh, name))

    # Time

    def advance(self) -> None:
        """Let everything happen whose time has come."""
        now = time.monotonic()
        for operation in list(self.operations.values()):
            if operation.resource["status"] != "DONE" and operation.ends_at <= now:
                if operation.errors:
                    operation.resource["error"] = {"errors": operation.errors}
                    operation.resource["httpErrorStatusCode"] = 503
                operation.resource["status"] = "DONE"
                operation.finish()

    def begin(
        self,
        kind: str,
        target: str,
        finish: Callable[[], None],
        *,
        zone: str | None,
        request: str | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> dict[str, Any]:
        name = f"operation-{next(self._count):06}"
        resource: dict[str, Any] = {
            "name": name,
            "operationType": kind,
            "status": "RUNNING",
            "targetLink": f"{ROOT}/{target}",
            "insertTime": _now(),
            "progress": 0,
        }
        if zone:
            resource["zone"] = f"{ROOT}/zones/{zone}"
        self.operations[name] = Operation(
            resource, time.monotonic() + self.operation_s, finish, list(errors or ())
        )
        if request:
            self._requests[request] = name
        return copy.deepcopy(resource)

    def repeated(self, request: str | None) -> dict[str, Any] | None:
        """The operation that a request began before."""
        name = self._requests.get(request or "")
        return copy.deepcopy(self.operations[name].resource) if name else None

    # Machines

    def insert(self, zone: str, body: dict[str, Any], request: str | None, error: Fault | None) -> Machine:
        key = (zone, body.get("name", ""))
        if key in self.machines:
            raise Refused(
                409,
                "alreadyExists",
                f"The resource 'projects/{PROJECT}/zones/{zone}/instances/{key[1]}' already exists",
            )
        check_insert(self, zone, body)
        target = f"zones/{zone}/instances/{key[1]}"
        if error:
            errors = [{"code": error.code, "message": error.message}]
            return self.begin("insert", target, lambda: None, zone=zone, request=request, errors=errors)
        machine: Machine = {
            **copy.deepcopy(body),
            "id": str(next(self._count)),
            "zone": f"{ROOT}/zones/{zone}",
            "status": "PROVISIONING",
            "creationTimestamp": _now(),
            "fingerprint": "abc=",
        }
        machine["machineType"] = f"{ROOT}/{body['machineType']}"
        self.machines[key] = machine
        self._add_disks(zone, machine)
        return self.begin("insert", target, lambda: self.started(machine), zone=zone, request=request)

    def _add_disks(self, zone: str, machine: Machine) -> None:
        for attached in machine["disks"]:
            told = attached.pop("initializeParams", None)
            if told is not None:
                name = told.get("diskName") or machine["name"]
                self.disks[zone, name] = {
                    "name": name,
                    "zone": machine["zone"],
                    "sizeGb": told["diskSizeGb"],
                    "type": f"{ROOT}/{told['diskType']}",
                    "labels": told.get("labels", {}),
                    "creationTimestamp": _now(),
                    "status": "READY",
                }
                attached["source"] = f"{ROOT}/zones/{zone}/disks/{name}"
            attached.setdefault("autoDelete", False)
            attached["type"] = "PERSISTENT"
        self.note_users()

    def started(self, machine: Machine) -> None:
        if not self.boots or _key(machine) not in self.machines:
            machine["status"] = "STAGING" if not self.boots else machine["status"]
            return
        machine["status"] = "RUNNING"
        machine["lastStartTimestamp"] = _now()
        number = next(self._count)
        interface = machine["networkInterfaces"][0]
        interface["networkIP"] = f"10.128.{number // 250}.{number % 250}"
        for config in interface.get("accessConfigs", []):
            config["natIP"] = self.host_of(number)
        self._host_keys[machine["name"]] = (self.on_start(machine) if self.on_start else None) or HOST_KEY

    def stopped(self, machine: Machine) -> None:
        machine["status"] = "TERMINATED"
        machine["lastStopTimestamp"] = _now()
        for config in machine["networkInterfaces"][0].get("accessConfigs", []):
            config.pop("natIP", None)
        if self.on_end:
            self.on_end(machine)

    def _deleted(self, machine: Machine) -> None:
        zone = machine["zone"].rpartition("/")[2]
        if self.machines.pop((zone, machine["name"]), None) is None:
            return
        for disk in machine["disks"]:
            if disk["autoDelete"]:
                self.disks.pop((zone, disk["source"].rpartition("/")[2]), None)
        self.note_users()
        if self.on_end:
            self.on_end(machine)

    def _end_as_told(self, machine: Machine) -> None:
        if machine["scheduling"]["instanceTerminationAction"] == "STOP":
            self.stopped(machine)
        else:
            self._deleted(machine)

    def change(
        self, method: str, zone: str, machine: Machine, request: str | None, error: Fault | None
    ) -> dict[str, Any]:
        """Begin a stop, a start or a deletion."""
        name = machine["name"]
        target, kind = f"zones/{zone}/instances/{name}", method.partition(".")[2]
        errors = [{"code": error.code, "message": error.message}] if error else None
        if kind == "start":
            if machine["status"] != "TERMINATED":
                raise Refused(400, "resourceNotReady", f"The resource 'instances/{name}' is not ready")
            if not any(disk.get("boot") for disk in machine["disks"]):
                raise Refused(400, "invalid", "The instance has no boot disk")
            _check_time(machine["scheduling"])
            finish: Callable[[], None] = (lambda: None) if error else lambda: self.started(machine)
            return self.begin(kind, target, finish, zone=zone, request=request, errors=errors)
        machine["status"] = "STOPPING"
        finish = (lambda: self.stopped(machine)) if kind == "stop" else (lambda: self._deleted(machine))
        return self.begin(kind, target, finish, zone=zone, request=request, errors=errors)

    def note_users(self) -> None:
        """Disks know who has them."""
        users: dict[tuple[str, str], list[str]] = {}
        for (zone, name), machine in self.machines.items():
            for disk in machine["disks"]:
                users.setdefault((zone, disk["source"].rpartition("/")[2]), []).append(
                    f"{ROOT}/zones/{zone}/instances/{name}"
                )
        for key, disk in self.disks.items():
            disk.pop("users", None)
            if key in users:
                disk["users"] = users[key]

    def attributes_of(self, machine: Machine, path: str) -> list[dict[str, str]]:
        name, told = machine["name"], self.metadata(machine["name"])
        if told.get("enable-guest-attributes") != "TRUE":
            raise Refused(403, "forbidden", "Guest attributes endpoint access is disabled.")
        found = []
        if path == "hostkeys/" and self.tells_host_keys and machine["status"] == "RUNNING":
            found.append({"namespace": "hostkeys", "key": "ssh-ed25519", "value": self._host_keys[name]})
        elif said := self.guest_attributes.get((name, path)):
            found.append({"namespace": path.rstrip("/"), "key": "driver", "value": said})
        if not found:
            raise Refused(
                404,
                "notFound",
                f"The resource 'guestAttributes/{path}' of type 'Guest Attribute' was not found.",
            )
        return found

    def _record(self, machine: Machine, kind: str) -> None:
        zone = machine["zone"].rpartition("/")[2]
        self.begin(kind, f"zones/{zone}/instances/{machine['name']}", lambda: None, zone=zone)


# What Compute Engine checks, beyond the form of a request


def check_insert(cloud: GceCloud, zone: str, body: Mapping[str, Any]) -> None:
    known = {item["name"]: item for item in stock.TYPES}
    name = body["machineType"].rpartition("/")[2]
    _right(
        body["machineType"] == f"zones/{zone}/machineTypes/{name}" and name in known,
        f"machineType: {body['machineType']} does not exist",
    )
    _right(re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", body["name"]), f"name: {body['name']}")
    _check_labels(body["labels"])
    for tag in body.get("tags", {}).get("items", []):
        _right(re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", tag), f"tags: {tag}")
    keys = [item["key"] for item in body["metadata"]["items"]]
    _right(len(keys) == len(set(keys)), "metadata: duplicate keys")
    _right(sum(len(item["value"]) for item in body["metadata"]["items"]) <= 512 * 1024, "metadata: too large")
    interface = body["networkInterfaces"][0]
    _right(
        interface["network"].rpartition("/")[2] in cloud.networks,
        f"network: {interface['network']} does not exist",
    )
    has_gpu = _check_gpus(zone, body, known[name])
    _check_scheduling(body["scheduling"], has_gpu=has_gpu)
    for disk in body["disks"]:
        _check_disk(cloud, zone, disk)


def _check_gpus(zone: str, body: Mapping[str, Any], machine_type: Mapping[str, Any]) -> bool:
    attached = body.get("guestAccelerators", [])
    _right(
        not (attached and "accelerators" in machine_type), "guestAccelerators: the machine type has its own"
    )
    for gpu in attached:
        kind = gpu["acceleratorType"].rpartition("/")[2]
        _right(machine_type["name"].startswith("n1-"), "guestAccelerators: only N1 takes them")
        _right(
            gpu["acceleratorType"] == f"zones/{zone}/acceleratorTypes/{kind}"
            and gpu["acceleratorCount"] <= stock.cards_of(zone).get(kind, 0),
            f"guestAccelerators: {kind} in {zone}",
        )
        _right(
            not (kind == "nvidia-tesla-v100" and machine_type["guestCpus"] > 12),
            "guestAccelerators: too many vCPUs",
        )
    return bool(attached) or "accelerators" in machine_type


def _check_scheduling(told: Mapping[str, Any], *, has_gpu: bool) -> None:
    spot = told.get("provisioningModel") == "SPOT"
    _right(
        not has_gpu or told.get("onHostMaintenance") == "TERMINATE",
        "onHostMaintenance: instances with guest accelerators do not support live migration",
    )
    _right(not (spot and told.get("onHostMaintenance") == "MIGRATE"), "onHostMaintenance: spot")
    _right(not (spot and told.get("automaticRestart", True)), "automaticRestart: must be false for Spot")
    _right(spot or "preemptionNoticeDuration" not in told, "preemptionNoticeDuration: Spot only")
    _right(
        told.get("preemptionNoticeDuration", {}).get("seconds", "0") in ("0", "120"),
        "preemptionNoticeDuration: 0 or 120 s",
    )
    _check_time(told)


def _check_time(told: Mapping[str, Any]) -> None:
    at = datetime.fromisoformat(told["terminationTime"].replace("Z", "+00:00"))
    left = at - datetime.now(timezone.utc)
    _right(
        timedelta(seconds=30) <= left <= timedelta(days=120), f"terminationTime: {told['terminationTime']}"
    )
    _right(
        told.get("instanceTerminationAction") in ("STOP", "DELETE"), "instanceTerminationAction: must be set"
    )


def _check_disk(cloud: GceCloud, zone: str, disk: Mapping[str, Any]) -> None:
    if "source" in disk:
        found = cloud.disks.get((zone, disk["source"].rpartition("/")[2]))
        _right(found, f"disks: {disk['source']} does not exist")
        if found and found.get("users"):
            raise Refused(
                400, "resourceInUseByAnotherResource", f"The disk {found['name']} is already being used"
            )
        return
    told = disk["initializeParams"]
    project, _, name = told["sourceImage"].removeprefix("projects/").partition("/global/images/")
    image = next((item for item in stock.images().get(project, []) if item["name"] == name), None)
    _right(image, f"sourceImage: {told['sourceImage']} does not exist")
    assert image
    _right(
        int(told["diskSizeGb"]) >= int(image["diskSizeGb"]),
        "Requested disk size cannot be smaller than the image size",
    )
    _right(told["diskType"] == f"zones/{zone}/diskTypes/pd-balanced", f"diskType: {told['diskType']}")
    _check_labels(told["labels"])


def _check_labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        _right(
            re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) and re.fullmatch(r"[a-z0-9_-]{0,63}", value),
            f"labels: {key}={value}",
        )


def _right(holds: object, message: str) -> None:
    if not holds:
        raise Refused(400, "invalid", f"Invalid value for field 'resource.{message}'")


def _key(machine: Machine) -> tuple[str, str]:
    return machine["zone"].rpartition("/")[2], machine["name"]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
