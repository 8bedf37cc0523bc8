"""A claim on a host, as it is kept there in ``~/.launch/claims``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from provisioning.claims import Claim, claim_id
from provisioning.errors import CloudError

if TYPE_CHECKING:
    from provisioning.models import InstanceSpec

__all__ = ["HostClaim", "request_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostClaim(Claim):
    """With what only the host knows of it."""

    work_root: str
    """Absolute, on the host."""
    program: str
    """What releases the claim when it is called on the host."""

    @classmethod
    def read(cls, told: Mapping[str, Any], location: str) -> HostClaim:
        """Read what the host told; `CloudError` when it is no claim."""
        try:
            released = told["released_at"]
            return cls(
                id=told["id"],
                tags=told["tags"],
                created_at=datetime.fromisoformat(told["created_at"]),
                deadline=datetime.fromisoformat(told["deadline"]),
                work_root=told["work_root"],
                program=told["program"],
                gpus=tuple(told["gpus"]),
                vendor=told["vendor"],
                released_at=datetime.fromisoformat(released) if released else None,
                reason=told["reason"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CloudError(
                f"{location} keeps something in ~/.launch/claims that is not a claim: {error!r}",
                left_behind="perhaps a run on that host",
                hint="end its processes by hand, then delete that file",
            ) from error


def request_of(spec: InstanceSpec, *, vendor: str | None, now: datetime) -> dict[str, Any]:
    """The claim that a spec asks for, as JSON data; the host adds what only it knows."""
    return {
        "id": claim_id(spec.token, spec.home_id),
        "tags": spec.tags,
        "created_at": now.isoformat(),
        "deadline": spec.deadline.isoformat(),
        "vendor": vendor,
        "released_at": None,
        "reason": "",
    }
