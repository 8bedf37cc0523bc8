"""The provider ``fake``: what a cloud does, without the bill."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from provisioning import catalog, processes
from provisioning.errors import BadOption, Unreachable
from provisioning.fake import catalogue, convert, faults, market
from provisioning.fake import machine as life
from provisioning.fake.options import Options
from provisioning.fake.world import World
from provisioning.models import (
    Capabilities,
    DeadlineKind,
    InstanceState,
    NoticeProbe,
    WhenUnattended,
    utc_now,
)
from provisioning.options import did_you_mean, read_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from provisioning.fake.machine import Machine
    from provisioning.fake.options import Fault
    from provisioning.fake.world import Cloud
    from provisioning.models import Command, Instance, InstanceRef, InstanceSpec, Offer, Query
    from provisioning.provider import ProviderContext

__all__ = ["FakeProvider"]


class FakeProvider:
    """A cloud that lives in ``<home>/fake`` and does what ``provider_options.fake`` tells it to."""

    name: ClassVar[str] = "fake"
    capabilities: ClassVar[Capabilities] = Capabilities(
        deadline=DeadlineKind.CLOUD, park=True, live_prices=True, stop_start=True, bills=False
    )

    @classmethod
    def capabilities_with(cls, options: Mapping[str, Any]) -> Capabilities:
        """Return what the cloud can do when it is told where deadlines live; `BadOption` as building it."""
        told = read_options(Options, options, "provider_options.fake")
        return replace(cls.capabilities, deadline=DeadlineKind(told.deadline))

    def __init__(self, context: ProviderContext) -> None:
        self._options = read_options(Options, context.options, "provider_options.fake")
        self._home = context.home.absolute()
        self._clock = context.clock
        self._world = World(self._home, context.clock)

    def check(self) -> None:
        """Make sure that the cloud's folder can be used."""
        with self._world.open() as cloud:
            self._may_fail(cloud, "check", None)

    def offers(self, query: Query) -> Sequence[Offer]:
        """Return what is sold, at the prices of now; capacity shows only when something is rented, as in clouds."""
        self._know(query)
        if self._options.faults:
            with self._world.open() as cloud:
                self._may_fail(cloud, "offers", None)
        sold = catalogue.everything(self._clock())
        return catalog.select((market.priced(offer, self._options.prices) for offer in sold), query)

    def create(self, offer: Offer, spec: InstanceSpec) -> Instance:
        """Make a machine: a folder, and a mark for its processes. It runs after ``boot_s``."""
        zone = offer.zone or catalogue.first_zone(offer.region)
        asked = self._asked(offer.instance_type, zone, offer.spot)
        with self._world.open() as cloud:
            fault = faults.strike(self._options.faults, cloud.calls, "create", spec.run_id, zone)
            if fault and fault.kind not in ("price_rose", "lost_answer"):
                raise faults.create_answer(fault, spec.token, market.place(asked))
            machine = cloud.by_token(spec.token)
            if machine is None:
                if fault and fault.kind == "price_rose":
                    asked = replace(asked, usd_per_hour=offer.usd_per_hour * fault.factor)
                machine = self._rent(cloud, offer, asked, spec)
            elif machine.parameters != convert.create_digest(offer, spec):
                raise BadOption(f"token {spec.token} was used before, with other parameters")
            if fault and fault.kind == "lost_answer":
                raise faults.create_answer(fault, spec.token, market.place(asked))
            return self._instance(machine)

    def get(self, ref: InstanceRef) -> Instance:
        """Return the machine as the cloud sees it now."""
        with self._world.open() as cloud:
            machine = cloud.machines.get(ref.id)
            self._may_fail(cloud, "get", machine.run_id if machine else None)
            if machine is None or machine.region != ref.location:
                return convert.unknown(ref, self._clock())
            if not self._is_listed(machine):
                raise Unreachable(f"{ref} is not listed yet", retry_after_s=machine.visible_after_s)
            return self._instance(machine)

    def owned(self, run_id: str | None = None) -> Sequence[Instance]:
        """Return all machines that are not terminated, parked ones too, of one run or of all."""
        with self._world.open() as cloud:
            self._may_fail(cloud, "owned", run_id)
            return [
                self._instance(machine)
                for machine in cloud.machines.values()
                if run_id in (None, machine.run_id) and not machine.state.is_gone and self._is_listed(machine)
            ]

    def terminate(self, ref: InstanceRef) -> None:
        """Kill the machine's processes and delete its folder, at the latest ``terminate_s`` from now."""
        with self._world.open() as cloud:
            machine = cloud.machines.get(ref.id)
            fault = self._strike(cloud, "terminate", machine.run_id if machine else None)
            if fault and fault.kind not in ("ignored", "lost_answer"):
                raise faults.answer(fault)
            if machine and not (fault and fault.kind == "ignored"):
                self._change(cloud, *life.terminated(machine, self._clock(), "ended on request"))
            if fault and fault.kind == "lost_answer":
                raise faults.answer(fault)

    def park(self, ref: InstanceRef) -> None:
        """Kill the machine's processes and keep its folder."""
        with self._world.open() as cloud, self._failing(cloud, "park", ref):
            if machine := cloud.machines.get(ref.id):
                self._change(cloud, *life.parked(machine, self._clock(), "parked on request"))

    def unpark(self, ref: InstanceRef, deadline: datetime) -> None:
        """Start a parked machine again; `NoCapacity` when its zone is full."""
        with self._world.open() as cloud, self._failing(cloud, "unpark", ref):
            machine = cloud.machines.get(ref.id)
            if machine and machine.state is InstanceState.STOPPED:
                asked = self._asked(machine.instance_type, machine.zone, machine.spot)
                market.check_room(asked, cloud.machines.values(), self._options.capacity)
                self._world.power_on(ref.id)
                cloud.machines[ref.id] = life.unparked(machine, self._clock(), deadline)

    def interrupt(self, ref: InstanceRef, *, notice_s: float) -> None:
        """Take a machine away as its market would."""
        with self._world.open() as cloud:
            if machine := cloud.machines.get(ref.id):
                cloud.machines[ref.id] = life.interrupted(
                    machine, self._clock(), after_s=0.0, notice_s=notice_s
                )
                self._follow(cloud.machines[ref.id])

    def notice(self, instance: Instance) -> NoticeProbe:
        """Return a probe of the machine's notice file."""
        promised = min((plan.notice_s for plan in self._options.interruptions), default=catalogue.NOTICE_S)
        url = self._world.notice_path(instance.ref.id).as_uri()
        return NoticeProbe(url=url, interval_s=0.5, notice_s=promised)

    def self_destroy(self, instance: Instance) -> Command | None:
        """Return the command by which the machine asks the cloud to end it as its deadline would."""
        if instance.deadline is None:
            return None
        return processes.module_command(
            "provisioning.fake", "expire", str(instance.ref), "--home", str(self._home)
        )

    def expire(self, ref: InstanceRef) -> None:
        """Do to a machine what its deadline does: park it if it was rented so, else end it."""
        with self._world.open() as cloud:
            if machine := cloud.machines.get(ref.id):
                parks = machine.when_unattended is WhenUnattended.PARK
                end = life.parked if parks else life.terminated
                self._change(cloud, *end(machine, self._clock(), "deadline"))

    def _know(self, query: Query) -> None:
        known = (
            ("instance type", query.instance_type, catalogue.TYPES),
            ("region", query.region, catalogue.REGIONS),
            ("zone", query.zone, catalogue.all_zones()),
        )
        for what, asked, choices in known:
            if asked is not None and asked not in choices:
                raise did_you_mean(f"fake: {what}", asked, choices)

    def _asked(self, instance_type: str, zone: str, spot: bool) -> Offer:
        return market.priced(catalogue.find(instance_type, zone, spot, self._clock()), self._options.prices)

    def _rent(self, cloud: Cloud, quoted: Offer, asked: Offer, spec: InstanceSpec) -> Machine:
        market.check_price(quoted, asked, spec)
        market.check_room(asked, cloud.machines.values(), self._options.capacity)
        machine = convert.new_machine(asked, spec, self._options, self._home, self._clock())
        self._world.power_on(machine.id)
        cloud.machines[machine.id] = machine
        self._follow(machine)
        return machine

    def _follow(self, machine: Machine) -> None:
        """Let a process of the cloud see to a planned interruption in time, also when nobody calls.

        It ends with the machine or the interruption. A clock that is not the real one moves only by calls.
        """
        if machine.evicted_at is None or self._clock is not utc_now:
            return
        processes.start_detached(
            processes.module_command("provisioning.fake", "follow", machine.id, "--home", str(self._home))
        )

    def _change(self, cloud: Cloud, machine: Machine, effect: life.Effect) -> None:
        self._world.apply(machine, effect)
        cloud.machines[machine.id] = machine

    def _strike(self, cloud: Cloud, call: str, run_id: str | None) -> Fault | None:
        return faults.strike(self._options.faults, cloud.calls, call, run_id)

    def _may_fail(self, cloud: Cloud, call: str, run_id: str | None) -> None:
        if fault := self._strike(cloud, call, run_id):
            raise faults.answer(fault)

    @contextlib.contextmanager
    def _failing(self, cloud: Cloud, call: str, ref: InstanceRef) -> Iterator[None]:
        """Fail before what the block does, or behind it where only the answer is lost."""
        machine = cloud.machines.get(ref.id)
        fault = self._strike(cloud, call, machine.run_id if machine else None)
        if fault and fault.kind != "lost_answer":
            raise faults.answer(fault)
        yield
        if fault:
            raise faults.answer(fault)

    def _is_listed(self, machine: Machine) -> bool:
        return self._clock() >= machine.created_at + timedelta(seconds=machine.visible_after_s)

    def _instance(self, machine: Machine) -> Instance:
        world = self._world
        return convert.to_instance(
            machine, world.machine_folder(machine.id), world.power_path(machine.id), self._clock()
        )
