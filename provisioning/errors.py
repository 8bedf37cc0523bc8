"""Errors of provisioning: what a cloud can answer, in our words.

CloudError                 every one carries .left_behind (what may still cost money, or None) and .hint (what to do)
  MissingDependency        the provider's SDK or tool is not installed
  BadCredentials           nobody is logged in, the key is wrong, or it expired
  PermissionDenied         logged in, but not allowed to do this; names the permission
  BadOption                a provider option, region, image or instance type that does not exist
  NoOffer                  nothing that matches the query can be rented
  NoCapacity               the offer exists and cannot be had now; the next place may have it
  PriceRose                the offer now costs more than was quoted
  QuotaExceeded            the account may not rent this; names the quota
  MachineInUse             a claimed machine (this computer, an SSH host) belongs to another run
  Transient                worth the same call again
    Throttled              called too often
    Unreachable            no answer, or none that was whole
  MayHaveBeenCreated       a create call whose effect is unknown: look by token before anything else
  MayStillBeRunning        an instance that could not be confirmed as ended: money may be burning
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioning.models import InstanceRef

__all__ = [
    "BadCredentials",
    "BadOption",
    "CloudError",
    "MachineInUse",
    "MayHaveBeenCreated",
    "MayStillBeRunning",
    "MissingDependency",
    "NoCapacity",
    "NoOffer",
    "PermissionDenied",
    "PriceRose",
    "QuotaExceeded",
    "Throttled",
    "Transient",
    "Unreachable",
]


class CloudError(Exception):
    """Base of everything that provisioning raises."""

    def __init__(self, message: str, *, left_behind: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.left_behind = left_behind
        self.hint = hint


class MissingDependency(CloudError):
    """An optional package or a tool is not installed; the hint is the line that installs it."""


class BadCredentials(CloudError):
    """No credentials, wrong ones, or expired ones."""


class PermissionDenied(CloudError):
    """The account is known and may not do this; the message names the missing permission."""


class BadOption(CloudError):
    """A provider option, region, image or instance type does not exist or has the wrong type."""


class NoOffer(CloudError):
    """Nothing that can be rented matches the query."""


class NoCapacity(CloudError):
    """The offer exists and is sold out, or was taken by somebody else; the next candidate may work."""


class PriceRose(CloudError):
    """The provider now asks more than the offer said; nothing was rented."""

    def __init__(self, message: str, *, quoted_usd_per_hour: float, asked_usd_per_hour: float) -> None:
        super().__init__(message, hint="ask for new offers, or raise --max-price")
        self.quoted_usd_per_hour = quoted_usd_per_hour
        self.asked_usd_per_hour = asked_usd_per_hour


class QuotaExceeded(CloudError):
    """The account's limit forbids this offer; the message names the quota, the hint where to raise it."""


class MachineInUse(CloudError):
    """A claimed machine is held by another run."""


class Transient(CloudError):
    """The same call may succeed a moment later; `provisioning.retry` decides how often."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class Throttled(Transient):
    """The provider asked for fewer calls."""


class Unreachable(Transient):
    """No answer, a 5xx, or an answer that was cut short."""


class MayHaveBeenCreated(CloudError):
    """A create call ended without a usable answer: an instance with this token may exist and cost money."""

    def __init__(self, message: str, *, token: str) -> None:
        super().__init__(
            message,
            left_behind=f"perhaps an instance with the token {token}",
            hint="looked up by token before the next try; `launch gc` finds it later",
        )
        self.token = token


class MayStillBeRunning(CloudError):
    """An instance was asked to end and the provider did not confirm that it has."""

    def __init__(self, message: str, *, ref: InstanceRef) -> None:
        super().__init__(
            message,
            left_behind=f"{ref} may still be running and cost money",
            hint="run `launch gc`, or end it in the provider's console",
        )
        self.ref = ref
