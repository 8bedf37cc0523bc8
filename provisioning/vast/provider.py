"""The provider ``vast``: containers on the machines of Vast.ai's hosts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from provisioning.errors import (
    BadOption,
    CloudError,
    MayHaveBeenCreated,
    NoCapacity,
    PriceRose,
    Unreachable,
)
from provisioning.models import (
    Capabilities,
    Command,
    HostKeyOrigin,
    Instance,
    InstanceRef,
    InstanceState,
)
from provisioning.newcomers import Newcomers
from provisioning.options import did_you_mean, read_options
from provisioning.vast import convert, onstart
from provisioning.vast.abilities import CAPABILITIES
from provisioning.vast.client import Client
from provisioning.vast.errors import BILLING, Refusal, create_error
from provisioning.vast.gpus import type_name
from provisioning.vast.label import Label
from provisioning.vast.market import Market, bid_for, price_of
from provisioning.vast.notes import Notes
from provisioning.vast.options import Options
from provisioning.vast.request import create_request, label_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from provisioning.models import InstanceSpec, Offer, Query
    from provisioning.provider import ProviderContext

__all__ = ["VastProvider"]

ROUNDING = 1.000001
LOW_CREDIT_HOURS = 24.0
JUST_NOW = timedelta(seconds=3)
"""So young a look is not made again before something is changed: Vast answers one list a second and shows an instance
every two, and a caller that looks, and then acts on what it saw, would be refused for ever."""
DEADLINE_SLACK = timedelta(minutes=1)


class VastProvider:
    """Vast.ai with the key that ``VAST_API_KEY`` or Vast's own tool has."""

    name: ClassVar[str] = "vast"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, context: ProviderContext) -> None:
        self._options = read_options(Options, context.options, "provider_options.vast")
        self._clock = context.clock
        self._client = Client(context.environ)
        self._market = Market(self._client, self._options, context.clock)
        self._notes = Notes(context.home / "vast", context.clock)
        self._newcomers = Newcomers(context.home / "vast" / "new", context.clock)
        self._credit_usd: float | None = None
        self._listed: tuple[datetime, list[dict[str, Any]]] | None = None
        self._shown: dict[str, tuple[datetime, dict[str, Any]]] = {}
        self._new: set[str] = set()

    @classmethod
    def capabilities_with(cls, options: Mapping[str, Any]) -> Capabilities:
        """Return what holds with these options: whose key a proxy shows nobody can say."""
        if read_options(Options, options, "provider_options.vast").connect != "proxy":
            return cls.capabilities
        return replace(cls.capabilities, host_keys=HostKeyOrigin.FIRST_CONTACT)

    def __repr__(self) -> str:
        return f"VastProvider({self._options!r})"

    def check(self) -> None:
        """Make sure that Vast knows the key; what credit there is goes into the notes of offers."""
        account = self._client.user()
        credit = account.get("credit", account.get("balance"))
        self._credit_usd = float(credit) if isinstance(credit, (int, float)) else None

    def offers(self, query: Query) -> Sequence[Offer]:
        """Return what the market has now on hosts that the job accepts; bids at the price that we would bid."""
        found = self._market.offers(query)
        return [self._with_credit(offer) for offer in found if not self._notes.why_avoided(offer.location)]

    def create(self, offer: Offer, spec: InstanceSpec) -> Instance:
        """Rent one ask; SPENDS MONEY. Vast has no tokens: a try's label is looked up before anything is asked for."""
        if (earlier := self._earlier(spec.token)) is not None:
            return earlier
        if why := self._notes.why_avoided(offer.location):
            raise NoCapacity(f"vast: machine {offer.location} is avoided: {why}")
        ask = self._ask(offer, spec)
        self._check(offer, spec, ask)
        self._listed = None
        answer = self._client.accept(str(ask["id"]), create_request(offer, spec, self._options))
        if isinstance(answer, Refusal):
            raise self._refused(answer, spec.token)
        if not answer.get("new_contract"):
            raise MayHaveBeenCreated(
                f"vast: PUT asks: a yes without an instance: {str(answer)[:200]}", token=spec.token
            )
        instance_id = str(answer["new_contract"])
        self._newcomers.note(instance_id)
        self._notes.note_made(instance_id, spec.token, offer.location)
        return self._made(instance_id, offer, spec)

    def get(self, ref: InstanceRef) -> Instance:
        """Return the instance as Vast sees it; a machine on which it cannot start is avoided from then on."""
        row = self._seen(ref, lambda _: ref.id in self._new)
        self._new.discard(ref.id)
        if row is None:
            if self._newcomers.is_new(ref.id):
                raise Unreachable(f"vast: {ref} is not listed yet", retry_after_s=2.5)
            return convert.unknown(ref, self._clock())
        if why := convert.broken(row):
            self._notes.avoid(ref.location, why)
        instance = self._instance(row)
        if instance.state is InstanceState.RUNNING:
            self._notes.note_running(ref.id)
        return replace(instance, ref=ref)

    def owned(self, run_id: str | None = None) -> Sequence[Instance]:
        """Return every instance with our label, stopped ones too: they are billed for their disks."""
        found = (self._instance(row) for row in self._list() if Label.parse(row.get("label")))
        return [instance for instance in found if run_id in (None, instance.run_id)]

    def terminate(self, ref: InstanceRef) -> None:
        """End the instance with its disk: nothing of it is billed any more."""
        if not ref.id.isdigit():
            return
        self._notes.judge_end(ref.id)
        self._newcomers.forget(ref.id)
        self._shown.pop(ref.id, None)
        self._client.destroy(ref.id)

    def park(self, ref: InstanceRef) -> None:
        """Stop the instance. An interruptible one is told first to stop again, should its bid win later on."""
        row = self._seen(ref, _runs_or_may)
        if row is None or not _runs_or_may(row):
            return
        label = Label.parse(row.get("label"))
        if row.get("is_bid") and label is not None and not label.parked:
            self._relabel(ref, row, replace(label, parked=True))
        self._client.manage(ref.id, {"state": "stopped"})
        self._shown.pop(ref.id, None)

    def unpark(self, ref: InstanceRef, deadline: datetime) -> None:
        """Start a stopped instance again with a new deadline; SPENDS MONEY. One that was outbid: as the job says."""
        row = self._stopped(ref)
        if row is None:
            return
        if convert.is_outbid(row) and self._options.outbid == "move":
            raise NoCapacity(
                f"vast: {ref} was outbid and is not bid for again",
                hint="provider_options.vast.outbid: raise bids more, up to --max-price",
            )
        self._start(ref, row, deadline)

    def read_disk(self, ref: InstanceRef, deadline: datetime) -> None:
        """Start a stopped instance so that its disk can be read; SPENDS MONEY. An outbid one is bid for again."""
        row = self._stopped(ref)
        if row is not None:
            self._start(ref, row, deadline)

    def notice(self, instance: Instance) -> None:
        """Vast takes machines away without a word."""

    def self_destroy(self, instance: Instance) -> Command:
        """Stop or end the instance as its deadline would, by the script that ``onstart`` has put there."""
        return Command(argv=(onstart.END,))

    # Renting

    def _earlier(self, token: str) -> Instance | None:
        made = self._notes.made_by(token)
        if made is not None:
            return self.get(InstanceRef(self.name, made.location, made.instance_id))
        is_fresh = self._listed is not None and self._clock() - self._listed[0] < JUST_NOW
        for row in self._listed[1] if self._listed is not None and is_fresh else self._list():
            label = Label.parse(row.get("label"))
            if label is not None and label.token == token:
                instance = self._instance(row)
                self._notes.note_made(instance.ref.id, token, instance.ref.location)
                return instance
        return None

    def _ask(self, offer: Offer, spec: InstanceSpec) -> Mapping[str, Any]:
        """Return the ask as it is now: it may have gone, or have become dearer, since it was quoted."""
        if convert.machine_id_of(offer.location) is None:
            raise BadOption(f"vast: {offer.location!r} is no machine, such as m4711: ask for new offers")
        ask = self._market.ask(offer, disk_gib=spec.disk_gib)
        if ask is None:
            raise NoCapacity(
                f"vast: {offer.instance_type} on machine {offer.location} is gone",
                hint="the next offer may still be there",
            )
        return ask

    def _check(self, offer: Offer, spec: InstanceSpec, ask: Mapping[str, Any]) -> None:
        is_type = type_name(str(ask.get("gpu_name")), int(ask.get("num_gpus") or 0))
        if offer.instance_type != is_type:
            raise did_you_mean("vast: instance type", offer.instance_type, (is_type,))
        free_gb = float(ask.get("disk_space") or 0.0)
        if free_gb < spec.disk_gib:
            raise NoCapacity(
                f"vast: machine {offer.location} has {free_gb:.0f} GB of disk free, {spec.disk_gib:g} are needed"
            )
        allowed = max(offer.usd_per_hour, spec.max_usd_per_hour or 0.0)
        now = float(ask.get("min_bid") or 0.0) if offer.spot else price_of(ask, self._options, spot=False)
        limit = offer.usd_per_hour if offer.spot else allowed
        if now is not None and now > limit * ROUNDING:
            raise _rose(offer, now)

    def _refused(self, refusal: Refusal, token: str) -> CloudError:
        """Return the error for a refused create; what was half made all the same is ended."""
        if refusal.instance_id is None:
            return create_error(refusal, token=token)
        try:
            self._client.destroy(refusal.instance_id)
        except CloudError as error:
            return MayHaveBeenCreated(
                f"vast: instance {refusal.instance_id} was made and cannot start ({refusal.words}),"
                f" and could not be ended: {error}",
                token=token,
            )
        return NoCapacity(
            f"vast: instance {refusal.instance_id} was made, could not start and was ended: {refusal.words}",
            hint="the next offer may start",
        )

    def _made(self, instance_id: str, offer: Offer, spec: InstanceSpec) -> Instance:
        """Return the new instance; ended again where it costs more than was agreed, which only Vast's answer tells."""
        ref = InstanceRef(self.name, offer.location, instance_id)
        try:
            row = self._row(ref)
        except CloudError:
            row = None
        self._new.add(
            instance_id
        )  # the first look after this one comes at once, sooner than Vast answers again
        if row is None or Label.parse(row.get("label")) is None:
            return self._assumed(ref, offer, spec)
        instance = replace(self._instance(row), ref=ref)
        allowed = max(offer.usd_per_hour, spec.max_usd_per_hour or 0.0)
        if instance.usd_per_hour > allowed * ROUNDING:
            self.terminate(ref)
            raise _rose(offer, instance.usd_per_hour)
        return instance

    def _assumed(self, ref: InstanceRef, offer: Offer, spec: InstanceSpec) -> Instance:
        label = label_for(offer, spec)
        return Instance(
            ref=ref,
            state=InstanceState.PENDING,
            seen_at=self._clock(),
            run_id=label.run_id,
            token=label.token,
            home_id=label.home_id,
            owner=label.owner,
            instance_type=offer.instance_type,
            spot=offer.spot,
            usd_per_hour=offer.usd_per_hour,
            created_at=self._clock(),
            deadline=label.deadline,
            state_reason="being made",
        )

    # Starting again

    def _stopped(self, ref: InstanceRef) -> Mapping[str, Any] | None:
        """Return a stopped instance that can be started; None for one that needs no start."""
        row = self._seen(ref, _is_stopped)
        if row is None:
            raise NoCapacity(f"vast: {ref} is gone and cannot be started again")
        if why := convert.broken(row):
            raise NoCapacity(f"vast: {ref} cannot be started: {why}", left_behind="its disk, which is billed")
        return row if _is_stopped(row) else None

    def _start(self, ref: InstanceRef, row: Mapping[str, Any], deadline: datetime) -> None:
        label = Label.parse(row.get("label"))
        if label is None:
            raise BadOption(f"vast: {ref} has lost its label, so that it cannot be given a deadline")
        if row.get("is_bid"):
            self._bid_again(ref, row, label)
        if label.parked or abs(label.deadline - deadline) > DEADLINE_SLACK:
            row = self._relabel(ref, row, replace(label, deadline=deadline, parked=False))
        self._client.manage(ref.id, {"state": "running"})
        self._shown.pop(ref.id, None)

    def _bid_again(self, ref: InstanceRef, row: Mapping[str, Any], label: Label) -> None:
        """Bid enough to win now, within what the user allowed."""
        now = float(row.get("dph_base") or 0.0)
        lowest = float(row.get("min_bid") or 0.0)
        if now >= lowest:
            return
        options = replace(self._options, bid_usd_per_hour=None)
        bid = bid_for(lowest, options, at_most=max(label.max_usd_per_hour or 0.0, now))
        if bid is None:
            raise NoCapacity(
                f"vast: {ref} now needs a bid of ${lowest:.4g}/h, ${label.max_usd_per_hour or now:.4g}/h is allowed",
                left_behind="its disk, which is billed",
                hint="raise --max-price, or go on elsewhere",
            )
        self._client.bid(ref.id, bid)
        self._shown[ref.id] = (self._clock(), {**row, "dph_base": bid})

    # Inside

    def _list(self) -> list[dict[str, Any]]:
        rows = self._client.instances()
        self._listed = (self._clock(), rows)
        return rows

    def _row(self, ref: InstanceRef) -> dict[str, Any] | None:
        row = self._client.instance(ref.id) if ref.id.isdigit() else None
        self._shown.pop(ref.id, None)
        if row is not None:
            self._shown[ref.id] = (self._clock(), row)
        return row

    def _seen(
        self, ref: InstanceRef, calls_for_it: Callable[[Mapping[str, Any]], bool]
    ) -> dict[str, Any] | None:
        """Return the instance as it was just now where that calls for what is to be done; else ask anew."""
        at, row = self._shown.get(ref.id, (None, None))
        if at is not None and row is not None and self._clock() - at < JUST_NOW and calls_for_it(row):
            return row
        return self._row(ref)

    def _relabel(self, ref: InstanceRef, row: Mapping[str, Any], label: Label) -> dict[str, Any]:
        """Change the label; that it is changed is known at once, so that a refused next step goes on from there."""
        self._client.manage(ref.id, {"label": str(label)})
        changed = {**row, "label": str(label)}
        self._shown[ref.id] = (self._clock(), changed)
        return changed

    def _instance(self, row: Mapping[str, Any]) -> Instance:
        return convert.to_instance(row, self._clock(), self._options)

    def _with_credit(self, offer: Offer) -> Offer:
        credit = self._credit_usd
        if credit is None or not offer.usd_per_hour or credit >= LOW_CREDIT_HOURS * offer.usd_per_hour:
            return offer
        words = (
            f"Vast has ${credit:.2f} of yours, {max(credit, 0.0) / offer.usd_per_hour:.1f} h at this price; at zero it"
            f" stops everything, and without a card it deletes it: {BILLING}"
        )
        return replace(offer, notes=(*offer.notes, words))


def _is_stopped(row: Mapping[str, Any]) -> bool:
    return convert.state_of(row)[0] is InstanceState.STOPPED


def _runs_or_may(row: Mapping[str, Any]) -> bool:
    return not _is_stopped(row) or convert.is_outbid(row)


def _rose(offer: Offer, now: float) -> PriceRose:
    what = "now takes no bid below" if offer.spot else "now costs"
    return PriceRose(
        f"vast: {offer.instance_type} on machine {offer.location} {what} ${now:.4g}/h,"
        f" ${offer.usd_per_hour:.4g}/h was quoted",
        quoted_usd_per_hour=offer.usd_per_hour,
        asked_usd_per_hour=now,
    )
