"""EC2 on loopback: moto's server behind a layer that is as strict as EC2 where moto is not, and that can fail.

What the layer adds: idempotency by ClientToken, types and zones that are checked, spot prices and spot requests, the
parameters of the deep-learning images, the Pricing API, a policy, faults, lists that lag behind, loopback addresses.
"""

from __future__ import annotations

import base64
import fnmatch
import io
import itertools
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl, urlencode

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.types import Base64EncodedString
from moto.ec2 import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from moto.ec2.models.instances import Instance as MotoInstance
from moto.ec2.models.instances import StateReason
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from tests.provisioning.aws.answers import Answer, as_json, price_list_item, refusal, xml
from tests.provisioning.aws.object_store import Buckets, is_for_s3

REGIONS = ("us-east-1", "us-east-2", "us-west-2")
GPU_LINE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
OLDER_GPU_LINE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
CUDA_LINE = "/aws/service/deeplearning/ami/x86_64/base-with-single-cuda-ubuntu-24.04/latest/ami-id"
CPU_LINE = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
SOLD = ("g4dn.xlarge", "g5.xlarge", "g6.xlarge", "p4d.24xlarge", "g6f.large", "g5g.xlarge", "t3.small")
SPOT_USD = {"g4dn.xlarge": 0.21, "g5.xlarge": 0.45, "g6.xlarge": 0.36, "p4d.24xlarge": 9.5}
KEY, SECRET = "AKIAINTHETESTONLY000", "secret-of-the-test-account"
ADDRESS = "198.51.100.7"
ROOT_GIB = 75


@dataclass
class Fault:
    """Strikes calls of one action until it has struck ``times``."""

    action: str
    code: str = "InternalError"
    status: int = 500
    times: int = 1
    zone: str | None = None
    kind: str = "refuse"
    """``refuse``, ``hang_up`` (no answer, nothing done), ``lose`` (done, no answer), ``cut`` (done, half an answer),
    ``lag`` (an empty list)."""
    message: str = "as the test wants it"


@dataclass
class Call:
    service: str
    action: str
    region: str
    form: dict[str, str]


@dataclass
class Ec2Cloud:
    """What a test may look at and change. Use `serving`."""

    url: str = ""
    advisor: str = ""
    """What the Spot Advisor's feed answers; empty: 503."""
    address: str = ADDRESS
    """Under which the caller comes."""
    buckets: Buckets = field(default_factory=Buckets)
    sold: tuple[str, ...] = SOLD
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    allowed: frozenset[str] | None = None
    """``ec2:RunInstances``: with a set, every other call is refused as IAM would."""
    only_ours: frozenset[str] = frozenset()
    """Of the allowed calls, those that are for resources with our tag alone."""
    spot_usd: dict[tuple[str, str], float] = field(default_factory=dict)
    quotas: dict[str, float | None] = field(default_factory=dict)
    """By code, in vCPUs; None: the account has none of its own. 4096 for those that are not here."""
    listed_usd: dict[tuple[str, str], float] = field(default_factory=dict)
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    boots: bool = True
    """False: machines stay pending."""
    host_of: Callable[[int], str] = lambda n: f"127.77.{n // 250}.{n % 250 + 1}"
    on_start: Callable[[MotoInstance], None] | None = None
    on_end: Callable[[MotoInstance], None] | None = None
    refilled: list[str] = field(default_factory=list)
    """Open persistent requests whose machine was ended: EC2 would have rented again."""
    requests: dict[str, dict[str, str]] = field(default_factory=dict)
    _tokens: dict[tuple[str, str], tuple[str, str, Answer]] = field(default_factory=dict)
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    # For tests

    def environ(self, **more: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "LAUNCH_ADDRESS_URL": f"{self.url}/address",
            "HOME": "/nonexistent",
            **more,
        }

    def backend(self, region: str = "us-east-1") -> Any:
        return ec2_backends[DEFAULT_ACCOUNT_ID][region]

    def machine(self, instance_id: str, region: str = "us-east-1") -> MotoInstance:
        return next(item for item in self.backend(region).all_instances() if item.id == instance_id)

    def living(self) -> list[MotoInstance]:
        machines = [item for region in REGIONS for item in self.backend(region).all_instances()]
        return [item for item in machines if item.state != "terminated"]

    def volumes(self, region: str = "us-east-1") -> list[Any]:
        return list(self.backend(region).volumes.values())

    def user_data(self, instance_id: str, region: str = "us-east-1") -> str:
        return base64.b64decode(str(self.machine(instance_id, region).user_data)).decode()

    def actions(self, name: str) -> list[Call]:
        return [call for call in self.calls if call.action == name]

    def power_off(self, instance_id: str, region: str = "us-east-1") -> None:
        """What EC2 does when the machine itself switches off."""
        with self._lock:
            machine = self.machine(instance_id, region)
            request = self._request_of(machine)
            can_stop = machine.lifecycle != "spot" or request.get("type") == "persistent"
            if can_stop and machine.instance_initiated_shutdown_behavior == "stop":
                machine.stop()
            else:
                machine.terminate()
            code = "Client.InstanceInitiatedShutdown"
            machine.state_reason = StateReason(f"{code}: Instance initiated shutdown", code)
            self._ended(machine)

    def reclaim(self, instance_id: str, region: str = "us-east-1") -> None:
        """What EC2 does when it takes a spot machine back."""
        with self._lock:
            machine = self.machine(instance_id, region)
            assert machine.lifecycle == "spot"
            if self._request_of(machine).get("type") == "persistent":
                machine.stop()
            else:
                machine.terminate()
            code = "Server.SpotInstanceTermination"
            machine.state_reason = StateReason(f"{code}: Spot instance termination", code)
            self._ended(machine)

    def reset(self) -> None:
        for region in REGIONS:
            backend = self.backend(region)
            for machine in [item for item in backend.all_instances() if item.state != "terminated"]:
                machine.terminate()
            backend.reservations.clear()
            backend.volumes.clear()
            for group in [*backend.groups.values()]:
                for group_id in [key for key, item in group.items() if item.name.startswith("launch-")]:
                    del group[group_id]
        fresh = Ec2Cloud(url=self.url)
        self.buckets.reset()
        for name in (
            "advisor",
            "address",
            "sold",
            "faults",
            "calls",
            "allowed",
            "only_ours",
            "spot_usd",
            "listed_usd",
            "quotas",
            "boots",
            "host_of",
        ):
            setattr(self, name, getattr(fresh, name))
        self.on_start = self.on_end = None
        self.refilled, self.requests, self._tokens = [], {}, {}
        self._stock()

    # Inside

    def _stock(self) -> None:
        for region in REGIONS:
            self.parameters[region] = {}
            for line, name in (
                (GPU_LINE, "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20261001"),
                (OLDER_GPU_LINE, "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) 20260901"),
                (CUDA_LINE, "Deep Learning Base AMI with Single CUDA (Ubuntu 24.04) 20261002"),
                (CPU_LINE, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261001"),
            ):
                self.parameters[region][line] = self.add_image(region, name)
            for zone in self.zones(region):
                for instance_type, usd in SPOT_USD.items():
                    self.spot_usd[instance_type, zone] = usd + 0.001 * (ord(zone[-1]) - ord("a"))
            for instance_type, usd in (("g4dn.xlarge", 0.526), ("g5.xlarge", 1.006), ("g6.xlarge", 0.8048)):
                self.listed_usd[instance_type, region] = usd

    def add_image(self, region: str, name: str, *, root_gib: int = ROOT_GIB) -> str:
        backend = self.backend(region)
        image_id = "ami-" + format(abs(hash((region, name))) % 16**17, "017x")
        if image_id not in backend.amis:
            owner = "099720109477" if name.startswith("ubuntu") else "898082745236"
            image = _Image(
                backend,
                image_id,
                name=name,
                owner_id=owner,
                owner_alias=None if name.startswith("ubuntu") else "amazon",
                public=True,
                architecture="x86_64",
                root_device_type="ebs",
                root_device_name="/dev/sda1",
                region_name=f"{region}a",
            )
            image.root_gib = root_gib
            backend.amis[image_id] = image
        return image_id

    def zones(self, region: str) -> list[str]:
        return [f"{region}{letter}" for letter in "abc"]

    def answer(self, environ: dict[str, Any], forward: Callable[[], Iterable[bytes]]) -> Answer | None:
        """Answer a request here, or None when moto shall."""

    def _request_of(self, machine: MotoInstance) -> dict[str, str]:
        return self.requests.get(getattr(machine, "spot_instance_request_id", "") or "", {})

    def _ended(self, machine: MotoInstance) -> None:
        if self.on_end:
            self.on_end(machine)


_LISTS = {"DescribeInstances": "reservationSet", "DescribeVpcs": "vpcSet"}


class _Image(Ami):  # type: ignore[misc]
    """moto's images are all of 15 GB."""

    root_gib = ROOT_GIB

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        mappings: list[dict[str, Any]] = super().block_device_mappings
        mappings[0]["Ebs"]["VolumeSize"] = self.root_gib
        return mappings


class Layer:
    """The WSGI application: reads the call, lets the cloud's rules speak, and passes the rest to moto."""

    def __init__(self, cloud: Ec2Cloud) -> None:
        self.cloud = cloud
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/address":
            return _send(Answer(200, f"{self.cloud.address}\n", "text/plain"), start_response)
        if environ["PATH_INFO"] == "/advisor":
            told = self.cloud.advisor
            return _send(Answer(200 if told else 503, told, "application/json"), start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if is_for_s3(environ):
            return self._s3(environ, body, start_response)
        call = _read_call(environ, body)
        with self.cloud._lock:
            self.cloud.calls.append(call)
            fault = self._strike(call)
            if fault and fault.kind == "hang_up":
                return _hang_up(environ)
            if fault and fault.kind == "refuse":
                is_json = call.service in ("ssm", "pricing", "servicequotas")
                answer: Answer | None = refusal(fault.code, fault.message, fault.status, json_like=is_json)
            elif fault and fault.kind == "lag":
                answer = xml(call.action, _LISTS[call.action], [])
            else:
                answer = self._rules(call) or self._forward(environ, call)
        if fault and fault.kind == "lose":
            return _hang_up(environ)
        assert answer is not None
        whole = _send(answer, start_response)
        return _cut(environ, whole) if fault and fault.kind == "cut" else whole

    def _s3(self, environ: dict[str, Any], body: bytes, start_response: Any) -> Iterable[bytes]:
        def forward(inner: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
            said: list[Any] = []
            content = b"".join(self._moto(inner, lambda *told: said.extend(told[:2])))
            return int(said[0].split()[0]), said[1], content

        with self.cloud._lock:
            status, headers, content = self.cloud.buckets.answer(
                environ, body, keys={KEY: SECRET}, allowed=self.cloud.allowed, forward=forward
            )
        start_response(f"{status} as told", [item for item in headers if item[0] != "Transfer-Encoding"])
        return [content]

    def _strike(self, call: Call) -> Fault | None:
        for fault in self.cloud.faults:
            at = fault.zone is None or fault.zone == self._zone(call)
            if fault.action == call.action and fault.times > 0 and at:
                fault.times -= 1
                return fault
        return None

    def _rules(self, call: Call) -> Answer | None:
        permission = f"{call.service}:{call.action}"
        is_json = call.service in ("ssm", "pricing", "servicequotas")
        allowed = self.cloud.allowed is None or permission in self.cloud.allowed
        if not allowed or (permission in self.cloud.only_ours and not self._is_ours(call)):
            code = "AccessDeniedException" if is_json else "UnauthorizedOperation"
            text = (
                f"You are not authorized to perform: {permission}. Encoded authorization failure message: 0Xy"
            )
            return refusal(code, text, 400 if is_json else 403, json_like=is_json)
        rule = getattr(self, f"_{call.action}", None)
        return rule(call) if rule else None

    def _forward(self, environ: dict[str, Any], call: Call) -> Answer:
        body = urlencode(call.form).encode() if call.form else b""
        inner = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        said: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
            said.update(status=int(status.split()[0]), kind=dict(headers).get("Content-Type", "text/xml"))

        text = b"".join(self._moto(inner, start_response)).decode()
        answer = Answer(said["status"], text, said["kind"])
        return self._after(call, answer)

    def _is_ours(self, call: Call) -> bool:
        ids = _listed(call.form, r"(InstanceId|ResourceId|SpotInstanceRequestId)(\.\d+)?|VolumeId|GroupId")
        assert ids
        backend = self.cloud.backend(call.region)
        named = [name for name in ids if not name.startswith("sir-")]
        return all(backend.describe_tags({"resource-id": [name], "key": ["launch-home"]}) for name in named)

    # What moto does not know, or does not check

    def _DescribeRegions(self, call: Call) -> Answer:
        regions = [{"regionName": name, "regionEndpoint": f"ec2.{name}.amazonaws.com"} for name in REGIONS]
        return xml("DescribeRegions", "regionInfo", regions)

    def _DescribeInstanceTypes(self, call: Call) -> None:
        patterns = _listed(call.form, r"Filter\.1\.Value\.\d+")
        names = [
            name for name in self.cloud.sold if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        ]
        for key in [key for key in call.form if key.startswith("Filter.1.Value")]:
            del call.form[key]
        for number, name in enumerate(names or ["none.such"], 1):
            call.form[f"Filter.1.Value.{number}"] = name

    def _DescribeInstanceTypeOfferings(self, call: Call) -> Answer:
        names = _listed(call.form, r"Filter\.1\.Value\.\d+")
        items = [
            {"instanceType": name, "locationType": "availability-zone", "location": zone}
            for name in names
            for zone in self.cloud.zones(call.region)
            if _is_sold(name, zone, call.region)
        ]
        return xml(call.action, "instanceTypeOfferingSet", items)

    def _DescribeSpotPriceHistory(self, call: Call) -> Answer:
        names = _listed(call.form, r"InstanceType\.\d+")
        assert call.form["ProductDescription.1"] == "Linux/UNIX"
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        items = [
            {
                "instanceType": name,
                "productDescription": "Linux/UNIX",
                "spotPrice": f"{usd:.6f}",
                "timestamp": now,
                "availabilityZone": zone,
            }
            for (name, zone), usd in self.cloud.spot_usd.items()
            if name in names and zone.startswith(call.region)
        ]
        return xml(call.action, "spotPriceHistorySet", items)

    def _GetProducts(self, call: Call) -> Answer:
        wanted = {item["Field"]: item["Value"] for item in json.loads(call.form["json"])["Filters"]}
        assert wanted["operatingSystem"] == "Linux"
        items = [
            price_list_item(name, region, usd)
            for (name, region), usd in self.cloud.listed_usd.items()
            if region == wanted["regionCode"] and wanted.get("instanceType") in (None, name)
        ]
        return as_json({"FormatVersion": "aws_v1", "PriceList": items})

    def _GetServiceQuota(self, call: Call) -> Answer:
        asked = json.loads(call.form["json"])
        assert asked["ServiceCode"] == "ec2"
        value = self.cloud.quotas.get(asked["QuotaCode"], 4096.0)
        if value is None:
            return refusal("NoSuchResourceException", "The request failed", 400, json_like=True)
        return as_json({"Quota": {"QuotaCode": asked["QuotaCode"], "Value": value, "Unit": "None"}})

    def _GetAWSDefaultServiceQuota(self, call: Call) -> Answer:
        code = json.loads(call.form["json"])["QuotaCode"]
        return as_json({"Quota": {"QuotaCode": code, "Value": 0.0, "Unit": "None"}})

    def _GetParameters(self, call: Call) -> Answer:
        known = self.cloud.parameters[call.region]
        names = json.loads(call.form["json"])["Names"]
        assert len(names) <= 10
        return as_json(
            {
                "Parameters": [{"Name": name, "Value": known[name]} for name in names if name in known],
                "InvalidParameters": [name for name in names if name not in known],
            }
        )

    def _RunInstances(self, call: Call) -> Answer | None:
        form = call.form
        token = form.get("ClientToken", "")
        if before := self.cloud._tokens.get((call.region, token)):
            return self._again(call, *before)
        if form["InstanceType"] not in INSTANCE_TYPES:
            return _no("InvalidParameterValue", f"Invalid value '{form['InstanceType']}' for InstanceType.")
        zone = self._zone(call) or ""
        if not _is_sold(form["InstanceType"], zone, call.region):
            return _no("Unsupported", f"Your requested instance type is not supported in {zone}")
        image = self.cloud.backend(call.region).amis.get(form["ImageId"])
        if image is None:
            return _no("InvalidAMIID.NotFound", f"The image id '[{form['ImageId']}]' does not exist")
        if int(form["BlockDeviceMapping.1.Ebs.VolumeSize"]) < image.root_gib:
            return _no("InvalidBlockDeviceMapping", "Volume smaller than snapshot")
        keys = _listed(form, r"TagSpecification\.\d+\.Tag\.\d+\.Key")
        if any(key.startswith("aws:") for key in keys):
            return _no("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved")
        return None

    def _again(self, call: Call, parameters: str, instance_id: str, answer: Answer) -> Answer:
        if parameters != _digest(call.form):
            return _no("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent")
        if self.cloud.machine(instance_id, call.region).state == "terminated":
            return _no("IdempotentInstanceTerminated", "An instance with this token was terminated")
        return answer

    def _CancelSpotInstanceRequests(self, call: Call) -> Answer:
        ids = _listed(call.form, r"SpotInstanceRequestId\.\d+")
        for name in ids:
            if name not in self.cloud.requests:
                return _no(
                    "InvalidSpotInstanceRequestID.NotFound",
                    f"The spot instance request ID {name} does not exist",
                )
            self.cloud.requests[name]["state"] = "cancelled"
        items = [{"spotInstanceRequestId": name, "state": "cancelled"} for name in ids]
        return xml(call.action, "spotInstanceRequestSet", items)

    def _StopInstances(self, call: Call) -> Answer | None:
        for name in _listed(call.form, r"InstanceId\.\d+"):
            machine = self.cloud.machine(name, call.region)
            if machine.lifecycle == "spot" and self.cloud._request_of(machine).get("type") != "persistent":
                return _no("UnsupportedOperation", f"You can't stop the Spot Instance '{name}'")
        return None

    def _TerminateInstances(self, call: Call) -> None:
        for name in _listed(call.form, r"InstanceId\.\d+"):
            machine = next((m for m in self.cloud.backend(call.region).all_instances() if m.id == name), None)
            request = self.cloud._request_of(machine) if machine else {}
            if request.get("type") == "persistent" and request["state"] == "active":
                self.cloud.refilled.append(name)

    def _ModifyInstanceAttribute(self, call: Call) -> Answer | None:
        machine = self.cloud.machine(call.form["InstanceId"], call.region)
        if "UserData.Value" not in call.form:
            return None
        if machine.state != "stopped":
            return _no("IncorrectInstanceState", f"The instance '{machine.id}' is not in the 'stopped' state")
        machine.user_data = Base64EncodedString(call.form["UserData.Value"])  # moto decodes it once too often
        return xml(call.action, "return", [])

    def _AttachVolume(self, call: Call) -> Answer | None:
        machine = self.cloud.machine(call.form["InstanceId"], call.region)
        volume = self.cloud.backend(call.region).volumes.get(call.form["VolumeId"])
        if machine.state != "running":
            return _no("IncorrectState", f"Instance '{machine.id}' is not 'running'.")
        if volume is None or volume.zone.name != machine.availability_zone:
            return _no("InvalidVolume.ZoneMismatch", "The volume is not in the same availability zone")
        return None

    def _DescribeInstances(self, call: Call) -> Answer | None:
        for name in _listed(call.form, r"InstanceId\.\d+"):
            if not re.fullmatch(r"i-[0-9a-f]{8,17}", name):
                return _no("InvalidInstanceID.Malformed", f'Invalid id: "{name}"')
        if self.cloud.boots:
            for machine in self.cloud.backend(call.region).all_instances():
                if machine.state == "pending":
                    machine._state.name, machine._state.code = "running", 16
        return None

    # What follows a call that moto has answered

    def _after(self, call: Call, answer: Answer) -> Answer:
        if answer.status != 200:
            return answer
        if call.action == "RunInstances":
            found = re.search(r"<instanceId>(i-[0-9a-f]+)</instanceId>", answer.body)
            assert found
            token = (call.region, call.form.get("ClientToken", ""))
            self.cloud._tokens[token] = (_digest(call.form), found[1], answer)
            if self.cloud.on_start:
                self.cloud.on_start(self.cloud.machine(found[1], call.region))
        ids = _listed(call.form, r"InstanceId\.\d+")
        if call.action == "StartInstances" and self.cloud.on_start:
            for name in ids:
                self.cloud.on_start(self.cloud.machine(name, call.region))
        if call.action in ("TerminateInstances", "StopInstances"):
            for name in ids:
                self.cloud._ended(self.cloud.machine(name, call.region))
        return answer

    def _zone(self, call: Call) -> str | None:
        subnet = call.form.get("NetworkInterface.1.SubnetId")
        if not subnet:
            return None
        return str(self.cloud.backend(call.region).get_subnet(subnet).availability_zone)


@contextmanager
def serving() -> Iterator[Ec2Cloud]:
    """One EC2 on a free port of loopback, for as long as the block lasts."""
    cloud = Ec2Cloud()
    with _loopback_addresses(cloud):
        server = make_server("127.0.0.1", 0, Layer(cloud), threaded=True, request_handler=_Quiet)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        cloud.url = f"http://127.0.0.1:{server.server_port}"
        cloud._stock()
        try:
            yield cloud
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Quiet(MotoRequestHandler):  # type: ignore[misc]
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        return


@contextmanager
def _loopback_addresses(cloud: Ec2Cloud) -> Iterator[None]:
    """Machines start as pending and have addresses of this computer: moto's own are real, and somebody's."""
    start, init = MotoInstance.start, MotoInstance.__init__

    def begun(machine: MotoInstance) -> None:
        machine._state.name, machine._state.code = "pending", 0
        for nic in machine.nics.values():
            if nic.public_ip:
                nic.public_ip = cloud.host_of(next(cloud._count))

    def patched_init(machine: MotoInstance, *arguments: Any, **named: Any) -> None:
        init(machine, *arguments, **named)
        begun(machine)
        if named.get("instance_market_options"):
            name = f"sir-{next(cloud._count):08x}"
            form = cloud.calls[-1].form if cloud.calls else {}  # another cloud's machine, in the same process
            kind = form.get("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time")
            cloud.requests[name] = {"type": kind, "state": "active"}
            machine.spot_instance_request_id = name

    def patched_start(machine: MotoInstance) -> Any:
        before = start(machine)
        begun(machine)
        return before

    MotoInstance.__init__, MotoInstance.start = patched_init, patched_start  # type: ignore[method-assign]
    try:
        yield
    finally:
        MotoInstance.__init__, MotoInstance.start = init, start  # type: ignore[method-assign]


def _read_call(environ: dict[str, Any], body: bytes) -> Call:
    scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    assert scope, "every call is signed"
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return Call(scope[2], target.split(".")[-1], scope[1], {"json": body.decode()})
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    return Call(scope[2], form["Action"], scope[1], form)


def _listed(form: dict[str, str], pattern: str) -> list[str]:
    return [value for key, value in form.items() if re.fullmatch(pattern, key)]


def _digest(form: dict[str, str]) -> str:
    return json.dumps(form, sort_keys=True)


def _is_sold(name: str, zone: str, region: str) -> bool:
    return any(
        item["InstanceType"] == name and item["Location"] == zone
        for item in INSTANCE_TYPE_OFFERINGS["availability-zone"][region]
    )


def _no(code: str, message: str) -> Answer:
    return refusal(code, message, 400, json_like=False)


def _send(answer: Answer, start_response: Any) -> Iterable[bytes]:
    body = answer.body.encode()
    headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(body)))]
    start_response(f"{answer.status} as told", headers)
    return [body]


def _cut(environ: dict[str, Any], whole: Iterable[bytes]) -> Iterator[bytes]:
    """Half of an answer whose length was told, and then the end of the connection."""
    body = b"".join(whole)
    yield body[: len(body) // 2]
    yield from _hang_up(environ)


def _hang_up(environ: dict[str, Any]) -> Iterable[bytes]:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("the test wants no answer")
