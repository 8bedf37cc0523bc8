"""What Google's error codes mean, in our errors. Pure: a code, its message and its call go in, an error comes out.

A code comes from one of two places: from an HTTP answer (``rateLimitExceeded``), or from an operation that was accepted
and failed later (``ZONE_RESOURCE_POOL_EXHAUSTED``). What is not known is judged by the HTTP status.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from provisioning.errors import (
    BadCredentials,
    BadOption,
    CloudError,
    MayHaveBeenCreated,
    NoCapacity,
    PermissionDenied,
    QuotaExceeded,
    Throttled,
    Transient,
    Unreachable,
)
from provisioning.gcp.calls import role_of
from provisioning.gcp.quotas import PAGE
from provisioning.meaning import Meaning

__all__ = [
    "CODES",
    "GONE",
    "TAKEN",
    "Refusal",
    "create_error",
    "error_for",
    "failed_create_error",
    "meaning_of",
    "quota_metric",
]

DOCS = "docs/providers/gcp.md"
GONE = frozenset({"notFound", "RESOURCE_NOT_FOUND", "NOT_FOUND"})
"""What is asked about does not exist (any more)."""
TAKEN = frozenset({"alreadyExists", "RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"})
"""The name is in use: by our own earlier call, or by somebody else."""

CODES = MappingProxyType(
    {
        "ZONE_RESOURCE_POOL_EXHAUSTED": Meaning.CAPACITY,
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": Meaning.CAPACITY,
        "insufficientCapacity": Meaning.CAPACITY,
        "INSUFFICIENT_CAPACITY": Meaning.CAPACITY,
        "STOCKOUT": Meaning.CAPACITY,
        "UNSUPPORTED_OPERATION": Meaning.CAPACITY,  # so it ends when it is preempted while it is made
        "QUOTA_EXCEEDED": Meaning.QUOTA,
        "quotaExceeded": Meaning.QUOTA,
        "LIMIT_EXCEEDED": Meaning.QUOTA,
        "limitExceeded": Meaning.QUOTA,
        "authError": Meaning.CREDENTIALS,
        "required": Meaning.CREDENTIALS,
        "UNAUTHENTICATED": Meaning.CREDENTIALS,
        "forbidden": Meaning.PERMISSION,
        "accessNotConfigured": Meaning.PERMISSION,
        "insufficientPermissions": Meaning.PERMISSION,
        "IAM_PERMISSION_DENIED": Meaning.PERMISSION,
        "PERMISSION_DENIED": Meaning.PERMISSION,
        "PERMISSIONS_ERROR": Meaning.PERMISSION,
        "SERVICE_DISABLED": Meaning.PERMISSION,
        "BILLING_DISABLED": Meaning.PERMISSION,
        "billingNotEnabled": Meaning.PERMISSION,
        "USER_PROJECT_DENIED": Meaning.PERMISSION,
        "rateLimitExceeded": Meaning.THROTTLED,
        "userRateLimitExceeded": Meaning.THROTTLED,
        "concurrentLimitExceeded": Meaning.THROTTLED,
        "RATE_LIMIT_EXCEEDED": Meaning.THROTTLED,
        "RESOURCE_EXHAUSTED": Meaning.THROTTLED,
        "RESOURCE_OPERATION_RATE_EXCEEDED": Meaning.THROTTLED,
        "resourceNotReady": Meaning.BUSY,
        "RESOURCE_NOT_READY": Meaning.BUSY,
        "resourceInUseByAnotherResource": Meaning.BUSY,
        "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE": Meaning.BUSY,
        "conditionNotMet": Meaning.BUSY,
        "CONDITION_NOT_MET": Meaning.BUSY,
        "invalid": Meaning.OPTION,
        "INVALID_ARGUMENT": Meaning.OPTION,
        "INVALID_USAGE": Meaning.OPTION,
        "INVALID_FIELD_VALUE": Meaning.OPTION,
        "badRequest": Meaning.OPTION,
        "parseError": Meaning.OPTION,
        "backendError": Meaning.SERVER,
        "internalError": Meaning.SERVER,
        "INTERNAL_ERROR": Meaning.SERVER,
        "SERVICE_UNAVAILABLE": Meaning.SERVER,
        "UNAVAILABLE": Meaning.SERVER,
        "DEADLINE_EXCEEDED": Meaning.SERVER,
        **dict.fromkeys(GONE, Meaning.OPTION),
        **dict.fromkeys(TAKEN, Meaning.REPLAYED),
    }
)

_BY_STATUS = MappingProxyType(
    {
        401: Meaning.CREDENTIALS,
        403: Meaning.PERMISSION,
        404: Meaning.OPTION,
        412: Meaning.BUSY,
        429: Meaning.THROTTLED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One answer that was not the wished one, in Google's words."""

    code: str
    """Empty where there was no whole answer at all."""
    message: str
    permission: str
    """``compute.instances.create``: names the call too."""
    place: str
    """Zone, region or ``global``."""
    status: int = 0

    @property
    def words(self) -> str:
        """On one line, with the code."""
        short = " ".join(self.message.split())
        return f"{short} ({self.code})" if self.code else short

    @property
    def text(self) -> str:
        """The whole refusal, for an error's message."""
        return f"gcp {self.place}: {self.permission}: {self.words}"


def meaning_of(refusal: Refusal) -> Meaning:
    """Read a code; one that is not known is judged by its form and by the HTTP status."""
    code = refusal.code
    if "access is unauthorized" in refusal.message:
        return Meaning.CAPACITY  # "Location X is not found or …": a zone that this project may not use
    if "RESOURCE_POOL_EXHAUSTED" in code or "RESOURCE_POOL_EXHAUSTED" in refusal.message:
        return Meaning.CAPACITY
    if known := CODES.get(code):
        return known
    if by_status := _BY_STATUS.get(refusal.status):
        return by_status
    return Meaning.SERVER if refusal.status >= 500 or not code else Meaning.UNKNOWN


def error_for(refusal: Refusal) -> CloudError:
    """Return the error for a call that changes nothing, or may be repeated without harm."""
    meaning, text = meaning_of(refusal), refusal.text
    if meaning is Meaning.CAPACITY:
        return NoCapacity(text, hint="the next zone or region may have it")
    if meaning is Meaning.QUOTA:
        return _quota_error(refusal)
    if meaning is Meaning.CREDENTIALS:
        return BadCredentials(text, hint="`gcloud auth application-default login`; then `launch doctor`")
    if meaning is Meaning.PERMISSION:
        return PermissionDenied(text, hint=_permission_hint(refusal))
    if meaning is Meaning.OPTION:
        return BadOption(text)
    if meaning is Meaning.THROTTLED:
        return Throttled(text, retry_after_s=5.0)
    if meaning is Meaning.BUSY:
        return Transient(text, retry_after_s=5.0)
    if meaning is Meaning.SERVER:
        return Unreachable(text)
    return CloudError(text, hint=f"see {DOCS}, and report this code: it is not known to this version")


def create_error(refusal: Refusal, *, token: str) -> CloudError:
    """Return the error for a create call that was refused: typed where Google said no, else `MayHaveBeenCreated`."""
    meaning = meaning_of(refusal)
    if refusal.status == 503 and meaning is Meaning.SERVER and refusal.code:
        return NoCapacity(refusal.text, hint="the next zone or region may have it")
    if meaning in (Meaning.SERVER, Meaning.UNKNOWN, Meaning.REPLAYED, Meaning.BUSY):
        return MayHaveBeenCreated(refusal.text, token=token)
    return error_for(refusal)


def failed_create_error(refusal: Refusal) -> CloudError:
    """Return the error for a create operation that has failed, after it was seen that it left nothing.

    What an operation was refused once it is refused again when it is replayed; so there is nothing to wait for, and what
    would be worth the same call again elsewhere is a reason to try the next place here.
    """
    error = error_for(refusal)
    if isinstance(error, (NoCapacity, QuotaExceeded, BadCredentials, PermissionDenied, BadOption)):
        return error
    return NoCapacity(refusal.text, hint="nothing was made; the next zone or region is tried")


def quota_metric(message: str) -> str | None:
    """Return the name of the quota that a refusal speaks of: ``GPUS_ALL_REGIONS``, ``NVIDIA_T4_GPUS``."""
    found = re.search(r"[Qq]uota '([A-Za-z0-9_./-]+)'", message) or re.search(
        r"\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b(?=.*[Ll]imit)", message
    )
    return found[1] if found else None


def _quota_error(refusal: Refusal) -> QuotaExceeded:
    metric = quota_metric(refusal.message)
    if metric is None:
        return QuotaExceeded(refusal.text, hint=f"raise it at {PAGE}")
    if "GPUS_ALL_REGIONS" in metric.upper():
        text = (
            f"gcp: the quota GPUS_ALL_REGIONS, which counts in every region, is used up or 0: {refusal.words}"
        )
        return QuotaExceeded(
            text, hint=f"no other region helps: raise GPUS_ALL_REGIONS at {PAGE} (new projects have 0)"
        )
    text = f"gcp {refusal.place}: the quota {metric} is used up or 0: {refusal.words}"
    return QuotaExceeded(text, hint=f"another region has its own; raise {metric} at {PAGE}")


def _permission_hint(refusal: Refusal) -> str:
    if refusal.code in ("accessNotConfigured", "SERVICE_DISABLED"):
        api = "cloudbilling" if refusal.permission.startswith("cloudbilling") else "compute"
        return f"`gcloud services enable {api}.googleapis.com`"
    if refusal.code in ("BILLING_DISABLED", "billingNotEnabled"):
        return "link the project to a billing account: https://console.cloud.google.com/billing/projects"
    return (
        f"{refusal.permission} is in {role_of(refusal.permission)}: grant that role to this account; {DOCS}"
    )
