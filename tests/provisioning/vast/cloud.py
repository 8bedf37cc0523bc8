"""Vast.ai's REST API on loopback, in the shapes of its published description: real HTTP, and as strict as that.

Whatever is sent that the description does not have is refused and noted in `violations`. It knows keys and their
rights, offers that vanish or rise, bids, outbidding, half-made instances, pages, per-endpoint rate limits, and faults.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "account-key-of-the-test"
MONTH_H = 720.0
THRESHOLDS = {"create": 4.5, "destroy": 3.0, "manage": 1.0, "list": 1.0, "show": 2.0, "bid": 5.5}
"""Least seconds between two calls of one key, from the description of each endpoint."""
SEARCH_FILTERS = frozenset(
    [
        "verified",
        "rentable",
        "rented",
        "gpu_name",
        "reliability",
        "num_gpus",
        "gpu_ram",
        "duration",
        "machine_id",
        "dlperf_per_dphtotal",
        "dph_total",
        "flops_per_dphtotal",
        "geolocation",
        "gpu_arch",
        "dlperf",
        "cuda_max_good",
        "inet_down",
        "inet_up",
        "inet_down_cost",
        "inet_up_cost",
        "driver_version",
        "compute_cap",
        "cpu_arch",
        "has_avx",
        "cpu_cores",
        "cpu_cores_effective",
        "cpu_ghz",
        "cpu_ram",
        "datacenter",
        "external",
        "disk_bw",
        "disk_space",
        "bw_nvlink",
        "gpu_max_power",
        "gpu_max_temp",
        "gpu_mem_bw",
        "gpu_total_ram",
        "gpu_frac",
        "gpu_display_active",
        "direct_port_count",
        "host_id",
        "id",
        "min_bid",
        "mobo_name",
        "pci_gen",
        "pcie_bw",
        "storage_cost",
        "static_ip",
        "total_flops",
        "os_version",
        "ubuntu_version",
        "verification",
        "vms_enabled",
    ]
)
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda have, want: have == want,
    "neq": lambda have, want: have != want,
    "gt": lambda have, want: have > want,
    "gte": lambda have, want: have >= want,
    "lt": lambda have, want: have < want,
    "lte": lambda have, want: have <= want,
    "in": lambda have, want: have in want,
    "notin": lambda have, want: have not in want,
}
CREATE_FIELDS: dict[str, type | tuple[type, ...]] = {
    "image": str,
    "template_hash_id": str,
    "label": str,
    "disk": (int, float),
    "runtype": str,
    "target_state": str,
    "price": (int, float),
    "env": str,
    "cancel_unavail": bool,
    "vm": bool,
    "onstart": str,
    "args": list,
    "args_str": str,
    "use_jupyter_lab": bool,
    "jupyter_dir": str,
    "python_utf8": bool,
    "lang_utf8": bool,
    "force": bool,
    "user": str,
    "image_login": str,
    "volume_info": dict,
}
RUNTYPES = ("ssh", "jupyter", "args", "ssh_proxy", "ssh_direct", "jupyter_proxy", "jupyter_direct")
LIST_PARAMETERS = {"limit", "after_token", "order_by", "select_cols", "select_filters"}


@dataclass
class Fault:
    """Strikes calls of one kind until it has struck ``times``."""

    call: str
    """``user``, ``search``, ``create``, ``show``, ``list``, ``manage``, ``bid``, ``destroy``."""
    status: int = 500
    code: str = ""
    message: str = "as the test wants it"
    times: int = 1
    kind: str = "refuse"
    """``refuse``, ``text`` (plain text), ``hang_up`` (no answer, nothing done), ``lose`` (done, no answer),
    ``half`` (an error that carries a new contract), ``lag`` (an empty list, or null)."""


@dataclass
class Call:
    """One request, as it came."""

    name: str
    method: str
    path: str
    body: Any
    key: str
    id: str = ""


@dataclass
class Machine:
    """One host's machine. ``ask_ids`` are the slices that it offers; each id can be accepted once."""

    machine_id: int
    gpu_name: str = "RTX 4090"
    num_gpus: int = 1
    gpu_ram: int = 24564
    dph_base: float = 0.40
    min_bid: float = 0.20
    storage_cost: float = 0.15
    inet_down_cost: float = 0.01
    inet_up_cost: float = 0.02
    more: dict[str, Any] = field(default_factory=dict)
    ask_ids: list[int] = field(default_factory=list)

    def ask(self, ask_id: int, *, kind: str, disk_gb: float) -> dict[str, Any]:
        """A slice as a search shows it."""
        base = self.min_bid if kind == "bid" else self.dph_base
        row = {
            "id": ask_id,
            "ask_contract_id": ask_id,
            "bundle_id": 10_000 + self.machine_id,
            "machine_id": self.machine_id,
            "host_id": 500 + self.machine_id,
            "gpu_name": self.gpu_name,
            "gpu_arch": "nvidia",
            "cpu_arch": "amd64",
            "num_gpus": self.num_gpus,
            "gpu_ram": self.gpu_ram,
            "gpu_total_ram": self.gpu_ram * self.num_gpus,
            "gpu_frac": 0.5,
            "compute_cap": 890,
            "cuda_max_good": 13.0,
            "driver_version": "580.95.05",
            "cpu_cores": 32,
            "cpu_cores_effective": 16.0,
            "cpu_ram": 128 * 1024,
            "disk_space": 500.0,
            "disk_bw": 2000.0,
            "inet_down": 800.0,
            "inet_up": 400.0,
            "inet_down_cost": self.inet_down_cost,
            "inet_up_cost": self.inet_up_cost,
            "storage_cost": self.storage_cost,
            "dph_base": base,
            "dph_total": base + disk_gb * self.storage_cost / MONTH_H,
            "min_bid": self.min_bid,
            "reliability": 0.995,
            "reliability2": 0.995,
            "verification": "verified",
            "verified": True,
            "datacenter": False,
            "rentable": True,
            "rented": False,
            "duration": 20 * 86400.0,
            "end_date": 1_900_000_000.0,
            "static_ip": True,
            "direct_port_count": 8,
            "geolocation": "California, US",
        }
        return {**row, **self.more}


@dataclass
class VastCloud:
    """What a test may look at and change. Use `serving`."""

    url: str = ""
    machines: dict[int, Machine] = field(default_factory=dict)
    instances: dict[int, dict[str, Any]] = field(default_factory=dict)
    destroyed: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    """What was sent that the description does not have."""
    credit: float = 25.0
    limited: bool = False
    """Enforce the rate limits."""
    boots: bool = True
    """False: containers stay in ``loading``."""
    start_message: str = ""
    """What ``status_msg`` says while a container starts."""
    stands_still: bool = False
    """True: what a test has written into an instance stays as it is."""
    rises_by: float = 0.0
    """How much dearer an instance is than its ask said."""
    clock: Callable[[], float] = time.monotonic
    on_start: Callable[[dict[str, Any]], None] | None = None
    on_end: Callable[[dict[str, Any]], None] | None = None
    _last: dict[tuple[str, str], float] = field(default_factory=dict)
    _searches: dict[str, list[float]] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(7001))
    lock: threading.RLock = field(default_factory=threading.RLock)

    # For tests

    def environ(self, **more: str) -> dict[str, str]:
        return {"VAST_URL": self.url, "VAST_API_KEY": KEY, "HOME": "/nonexistent", **more}

    def reset(self) -> None:
        with self.lock:
            fresh = VastCloud(url=self.url)
            for name in vars(fresh):
                if name not in ("url", "lock", "_ids"):
                    setattr(self, name, getattr(fresh, name))
            for machine_id in (11, 12, 13):
                self.add(machine_id, dph_base=0.30 + 0.01 * machine_id, min_bid=0.15 + 0.01 * machine_id)
            self.add(21, slices=2, gpu_name="Tesla T4", gpu_ram=15360, dph_base=0.12, min_bid=0.06)
            self.add(22, gpu_name="A100 SXM4", gpu_ram=81920, num_gpus=2, dph_base=1.9, min_bid=1.0)

    def add(self, machine_id: int, slices: int = 1, **fields: Any) -> Machine:
        machine = Machine(machine_id, ask_ids=[next(self._ids) for _ in range(slices)], **fields)
        self.machines[machine_id] = machine
        return machine

    def named(self, name: str) -> list[Call]:
        return [call for call in self.calls if call.name == name]

    def row(self, instance_id: str | int) -> dict[str, Any]:
        return self.instances[int(instance_id)]

    def outbid(self, instance_id: str | int) -> None:
        """Somebody pays more: the container is killed, its disk stays."""
        with self.lock:
            row = self.row(instance_id)
            assert row["is_bid"]
            machine = self.machines[row["machine_id"]]
            machine.min_bid = row["min_bid"] = round(row["dph_base"] * 1.5, 4)
            self._halt(row, "outbid")

    def win_again(self, instance_id: str | int) -> None:
        """What Vast does of itself when a bid is the highest again."""
        with self.lock:
            row = self.row(instance_id)
            row["min_bid"] = row["dph_base"] / 2
            self._set_running(row)

    # The rules

    def answer(self, call: Call, query: dict[str, str]) -> tuple[int, Any] | None:
        """Return status and body; None for no answer at all."""
        with self.lock:
            self.calls.append(call)
            fault = self._strike(call)
            if fault and fault.kind == "hang_up":
                return None
            if fault and fault.kind == "text":
                return fault.status, fault.message
            if fault and fault.kind == "refuse":
                return fault.status, {"success": False, "error": fault.code, "msg": fault.message}
            if fault and fault.kind == "lag":
                return 200, {"instances": None} if call.name == "show" else _page([], 0, None)
            if (refused := self._throttled(call)) is not None:
                return refused
            if (refused := self._unauthorized(call)) is not None:
                return refused
            status, body = getattr(self, f"_{call.name}")(call, query)
            if fault and fault.kind == "half" and status == 200:
                row = self.instances[body["new_contract"]]
                self._halt(row, "bid too low")
                return 400, {**body, "success": False, "error": "invalid_price", "msg": "bid is too low"}
            return None if fault and fault.kind == "lose" else (status, body)

    def _strike(self, call: Call) -> Fault | None:
        for fault in self.faults:
            if fault.call == call.name and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def _throttled(self, call: Call) -> tuple[int, Any] | None:
        if not self.limited:
            return None
        now = self.clock()
        if call.name == "search":
            recent = [at for at in self._searches.get(call.key, []) if now - at < 60.0]
            self._searches[call.key] = [*recent, now]
            return (429, "API requests too frequent") if len(recent) >= 10 else None
        least = THRESHOLDS.get(call.name, 0.0)
        last = self._last.get((call.name, call.key), -1e9)
        self._last[call.name, call.key] = now
        if now - last >= least:
            return None
        words = f"API requests too frequent endpoint threshold={least}"
        if call.name == "destroy":
            return 429, {"success": False, "error": "rate_limit_exceeded", "msg": words}
        return 429, words if call.name == "show" else {"detail": words}

    def _unauthorized(self, call: Call) -> tuple[int, Any] | None:
        if call.key == KEY or (call.name == "search" and not call.key):
            return None
        owner = next((i for i, row in self.instances.items() if row["_key"] == call.key), None)
        if owner is not None and call.name in ("show", "manage", "destroy"):
            if str(owner) == call.id and not (call.name == "manage" and "label" in (call.body or {})):
                return None
            return 403, {"success": False, "error": "auth_error", "msg": "this key may not do that"}
        status = 404 if call.name == "search" else 401
        return status, {"success": False, "error": "auth_error", "msg": "Invalid user key"}

    def _violation(self, words: str, error: str = "invalid_args") -> tuple[int, Any]:
        self.violations.append(words)
        return 400, {"success": False, "error": error, "msg": f"error 400/3467: Invalid args: {words}"}

    # The endpoints

    def _user(self, call: Call, query: dict[str, str]) -> tuple[int, Any]:
        return 200, {
            "id": 1,
            "email": "ann@example.org",
            "balance": 0.0,
            "credit": self.credit,
            "ssh_key": "",
        }

    def _search(self, call: Call, query: dict[str, str]) -> tuple[int, Any]:
        told = dict(call.body)
        kind = told.pop("type", "ondemand")
        disk, limit, order = told.pop("allocated_storage", 5.0), told.pop("limit", 64), told.pop("order", [])
        if kind not in ("ondemand", "on-demand", "bid", "reserved"):
            return self._violation(f"search: type {kind!r}", "invalid_request")
        for name, wish in told.items():
            if name not in SEARCH_FILTERS:
                return self._violation(f"search: {name} is not a valid search key", "invalid_request")
            if not isinstance(wish, dict) or not set(wish) <= set(OPERATORS):
                return self._violation(f"search: {name}: {wish!r}", "invalid_request")
        wanted = {"verified": {"eq": True}, "rentable": {"eq": True}, "rented": {"eq": False}, **told}
        asks = [
            item.ask(ask_id, kind=kind, disk_gb=disk)
            for item in self.machines.values()
            for ask_id in item.ask_ids
        ]
        found = [ask for ask in asks if _fits(ask, wanted)]
        for column, way in reversed(order):
            found.sort(key=lambda ask, column=column: ask[column], reverse=way == "desc")  # type: ignore[misc]
        return 200, {"offers": found[:limit]}

    def _create(self, call: Call, query: dict[str, str]) -> tuple[int, Any]:
        told = call.body
        for name, value in told.items():
            kind = CREATE_FIELDS.get(name)
            if kind is None or not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
                return self._violation(f"create: {name}={value!r}")
        if "image" not in told or len(told["image"]) > 1024:
            return self._violation("create: image")
        if told.get("runtype", "ssh") not in RUNTYPES:
            return self._violation(f"create: runtype {told['runtype']!r}")
        if told.get("target_state", "running") not in ("running", "stopped"):
            return self._violation("create: target_state")
        if len(told.get("label", "")) > 256:
            return self._violation("create: label is longer than 256")
        if len(told.get("onstart", "")) + len(told.get("args_str", "")) > 4096:
            return self._violation("create: onstart is longer than 4096")
        if told.get("disk", 8) < 8:
            return self._violation("create: disk below 8")
        if "price" in told and not 0.001 <= told["price"] <= 128.0:
            return 400, {"success": False, "error": "invalid_price", "msg": "price"}
        machine = next((item for item in self.machines.values() if int(call.id) in item.ask_ids), None)
        gone = f"error 404/3603: no_such_ask Instance type by id {call.id} is not available."
        if machine is None:
            return 404, {"success": False, "error": "invalid_args", "msg": gone, "ask_id": int(call.id)}
        is_bid = "price" in told
        if is_bid and told["price"] < machine.min_bid:
            if told.get("cancel_unavail", False):
                words = f"error 410/3907: no_such_ask Instance type {call.id} is no longer available."
                return 410, {"success": False, "error": "no_such_ask", "msg": words, "ask_id": int(call.id)}
            row = self._rent(machine, int(call.id), told)
            self._halt(row, "bid too low")
            words = {"success": False, "error": "invalid_price", "msg": "bid is too low"}
            return 400, {**words, "new_contract": row["id"]}
        row = self._rent(machine, int(call.id), told)
        return 200, {"success": True, "new_contract": row["id"], "instance_api_key": row["_key"]}

    def _rent(self, machine: Machine, ask_id: int, told: dict[str, Any]) -> dict[str, Any]:
        machine.ask_ids.remove(ask_id)
        instance_id = next(self._ids)
        is_bid, disk = "price" in told, float(told.get("disk", 10.0))
        price = told["price"] if is_bid else machine.dph_base + self.rises_by
        ask = machine.ask(ask_id, kind="on-demand", disk_gb=disk)
        kept = (
            "machine_id",
            "host_id",
            "gpu_name",
            "num_gpus",
            "gpu_ram",
            "cpu_arch",
            "cpu_cores",
            "cpu_ram",
        )
        more = (
            "cpu_cores_effective",
            "geolocation",
            "verification",
            "reliability2",
            "storage_cost",
            "min_bid",
        )
        row = {
            **{name: ask[name] for name in (*kept, *more)},
            "id": instance_id,
            "actual_status": None,
            "cur_state": "running",
            "next_state": "running",
            "intended_status": "running",
            "label": told.get("label"),
            "image_uuid": told["image"],
            "image_runtype": told.get("runtype", "ssh"),
            "image_args": [],
            "extra_env": [],
            "onstart": told.get("onstart"),
            "status_msg": None,
            "public_ipaddr": f"127.78.0.{machine.machine_id}\n",
            "ssh_host": "127.79.0.1",
            "ssh_idx": "1",
            "ssh_port": 20000 + instance_id,
            "ports": None,
            "start_date": time.time(),
            "end_date": 1_900_000_000.0,
            "disk_space": disk,
            "is_bid": is_bid,
            "dph_base": price,
            "dph_total": price + disk * machine.storage_cost / MONTH_H,
            "_key": f"container-key-{instance_id}",
            "_started": False,
        }
        self.instances[instance_id] = row
        return row

    def _show(self, call: Call, query: dict[str, str]) -> tuple[int, Any]:
        if set(query) - {"owner", "api_key"}:
            return self._violation(f"show: {query}")
        row = self.instances.get(int(call.id))
        if row is not None:
            self._advance(row)
        return 200, {"instances": None if row is None else _shown(row)}

    def _list(self, call: Call, query: dict[str, str]) -> tuple[int, Any]:
        if set(query) - LIST_PARAMETERS:
            return self._violation(f"list: {query}", "invalid_request")
        limit = min(int(query.get("limit", 25)), 25)
        after = query.get("after_token")
        if after is not None and not after.startswith("after-"):
            return 400, {"success": False, "error": "invalid_token", "msg": "invalid token"}
        ids = [i for i in sorted(self.instances) if after is None or i > int(after.removeprefix("after-"))]
        rows = [self.instances[i] for i in ids[:limit]]
        token = f"after-{rows[-1]['id']}" if len(ids) > limit else None
        return 200, _page([_shown(row) for row in rows], len(self.instances), token)

    def _manage(self, call: Call, query: dict[str, str]) -> tuple[int, Any]:
        told = call.body
        if not told or set(told) - {"state", "label"}:
            return self._violation(f"manage: {told}")
        row = self.instances.get(int(call.id))
        if row is None:
            return 404, {"success": False, "error": "no_such_instance", "msg": "no such instance"}
        if "label" in told:
            if not isinstance(told["label"], str) or len(told["label"]) > 1024:
                return 400, {"success": False, "error": "label_too_long", "msg": "label"}
            row["label"] = told["label"]
        if "state" in told:
            if told["state"] not in ("running", "stopped"):
                return self._violation(f"manage: {told}")
            if told["state"] == "stopped":
                self._halt(row, "stopped")
            elif row["intended_status"] != "running" and self._may_run(row):
                self._set_running(row)
        return 200, {"success": True}

    def _bid(self, call: Call, query: dict[str, str]) -> tuple[int, Any]:
        told = call.body
        if set(told) != {"client_id", "price"} or told["client_id"] != "me":
            return self._violation(f"bid: {told}")
        row = self.instances.get(int(call.id))
        if row is None:
            return 404, {"success": False, "error": "no_such_instance", "msg": "no such instance"}
        if not 0.001 <= told["price"] <= 32.0 * row["num_gpus"]:
            words = "Please set a bid price >= 0.001."
            return 400, {"success": False, "error": "invalid_args", "msg": words}
        row["dph_base"] = told["price"]
        return 200, {"success": True}

    def _destroy(self, call: Call, query: dict[str, str]) -> tuple[int, Any]:
        row = self.instances.pop(int(call.id), None)
        if row is None:
            return 404, {"success": False, "error": "not_found", "msg": "Instance not found"}
        machine = self.machines.get(row["machine_id"])
        if machine is not None:  # an ask is accepted once: what is free again is offered under another id
            machine.ask_ids.append(next(self._ids))
        self.destroyed.append(row["id"])
        if row["_started"] and self.on_end:
            self.on_end(row)
        return 200, {"success": True, "msg": "Instance destroyed successfully"}

    # Inside

    def _advance(self, row: dict[str, Any]) -> None:
        """One step of a start per look: made, loading, running."""
        if (
            self.stands_still
            or row["intended_status"] != "running"
            or row["actual_status"] in ("running", "exited", "offline")
        ):
            return
        if row["actual_status"] is None:
            row["actual_status"], row["status_msg"] = "loading", self.start_message or "pulling"
        elif self.boots:
            row["actual_status"], row["status_msg"] = "running", "success, running"
            port = str(row["ssh_port"] + 1000)
            row["ports"] = {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": port}]}
            row["_started"] = True
            if self.on_start:
                self.on_start(row)

    def _halt(self, row: dict[str, Any], why: str) -> None:
        for name in ("cur_state", "next_state", "intended_status"):
            row[name] = "stopped"
        row["actual_status"], row["status_msg"], row["ports"] = "exited", why, None
        if row["_started"] and self.on_end:
            self.on_end(row)
        row["_started"] = False

    def _may_run(self, row: dict[str, Any]) -> bool:
        return not row["is_bid"] or bool(row["dph_base"] >= row["min_bid"])

    def _set_running(self, row: dict[str, Any]) -> None:
        for name in ("cur_state", "next_state", "intended_status"):
            row[name] = "running"
        row["actual_status"] = "loading"


def _fits(ask: dict[str, Any], wanted: dict[str, Any]) -> bool:
    for name, wish in wanted.items():
        have = ask.get(name)
        if name == "geolocation":
            have = str(have or "").rpartition(",")[2].strip()
        for operator, value in wish.items():
            if have is None or not OPERATORS[operator](have, value):
                return False
    return True


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("_")}


def _page(rows: list[dict[str, Any]], total: int, token: str | None) -> dict[str, Any]:
    return {
        "success": True,
        "instances_found": len(rows),
        "total_instances": total,
        "label_counts": {},
        "next_token": token,
        "instances": rows,
    }


def _named(method: str, path: str) -> tuple[str, str] | None:
    """Which endpoint, and the id in its path."""
    parts = path.strip("/").split("/")
    match (method, *parts):
        case ("GET", "api", "v0", "users", "current"):
            return "user", ""
        case ("POST", "api", "v0", "bundles"):
            return "search", ""
        case ("PUT", "api", "v0", "asks", name) if name.isdigit():
            return "create", name
        case ("GET", "api", "v1", "instances"):
            return "list", ""
        case ("PUT", "api", "v0", "instances", "bid_price", name) if name.isdigit():
            return "bid", name
        case (("GET" | "PUT" | "DELETE"), "api", "v0", "instances", name) if name.isdigit():
            return {"GET": "show", "PUT": "manage", "DELETE": "destroy"}[method], name
    return None


@contextmanager
def serving() -> Iterator[VastCloud]:
    """The API at a free port of loopback, for as long as the block lasts."""
    cloud = VastCloud()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def _any(self) -> None:
            told = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            at = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(at.query).items()}
            named = _named(self.command, at.path)
            if named is None or not at.path.endswith("/"):
                cloud.violations.append(f"{self.command} {self.path}")
                self._send(404, {"success": False, "error": "not_found", "msg": "no such endpoint"})
                return
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            body = json.loads(told) if told else None
            answer = cloud.answer(Call(named[0], self.command, at.path, body, key, named[1]), query)
            if answer is not None:
                self._send(*answer)

        do_GET = do_PUT = do_POST = do_DELETE = _any

        def _send(self, status: int, body: Any) -> None:
            text = body if isinstance(body, str) else json.dumps(body)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # whoever asked was killed meanwhile
                self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    cloud.url = f"http://127.0.0.1:{server.server_port}"
    cloud.reset()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
