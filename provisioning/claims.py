"""A claim as data: that a run may use a machine which nobody rents. Where claims are kept is each provider's own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.models import Instance, InstanceRef, InstanceState
from provisioning.processes import MARK

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from provisioning.models import LocalAccess, SshAccess

__all__ = ["Claim", "claim_id", "never_claimed"]

VISIBLE_DEVICES = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "HIP_VISIBLE_DEVICES"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That a run may use a machine, and which of its GPUs."""

    id: str
    tags: Mapping[str, str]
    created_at: datetime
    deadline: datetime
    gpus: tuple[str, ...] = ()
    """Selectors of the GPUs that it holds."""
    vendor: str | None = None
    """Of the machine's GPUs, held or hidden; None where there are none."""
    released_at: datetime | None = None
    reason: str = ""
    """Why it was released."""

    @property
    def run_id(self) -> str:
        """The run that holds it."""
        return self.tags["launch-run"]

    @property
    def environ(self) -> dict[str, str]:
        """What its processes are marked with, and shown of the GPUs: none at all where it holds none."""
        shown = {VISIBLE_DEVICES[self.vendor]: ",".join(self.gpus)} if self.vendor else {}
        return {MARK: self.id, **shown}

    def instance(
        self,
        provider: str,
        location: str,
        instance_type: str,
        *,
        access: LocalAccess | SshAccess,
        seen_at: datetime,
    ) -> Instance:
        """Return it as a machine that runs, or is gone once released; its files are where they were all the same."""
        gone = self.released_at is not None
        return Instance(
            ref=InstanceRef(provider, location, self.id),
            state=InstanceState.TERMINATED if gone else InstanceState.RUNNING,
            seen_at=seen_at,
            run_id=self.run_id,
            token=self.tags["launch-token"],
            home_id=self.tags["launch-home"],
            owner=self.tags["launch-owner"],
            instance_type=instance_type,
            created_at=self.created_at,
            deadline=self.deadline,
            access=access,
            state_reason=self.reason,
        )


def claim_id(token: str, home: str) -> str:
    """The same for the same token, another in another home: it also marks the processes on a machine that many use."""
    return f"{token}-{hashlib.sha256(home.encode()).hexdigest()[:8]}"


def never_claimed(ref: InstanceRef, seen_at: datetime) -> Instance:
    """Return what is said of a claim that nobody knows: it is gone."""
    return Instance(
        ref=ref,
        state=InstanceState.TERMINATED,
        seen_at=seen_at,
        run_id=None,
        token=None,
        state_reason="unknown",
    )
