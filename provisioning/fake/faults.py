"""Which scripted fault strikes a call, and what it answers: pure but for the counter that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.errors import (
    BadCredentials,
    CloudError,
    MayHaveBeenCreated,
    NoCapacity,
    QuotaExceeded,
    Throttled,
    Unreachable,
)

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from provisioning.fake.options import Fault

__all__ = ["answer", "create_answer", "strike"]


def strike(
    faults: Sequence[Fault],
    calls: MutableMapping[str, int],
    call: str,
    run_id: str | None,
    zone: str | None = None,
) -> Fault | None:
    """Count one call and return the first fault that is due for it; only scripted calls are counted."""
    struck = None
    counted = set()
    for fault in faults:
        if fault.call != call or fault.zone not in (None, zone):
            continue
        counter = "/".join([run_id or "", call, fault.zone or ""])
        if counter not in counted:
            calls[counter] = calls.get(counter, 0) + 1
            counted.add(counter)
        if struck is None and fault.nth <= calls[counter] < fault.nth + fault.times:
            struck = fault
    return struck


def answer(fault: Fault) -> CloudError:
    """Return the error of a struck call; for ``create`` see `create_answer`."""
    if fault.kind == "throttled":
        return Throttled(f"{fault.call}: request limit exceeded", retry_after_s=fault.retry_after_s)
    if fault.kind == "credentials":
        return BadCredentials(f"{fault.call}: the session has expired", hint="log in again")
    return Unreachable(f"{fault.call}: no answer from the fake cloud")


def create_answer(fault: Fault, token: str, place: str) -> CloudError:
    """Return the error of a struck create; only those that say so leave open whether a machine exists."""
    if fault.kind == "no_capacity":
        return NoCapacity(f"no capacity for {place}", hint="try another zone or instance type")
    if fault.kind == "quota":
        return QuotaExceeded(
            f"quota fake-gpus would be exceeded by {place}",
            hint="remove the fault from provider_options.fake",
        )
    if fault.kind in ("unreachable", "lost_answer"):
        return MayHaveBeenCreated(f"create {place}: no answer from the fake cloud", token=token)
    return answer(fault)
