"""What AWS's error codes mean, in our errors. Pure: a code, its message and its call go in, an error comes out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    Unreachable,
)
from provisioning.meaning import Meaning

__all__ = ["CODES", "GONE", "REPLAYED", "Meaning", "Refusal", "create_error", "error_for", "meaning_of"]

DOCS = "docs/providers/aws.md"
GONE = frozenset(
    {
        "InvalidInstanceID.NotFound",
        "InvalidInstanceID.Malformed",
        "InvalidVolume.NotFound",
        "InvalidVolumeID.Malformed",
        "InvalidParameterValue.Malformed",
        "InvalidSpotInstanceRequestID.NotFound",
        "InvalidSpotInstanceRequestID.Malformed",
    }
)
"""What is asked about does not exist (any more)."""
REPLAYED = frozenset({"IdempotentParameterMismatch", "IdempotentInstanceTerminated"})
"""The token was used before: there is, or was, an instance of it."""


CODES = MappingProxyType(
    {
        "InsufficientInstanceCapacity": Meaning.CAPACITY,
        "InsufficientHostCapacity": Meaning.CAPACITY,
        "InsufficientReservedInstanceCapacity": Meaning.CAPACITY,
        "InsufficientCapacity": Meaning.CAPACITY,
        "InsufficientCapacityOnHost": Meaning.CAPACITY,
        "UnfulfillableCapacity": Meaning.CAPACITY,
        "SpotMaxPriceTooLow": Meaning.CAPACITY,
        "Unsupported": Meaning.CAPACITY,
        "InvalidAvailabilityZone": Meaning.CAPACITY,
        "InsufficientFreeAddressesInSubnet": Meaning.CAPACITY,
        "InsufficientVolumeCapacity": Meaning.CAPACITY,
        "ReservationCapacityExceeded": Meaning.CAPACITY,
        "VolumeTypeNotAvailableInZone": Meaning.CAPACITY,
        "VcpuLimitExceeded": Meaning.QUOTA,
        "MaxSpotInstanceCountExceeded": Meaning.QUOTA,
        "InstanceLimitExceeded": Meaning.QUOTA,
        "InstanceCreditSpecification.NotSupported": Meaning.OPTION,
        "VolumeLimitExceeded": Meaning.QUOTA,
        "MaxIOPSLimitExceeded": Meaning.QUOTA,
        "AddressLimitExceeded": Meaning.QUOTA,
        "MaxSpotFleetRequestCountExceeded": Meaning.QUOTA,
        "NetworkInterfaceLimitExceeded": Meaning.QUOTA,
        "SecurityGroupsPerInterfaceLimitExceeded": Meaning.QUOTA,
        "SecurityGroupLimitExceeded": Meaning.QUOTA,
        "RulesPerSecurityGroupLimitExceeded": Meaning.QUOTA,
        "AuthFailure": Meaning.CREDENTIALS,
        "InvalidClientTokenId": Meaning.CREDENTIALS,
        "SignatureDoesNotMatch": Meaning.CREDENTIALS,
        "IncompleteSignature": Meaning.CREDENTIALS,
        "MissingAuthenticationToken": Meaning.CREDENTIALS,
        "UnrecognizedClientException": Meaning.CREDENTIALS,
        "InvalidSignatureException": Meaning.CREDENTIALS,
        "ExpiredToken": Meaning.CREDENTIALS,
        "ExpiredTokenException": Meaning.CREDENTIALS,
        "RequestExpired": Meaning.CREDENTIALS,
        "Blocked": Meaning.CREDENTIALS,
        "InvalidAccessKeyId": Meaning.CREDENTIALS,
        "InvalidToken": Meaning.CREDENTIALS,
        "RequestTimeTooSkewed": Meaning.CREDENTIALS,
        "403": Meaning.PERMISSION,
        "AllAccessDisabled": Meaning.PERMISSION,
        "NotSignedUp": Meaning.PERMISSION,
        "UnauthorizedOperation": Meaning.PERMISSION,
        "AccessDenied": Meaning.PERMISSION,
        "AccessDeniedException": Meaning.PERMISSION,
        "OperationNotPermitted": Meaning.PERMISSION,
        "OptInRequired": Meaning.PERMISSION,
        "PendingVerification": Meaning.PERMISSION,
        "RequestLimitExceeded": Meaning.THROTTLED,
        "Throttling": Meaning.THROTTLED,
        "ThrottlingException": Meaning.THROTTLED,
        "TooManyRequestsException": Meaning.THROTTLED,
        "EC2ThrottledException": Meaning.THROTTLED,
        "SlowDown": Meaning.THROTTLED,
        "ConcurrentTagAccess": Meaning.THROTTLED,
        "ResourceCountExceeded": Meaning.QUOTA,
        "InternalError": Meaning.SERVER,
        "InternalFailure": Meaning.SERVER,
        "InternalServerError": Meaning.SERVER,
        "Unavailable": Meaning.SERVER,
        "ServiceUnavailable": Meaning.SERVER,
        "RequestTimeout": Meaning.SERVER,
        "404": Meaning.OPTION,
        "NoSuchBucket": Meaning.OPTION,
        "NoSuchKey": Meaning.OPTION,
        "AuthorizationHeaderMalformed": Meaning.OPTION,
        "PermanentRedirect": Meaning.OPTION,
        "MissingParameter": Meaning.OPTION,
        "TagLimitExceeded": Meaning.OPTION,
        "UnknownParameter": Meaning.OPTION,
        "ValidationError": Meaning.OPTION,
        "VPCIdNotSpecified": Meaning.OPTION,
        "MissingInput": Meaning.OPTION,
        "IncorrectInstanceState": Meaning.OPTION,
        "UnsupportedOperation": Meaning.OPTION,
        **dict.fromkeys(REPLAYED, Meaning.REPLAYED),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One answer that was not the wished one, in AWS's words."""

    code: str
    """Empty where there was no whole answer at all."""
    message: str
    operation: str
    """``ec2:RunInstances``: also the name of the permission."""
    region: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """Without the kilobyte of encoded text that AWS adds to refusals."""
        short = re.sub(
            r"\s*Encoded authorization failure message:.*", "", self.message, flags=re.DOTALL
        ).strip()
        return f"{short} ({self.code})" if self.code else short


def meaning_of(refusal: Refusal) -> Meaning:
    """Read a code; one that is not known is judged by its form and by the HTTP status."""
    code = refusal.code
    if code == "InvalidParameterValue" and "availability zone" in refusal.message.lower():
        return Meaning.CAPACITY  # so EC2 says that a zone does not have the type
    if known := CODES.get(code):
        return known
    if code.startswith("Invalid"):
        return Meaning.OPTION
    if "Throttl" in code or refusal.status == 429:
        return Meaning.THROTTLED
    return Meaning.SERVER if refusal.status >= 500 or not code else Meaning.UNKNOWN


def error_for(refusal: Refusal) -> CloudError:
    """Return the error for a call that changes nothing, or may be repeated without harm."""
    meaning = meaning_of(refusal)
    text = f"aws {refusal.region}: {refusal.operation}: {refusal.words}"
    if meaning is Meaning.CAPACITY:
        return NoCapacity(text, hint="the next zone or region may have it")
    if meaning is Meaning.QUOTA:
        return QuotaExceeded(text, hint=_quota_hint(refusal.region))
    if meaning is Meaning.CREDENTIALS:
        return BadCredentials(text, hint=_login_hint(refusal.code))
    if meaning is Meaning.PERMISSION:
        return PermissionDenied(text, hint=_permission_hint(refusal))
    if meaning is Meaning.OPTION:
        return BadOption(text)
    if meaning is Meaning.THROTTLED:
        return Throttled(text, retry_after_s=5.0)
    if meaning is Meaning.SERVER:
        return Unreachable(text)
    return CloudError(text, hint=f"see {DOCS}, and report this code: it is not known to this version")


def create_error(refusal: Refusal, *, token: str, quota: str | None = None) -> CloudError:
    """Return the error for a failed RunInstances: typed where AWS said no, else `MayHaveBeenCreated`.

    ``quota``: the name and page of the quota that the machine counts against (`provisioning.aws.quotas`).
    """
    meaning = meaning_of(refusal)
    if meaning in (Meaning.SERVER, Meaning.UNKNOWN, Meaning.REPLAYED):
        return MayHaveBeenCreated(f"aws {refusal.region}: {refusal.operation}: {refusal.words}", token=token)
    if meaning is Meaning.QUOTA and quota:
        text = f"aws {refusal.region}: quota {quota.partition(': ')[0]!r} is used up or 0: {refusal.words}"
        return QuotaExceeded(text, hint=f"raise it at {quota.partition(': ')[2]}")
    return error_for(refusal)


def _quota_hint(region: str) -> str:
    return f"raise it at https://{region}.console.aws.amazon.com/servicequotas/home/services/ec2/quotas"


def _login_hint(code: str) -> str:
    if code in ("ExpiredToken", "ExpiredTokenException"):
        return "log in again: `aws sso login`, or `aws configure`"
    if code in ("RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "AuthFailure"):
        return "check this computer's clock, then the key: `aws sts get-caller-identity`"
    if code == "Blocked":
        return "AWS has blocked the account; its support centre says why"
    return "check the key with `aws sts get-caller-identity`; `aws configure` stores a new one"


def _permission_hint(refusal: Refusal) -> str:
    if refusal.code == "OptInRequired":
        return f"enable the region {refusal.region} in the account, or finish signing up for EC2"
    if refusal.code == "PendingVerification":
        return "AWS is still checking the new account; this takes up to four hours"
    return f"allow {refusal.operation} to this user; {DOCS} has the whole policy"
