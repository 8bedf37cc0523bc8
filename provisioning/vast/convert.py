"""Between Vast's words and ours: pure."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from provisioning.models import Demands, HostKeyOrigin, Instance, InstanceRef, InstanceState, Offer, SshAccess
from provisioning.vast.gpus import type_name
from provisioning.vast.label import Label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioning.vast.options import Options

__all__ = [
    "PROVIDER",
    "broken",
    "is_outbid",
    "location_of",
    "machine_id_of",
    "to_instance",
    "to_offer",
    "unknown",
]

PROVIDER = "vast"
DISK_MONTH = 730.0 / 720.0
"""Vast's month of storage has 30 days; ours is a twelfth of a year."""
GIB_PER_GB = 1.073741824
"""Traffic is sold by 10^9 bytes. Disks need no factor: as many of Vast's "GB" are rented as GiB are wanted."""
BYTES_PER_MBIT = 1e6 / 8
BID_INTERRUPTIONS_PER_HOUR = 1.0 / 12.0
"""Assumed: Vast publishes nothing, and every on-demand renter displaces a bid."""
_BROKEN_WORDS = (
    "oci runtime",
    "error response from daemon",
    "failed to create",
    "no such container",
    "error:",
)
_WAITS = ("created", "loading", "rebooting", "scheduling")


# Offers


def to_offer(ask: Mapping[str, Any], *, spot: bool, usd_per_hour: float, now: datetime) -> Offer:
    """Return one ask as an offer; ``usd_per_hour`` is the machine alone: what it costs, or what is bid."""
    gpus = int(ask.get("num_gpus") or 0)
    share = _number(ask, "cpu_cores_effective") / (_number(ask, "cpu_cores") or 1.0)
    cores = _number(ask, "cpu_cores_effective") or _number(ask, "cpu_cores")
    memory_mb = _number(ask, "cpu_ram") * (min(share, 1.0) or 1.0)
    return Offer(
        provider=PROVIDER,
        instance_type=type_name(str(ask.get("gpu_name")), gpus),
        location=location_of(ask.get("machine_id")),
        region=country_of(ask.get("geolocation")),
        spot=spot,
        usd_per_hour=usd_per_hour,
        priced_at=now,
        price_source="Vast's market, the lowest bid that wins" if spot else "Vast's market",
        gpu_name=str(ask.get("gpu_name")),
        gpu_count=gpus,
        gpu_memory_gib=_number(ask, "gpu_ram") / 1024.0,
        vcpus=cores,
        memory_gib=memory_mb / 1024.0,
        disk_gib=_number(ask, "disk_space"),
        disk_usd_per_gib_month=_number(ask, "storage_cost") * DISK_MONTH,
        ingress_usd_per_gib=_number(ask, "inet_down_cost") * GIB_PER_GB,
        egress_usd_per_gib=_number(ask, "inet_up_cost") * GIB_PER_GB,
        interruptions_per_hour=BID_INTERRUPTIONS_PER_HOUR if spot else 0.0,
        link_down_bytes_per_s=_number(ask, "inet_down") * BYTES_PER_MBIT or None,
        link_up_bytes_per_s=_number(ask, "inet_up") * BYTES_PER_MBIT or None,
        offer_id=str(ask["id"]),
        notes=_notes(ask),
    )


def location_of(machine_id: object) -> str:
    """Return the place of an instance: the machine that it is on."""
    return f"m{machine_id}"


def machine_id_of(location: str) -> int | None:
    """Return the machine of a place."""
    return int(location[1:]) if location.startswith("m") and location[1:].isdigit() else None


def country_of(geolocation: object) -> str:
    """Return the country's two letters: ``US`` of ``California, US``; ``unknown`` where Vast does not say."""
    last = str(geolocation or "").rpartition(",")[2].strip()
    return last if len(last) == 2 and last.isalpha() else "unknown"


def _notes(ask: Mapping[str, Any]) -> tuple[str, ...]:
    word = str(ask.get("verification") or "unverified")
    reliability = _number(ask, "reliability2") or _number(ask, "reliability")
    host = (
        f"{word} host in {ask.get('geolocation') or 'an unknown place'}, machine {ask.get('machine_id')}",
        f"reliability {100 * reliability:.1f} %",
        f"links {_number(ask, 'inet_down'):.0f} Mbit/s down, {_number(ask, 'inet_up'):.0f} up",
        f"CUDA {_number(ask, 'cuda_max_good'):g}",
    )
    costs = (
        f"disk ${_number(ask, 'storage_cost'):.3g} per GB and month",
        f"traffic ${_number(ask, 'inet_down_cost'):.3g} in and ${_number(ask, 'inet_up_cost'):.3g} out per GB",
    )
    left = _number(ask, "duration")
    more = (f"rentable for {left / 86400.0:.0f} more days",) if left else ()
    return (", ".join((*host, *costs, *more)),)


# Instances


def to_instance(row: Mapping[str, Any], now: datetime, options: Options) -> Instance:
    """Return our record of an instance as Vast described it at ``now``."""
    label = Label.parse(row.get("label"))
    state, reason = state_of(row)
    started = row.get("start_date")
    return Instance(
        ref=InstanceRef(PROVIDER, location_of(row.get("machine_id")), str(row["id"])),
        state=state,
        seen_at=now,
        run_id=label.run_id if label else None,
        token=label.token if label else None,
        home_id=label.home_id if label else None,
        owner=label.owner if label else None,
        instance_type=type_name(str(row.get("gpu_name")), int(row.get("num_gpus") or 0)),
        spot=bool(row.get("is_bid")),
        usd_per_hour=_number(row, "dph_base"),
        created_at=datetime.fromtimestamp(float(started), timezone.utc) if started else None,
        deadline=label.deadline if label else None,
        access=_access(row, label, options) if state is InstanceState.RUNNING else None,
        state_reason=reason,
        resumes_by_itself=is_outbid(row),
    )


def unknown(ref: InstanceRef, now: datetime) -> Instance:
    """Return our record of what Vast has no trace of."""
    return Instance(
        ref=ref,
        state=InstanceState.TERMINATED,
        seen_at=now,
        run_id=None,
        token=None,
        state_reason="unknown to Vast",
    )


def state_of(row: Mapping[str, Any]) -> tuple[InstanceState, str]:
    """Return the state, and why in Vast's words.

    A broken start counts as stopped: no amount of waiting helps. A host that Vast has lost *after* the container ran
    counts as running: the container often still answers, and if it does not, the launcher's patience decides.
    """
    actual, wanted = _word(row, "actual_status"), _word(row, "intended_status")
    if (why := broken(row)) is not None:
        return InstanceState.STOPPED, why
    if is_outbid(row):
        return InstanceState.STOPPED, "outbid: somebody pays more for the machine"
    if wanted == "stopped":
        is_down = actual in ("", "stopped", "exited", *_WAITS)
        return (InstanceState.STOPPED if is_down else InstanceState.STOPPING), _message(row)
    if actual in ("running", "frozen"):
        return InstanceState.RUNNING, "" if actual == "running" else "frozen"
    if actual in ("offline", "unknown"):
        return InstanceState.RUNNING, f"Vast has lost the host ({actual})"
    return InstanceState.PENDING, _message(row) or actual or "being made"


def is_outbid(row: Mapping[str, Any]) -> bool:
    """Whether an interruptible instance was stopped by the market; it starts again by itself when its bid wins."""
    label = Label.parse(row.get("label"))
    states = [_word(row, name) for name in ("cur_state", "next_state", "intended_status")]
    return bool(row.get("is_bid")) and states == ["stopped"] * 3 and not (label and label.parked)


def broken(row: Mapping[str, Any]) -> str | None:
    """Say why an instance will never run by itself; None when it may."""
    actual, wanted, said = _word(row, "actual_status"), _word(row, "intended_status"), _message(row)
    if wanted == "stopped":
        return None
    if actual == "exited":
        return f"its container has ended: {said}" if said else "its container has ended"
    if actual in ("offline", "unknown") and not row.get("ports"):
        return f"its host was lost before the container ran ({actual})"
    is_starting = actual in ("", *_WAITS)
    if is_starting and any(word in said.lower() for word in _BROKEN_WORDS):
        return f"its host cannot start the container: {said}"
    return None


def _access(row: Mapping[str, Any], label: Label | None, options: Options) -> SshAccess | None:
    direct = _direct_port(row)
    host = str(row.get("public_ipaddr") or "").strip()
    if direct and host and options.connect != "proxy":
        host_keys = (label.host_key,) if label and label.host_key else ()
        return SshAccess(
            host=host, port=direct, user=options.ssh_user, host_keys=host_keys, demands=_demands(row, options)
        )
    if row.get("ssh_host") and row.get("ssh_port") and options.connect != "direct":
        return SshAccess(
            host=str(row["ssh_host"]),
            port=int(row["ssh_port"]),
            user=options.ssh_user,
            host_key_origin=HostKeyOrigin.FIRST_CONTACT,  # whose key the proxy shows is not documented
            demands=_demands(row, options),
        )
    return None


def _demands(row: Mapping[str, Any], options: Options) -> Demands:
    return Demands(
        gpu=bool(row.get("num_gpus")),
        up_mbit_s=options.probe_up_mbit_s,
        down_mbit_s=options.probe_down_mbit_s,
        disk_mb_s=options.probe_disk_mb_s,
    )


def _direct_port(row: Mapping[str, Any]) -> int | None:
    ports = row.get("ports")
    mapped = ports.get("22/tcp") if isinstance(ports, dict) else None
    try:
        return int(mapped[0]["HostPort"]) if mapped else None
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _message(row: Mapping[str, Any]) -> str:
    return " ".join(str(row.get("status_msg") or "").split())[:300]


def _word(row: Mapping[str, Any], name: str) -> str:
    return str(row.get(name) or "")


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, (int, float)) and value == value and value > 0 else 0.0
