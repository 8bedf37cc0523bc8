"""The provider ``local``: one offer, this computer, for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from provisioning import catalog, files, processes
from provisioning.claims import Claim, never_claimed
from provisioning.errors import MachineInUse, NoCapacity
from provisioning.local import hardware
from provisioning.local.claims import Claims
from provisioning.models import (
    Capabilities,
    DeadlineKind,
    Instance,
    InstanceRef,
    LocalAccess,
    NoticeProbe,
    Offer,
)
from provisioning.options import did_you_mean, read_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.local.hardware import Gpu
    from provisioning.models import Command, InstanceSpec, Query
    from provisioning.provider import ProviderContext

__all__ = ["INSTANCE_TYPE", "LOCATION", "LocalProvider", "Options"]

INSTANCE_TYPE = "this-computer"
LOCATION = "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``provider_options.local``."""

    share_gpu: bool = False
    """Let this run use GPUs that another run holds."""


class LocalProvider:
    """This computer. Claims of GPUs exclude each other; claims without a GPU may lie side by side."""

    name: ClassVar[str] = "local"
    capabilities: ClassVar[Capabilities] = Capabilities(deadline=DeadlineKind.BOOT, claimed=True, bills=False)

    def __init__(self, context: ProviderContext) -> None:
        self._options = read_options(Options, context.options, "provider_options.local")
        self._context = context
        self._home = context.home.absolute()
        self._claims = Claims(self._home)
        self._gpus: tuple[Gpu, ...] | None = None

    def check(self) -> None:
        """Make sure that claims can be written."""
        with files.os_errors(f"using {self._home}"), self._claims.lock():
            return

    def offers(self, query: Query) -> Sequence[Offer]:
        """Return this computer as it is, or without its GPUs when the query asks for 0 of them.

        On a computer with several GPUs the offer holds as many as the query asks for, all without a wish.
        """
        _known("instance type", query.instance_type, INSTANCE_TYPE)
        _known("region", query.region, LOCATION)
        _known("zone", query.zone, LOCATION)
        return catalog.select([self._offer(query.gpu_count)], query)

    def create(self, offer: Offer, spec: InstanceSpec) -> Instance:
        """Claim this computer for one try of one run."""
        _known("instance type", offer.instance_type, INSTANCE_TYPE)
        with files.os_errors("claiming this computer"), self._claims.lock():
            claim = self._claims.find(self._claims.id_for(spec))
            if claim is None:
                claim = self._claim(offer, spec)
                self._claims.write(claim)
            return self._instance(self._settled(claim))

    def get(self, ref: InstanceRef) -> Instance:
        """Return the claim as a machine that runs, or is gone once released."""
        with files.os_errors(f"reading the claim {ref.id}"), self._claims.lock():
            claim = self._claims.find(ref.id)
            if claim is None:
                return self._unknown(ref)
            return self._instance(self._settled(claim))

    def owned(self, run_id: str | None = None) -> Sequence[Instance]:
        """Return every live claim of this home, of one run or of all."""
        with files.os_errors("reading the claims"), self._claims.lock():
            return [self._instance(claim) for claim in self._live() if run_id in (None, claim.run_id)]

    def terminate(self, ref: InstanceRef) -> None:
        """Release the claim and kill the processes that carry its mark; the files stay where they are."""
        self._end(ref, "released")

    def interrupt(self, ref: InstanceRef, *, notice_s: float) -> None:
        """Rehearse an interruption: write the notice, and release the claim once its time has come.

        The end is seen to by the next call of any kind; with no notice, by this one.
        """
        if notice_s <= 0:
            self._end(ref, "interrupted without notice")
            return
        with files.os_errors(f"interrupting {ref.id}"), self._claims.lock():
            claim = self._claims.find(ref.id)
            if claim and not claim.released_at:
                self._claims.announce(claim, now=self._context.clock(), notice_s=notice_s)

    def notice(self, instance: Instance) -> NoticeProbe:
        """Return a probe of the claim's notice file, which anybody may write to rehearse an interruption."""
        url = self._claims.notice_path(instance.ref.id).as_uri()
        return NoticeProbe(url=url, interval_s=0.5)

    def self_destroy(self, instance: Instance) -> Command:
        """Return the command that releases the claim from outside this process."""
        home = str(self._home)
        return processes.module_command("provisioning.local", "release", instance.ref.id, "--home", home)

    def _offer(self, gpu_count: int | None) -> Offer:
        group = self._gpu_group()
        count = min(len(group), gpu_count) if gpu_count is not None else len(group)
        return Offer(
            provider=self.name,
            instance_type=INSTANCE_TYPE,
            location=LOCATION,
            region=LOCATION,
            usd_per_hour=0.0,
            priced_at=self._context.clock(),
            price_source="free",
            gpu_name=group[0].name if count else None,
            gpu_count=count,
            gpu_memory_gib=min(gpu.memory_gib for gpu in group) if count else 0.0,
            vcpus=hardware.usable_cpus(),
            memory_gib=hardware.memory_gib(),
            disk_gib=hardware.free_disk_gib(self._home),
            notes=(f"{len(group)} GPUs, {count} of them used",) if count < len(group) else (),
        )

    def _gpu_group(self) -> Sequence[Gpu]:
        """Return the GPUs of one model; where there are several models, those with the most memory in all."""
        if self._gpus is None:
            self._gpus = hardware.gpus(self._context.environ)
        groups: dict[str, list[Gpu]] = {}
        for gpu in self._gpus:
            groups.setdefault(gpu.name, []).append(gpu)
        return max(groups.values(), key=lambda group: sum(gpu.memory_gib for gpu in group), default=[])

    def _claim(self, offer: Offer, spec: InstanceSpec) -> Claim:
        group = self._gpu_group()
        return Claim(
            id=self._claims.id_for(spec),
            tags=spec.tags,
            created_at=self._context.clock(),
            deadline=spec.deadline,
            gpus=self._choose([gpu.selector for gpu in group], offer.gpu_count),
            vendor=group[0].vendor if group else None,
        )

    def _choose(self, selectors: Sequence[str], count: int) -> tuple[str, ...]:
        """Choose GPUs for a claim: free ones first, held ones only when sharing is allowed."""
        if len(selectors) < count:
            raise NoCapacity(f"this computer has {len(selectors)} such GPUs now, {count} were offered")
        holders = {gpu: claim.run_id for claim in self._live() for gpu in claim.gpus}
        chosen = sorted(selectors, key=lambda gpu: gpu in holders)[:count]
        if not self._options.share_gpu and (
            held := sorted({holders[gpu] for gpu in chosen if gpu in holders})
        ):
            raise MachineInUse(
                f"the GPU of this computer is held by {', '.join(held)}",
                hint=f"wait for it, end it with `launch down {held[0]}`, or set provider_options.local.share_gpu: true",
            )
        return tuple(chosen)

    def _settled(self, claim: Claim) -> Claim:
        """Do what is due: end a claim whose announced end has come, or whose deadline passed with nobody there."""
        now = self._context.clock()
        if claim.released_at:
            return claim
        announced = self._claims.announced_end(claim)
        if announced and announced <= now:
            return self._claims.release(claim, now=now, reason="interrupted after a notice")
        if claim.deadline <= now and not processes.running(claim.id):
            return self._claims.release(claim, now=now, reason="deadline")
        return claim

    def _live(self) -> list[Claim]:
        settled = map(self._settled, self._claims.live())
        return [claim for claim in settled if not claim.released_at]

    def _end(self, ref: InstanceRef, reason: str) -> None:
        with files.os_errors(f"releasing {ref.id}"), self._claims.lock():
            claim = self._claims.find(ref.id)
            if claim and not claim.released_at:
                self._claims.release(claim, now=self._context.clock(), reason=reason)

    def _instance(self, claim: Claim) -> Instance:
        access = LocalAccess(work_root=self._home / "local", environ=claim.environ)
        return claim.instance(
            self.name, LOCATION, INSTANCE_TYPE, access=access, seen_at=self._context.clock()
        )

    def _unknown(self, ref: InstanceRef) -> Instance:
        return never_claimed(ref, self._context.clock())


def _known(what: str, asked: str | None, only: str) -> None:
    if asked is not None and asked != only:
        raise did_you_mean(f"local: {what}", asked, [only])
