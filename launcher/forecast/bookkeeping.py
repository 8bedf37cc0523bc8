"""From the record of a run to its account: what it took and cost, line by line, beside what was promised. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from launcher.events import Event, Kind
from launcher.forecast.account import (
    Account,
    AccountLine,
    AccountStage,
    Rental,
    Span,
    account_lines,
    share_of_idle,
    spans_of,
)
from launcher.forecast.estimates import StageShare
from launcher.forecast.history import job_digest, was_told_to_leave
from launcher.forecast.mirror_interval import copies_of
from launcher.forecast.money import Usage, bill
from launcher.records import from_json
from launcher.status import cost_of_share
from launcher.store import AttemptRow, InstanceRow, RunRow
from provisioning import Offer

if TYPE_CHECKING:
    from launcher.planning.plan import Plan

__all__ = ["TELLING_BYTES", "account_of", "hours_beside_steps"]

TELLING_BYTES = 4 << 20
"""Less than this, and the time says nothing about a link."""
TELLING_COPIES = 3.0
"""Where fewer were to be expected, what checkpoints moved says nothing about a longer run: an only copy comes home with
the outputs."""
_TAKEN_AWAY = frozenset({"notice", "spot_notice", "instance_lost"})


def account_of(
    run: RunRow,
    plan: Plan,
    attempts: Sequence[AttemptRow],
    instances: Sequence[InstanceRow],
    events: Sequence[Event],
    now: datetime,
) -> Account | None:
    """Put the account of a run together; None for one that never had a machine.

    ``plan``: as it was at launch. For a run that goes on: what it came to up to ``now``.
    """
    if not instances:
        return None
    if run.stages:  # its steps are those of one stage alone, and say nothing about the time of all
        run = replace(run, step=None, total=None, steps_per_s=None)
    offer = from_json(Offer, instances[0].offer)
    spans = _spans(events, run.ended_at or now)
    mirrored = _mirrored_bytes(events)
    rentals = [_rental(row, plan.disk_gib, mirrored, attempts, instances, now) for row in instances]
    estimate = plan.estimate
    is_whole = _did_all(run, attempts)
    checkpoint_bytes = _checkpoint_bytes(events, is_whole=is_whole)
    output_bytes = _output_bytes(events) if is_whole else None
    lines = account_lines(
        spans,
        rentals,
        repeated_h=_repeated_h(run, attempts),
        beside_h=_beside_h(run, attempts, spans),
        idle_share=share_of_idle(estimate.lines),
        expected={line.item: (line.hours, line.usd, line.basis) for line in estimate.lines},
    )
    pull_s = _pull_s(lines) if is_whole and not _came_before(spans, events) else None
    return Account(
        run_id=run.run_id,
        job_digest=job_digest(run.job["fields"]),
        provider=offer.provider,
        instance_type=offer.instance_type,
        gpu_name=offer.gpu_name,
        spot=offer.spot,
        ended_at=run.ended_at or now,
        finished=is_whole,
        source=estimate.source.value,
        expected_hours=estimate.hours,
        expected_usd=estimate.usd,
        hours=math.fsum(line.hours for line in lines),
        usd=math.fsum(line.usd for line in lines),
        lines=lines,
        boot_s=_boot_s(spans, instances[0]),
        setup_s=_setup_s(spans, is_whole=is_whole),
        sent_bytes_per_s=_sent_rate(spans, events),
        pulled_bytes_per_s=run.measured.get("bytes_per_s"),
        checkpoint_bytes=checkpoint_bytes,
        output_bytes=output_bytes,
        start_s=_start_s(run, attempts, spans, events),
        place_s=_place_s(spans, events),
        leave_s=None if pull_s is None else _leave_s(run, spans, pull_s, output_bytes),
        pull_s=None if run.stages else pull_s,
        mirror_ratio=None  # a run that was cut short has not shown it, and each stage has an interval of its own
        if run.stages or not is_whole
        else _mirror_ratio(plan.mirror_every_s, spans, events, checkpoint_bytes),
        spot_hours=math.fsum(row.compute_s(now) for row in instances if row.offer.get("spot")) / 3600.0,
        interruptions=sum(
            1 for row in attempts if row.offer.get("spot") and row.ended_at and row.cause in _TAKEN_AWAY
        ),
        stages=tuple(
            _account_stage(share, plan.disk_gib, attempts, instances, now) for share in estimate.stages
        ),
    )


def _did_all(run: RunRow, attempts: Sequence[AttemptRow]) -> bool:
    """Whether the job, and each of its stages, has done all its work: only that is like the end of another run."""
    last = {row.stage: row for row in attempts}
    return run.state == "succeeded" and not any(was_told_to_leave(row) for row in last.values())


def _account_stage(
    share: StageShare,
    disk_gib: float,
    attempts: Sequence[AttemptRow],
    instances: Sequence[InstanceRow],
    now: datetime,
) -> AccountStage:
    own = [row for row in attempts if row.stage == share.name]
    seconds = math.fsum(((row.ended_at or now) - row.started_at).total_seconds() for row in own)
    return AccountStage(
        name=share.name,
        hours=max(0.0, seconds) / 3600.0,
        usd=math.fsum(cost_of_share(row, attempts, instances, disk_gib, now) for row in own),
        expected_hours=share.hours,
        expected_usd=share.usd,
        source=share.source.value,
        basis=share.basis,
    )


def hours_beside_steps(
    run: RunRow, attempts: Sequence[AttemptRow], events: Sequence[Event], now: datetime
) -> float:
    """Hours at work that neither the steps nor the way to the first of them explain: evaluation, the program's own end."""
    spans = _spans(events, run.ended_at or now)
    starts = sum(1 for span in spans if span.state == "running")
    start_s = _start_s(run, attempts, spans, events) or 0.0
    return max(0.0, _beside_h(run, attempts, spans) - starts * start_s / 3600.0)


def _beside_h(run: RunRow, attempts: Sequence[AttemptRow], spans: Sequence[Span]) -> float:
    running_h = math.fsum(_hours(span) for span in spans if span.state == "running")
    if not run.steps_per_s or run.step is None:
        return 0.0
    steps = run.step + sum(row.steps_lost for row in attempts)
    return max(0.0, running_h - steps / run.steps_per_s / 3600.0)


def _hours(span: Span) -> float:
    return (span.end - span.start).total_seconds() / 3600.0


def _spans(events: Sequence[Event], end: datetime) -> list[Span]:
    moves = [(event.at, str(event.data.get("state", ""))) for event in events if event.kind is Kind.STATE]
    return spans_of(moves, end)


def _rental(
    row: InstanceRow,
    disk_gib: float,
    mirrored: int,
    attempts: Sequence[AttemptRow],
    instances: Sequence[InstanceRow],
    now: datetime,
) -> Rental:
    compute_s = row.compute_s(now)
    offer = from_json(Offer, row.offer)
    costs = bill(
        offer,
        Usage(
            compute_s=compute_s,
            ipv4_s=compute_s,
            disk_gib=disk_gib,
            disk_s=row.disk_s(now),
            egress_bytes=row.egress_bytes,
        ),
    )
    traffic = sum(item.egress_bytes for item in instances)
    end = min(row.stopped_at or now, row.ended_at or now)
    return Rental(
        start=row.created_at,
        end=max(end, row.created_at),
        usd_per_hour=offer.usd_per_hour,
        disk_usd=costs.disk,
        ipv4_usd=costs.ipv4,
        egress_usd=costs.egress,
        mirrored_share=min(1.0, mirrored / traffic) if traffic else 0.0,
        compute_usd=costs.compute,
        is_way_back=_is_way_back(row, attempts),
    )


def _is_way_back(row: InstanceRow, attempts: Sequence[AttemptRow]) -> bool:
    """Whether a machine was rented for a stage that had begun on another one: the next stage's own is in the plan."""
    first = next((item.stage for item in attempts if item.n == row.attempt), row.stage)
    return any(item.stage == first and item.n < row.attempt for item in attempts)


def _mirrored_bytes(events: Sequence[Event]) -> int:
    """What checkpoints that came home while the job worked have moved."""
    return sum(
        int(event.data.get("bytes", 0))
        for event in events
        if event.kind is Kind.CHECKPOINT and event.data.get("where") == "home"
    )


def _repeated_h(run: RunRow, attempts: Sequence[AttemptRow]) -> float:
    lost = sum(row.steps_lost for row in attempts)
    return lost / run.steps_per_s / 3600.0 if lost and run.steps_per_s else 0.0


def _boot_s(spans: Sequence[Span], row: InstanceRow) -> float | None:
    """From the create call to the first state in which the machine was used."""
    used = [span.start for span in spans if span.state in ("syncing", "setup", "running")]
    seconds = (used[0] - row.created_at).total_seconds() if used else -1.0
    return seconds if seconds >= 0.0 else None


def _setup_s(spans: Sequence[Span], *, is_whole: bool) -> float | None:
    """Of the first machine; 0 for a job that finished without any."""
    found = [_hours(span) * 3600.0 for span in spans if span.state == "setup"]
    return found[0] if found else 0.0 if is_whole else None


def _sent_rate(spans: Sequence[Span], events: Sequence[Event]) -> float | None:
    """Bytes per second of the first placing, where enough was sent; the environment's packages are not counted."""
    seconds, sent = _first_placing(spans, events)
    return sent / seconds if seconds > 0.0 and sent >= TELLING_BYTES else None


def _place_s(spans: Sequence[Span], events: Sequence[Event]) -> float | None:
    seconds, sent = _first_placing(spans, events)
    return seconds if seconds > 0.0 and sent < TELLING_BYTES else None


def _first_placing(spans: Sequence[Span], events: Sequence[Event]) -> tuple[float, int]:
    """Seconds of the first placing, and the bytes that were sent in them."""
    first = next((span for span in spans if span.state == "syncing"), None)
    if first is None:
        return 0.0, 0
    sent = sum(
        int(event.data.get("bytes", 0))
        for event in events
        if event.kind is Kind.TRANSFER and "files" in event.data and first.start <= event.at <= first.end
    )
    return _hours(first) * 3600.0, sent


def _start_s(
    run: RunRow, attempts: Sequence[AttemptRow], spans: Sequence[Span], events: Sequence[Event]
) -> float | None:
    """From the program's start to its first step, by the first step that was seen and the pace that followed."""
    first = next((span for span in spans if span.state == "running"), None)
    if first is None or not run.steps_per_s or not attempts:
        return None
    for event in events:
        if event.kind is Kind.PROGRESS and first.start <= event.at <= first.end and event.data.get("step"):
            done = max(0, int(event.data["step"]) - (attempts[0].step_at_attempt or 0))
            return max(0.0, (event.at - first.start).total_seconds() - done / run.steps_per_s)
    return None


def _leave_s(run: RunRow, spans: Sequence[Span], pull_s: float, output_bytes: int | None) -> float:
    """Of a run that did its work, or of each of its stages: what came home took its bytes' time at the measured pace."""
    rate = run.measured.get("bytes_per_s")
    pulls = max(1, sum(span.state == "pulling" for span in spans)) if run.stages else 1
    return max(0.0, pull_s - ((output_bytes or 0) / rate if rate else 0.0)) / pulls


def _came_before(spans: Sequence[Span], events: Sequence[Event]) -> bool:
    """Whether somebody has had outputs brought home while the job worked: they did not travel at its end."""
    came = [event.at for event in events if event.kind is Kind.OUTPUT]
    return any(span.state == "running" and span.start <= at < span.end for span in spans for at in came)


def _pull_s(lines: Sequence[AccountLine]) -> float | None:
    pulled = next((line.hours for line in lines if line.item == "output pull"), None)
    return None if pulled is None else 3600.0 * pulled


def _mirror_ratio(
    every_s: float, spans: Sequence[Span], events: Sequence[Event], checkpoint_bytes: int | None
) -> float | None:
    """The last copy is left out: it came home with the outputs."""
    working_s = math.fsum(3600.0 * _hours(span) for span in spans if span.state == "running")
    if not every_s or not checkpoint_bytes or not working_s:
        return None
    expected = copies_of(working_s, every_s)
    if expected < TELLING_COPIES:
        return None
    return max(0, _mirrored_bytes(events) - checkpoint_bytes) / (expected * checkpoint_bytes)


def _checkpoint_bytes(events: Sequence[Event], *, is_whole: bool) -> int | None:
    """Of the largest of the last checkpoints; 0 for a job that finished without any."""
    sizes = [
        int(event.data["bytes"])
        for event in events
        if event.kind is Kind.CHECKPOINT and event.data.get("where") == "machine" and event.data.get("bytes")
    ]
    return max(sizes[-3:]) if sizes else 0 if is_whole else None


def _output_bytes(events: Sequence[Event]) -> int | None:
    """What came home as outputs, each file once."""
    sizes = {
        str(event.data.get("path")): int(event.data.get("bytes", 0))
        for event in events
        if event.kind is Kind.OUTPUT
    }
    return sum(sizes.values()) if sizes else None
