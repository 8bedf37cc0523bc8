"""The seam between one cloud and everything else: six functions, a few facts, and extras to opt into.

A provider is small on purpose. It knows how its cloud is spoken to; what to rent, when to retry, when to
give up and what to do next are decided elsewhere, over the records of `provisioning.models`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from provisioning.models import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from provisioning.models import (
        Capabilities,
        Instance,
        InstanceRef,
        InstanceSpec,
        NoticeProbe,
        Offer,
        Query,
        Remark,
        SelfDestroy,
    )

__all__ = [
    "DiskReadable",
    "Firewalled",
    "Interruptible",
    "OfferChecking",
    "Parkable",
    "Provider",
    "ProviderClass",
    "ProviderContext",
    "Remarking",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderContext:
    """What a provider is built from. Providers keep nothing of their own between calls but caches."""

    home: Path
    """``LAUNCH_HOME``: where a provider that has no cloud keeps its state."""
    environ: Mapping[str, str]
    """Credentials and endpoint redirections are read from here, never from ``os.environ``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """``provider_options.<name>`` of the job, checked by the provider's own ``Options`` dataclass."""
    clock: Callable[[], datetime] = utc_now


@runtime_checkable
class Provider(Protocol):
    """One cloud.

    Built as ``Class(context)``; building raises `BadOption` for options it does not know and makes no call.
    Every method raises only `CloudError`s. No method sleeps or retries: `provisioning.retry` does.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    def check(self) -> None:
        """Make sure that renting could work: SDK, credentials, account. Rents and changes nothing.

        Raises:
            MissingDependency, BadCredentials, PermissionDenied, Transient.
        """

    def offers(self, query: Query) -> Sequence[Offer]:
        """Return what can be rented now and matches ``query``, cheapest first; empty when nothing does.

        Raises:
            BadOption: a region, zone or instance type that this cloud does not have; names the nearest one.
        """

    def create(self, offer: Offer, spec: InstanceSpec) -> Instance:
        """Rent ``offer``; SPENDS MONEY. Returns at once, usually before the machine has an address.

        The same ``spec.token`` gives the same instance, never a second one. ``spec.deadline`` is armed
        before anybody could log in, where `Capabilities.deadline` says so.

        Raises:
            NoCapacity, PriceRose, QuotaExceeded, MachineInUse, BadOption, BadCredentials, PermissionDenied,
            Throttled: nothing was rented.
            MayHaveBeenCreated: whatever else went wrong; the caller looks with `owned` before it tries again.
        """

    def get(self, ref: InstanceRef) -> Instance:
        """Return the provider's present word on one instance; what is unknown to it is ``TERMINATED``.

        `Transient` when it could not be asked: unreachable is not gone.
        """

    def owned(self, run_id: str | None = None) -> Sequence[Instance]:
        """Return everything that carries our tags and is not terminated, of one run or of all."""

    def terminate(self, ref: InstanceRef) -> None:
        """End an instance and all that would go on costing money. Terminating what is gone is success.

        Returns at once; the caller confirms with `get`.
        """

    def notice(self, instance: Instance) -> NoticeProbe | None:
        """How this machine hears that it will be taken away; None where it never does."""

    def self_destroy(self, instance: Instance) -> SelfDestroy | None:
        """How this machine ends itself at its deadline without us; None where it cannot."""


class ProviderClass(Protocol):
    """What the registry holds: facts that need no account, and a way to build a `Provider`."""

    name: str
    capabilities: Capabilities

    def __call__(self, context: ProviderContext) -> Provider:
        """Build it; raises `BadOption` and makes no call."""


@runtime_checkable
class Parkable(Protocol):
    """A provider whose machines can end their compute and keep their disk (`Capabilities.park`)."""

    def park(self, ref: InstanceRef) -> None:
        """End compute, keep the disk, which may go on costing money. Returns at once; confirmed with `get`."""

    def unpark(self, ref: InstanceRef, deadline: datetime) -> None:
        """Start a parked machine again, with its disk and a new deadline; SPENDS MONEY. Returns at once.

        Raises:
            NoCapacity: its place is full now; the disk is untouched.
        """


@runtime_checkable
class DiskReadable(Protocol):
    """A provider that may need another machine to read a kept disk than the one that the disk was parked with."""

    def read_disk(self, ref: InstanceRef, deadline: datetime) -> None:
        """Make what is left of a parked machine reachable under its address, as cheaply as can be; SPENDS MONEY.

        To be read, not to go on with: the machine may be a small one without a GPU. Returns at once; `get` says
        ``RUNNING`` when it can be logged in to, and `Parkable.park` gives the disk back.

        Raises:
            NoCapacity: there is no room for it now; the disk is untouched.
        """


@runtime_checkable
class Firewalled(Protocol):
    """A provider with a firewall in front of its machines (`Capabilities.firewall`)."""

    def admit(self, ref: InstanceRef, cidr: str) -> bool:
        """Let a network reach the machine's SSH port, in place of the one that was let in before.

        Returns whether anything had to be changed; cheap when nothing has. Called when a machine does not answer: the
        caller's own address may be another one by now. A machine that is gone is left alone.

        Raises:
            BadOption: the machine's rules are not ours to change; says how to let the network in by hand.
        """


@runtime_checkable
class OfferChecking(Protocol):
    """A provider that can be asked, before anything is rented, whether the account may rent an offer at all."""

    def check_offer(self, offer: Offer) -> None:
        """Make sure that nothing about the account keeps ``offer`` from being rented; free of charge, changes nothing.

        Capacity is not looked at. Silent about what may not be asked for: then renting tells.

        Raises:
            QuotaExceeded: the account's limit is smaller than the machine; names it, and where it can be raised.
            BadOption: its place lacks something that a machine needs, such as a network.
        """


@runtime_checkable
class Remarking(Protocol):
    """A provider that can say more of an account than that it can be used."""

    def remarks(self) -> Sequence[Remark]:
        """Return what a person should know before they count on it: quotas, what is not possible with this login.

        Asked by ``launch doctor`` after `Provider.check`; rents and changes nothing.
        """


@runtime_checkable
class Interruptible(Protocol):
    """A provider that can be told to take one of its machines away, as a spot market would."""

    def interrupt(self, ref: InstanceRef, *, notice_s: float) -> None:
        """Announce the end through the machine's `NoticeProbe`, and end it ``notice_s`` later.

        With 0 seconds nothing is announced: the machine's processes are killed before this returns.
        A machine that is gone already is left alone.
        """
