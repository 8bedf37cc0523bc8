"""HTTP for `GceCloud`: routes, logins, permissions, paging, faults; a token endpoint, a metadata service, a price list."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from google.auth import jwt

from tests.provisioning.gcp import discovery, stock
from tests.provisioning.gcp.buckets import SIGNER, Reply
from tests.provisioning.gcp.cloud import ADDRESS, PROJECT, ROOT, Call, Fault, GceCloud, Refused
from tests.provisioning.gcp.filters import condition
from tests.provisioning.gcp.keys import EMAIL, certificate, sign, write_key_file

TOKENS = ("token-of-the-key", "token-of-the-machine")
LONGEST_WAIT_S = 120.0
_VERBS = {"insert": "create", "patch": "update", "aggregatedList": "list", "wait": "get"}
_BESIDE = {
    "instances.insert": (
        "compute.disks.create",
        "compute.disks.setLabels",
        "compute.instances.setLabels",
        "compute.instances.setMetadata",
        "compute.instances.setTags",
        "compute.subnetworks.use",
        "compute.subnetworks.useExternalIp",
    ),
    "instances.attachDisk": ("compute.disks.use",),
    "firewalls.insert": ("compute.networks.updatePolicy",),
    "firewalls.patch": ("compute.networks.updatePolicy",),
}
"""What a call needs beside the permission that is named like it."""


class Api:
    """The methods of the API that are in use; any other is answered as if it did not exist."""

    def __init__(self, cloud: GceCloud) -> None:
        self.cloud = cloud

    def answer(self, call: Call, fault: Fault | None) -> dict[str, Any]:
        method = getattr(self, "_" + call.method.replace(".", "_"), None)
        if method is None:
            raise Refused(404, "notFound", f"the stand-in does not know {call.method}")
        if call.places.get("project") not in (PROJECT, *stock.images()):
            raise Refused(
                404, "notFound", f"The resource 'projects/{call.places.get('project')}' was not found"
            )
        self.cloud.advance()
        if fault and fault.kind == "fail":
            call.query["fault"] = fault.code
            self._fault = fault
        else:
            self._fault = None
        told: dict[str, Any] = method(call)
        return told

    _fault: Fault | None = None

    # Looking

    def _projects_get(self, call: Call) -> dict[str, Any]:
        return {"name": PROJECT, "quotas": self._quotas("")}

    def _regions_get(self, call: Call) -> dict[str, Any]:
        return {"name": call.places["region"], "quotas": self._quotas(call.places["region"])}

    def _quotas(self, place: str) -> list[dict[str, Any]]:
        return [
            {"metric": metric, "limit": limit, "usage": 0.0}
            for (where, metric), limit in self.cloud.quotas.items()
            if where == place
        ]

    def _regions_list(self, call: Call) -> dict[str, Any]:
        return self._listed(call, [{"name": name, "status": "UP"} for name in stock.REGIONS])

    def _machineTypes_aggregatedList(self, call: Call) -> dict[str, Any]:
        items = [{**item, "zone": zone} for zone in stock.ZONES for item in stock.TYPES]
        return self._aggregated(call, items, "machineTypes")

    def _acceleratorTypes_aggregatedList(self, call: Call) -> dict[str, Any]:
        items = [
            {"name": name, "zone": f"{ROOT}/zones/{zone}", "maximumCardsPerInstance": most}
            for zone in stock.ZONES
            for name, most in stock.cards_of(zone).items()
        ]
        return self._aggregated(call, items, "acceleratorTypes")

    def _images_list(self, call: Call) -> dict[str, Any]:
        return self._listed(call, stock.images().get(call.places["project"], []))

    def _images_get(self, call: Call) -> dict[str, Any]:
        return self._found(
            call,
            "image",
            [
                item
                for item in stock.images().get(call.places["project"], [])
                if item["name"] == call.places["image"]
            ],
        )

    def _images_getFromFamily(self, call: Call) -> dict[str, Any]:
        return self._found(
            call,
            "family",
            [
                item
                for item in stock.images().get(call.places["project"], [])
                if item["family"] == call.places["family"]
            ][-1:],
        )

    def _networks_get(self, call: Call) -> dict[str, Any]:
        return self._found(
            call,
            "network",
            [{"name": name} for name in self.cloud.networks if name == call.places["network"]],
        )

    def _instances_get(self, call: Call) -> dict[str, Any]:
        return self._machine(call)

    def _instances_aggregatedList(self, call: Call) -> dict[str, Any]:
        return self._aggregated(call, list(self.cloud.machines.values()), "instances")

    def _disks_get(self, call: Call) -> dict[str, Any]:
        return self._disk(call)

    def _disks_aggregatedList(self, call: Call) -> dict[str, Any]:
        return self._aggregated(call, list(self.cloud.disks.values()), "disks")

    def _firewalls_get(self, call: Call) -> dict[str, Any]:
        name = call.places["firewall"]
        return self._found(
            call, "firewall", [self.cloud.firewalls[name]] if name in self.cloud.firewalls else []
        )

    def _instances_getGuestAttributes(self, call: Call) -> dict[str, Any]:
        path = call.query.get("queryPath", "")
        return {
            "queryPath": path,
            "queryValue": {"items": self.cloud.attributes_of(self._machine(call), path)},
        }

    def _zoneOperations_list(self, call: Call) -> dict[str, Any]:
        zone = f"{ROOT}/zones/{call.places['zone']}"
        return self._listed(
            call, [op.resource for op in self.cloud.operations.values() if op.resource.get("zone") == zone]
        )

    def _zoneOperations_wait(self, call: Call) -> dict[str, Any]:
        return self._waited(call)

    def _globalOperations_wait(self, call: Call) -> dict[str, Any]:
        return self._waited(call)

    def _waited(self, call: Call) -> dict[str, Any]:
        operation = self.cloud.operations.get(call.places["operation"])
        if operation is None:
            raise Refused(
                404, "notFound", f"The resource 'operations/{call.places['operation']}' was not found"
            )
        return operation.resource

    # Changing

    def _instances_insert(self, call: Call) -> dict[str, Any]:
        assert call.body is not None
        request = call.query.get("requestId")
        if before := self.cloud.repeated(request):
            return before
        return self.cloud.insert(call.places["zone"], call.body, request, self._fault)

    def _instances_delete(self, call: Call) -> dict[str, Any]:
        return self._changed(call)

    def _instances_stop(self, call: Call) -> dict[str, Any]:
        return self._changed(call)

    def _instances_start(self, call: Call) -> dict[str, Any]:
        return self._changed(call)

    def _changed(self, call: Call) -> dict[str, Any]:
        request = call.query.get("requestId")
        return self.cloud.repeated(request) or self.cloud.change(
            call.method, call.places["zone"], self._machine(call), request, self._fault
        )

    def _instances_setScheduling(self, call: Call) -> dict[str, Any]:
        machine = self._machine(call)
        assert call.body is not None
        for fixed in ("provisioningModel", "preemptionNoticeDuration"):
            if call.body.get(fixed) != machine["scheduling"].get(fixed):
                raise Refused(
                    400, "invalid", f"Invalid value for field 'resource.{fixed}': it cannot be changed"
                )
        return self._done(call, lambda: machine.update(scheduling=call.body))

    def _instances_setDiskAutoDelete(self, call: Call) -> dict[str, Any]:
        disk = self._attached(call)
        return self._done(call, lambda: disk.update(autoDelete=call.query["autoDelete"] == "true"))

    def _instances_detachDisk(self, call: Call) -> dict[str, Any]:
        machine, disk = self._machine(call), self._attached(call)
        if machine["status"] != "TERMINATED":
            raise Refused(400, "invalid", "Cannot detach boot disk from running instance")

        def detach() -> None:
            machine["disks"].remove(disk)
            self.cloud.note_users()

        return self._done(call, detach)

    def _instances_attachDisk(self, call: Call) -> dict[str, Any]:
        machine, body = self._machine(call), call.body
        assert body is not None
        found = self.cloud.disks.get((call.places["zone"], body["source"].rpartition("/")[2]))
        if found is None or found.get("users"):
            raise Refused(400, "resourceInUseByAnotherResource", "The disk resource is already being used")

        def attach() -> None:
            machine["disks"].append({"autoDelete": False, **body})
            self.cloud.note_users()

        return self._done(call, attach)

    def _disks_delete(self, call: Call) -> dict[str, Any]:
        disk = self._disk(call)
        if disk.get("users"):
            raise Refused(
                400,
                "resourceInUseByAnotherResource",
                f"The disk resource '{disk['name']}' is already being used",
            )
        key = (call.places["zone"], disk["name"])
        return self._done(call, lambda: self.cloud.disks.pop(key, None))

    def _firewalls_insert(self, call: Call) -> dict[str, Any]:
        assert call.body is not None
        name = call.body["name"]
        if name in self.cloud.firewalls:
            raise Refused(409, "alreadyExists", f"The resource 'firewalls/{name}' already exists")
        if call.body["network"].rpartition("/")[2] not in self.cloud.networks:
            raise Refused(400, "invalid", "Invalid value for field 'resource.network'")
        return self._done(call, lambda: self.cloud.firewalls.setdefault(name, call.body))

    def _firewalls_patch(self, call: Call) -> dict[str, Any]:
        rule = self._firewalls_get(call)
        return self._done(call, lambda: rule.update(call.body or {}))

    def _done(self, call: Call, finish: Any) -> dict[str, Any]:
        zone = call.places.get("zone")
        name = next(iter([value for key, value in call.places.items() if key not in ("project", "zone")]), "")
        errors = [{"code": self._fault.code, "message": self._fault.message}] if self._fault else None
        kind = call.method.partition(".")[2]
        target = f"zones/{zone}/instances/{name}" if zone else f"global/{name}"
        return self.cloud.begin(kind, target, (lambda: None) if errors else finish, zone=zone, errors=errors)

    # Finding

    def _machine(self, call: Call) -> dict[str, Any]:
        key = (call.places["zone"], call.places["instance"])
        return self._found(call, "instance", [self.cloud.machines[key]] if key in self.cloud.machines else [])

    def _disk(self, call: Call) -> dict[str, Any]:
        key = (call.places["zone"], call.places["disk"])
        return self._found(call, "disk", [self.cloud.disks[key]] if key in self.cloud.disks else [])

    def _attached(self, call: Call) -> dict[str, Any]:
        name = call.query["deviceName"]
        found = [disk for disk in self._machine(call)["disks"] if disk["deviceName"] == name]
        return self._found(call, "instance", found)

    def _found(self, call: Call, what: str, items: list[dict[str, Any]]) -> dict[str, Any]:
        if not items:
            raise Refused(404, "notFound", f"The resource '{what}s/{call.places.get(what)}' was not found")
        return items[0]

    # Lists

    def _listed(self, call: Call, items: list[dict[str, Any]]) -> dict[str, Any]:
        page, more = self._page(call, items)
        return {"items": page, **more} if page else dict(more)

    def _aggregated(self, call: Call, items: list[dict[str, Any]], key: str) -> dict[str, Any]:
        page, more = self._page(call, items)
        scopes: dict[str, Any] = {}
        for item in page:
            scopes.setdefault("zones/" + item["zone"].rpartition("/")[2], {}).setdefault(key, []).append(item)
        empty = {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "There are no results for this scope."}}
        for zone in stock.ZONES:
            scopes.setdefault(f"zones/{zone}", dict(empty))
        return {"items": scopes, **more}

    def _page(self, call: Call, items: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        try:
            passes = condition(call.query.get("filter"))
        except ValueError as error:
            raise Refused(400, "invalid", str(error)) from None
        found = [item for item in items if passes(item)]
        start = int(call.query.get("pageToken") or 0)
        end = start + min(self.cloud.page_size, int(call.query.get("maxResults") or 500))
        return found[start:end], {"nextPageToken": str(end)} if end < len(found) else {}


class Handler(BaseHTTPRequestHandler):
    cloud: GceCloud
    api: Api

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        told = urlsplit(self.path)
        query = dict(parse_qsl(told.query, keep_blank_values=True))
        query.pop("$alt", None)
        lost = False
        try:
            if told.path == "/address":
                self._send(200, f"{ADDRESS}\n", "text/plain")
                return
            if told.path == "/token":
                self._send(200, json.dumps(self._token(body)))
                return
            if told.path.startswith("/computeMetadata/"):
                self._metadata(told.path)
                return
            if "X-Goog-Signature" in query:
                self._reply(self.cloud.buckets.signed(self.command, told.path, query, self.headers, body))
                return
            self._check_login()
            if told.path.endswith(":signBlob"):
                answer = self._signature(told.path, json.loads(body))
            elif reply := self.cloud.buckets.api(self.command, told.path, query):
                self._check_named(f"storage.objects.{'list' if self.command == 'GET' else 'delete'}")
                self._reply(reply)
                return
            elif told.path.startswith("/v1/services/"):
                answer = self._skus(query)
            else:
                answer, lost = self._compute(told.path, query, body)
        except Refused as error:
            self._send(error.status, _refusal(error))
            return
        except _NoAnswer:
            lost, answer = True, {}
        if lost:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(200, json.dumps(answer))

    def _compute(self, path: str, query: dict[str, str], body: bytes) -> tuple[dict[str, Any], bool]:
        found = discovery.route_of(self.command, path)
        if found is None:
            raise Refused(404, "notFound", f"no such method: {self.command} {path}")
        route, places = found
        told = json.loads(body) if body else None
        faults = discovery.faults_of_query(route, query)
        if route.body and told is None:
            faults.append(f"{route.id} needs a body")
        if told is not None:
            faults += discovery.faults_of(route.body, told) if route.body else [f"{route.id} takes no body"]
        if faults:
            raise Refused(400, "invalid", "; ".join(faults))
        call = Call(route.id, places, query, told)
        with self.cloud.lock:
            self.cloud.calls.append(call)
            self._check_permission(route.id)
            fault = self._strike(call)
            if fault and fault.kind == "hang_up":
                raise _NoAnswer
            if fault and fault.kind == "refuse":
                raise Refused(fault.status, fault.code, fault.message)
            answer = json.loads(json.dumps(self.api.answer(call, fault)))
        if route.id.endswith("Operations.wait"):
            answer = self._wait(call, answer)
        wrong = discovery.faults_of(route.answer, answer, "answer")
        assert not wrong, wrong
        return answer, bool(fault and fault.kind == "lose")

    def _wait(self, call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        """As the real one: answers when the operation has ended, or after two minutes."""
        give_up_at = time.monotonic() + LONGEST_WAIT_S
        while answer["status"] != "DONE" and time.monotonic() < give_up_at:
            time.sleep(0.01)
            with self.cloud.lock:
                answer = json.loads(json.dumps(self.api.answer(call, None)))
        return answer

    def _strike(self, call: Call) -> Fault | None:
        for fault in self.cloud.faults:
            at = fault.zone is None or fault.zone == call.places.get("zone")
            if fault.method == call.method and fault.times > 0 and at:
                fault.times -= 1
                return fault
        return None

    # Logins

    def _check_login(self) -> None:
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if bearer in TOKENS:
            return
        try:
            claims = jwt.decode(bearer, certs=certificate(), clock_skew_in_seconds=30)
            assert claims["iss"] == claims["sub"] == EMAIL
            assert "cloud-platform" in claims.get("scope", "") or claims.get("aud")
        except (ValueError, AssertionError, KeyError):
            raise Refused(401, "authError", "Request had invalid authentication credentials.") from None

    def _token(self, body: bytes) -> dict[str, Any]:
        form = dict(parse_qsl(body.decode()))
        try:
            claims = jwt.decode(form["assertion"], certs=certificate(), clock_skew_in_seconds=30)
        except (ValueError, KeyError):
            raise Refused(400, "invalid_grant", "Invalid JWT Signature.") from None
        assert claims["iss"] == EMAIL
        return {"access_token": TOKENS[0], "expires_in": 3600, "token_type": "Bearer"}

    def _metadata(self, path: str) -> None:
        if self.headers.get("Metadata-Flavor") != "Google":
            self._send(403, "Missing Metadata-Flavor:Google header.", "text/html")
        elif path.endswith("/project/project-id"):
            self._send(200, PROJECT, "application/text")
        elif path.endswith("/instance/service-accounts/default/token"):
            self._send(
                200, json.dumps({"access_token": TOKENS[1], "expires_in": 3600, "token_type": "Bearer"})
            )
        else:
            self._send(404, "", "text/html")

    def _check_permission(self, method: str) -> None:
        resource, _, verb = method.partition(".")
        needed = (f"compute.{resource}.{_VERBS.get(verb, verb)}", *_BESIDE.get(method, ()))
        self.cloud.used.update(needed)
        for permission in needed:
            self._check_named(permission)

    def _check_named(self, permission: str) -> None:
        if self.cloud.allowed is not None and permission not in self.cloud.allowed:
            raise Refused(403, "forbidden", f"Required '{permission}' permission for 'projects/{PROJECT}'")

    def _signature(self, path: str, told: Mapping[str, str]) -> dict[str, str]:
        """IAM signs for whoever may impersonate the account."""
        self._check_named("iam.serviceAccounts.signBlob")
        if path != f"/v1/projects/-/serviceAccounts/{SIGNER}:signBlob":
            raise Refused(404, "notFound", "Unknown service account")
        return {
            "keyId": "1",
            "signedBlob": base64.b64encode(sign(base64.b64decode(told["payload"]))).decode(),
        }

    def _skus(self, query: Mapping[str, str]) -> dict[str, Any]:
        if self.cloud.skus is None:
            raise Refused(
                403,
                "accessNotConfigured",
                "Cloud Billing API has not been used in project before or it is disabled.",
            )
        start = int(query.get("pageToken") or 0)
        if start and self._strike(Call("cloudbilling.skus.list", {}, {}, None)):
            raise _NoAnswer
        page, end = self.cloud.skus[start : start + 5], start + 5
        return {"skus": page, "nextPageToken": str(end) if end < len(self.cloud.skus) else ""}

    def _send(self, status: int, text: str, kind: str = "application/json; charset=UTF-8") -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if kind.endswith("text") or "Metadata-Flavor" in self.headers:
            self.send_header("Metadata-Flavor", "Google")
        self.end_headers()
        self.wfile.write(data)

    def _reply(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        return


class _NoAnswer(Exception):
    """The test wants the connection to break."""


def _refusal(error: Refused) -> str:
    said = {"message": error.message, "domain": "global", "reason": error.reason}
    return json.dumps({"error": {"code": error.status, "message": error.message, "errors": [said]}})


@contextmanager
def serving(folder: Path) -> Iterator[GceCloud]:
    """One Compute Engine on a free port of loopback, for as long as the block lasts; its key file lies in ``folder``."""
    cloud = GceCloud()
    handler = type("BoundHandler", (Handler,), {"cloud": cloud, "api": Api(cloud)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    cloud.url = f"http://127.0.0.1:{server.server_port}"
    cloud.key_file = str(write_key_file(folder, f"{cloud.url}/token", PROJECT))
    try:
        yield cloud
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
