"""The records that pass between the clouds and the rest: immutable, checked, standard library only.

Every provider turns its own words into these (in its ``convert`` module), and nobody else ever sees
an SDK object. A record refuses to exist when it contradicts itself.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

__all__ = [
    "Access",
    "Capabilities",
    "Command",
    "DeadlineKind",
    "Demands",
    "HostKey",
    "HostKeyOrigin",
    "HttpRequest",
    "Instance",
    "InstanceRef",
    "InstanceSpec",
    "InstanceState",
    "LocalAccess",
    "NoticeProbe",
    "Offer",
    "Query",
    "Remark",
    "SelfDestroy",
    "SshAccess",
    "WhenUnattended",
]

RUN_ID_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,27}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Something one provider will rent now, at a price.

    ``usd_per_hour`` is the machine alone; the other rates are what the rest of the bill is made of
    (0.0 where the provider charges nothing, never where the price is unknown).
    """

    provider: str
    instance_type: str
    location: str
    """Where an instance's id is unique: region, zone, or host; the middle part of an `InstanceRef`."""
    region: str
    usd_per_hour: float
    priced_at: datetime
    price_source: str
    """For people: ``"spot history"``, ``"table of 2026-11-20"``, ``"free"``."""
    zone: str | None = None
    spot: bool = False
    gpu_name: str | None = None
    gpu_count: int = 0
    gpu_memory_gib: float = 0.0
    """Of one GPU."""
    vcpus: float = 0.0
    memory_gib: float = 0.0
    disk_gib: float | None = None
    """The largest disk that can be asked for; None where any size can."""
    disk_usd_per_gib_month: float = 0.0
    ipv4_usd_per_hour: float = 0.0
    ingress_usd_per_gib: float = 0.0
    egress_usd_per_gib: float = 0.0
    interruptions_per_hour: float = 0.0
    """Expected rate; 0 for what is never taken away."""
    link_down_bytes_per_s: float | None = None
    """The machine's own link, from the internet to it; None where it is faster than what it is used for."""
    link_up_bytes_per_s: float | None = None
    offer_id: str | None = None
    """The provider's own handle for exactly this offer, on marketplaces."""
    notes: tuple[str, ...] = ()
    """What a buyer should know: ``"7 of 8 GPUs would idle"``, ``"verified host"``."""

    def __post_init__(self) -> None:
        rates = (
            self.usd_per_hour,
            self.disk_usd_per_gib_month,
            self.ipv4_usd_per_hour,
            self.ingress_usd_per_gib,
            self.egress_usd_per_gib,
            self.interruptions_per_hour,
        )
        if any(not rate >= 0.0 for rate in rates):
            raise ValueError(f"offer {self.instance_type}: a rate is negative or not a number: {rates}")
        if (self.gpu_count > 0) != (self.gpu_name is not None):
            raise ValueError(f"offer {self.instance_type}: gpu_name and gpu_count disagree")
        if self.priced_at.tzinfo is None:
            raise ValueError(f"offer {self.instance_type}: priced_at has no time zone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is wanted; every field that is None matches anything."""

    instance_type: str | None = None
    gpu_name: str | None = None
    gpu_count: int | None = None
    min_gpu_memory_gib: float | None = None
    region: str | None = None
    zone: str | None = None
    spot: bool | None = None
    max_usd_per_hour: float | None = None
    min_vcpus: float | None = None
    min_memory_gib: float | None = None
    disk_gib: float | None = None


@dataclass(frozen=True, slots=True, order=True)
class InstanceRef:
    """The address of one rented machine, printed ``aws/us-east-1/i-0abc``."""

    provider: str
    location: str
    id: str

    def __post_init__(self) -> None:
        for part in (self.provider, self.location):
            if not part or "/" in part:
                raise ValueError(f"not an instance address: {self.provider}/{self.location}/{self.id}")
        if not self.id:
            raise ValueError(f"instance address without an id: {self.provider}/{self.location}/")

    def __str__(self) -> str:
        return f"{self.provider}/{self.location}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> InstanceRef:
        """Read what ``str()`` printed; `ValueError` for anything else."""
        parts = text.split("/", 2)
        if len(parts) != 3:
            raise ValueError(f"not an instance address: {text!r}; expected provider/location/id")
        return cls(*parts)


class InstanceState(str, enum.Enum):
    """What the provider says about the machine; not what the job does."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    """Compute has ended and the disk still exists, and may still be billed."""
    TERMINATED = "terminated"

    @property
    def is_gone(self) -> bool:
        """Nothing of it exists or costs anything any more."""
        return self is InstanceState.TERMINATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a machine has to be good for. Marketplaces rent out what nobody has looked at: it is tried first."""

    gpu: bool = False
    """Its driver answers and, where the image has torch, torch can multiply on it."""
    up_mbit_s: float = 0.0
    """From here to the machine, over the way that the data will take."""
    down_mbit_s: float = 0.0
    disk_mb_s: float = 0.0
    """Writing, until it is on the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAccess:
    """How to reach a machine by SSH."""

    host: str
    user: str
    port: int = 22
    host_keys: tuple[str, ...] = ()
    """Public host keys read from the provider (``ssh-ed25519 AAAA…``); empty where it offers none."""
    work_root: str | None = None
    """Absolute folder on the machine: run folders lie in ``<work_root>/launch/<run_id>``. None: the login's home."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Set for every process on the machine, beside what a login there has."""
    host_key_origin: HostKeyOrigin | None = None
    """Of this way to the machine, where it is another than `Capabilities.host_keys` says: through a proxy, say."""
    demands: Demands | None = None
    """Tried before anything is sent; a machine that fails is given back. None where machines are what they seem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAccess:
    """A machine whose processes run on this computer."""

    work_root: Path
    """Run folders lie in ``<work_root>/launch/<run_id>``."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Set for every process on the machine, beside what this process has."""
    power: Path | None = None
    """A file that is there for as long as the machine is on; None for one that is on while this computer is."""


Access = SshAccess | LocalAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One rented machine as the provider reported it at ``seen_at``."""

    ref: InstanceRef
    state: InstanceState
    seen_at: datetime
    run_id: str | None
    """From the ``launch-run`` tag; None for a machine that carries none."""
    token: str | None
    """From the tag too: which try of which attempt made it (`InstanceSpec.token`)."""
    home_id: str | None = None
    owner: str | None = None
    instance_type: str = ""
    spot: bool = False
    usd_per_hour: float = 0.0
    created_at: datetime | None = None
    deadline: datetime | None = None
    """Armed on the machine or in the cloud; None when nothing but this computer would end it."""
    access: Access | None = None
    """None until the machine has an address, and once it is gone; a claimed one keeps it after its release."""
    state_reason: str = ""
    """The provider's words: why it stopped, what it waits for."""
    resumes_by_itself: bool = False
    """Stopped by its market, which starts it again when it likes: never to be left so beside a successor, or unwatched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """An SSH host key made at home and injected, so that the first connection is already checked."""

    private: str = field(repr=False)
    public: str


class WhenUnattended(str, enum.Enum):
    """How a machine ends at its deadline when nobody has fetched the outputs."""

    PUSH = "push"
    PARK = "park"
    LINGER = "linger"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """All parameters of one create call; stored before the call and replayed byte for byte."""

    run_id: str
    attempt: int
    try_number: int
    home_id: str
    owner: str
    deadline: datetime
    """Absolute UTC; the machine or the cloud ends it then, whoever is still there."""
    disk_gib: float = 50.0
    when_unattended: WhenUnattended = WhenUnattended.LINGER
    image_id: str | None = None
    ssh_public_keys: tuple[str, ...] = ()
    """The run's own key first, then the user's, so that a lost laptop can come back in."""
    host_key: HostKey | None = None
    allowed_cidr: str | None = None
    """Who may reach port 22, where the provider has a firewall."""
    max_usd_per_hour: float | None = None
    """Refuse above this price: the quoted one unless the user allowed more."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not RUN_ID_PATTERN.fullmatch(self.run_id):
            raise ValueError(f"run id {self.run_id!r}: expected [a-z][a-z0-9-], at most 28 characters")
        if self.attempt < 1 or self.try_number < 1:
            raise ValueError("attempts and tries count from 1")
        if self.deadline.tzinfo is None:
            raise ValueError("deadline has no time zone")

    @property
    def token(self) -> str:
        """``<run>-<attempt>-<try>``: idempotency token, name, and the value of the ``launch-token`` tag."""
        return f"{self.run_id}-{self.attempt}-{self.try_number}"

    @property
    def tags(self) -> dict[str, str]:
        """What every resource of this try carries."""
        return {
            **self.labels,
            "launch-run": self.run_id,
            "launch-token": self.token,
            "launch-home": self.home_id,
            "launch-owner": self.owner,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One HTTP request as data, for the watchdog to send."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command as data, for the watchdog to run."""

    argv: tuple[str, ...]


SelfDestroy = HttpRequest | Command


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeProbe:
    """How a machine learns that it is about to be taken away; the watchdog interprets it.

    The probe fires when ``url`` answers 200 (for ``file:`` URLs: exists) and its text matches ``match``.
    """

    url: str
    """``${NAME:-default}`` in it is filled in on the machine, from its own environment."""
    match: str = r"\S"
    """Regular expression that is searched for in the answer."""
    headers: Mapping[str, str] = field(default_factory=dict)
    token_request: HttpRequest | None = None
    """Sent first where the metadata service wants a session token."""
    token_header: str | None = None
    """The header of the probe that carries the answer of ``token_request``."""
    interval_s: float = 5.0
    warning_url: str | None = None
    """Asked in the same way: it answers 200 when the machine is likelier than usual to be taken away. That is no notice;
    checkpoints leave the machine at once from then on."""
    notice_s: float = 0.0
    """How much time the provider promises between the notice and the end; 0 when it promises none."""


class DeadlineKind(str, enum.Enum):
    """Where the hard deadline of a machine lives."""

    CLOUD = "cloud"
    """The provider itself ends it."""
    BOOT = "boot"
    """Armed on the machine at every boot, before anybody logs in."""
    CLIENT = "client"
    """Only this computer would end it: if it dies, billing goes on."""


class HostKeyOrigin(str, enum.Enum):
    """How it is known which SSH host key a machine has to show."""

    TOLD = "told"
    """`SshAccess.host_keys` has it: read from the provider, or known to the user."""
    INJECTED = "injected"
    """`InstanceSpec.host_key` is given to the machine as it boots, and `SshAccess.host_keys` has its public half.

    Until it has been seen once, another key means that the machine is not ready.
    """
    FIRST_CONTACT = "first_contact"
    """It can be neither given nor read: the key that is shown first is accepted, announced and pinned; no secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What a person should know about an account that can be used."""

    text: str
    fix: str | None = None
    """The line that changes it, where it will get in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can do, declared as data."""

    deadline: DeadlineKind
    park: bool = False
    """Compute can end while the disk stays."""
    firewall: bool = False
    live_prices: bool = False
    stop_start: bool = False
    claimed: bool = False
    """The machine exists before and after us: it is claimed and released, never created or terminated."""
    bills: bool = True
    """Renting costs money; False for this computer, a host of one's own, and the fake cloud."""
    host_keys: HostKeyOrigin = HostKeyOrigin.TOLD
    takes_unannounced: bool = False
    """What the market takes away it takes without a word: only what has left the machine by then is safe."""
    strangers: bool = False
    """Whoever runs the machine is nobody in particular and can read everything on it.

    Secrets go there only where the job names them in ``provider_options.<name>.trust_with``.
    """


def utc_now() -> datetime:
    """The wall clock; the default of every ``clock`` parameter."""
    return datetime.now(timezone.utc)
