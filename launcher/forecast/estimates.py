"""What a run will cost and how long it will take on one offer, line by line, each with its basis. Pure.

Laws, held by property tests: more steps never cost less; a higher price never lowers the total; the lines sum to the
total; low <= likely <= high; what is unknown is a wide range and never zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from launcher.forecast.benchmarks import Benchmark
from launcher.forecast.conditions import Conditions, Sizes
from launcher.forecast.interruptions import BAD_CASE, BAD_CASE_RECORDED, Toll, toll
from launcher.forecast.mirror_interval import (
    SHORTEST_HERE_S,
    SHORTEST_S,
    MirrorChoice,
    choose_mirror_every,
    copies_of,
    survives_notice,
)
from launcher.forecast.money import GIB, HOURS_PER_MONTH
from launcher.forecast.ranges import Range
from launcher.forecast.throughput import EarlierRun, Source, Work, WorkTime, work_time
from launcher.forecast.times import EarlierTime
from launcher.forecast.worktime import gpus_at_work
from launcher.quantities import bit_rate, duration, size
from provisioning import Offer

__all__ = ["RATE_NOTE", "Estimate", "Line", "StageShare", "estimate", "idle_gpus", "rate_of"]

_FIRST_SAVE_S = 600.0
"""Until a program has saved for the first time, where nobody says how often it does."""
RATE_NOTE = "interruptions: "
"""Begins the note of an offer that says where its rate of interruptions comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the bill: an item, its time and money, and where the numbers come from."""

    item: str
    hours: Range
    """Time that it adds to the run; zero for what happens beside the work."""
    usd: Range
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageShare:
    """What one stage of a job takes of the whole."""

    name: str
    offer: Offer
    stays: bool
    """It runs on the machine of the stage before it."""
    hours: Range
    usd: Range
    source: Source
    basis: str
    """Of the time that its work takes."""
    lines: tuple[Line, ...] = ()
    """Its part of the bill; over all stages they sum to the lines of the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Job × offer: time and money, and how far to trust them."""

    offer: Offer
    hours: Range
    usd: Range
    lines: tuple[Line, ...]
    source: Source
    """How the time of the work is known; `Source.GUESS` is shown as such."""
    mirror: MirrorChoice | None
    """How often checkpoints leave the machine; None when they do not."""
    notice: str = ""
    """Whether what is saved on notice survives the machine, in words; empty where nothing is taken away."""
    narrow_by: tuple[str, ...] = ()
    """At most two things that would make the range narrower."""
    stages: tuple[StageShare, ...] = ()
    """Of a job with stages, in the order in which they run; their hours and dollars sum to the whole."""

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Everything that is rented, each once: of a job with stages the offers of all of them."""
        return tuple(dict.fromkeys(stage.offer for stage in self.stages)) or (self.offer,)

    def to_json(self) -> dict[str, Any]:
        """Return the form that ``launch estimate --json`` prints; the lines' dollars sum to ``usd.likely``."""
        document = {"offer": _offer_json(self.offer), **_amounts_json(self)}
        if self.stages:
            document["stages"] = [_stage_json(stage) for stage in self.stages]
        return document


def _stage_json(stage: StageShare) -> dict[str, Any]:
    return {
        "name": stage.name,
        "offer": _offer_json(stage.offer),
        "stays": stage.stays,
        **_amounts_json(stage),
        "source": stage.source.value,
        "basis": stage.basis,
    }


def _amounts_json(item: Estimate | StageShare) -> dict[str, Any]:
    """Hours, dollars and lines, of which the likely dollars sum up as they are printed."""
    lines = [{"item": line.item, "usd": _cents(line.usd.likely), "basis": line.basis} for line in item.lines]
    likely = _cents(math.fsum(_cents(line.usd.likely) for line in item.lines))
    usd = {
        "low": min(_cents(item.usd.low), likely),
        "likely": likely,
        "high": max(_cents(item.usd.high), likely),
    }
    hours = {name: round(getattr(item.hours, name), 4) for name in ("low", "likely", "high")}
    return {"hours": hours, "usd": usd, "lines": lines}


def _offer_json(offer: Offer) -> dict[str, Any]:
    return {
        "provider": offer.provider,
        "instance_type": offer.instance_type,
        "region": offer.region,
        "zone": offer.zone,
        "spot": offer.spot,
        "gpu": offer.gpu_name,
        "gpu_count": offer.gpu_count,
        "usd_per_hour": offer.usd_per_hour,
        "price_source": offer.price_source,
        "priced_at": offer.priced_at.isoformat(),
    }


def _cents(usd: float) -> float:
    """Round to a ten-thousandth of a cent, so that sums of rounded lines stay exact to the eye."""
    return round(usd, 6)


def estimate(
    offer: Offer,
    work: Work,
    *,
    conditions: Conditions,
    sizes: Sizes,
    history: Sequence[EarlierRun] = (),
    benchmarks: Sequence[Benchmark] = (),
    times: Sequence[EarlierTime] = (),
    max_duration_s: float | None = None,
    replacement: tuple[Conditions, Sizes] | None = None,
) -> Estimate:
    """Price the whole run on ``offer``: every line that the bill will have, and the time that each one takes.

    ``replacement``: conditions and sizes of the machine that takes the place of one that was taken away, where these are
    others than of the first: that one may be there already.
    """
    time = work_time(
        offer,
        work,
        history=history,
        benchmarks=benchmarks,
        times=times,
        max_duration_s=max_duration_s,
        gpus_used=conditions.gpus_used,
    )
    mirror, survives, notice = _mirroring(offer, conditions, sizes)
    time = _with_start(time, work, conditions)
    before = _before_work(offer, conditions, sizes)
    pull = _pull_line(offer, conditions, sizes)
    anew, carried = replacement or (conditions, sizes)
    again = before if replacement is None else _before_work(offer, anew, carried)
    taken = _toll(offer, time, conditions, mirror, survives, again, pull)
    lines = [*before, _timed("training", time.hours, offer, time.basis)]
    if time.evaluation:
        lines.append(_timed("evaluation", time.evaluation, offer, time.evaluation_basis))
    lines += [*_interruption_lines(offer, conditions, taken, survives), pull]
    hours = Range.sum(line.hours for line in lines)
    at_work = time.hours + time.evaluation + taken.hours
    lines = _with_idle_gpus(offer, conditions, lines, hours)
    lines += _beside_lines(offer, conditions, sizes, mirror, hours=hours, at_work=at_work)
    lines += _ingress_again(offer, carried, taken.times)
    return Estimate(
        offer=offer,
        hours=hours,
        usd=Range.sum(line.usd for line in lines),
        lines=tuple(lines),
        source=time.source,
        mirror=mirror,
        notice=notice if rate_of(offer, conditions) > 0.0 else "",
        narrow_by=_narrow_by(offer, time, conditions, sizes, lines),
    )


def _with_start(time: WorkTime, work: Work, conditions: Conditions) -> WorkTime:
    """Add the program's way to its first step to what comes beside the steps, unless the job says all of that itself."""
    if time.is_whole or work.evaluation_h is not None or not conditions.start_s:
        return time
    words = f"{duration(conditions.start_s.likely)} to the first step, as in {conditions.start_from}"
    both = f"{words}; {time.evaluation_basis}" if time.evaluation_basis else words
    return replace(
        time, evaluation=time.evaluation + conditions.start_s * (1 / 3600.0), evaluation_basis=both
    )


def rate_of(offer: Offer, conditions: Conditions) -> float:
    """Interruptions per hour: by the user's own record where there is one, else as the offer says."""
    own = conditions.interruptions_per_hour
    return offer.interruptions_per_hour if own is None or not offer.spot else own


def _timed(item: str, hours: Range, offer: Offer, basis: str) -> Line:
    return Line(item=item, hours=hours, usd=hours * offer.usd_per_hour, basis=basis)


def _with_idle_gpus(offer: Offer, conditions: Conditions, lines: Sequence[Line], hours: Range) -> list[Line]:
    """Take out of every line what is paid for GPUs that the job does not use, and show it as a line of its own."""
    idle = idle_gpus(offer, conditions.gpus_used)
    if not idle:
        return list(lines)
    share = idle / offer.gpu_count
    used = [replace(line, usd=line.usd * (1.0 - share)) for line in lines]
    basis = f"{idle} of {offer.gpu_count} GPUs are rented and not used by the job"
    return [*used, _beside("idle GPUs", hours * (offer.usd_per_hour * share), basis)]


def idle_gpus(offer: Offer, gpus_used: int | None) -> int:
    """How many GPUs of a machine do nothing for a job that uses ``gpus_used``; None: it uses all."""
    return offer.gpu_count - gpus_at_work(offer, gpus_used)


def _hours(bytes_: Range, rate: Range) -> Range:
    return Range(
        bytes_.low / rate.high / 3600.0, bytes_.likely / rate.likely / 3600.0, bytes_.high / rate.low / 3600.0
    )


def _before_work(offer: Offer, conditions: Conditions, sizes: Sizes) -> list[Line]:
    boot_s, setup_s = conditions.boot_s, conditions.setup_s
    lines = []
    if boot_s:
        basis = f"{boot_s.low:.0f} to {boot_s.high:.0f} s on {offer.provider}, {conditions.boot_from}"
        lines.append(_timed("boot", boot_s * (1 / 3600.0), offer, basis))
    lines.append(_transfer_line(offer, conditions, sizes))
    basis = f"{setup_s.low:.0f} to {setup_s.high:.0f} s for environment and setup, {conditions.setup_from}"
    lines.append(_timed("setup", setup_s * (1 / 3600.0), offer, basis))
    return lines


def _transfer_line(offer: Offer, conditions: Conditions, sizes: Sizes) -> Line:
    sent = sizes.code_bytes + (0 if conditions.on_this_computer else sizes.data_bytes)
    hours = _hours(Range.exactly(sent), conditions.up) + _hours(sizes.fetched, conditions.fetch)
    hours += conditions.place_s * (1 / 3600.0)
    fee = (Range.exactly(sent) + sizes.fetched) * (offer.ingress_usd_per_gib / GIB)
    known = conditions.up_from
    basis = f"{size(sent)} {_way(conditions, conditions.up)}"
    basis += f", {known}" if conditions.rented or not conditions.on_this_computer else ""
    if conditions.on_this_computer and sizes.data_bytes:
        basis += f"; {size(sizes.data_bytes)} of data is linked, not copied"
    if sizes.fetched:
        known = ", assumed" if sizes.fetched_bytes is None else ""
        basis += f"; {size(sizes.fetched.likely)} fetched by the machine{known}"
    return Line(item="data transfer", hours=hours, usd=hours * offer.usd_per_hour + fee, basis=basis)


def _pull_line(offer: Offer, conditions: Conditions, sizes: Sizes) -> Line:
    home = sizes.output + sizes.checkpoint
    if conditions.pull_s is not None:
        basis = f"outputs and the last checkpoint, {size(home.likely)}, as in {conditions.pull_from}"
        return _timed("output pull", conditions.pull_s * (1 / 3600.0), offer, basis)
    is_known = sizes.output_bytes is not None and sizes.checkpoint_bytes is not None
    known = (
        f", sizes as in {sizes.seen_in}"
        if is_known and sizes.seen_in
        else ""
        if is_known
        else ", sizes assumed"
    )
    known += f", link {conditions.down_from}" if not conditions.on_this_computer else ""
    basis = f"outputs and the last checkpoint, {size(home.likely)} {_way(conditions, conditions.down)}{known}"
    hours = _hours(home, conditions.down) + conditions.leave_s * (1 / 3600.0)
    return _timed("output pull", hours, offer, basis)


def _way(conditions: Conditions, link: Range) -> str:
    """Say how bytes travel: over a link, or from folder to folder of this computer."""
    if conditions.on_this_computer and not conditions.rented:
        return "copied on this computer"
    return f"at {bit_rate(link.likely)}"


def _mirroring(offer: Offer, conditions: Conditions, sizes: Sizes) -> tuple[MirrorChoice | None, bool, str]:
    """Choose how often checkpoints leave the machine, and whether a notice is long enough to save one."""
    transfer_s = sizes.checkpoint.likely / conditions.mirror_link.likely
    survives, notice = survives_notice(
        notice_s=conditions.notice_s,
        save_s=sizes.checkpoint.likely / 0.2e9 + 1.0,
        transfer_s=transfer_s,
        disk_outlives=conditions.disk_outlives,
    )
    if not conditions.mirrored:
        return None, survives, notice
    choice = choose_mirror_every(
        offer,
        checkpoint_bytes=int(sizes.checkpoint.likely),
        link_bytes_per_s=conditions.mirror_link.likely,
        usd_per_gib=conditions.mirror_usd_per_gib(offer.egress_usd_per_gib),
        save_every_s=conditions.save_every_s,
        asked_s=conditions.mirror_every_s,
        notice_survived=survives,
        shortest_s=SHORTEST_HERE_S if conditions.on_this_computer else SHORTEST_S,
    )
    return choice, survives, notice


def _toll(
    offer: Offer,
    time: WorkTime,
    conditions: Conditions,
    mirror: MirrorChoice | None,
    survives: bool,
    again: Sequence[Line],
    pull: Line,
) -> Toll:
    segment_h = 0.0
    at_work = time.hours + time.evaluation
    if not survives:
        transfer_s = mirror.transfer_s if mirror else 0.0
        segment_h = ((mirror.every_s if mirror else 0.0) + transfer_s) / 3600.0
        if mirror is None and not conditions.disk_outlives:
            segment_h = at_work.likely  # nothing leaves the machine: a loss starts over
    start_h = conditions.start_s * (1 / 3600.0)
    restart_h = Range.sum([*(line.hours for line in again), start_h, pull.hours])
    return toll(
        at_work,
        per_hour=rate_of(offer, conditions),
        segment_h=segment_h,
        restart_h=restart_h,
        bad_case=BAD_CASE if conditions.interruptions_per_hour is None else BAD_CASE_RECORDED,
    )


def _interruption_lines(offer: Offer, conditions: Conditions, taken: Toll, survives: bool) -> list[Line]:
    if not taken.hours:
        return []
    mean_h = 1.0 / rate_of(offer, conditions)
    lost = "nothing lost with notice" if survives else "work since the last mirrored checkpoint lost"
    basis = (
        f"{taken.times.likely:.2g} expected, up to {taken.times.high:.2g}: one per {mean_h:.3g} h"
        f" ({_rate_basis(offer, conditions)}), {lost}, boot, data and setup again"
    )
    if not taken.gets_through:
        basis += "; at this rate the run hardly gets through"
    return [_timed("interruptions", taken.hours, offer, basis)]


def _rate_basis(offer: Offer, conditions: Conditions) -> str:
    """Where the rate comes from: the user's record, or what the provider's table says of it in the offer's notes."""
    if conditions.interruptions_per_hour is not None:
        return conditions.interruptions_from
    said = [note.removeprefix(RATE_NOTE) for note in offer.notes if note.startswith(RATE_NOTE)]
    return said[0] if said else "assumed"


def _beside_lines(
    offer: Offer,
    conditions: Conditions,
    sizes: Sizes,
    mirror: MirrorChoice | None,
    *,
    hours: Range,
    at_work: Range,
) -> list[Line]:
    """What is paid for beside the machine itself and takes no time of its own."""
    lines = []
    if mirror is not None:
        gib = _mirrored_gib(at_work, mirror.every_s, conditions, sizes)
        usd_per_gib = conditions.mirror_usd_per_gib(offer.egress_usd_per_gib)
        lines.append(_beside("checkpoint mirroring", gib * usd_per_gib, mirror.reason))
    disk_usd = hours * (offer.disk_usd_per_gib_month * conditions.disk_gib / HOURS_PER_MONTH)
    lines.append(_beside("disk", disk_usd, _disk_words(offer, conditions, hours)))
    if offer.ipv4_usd_per_hour:
        basis = f"public address at ${offer.ipv4_usd_per_hour:g}/h"
        lines.append(_beside("IPv4", hours * offer.ipv4_usd_per_hour, basis))
    if offer.egress_usd_per_gib:
        gib = (sizes.output + sizes.checkpoint) * (1.0 / GIB)
        basis = f"{_gib(gib.likely)} home at ${offer.egress_usd_per_gib:.3g}/GiB"
        lines.append(_beside("egress", gib * offer.egress_usd_per_gib, basis))
    return lines


def _ingress_again(offer: Offer, carried: Sizes, moves: Range) -> list[Line]:
    if not offer.ingress_usd_per_gib or not moves:
        return []
    sent = carried.code_bytes + carried.data_bytes + carried.fetched.likely + carried.checkpoint.likely
    basis = f"data to each further machine at ${offer.ingress_usd_per_gib:g}/GiB"
    return [_beside("ingress again", moves * (sent / GIB * offer.ingress_usd_per_gib), basis)]


def _mirrored_gib(at_work: Range, every_s: float, conditions: Conditions, sizes: Sizes) -> Range:
    """By what this job has shown; else a copy for every interval, and the first one once something is likely saved."""
    ratio, one_gib = conditions.mirror_ratio, sizes.checkpoint.likely / GIB
    first_s = 0.0 if ratio is not None else conditions.save_every_s or _FIRST_SAVE_S
    seconds = [3600.0 * hours for hours in (at_work.low, at_work.likely, at_work.high)]
    copies = Range(*(copies_of(working_s, every_s, first_s=first_s) for working_s in seconds))
    if ratio is not None:
        shown = Range(copies.low * ratio.low, copies.likely * ratio.likely, copies.high * ratio.high)
        return shown * one_gib
    if not conditions.save_every_s:  # perhaps it saves nothing at all
        copies = replace(copies, low=seconds[0] / every_s)
    return copies * one_gib


def _disk_words(offer: Offer, conditions: Conditions, hours: Range) -> str:
    if conditions.on_this_computer and not conditions.rented:
        return f"{size(conditions.disk_gib * GIB)} of this computer's disk"
    held = f" ({conditions.disk_words})" if conditions.disk_words else ""
    price = offer.disk_usd_per_gib_month
    rate = f" at ${price:.3g}/GiB-month" if price else ""
    return f"{_gib(conditions.disk_gib)}{held} for {duration(3600 * hours.likely)}{rate}"


def _gib(gib: float) -> str:
    """Disks and traffic are sold by the GiB; of less than one, people want to read bytes."""
    return f"{gib:.3g} GiB" if gib >= 1.0 else size(gib * GIB)


def _beside(item: str, usd: Range, basis: str) -> Line:
    return Line(item=item, hours=Range.zero(), usd=usd, basis=basis)


def _narrow_by(
    offer: Offer, time: WorkTime, conditions: Conditions, sizes: Sizes, lines: Sequence[Line]
) -> tuple[str, ...]:
    """The two things that would narrow the range most: what makes the widest lines known, widest first."""
    cures = {
        "training": time.narrow_by,
        "boot": _if(conditions.boot_from == "assumed", f"one run on {offer.provider}: it measures the boot"),
        "setup": _if(conditions.setup_from == "assumed", "one run of this job: it measures the setup"),
        "data transfer": _transfer_cures(conditions, sizes),
        "interruptions": _if(
            conditions.interruptions_per_hour is None,
            "on-demand, or five interruptions of one's own: the rate is only known to a factor of four",
        ),
        "output pull": _if(sizes.checkpoint_bytes is None, _CHECKPOINT_SIZE),
        "checkpoint mirroring": _if(sizes.checkpoint_bytes is None, _CHECKPOINT_SIZE),
    }
    widest = sorted(lines, key=lambda line: _width(offer, line), reverse=True)
    hints = [hint for line in widest if _width(offer, line) for hint in cures.get(line.item, ())]
    return tuple(dict.fromkeys([*time.narrow_by[:1], *hints] if time.source is Source.GUESS else hints))[:2]


_CHECKPOINT_SIZE = "the size of a checkpoint, known after the first run"


def _if(holds: bool, hint: str) -> tuple[str, ...]:
    return (hint,) if holds else ()


def _transfer_cures(conditions: Conditions, sizes: Sizes) -> tuple[str, ...]:
    if sizes.fetched_bytes is None:
        return ("the size of what the machine fetches",)
    is_assumed = conditions.up_from == "assumed" and not conditions.on_this_computer
    return _if(is_assumed, "the speed of this computer's uplink")


def _width(offer: Offer, line: Line) -> float:
    """How much a line adds to the width of the range: of money, or of time where nothing costs anything."""
    return line.usd.high - line.usd.low if offer.usd_per_hour else line.hours.high - line.hours.low
