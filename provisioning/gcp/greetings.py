"""What machines tell about themselves after their boot: their host keys, and whether the GPU's driver answers.

They tell it by guest attributes, which only the project can read and only the machine can write. Google allows ten
questions a minute per machine; what was told once is kept.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from provisioning.errors import BadOption, PermissionDenied
from provisioning.gcp.convert import DRIVER, last_part, metadata_of
from provisioning.gcp.errors import GONE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioning.gcp.client import Client

__all__ = ["Greeting", "Greetings"]

ASK_EVERY = timedelta(seconds=7)
KEYS_WITHIN = timedelta(minutes=5)
"""After its start; an image that has told nothing by then tells nothing."""
DRIVER_WITHIN = timedelta(minutes=16)
_REFUSED = "its host keys may not be read (constraints/compute.disableGuestAttributesAccess)"


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a machine has told so far."""

    host_keys: tuple[str, ...] = ()
    awaits: str = ""
    """What it has not told yet, in words; empty when it can be logged in to."""
    reason: str = ""
    """Why there are no host keys, where there never will be."""


@dataclass(slots=True)
class _Heard:
    host_keys: tuple[str, ...] = ()
    no_keys: str = ""
    driver: bool = False
    asked_at: datetime | None = None


class Greetings:
    """One memory for all machines of a project. Thread-safe."""

    def __init__(self, client: Client, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: dict[tuple[str, ...], _Heard] = {}

    def of(self, machine: Mapping[str, Any]) -> Greeting:
        """Ask a running machine, if it is time to, and return what it has told since its start."""
        zone, name = last_part(machine["zone"]), str(machine["name"])
        started = str(machine.get("lastStartTimestamp") or machine.get("creationTimestamp") or "")
        with self._lock:
            heard = self._heard.setdefault((zone, name, str(machine.get("id", "")), started), _Heard())
        awaits_driver = DRIVER in metadata_of(machine) and not heard.driver
        now = self._clock()
        if (not heard.host_keys or awaits_driver) and (
            heard.asked_at is None or now - heard.asked_at >= ASK_EVERY
        ):
            heard.asked_at = now
            self._ask(zone, name, heard, awaits_driver=awaits_driver)
        return _greeting(heard, awaits_driver and not heard.driver, now - _start(started, now))

    def _ask(self, zone: str, name: str, heard: _Heard, *, awaits_driver: bool) -> None:
        if not heard.host_keys and not heard.no_keys:
            try:
                items = self._items(zone, name, "hostkeys/")
            except (PermissionDenied, BadOption):
                heard.no_keys = _REFUSED
            else:
                heard.host_keys = tuple(f"{item['key']} {item['value'].strip()}" for item in items)
        if awaits_driver:
            heard.driver = bool(self._items(zone, name, "launch/"))

    def _items(self, zone: str, name: str, path: str) -> list[dict[str, str]]:
        told = self._client.attempt(
            "instances.getGuestAttributes", GONE, zone=zone, instance=name, query_path=path
        )
        return list(((told or {}).get("queryValue") or {}).get("items") or ())


def _greeting(heard: _Heard, awaits_driver: bool, age: timedelta) -> Greeting:
    if not heard.host_keys and not heard.no_keys:
        if age < KEYS_WITHIN:
            return Greeting(awaits="its host keys")
        return Greeting(
            reason=f"it has told no host keys within {KEYS_WITHIN.total_seconds() / 60:.0f} minutes"
        )
    if awaits_driver and age < DRIVER_WITHIN:
        return Greeting(heard.host_keys, awaits="the driver of its GPU")
    return Greeting(heard.host_keys, reason=heard.no_keys)


def _start(text: str, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
    except ValueError:
        return otherwise
