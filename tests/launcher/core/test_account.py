"""What a run came to, by the lines of its estimate: everything that was paid is in exactly one of them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.events import Event, Kind
from launcher.forecast.account import Account
from launcher.forecast.bookkeeping import account_of, hours_beside_steps
from launcher.forecast.conditions import Sizes, default_conditions
from launcher.forecast.estimates import StageShare, estimate
from launcher.forecast.experience import (
    ENOUGH_INTERRUPTIONS,
    Experience,
    StageRun,
    calibration_of,
)
from launcher.forecast.ranges import Range
from launcher.forecast.throughput import EarlierRun, Source, Work
from launcher.planning.plan import Plan, Wants, make_plan
from launcher.records import from_json, to_json
from launcher.status import cost_of
from launcher.store import AttemptRow, InstanceRow, RunRow
from provisioning import Offer
from tests.launcher.core.builders import CAPABILITIES, NOON, ended, offer, spot_offer
from trainer.contract import Cause

STATES = ["provisioning", "syncing", "setup", "running", "interrupted", "recovering", "pulling"]


def plan(of: Offer, **wants: Any) -> Plan:
    wanted = Wants(work=Work(steps=36_000), spot=of.spot, **wants)
    return make_plan([of], wanted, capabilities=CAPABILITIES, now=NOON)


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def moved(minutes: float, state: str, seq: int = 1) -> Event:
    return Event(
        kind=Kind.STATE, message=state, at=after(minutes), run_id="b2t-x4k2", seq=seq, data={"state": state}
    )


def run(of: Plan, **changes: Any) -> RunRow:
    values: dict[str, Any] = {
        "run_id": "b2t-x4k2",
        "name": "b2t",
        "state": "succeeded",
        "created_at": NOON,
        "updated_at": NOON,
        "job": {"fields": {"name": "b2t", "run": "python train.py"}},
        "plan": of.to_json(),
    }
    return RunRow(**{**values, **changes})


def machine(of: Offer, start: float, end: float | None, n: int = 1, **changes: Any) -> InstanceRow:
    values: dict[str, Any] = {
        "ref": f"aws/us-east-1/i-{n}",
        "run_id": "b2t-x4k2",
        "stage": "main",
        "attempt": n,
        "token": f"b2t-x4k2-{n}-1",
        "offer": to_json(of),
        "state": "terminated",
        "created_at": after(start),
        "seen_at": after(start),
        "ended_at": None if end is None else after(end),
    }
    return InstanceRow(**{**values, **changes})


def attempt(of: Offer, n: int = 1, **changes: Any) -> AttemptRow:
    values: dict[str, Any] = {
        "run_id": "b2t-x4k2",
        "stage": "main",
        "n": n,
        "candidate": 0,
        "offer": to_json(of),
        "started_at": NOON,
    }
    return AttemptRow(**{**values, **changes})


def test_every_stretch_of_rented_time_is_in_its_line() -> None:
    of = offer()
    promised = plan(of)
    moves = [(0, "provisioning"), (2, "syncing"), (5, "setup"), (10, "running"), (70, "pulling")]
    events = [moved(minutes, state) for minutes, state in moves]
    events.append(
        Event(
            kind=Kind.CHECKPOINT,
            message="",
            at=after(40),
            run_id="",
            data={"where": "home", "bytes": 1 << 29},
        )
    )
    ended = run(promised, ended_at=after(75), step=36_000, total=36_000, steps_per_s=12.0)
    rows = [machine(of, 0, 76, egress_bytes=1 << 30)]
    found = account_of(ended, promised, [attempt(of)], rows, events, after(80))
    assert found is not None
    hours = {line.item: line.hours * 60 for line in found.lines if line.hours}
    assert hours == pytest.approx(
        {"boot": 2, "data transfer": 3, "setup": 5, "training": 60, "output pull": 6}
    )
    usd = {line.item: line.usd for line in found.lines}
    assert usd["training"] == pytest.approx(0.526)
    assert usd["egress"] == pytest.approx(usd["checkpoint mirroring"]) == pytest.approx(0.045)
    assert found.usd == pytest.approx(cost_of(rows[0], promised.disk_gib, after(80)))
    assert found.boot_s == 120.0 and found.setup_s == 300.0
    # 36 000 steps at 12 per second are 50 of the 60 minutes: the rest came beside the steps.
    assert hours_beside_steps(ended, [attempt(of)], events, after(80)) == pytest.approx(1 / 6)
    training = next(line for line in found.lines if line.item == "training")
    assert training.expected_hours == promised.estimate.lines[3].hours


def test_ways_back_and_work_done_twice_are_interruptions() -> None:
    of = spot_offer()
    promised = plan(of)
    moves = [
        (0, "provisioning"),
        (3, "running"),
        (33, "interrupted"),
        (34, "provisioning"),
        (37, "syncing"),
        (38, "running"),
        (98, "pulling"),
    ]
    events = [moved(minutes, state) for minutes, state in moves]
    attempts = [
        attempt(of, cause="notice", ended_at=after(34), steps_lost=600),
        attempt(of, 2, ended_at=after(99), cause="finished"),
    ]
    rows = [machine(of, 0, 34), machine(of, 34, 99, n=2)]
    ended = run(promised, ended_at=after(99), step=9000, total=9000, steps_per_s=2.0)
    found = account_of(ended, promised, attempts, rows, events, after(99))
    assert found is not None
    hours = {line.item: line.hours * 60 for line in found.lines if line.hours}
    # 600 steps at 2 per second are five minutes of work that was done twice; 1 + 3 + 1 minutes to come back.
    assert hours["interruptions"] == pytest.approx(5 + 1 + 3 + 1)
    assert hours["training"] == pytest.approx(90 - 5)
    assert found.interruptions == 1
    assert found.spot_hours == pytest.approx(99 / 60)


def test_the_machine_of_the_next_stage_is_no_interruption_and_one_in_its_place_is() -> None:
    of = offer()
    promised = plan(of)
    moves = [
        (0, "provisioning"), (2, "running"), (12, "pulling"), (13, "provisioning"), (16, "syncing"), (18, "running"),
        (28, "interrupted"), (29, "provisioning"), (33, "running"), (43, "pulling"),
    ]  # fmt: skip
    events = [moved(minutes, state) for minutes, state in moves]
    attempts = [
        attempt(of, stage="features", ended_at=after(13)),
        attempt(of, 2, stage="train", started_at=after(13), ended_at=after(29)),
        attempt(of, 3, stage="train", started_at=after(29), ended_at=after(43)),
        attempt(of, 3, stage="compare", started_at=after(43), ended_at=after(44)),
    ]
    rows = [machine(of, 0, 13), machine(of, 13, 29, n=2), machine(of, 29, 44, n=3)]
    shares = tuple(
        StageShare(
            name=name,
            offer=of,
            stays=name == "compare",
            hours=Range(0.1, 0.2, 0.3),
            usd=Range(0.01, 0.1, 0.2),
            source=Source.MEASURED,
            basis="12 min by the clock",
        )
        for name in ("features", "train", "compare", "words")
    )
    promised = replace(promised, estimate=replace(promised.estimate, stages=shares))
    found = account_of(run(promised, ended_at=after(44)), promised, attempts, rows, events, after(44))
    assert found is not None
    assert [(stage.name, round(60 * stage.hours)) for stage in found.stages] == [
        ("features", 13), ("train", 30), ("compare", 1), ("words", 0),
    ]  # fmt: skip
    assert math.fsum(stage.usd for stage in found.stages) == pytest.approx(found.usd)
    assert found.stages[3].usd == 0.0 and found.stages[0].expected_usd == Range(0.01, 0.1, 0.2)
    assert from_json(Account, to_json(found)) == found
    hours = {line.item: line.hours * 60 for line in found.lines if line.hours}
    assert hours == pytest.approx(
        {"boot": 5, "data transfer": 2, "training": 30, "interruptions": 5, "output pull": 2}
    )


@given(
    moves=st.lists(st.tuples(st.floats(0, 500), st.sampled_from(STATES)), max_size=12),
    rentals=st.lists(
        st.tuples(st.floats(0, 500), st.floats(0, 500), st.integers(0, 1 << 34)), min_size=1, max_size=4
    ),
    count=st.integers(1, 8),
    stopped_s=st.floats(0, 600),
)
def test_whatever_happens_the_lines_sum_to_the_bill(
    moves: list[tuple[float, str]], rentals: list[tuple[float, float, int]], count: int, stopped_s: float
) -> None:
    of = offer(gpu_count=count)
    promised = plan(of, gpus_used=1)
    rows = [
        machine(of, start, start + length, n=n, egress_bytes=egress, stopped_s=min(stopped_s, 30 * length))
        for n, (start, length, egress) in enumerate(rentals, 1)
    ]
    events = [moved(minutes, state, n) for n, (minutes, state) in enumerate(moves)]
    now = after(1000)
    ended = run(promised, ended_at=now, step=100, total=200, steps_per_s=1.0)
    found = account_of(ended, promised, [attempt(of)], rows, events, now)
    assert found is not None
    bill = math.fsum(cost_of(row, promised.disk_gib, now) for row in rows)
    assert math.fsum(line.usd for line in found.lines) == pytest.approx(bill, abs=1e-9)
    assert all(line.usd >= 0.0 and line.hours >= 0.0 for line in found.lines)
    assert from_json(Account, to_json(found)) == found


def account(**changes: Any) -> Account:
    values: dict[str, Any] = {
        "run_id": "b2t-x4k2",
        "job_digest": "same",
        "provider": "aws",
        "instance_type": "g4dn.xlarge",
        "gpu_name": "T4",
        "spot": True,
        "ended_at": NOON,
        "finished": True,
        "source": "measured",
        "expected_hours": Range(1, 2, 3),
        "expected_usd": Range(1, 2, 3),
        "hours": 2.0,
        "usd": 2.2,
        "lines": (),
        "boot_s": 47.0,
        "setup_s": 33.0,
    }
    return Account(**{**values, **changes})


def test_what_was_measured_replaces_what_was_assumed() -> None:
    known = Experience(digest="same", accounts=(account(checkpoint_bytes=123, output_bytes=456),))
    found = known.conditions(offer(), default_conditions("aws"))
    assert found.boot_s.likely == 47.0 and "b2t-x4k2" in found.boot_from
    assert found.setup_s.likely == 33.0
    assert known.sizes(Sizes()).checkpoint_bytes == 123
    other = Experience(digest="another", accounts=known.accounts)
    assert other.conditions(offer(), default_conditions("aws")).setup_from == "assumed"
    assert other.sizes(Sizes()).checkpoint_bytes is None
    elsewhere = known.conditions(offer(provider="gcp"), default_conditions("gcp"))
    assert elsewhere.boot_from == "assumed"


def test_a_stage_is_priced_by_what_it_showed_itself_there_and_in_the_same_way() -> None:
    of_all = (account(checkpoint_bytes=123, output_bytes=456),)
    one = StageRun(
        run_id="night-x4k2", provider="aws", stays=False, setup_s=90.0, checkpoint_bytes=0, output_bytes=7
    )
    known = Experience(
        digest="same", accounts=of_all, stage_runs=(one, replace(one, stays=True, setup_s=2.0))
    )
    assumed = default_conditions("aws")
    assert known.conditions(offer(), assumed).setup_s.likely == 90.0
    assert known.conditions(offer(), assumed, is_there=True).setup_s.likely == 2.0
    never_stayed = replace(known, stage_runs=(one,))
    assert never_stayed.conditions(offer(), assumed, is_there=True).setup_from == "assumed"
    sizes = known.sizes(Sizes())
    assert (sizes.checkpoint_bytes, sizes.output_bytes, sizes.seen_in) == (0, 7, "run night-x4k2")
    assert known.sizes_of_all(Sizes()).output_bytes == 456, "a disk holds what all stages leave"


def test_five_interruptions_of_ones_own_replace_the_published_rate() -> None:
    few = Experience(accounts=(account(spot_hours=10.0, interruptions=ENOUGH_INTERRUPTIONS - 1),))
    assert few.conditions(spot_offer(), default_conditions("aws")).interruptions_per_hour is None
    enough = Experience(accounts=(account(spot_hours=10.0, interruptions=ENOUGH_INTERRUPTIONS),))
    found = enough.conditions(spot_offer(), default_conditions("aws"))
    assert found.interruptions_per_hour == 0.5
    assert "5 in 10 h of your own" in found.interruptions_from
    assert enough.conditions(offer(), default_conditions("aws")).interruptions_per_hour is None


def test_the_history_counts_how_often_the_range_held() -> None:
    seen = calibration_of([account(), account(usd=4.0), account(usd=9.0, finished=False)])
    assert (seen.runs, seen.inside) == (2, 1)
    assert seen.median_error == pytest.approx(0.55)
    assert seen.by_source == {"measured": (2, 1)}


def a_short_run(
    state: str = "succeeded", *, mirror_every_s: float = 50.0, output_s: float = 140.0, **of_attempt: Any
) -> Account:
    """Six seconds to place, ten to the first step, a hundred steps at one a second, eight to leave."""
    of = offer()
    promised = replace(plan(of), mirror_every_s=mirror_every_s)
    moves = [(0.0, "provisioning"), (20.0, "syncing"), (26.0, "setup"), (27.0, "running"), (137.0, "pulling")]
    events = [moved(seconds / 60.0, to) for seconds, to in moves]
    events.append(
        Event(kind=Kind.PROGRESS, message="", at=after(40 / 60.0), run_id="", data={"step": 3, "total": 100})
    )
    home = {"path": "/results/model.pt", "bytes": 1000}
    events.append(Event(kind=Kind.OUTPUT, message="", at=after(output_s / 60.0), run_id="", data=home))
    copies = [60.0, 110.0, 138.0]
    events += [
        Event(
            kind=Kind.CHECKPOINT,
            message="",
            at=after(at / 60.0),
            run_id="",
            data={"where": where, "bytes": 1 << 20},
        )
        for at in copies
        for where in ("machine", "home")
    ]
    over = run(promised, state=state, ended_at=after(145 / 60.0), step=100, total=100, steps_per_s=1.0)
    tried = [attempt(of, **of_attempt)]
    found = account_of(over, promised, tried, [machine(of, 0, 145 / 60.0)], events, after(145 / 60.0))
    assert found is not None
    assert hours_beside_steps(over, tried, events, after(3)) == pytest.approx(0.0, abs=1e-9)
    return found


def test_a_run_shows_what_it_takes_beside_its_bytes_and_steps() -> None:
    found = a_short_run()
    assert found.start_s == pytest.approx(10.0), "seen at 40 s with three steps done, 13 s after its start"
    assert found.place_s == pytest.approx(6.0) and found.leave_s == pytest.approx(8.0) == found.pull_s
    # Of three copies the last came home with the outputs; 110 s of work at 50 s an interval let expect 1 + 2.2.
    assert found.mirror_ratio == pytest.approx(2 / 3.2)
    cut_short = a_short_run(state="stopped")
    assert cut_short.start_s == pytest.approx(10.0) and cut_short.leave_s is cut_short.pull_s is None
    assert cut_short.mirror_ratio is None


def test_a_run_too_short_for_several_copies_says_nothing_about_mirroring_and_no_run_makes_it_free() -> None:
    assert a_short_run(mirror_every_s=60.0).mirror_ratio is None, "1 + 1.8 copies were to be expected"

    def mirrored(*accounts: Account) -> Range:
        known = Experience(digest="b2t", accounts=accounts)
        conditions = replace(known.conditions(offer(), default_conditions("aws")), save_every_s=300.0)
        sizes = Sizes(checkpoint_bytes=1 << 29)
        found = estimate(offer(), Work(hours=8.0, on="T4"), conditions=conditions, sizes=sizes)
        return next(line.usd for line in found.lines if line.item == "checkpoint mirroring")

    shown = replace(a_short_run(), job_digest="b2t")
    usual, some, none = mirrored(), mirrored(shown), mirrored(replace(shown, mirror_ratio=0.0))
    assert 0.0 < none.low < none.likely < some.likely < usual.likely
    assert some.high / some.likely > usual.high / usual.likely, "one run shows it to a factor"


def test_all_of_the_way_home_is_known_where_it_was_all_of_it_and_the_machine_is_of_that_type() -> None:
    shown, early = a_short_run(), a_short_run(output_s=90.0)
    assert early.pull_s is early.leave_s is None, "somebody had it brought home while the job worked"
    assert early.output_bytes == shown.output_bytes == 1000
    known = Experience(digest=shown.job_digest, accounts=(shown,))

    def pull_s(of: Offer) -> Range | None:
        return known.conditions(of, default_conditions("aws")).pull_s

    assert pull_s(offer()) is not None
    assert pull_s(offer(instance_type="g5.xlarge")) is pull_s(offer(link_up_bytes_per_s=1.25e6)) is None


def test_a_program_that_was_told_to_leave_has_not_shown_all_of_its_work_although_it_exits_0() -> None:
    told = a_short_run(progress=to_json(ended(0, Cause.STOP)))
    assert not told.finished
    assert told.pull_s is told.leave_s is told.output_bytes is told.mirror_ratio is None
    assert told.checkpoint_bytes == 1 << 20 and told.start_s == pytest.approx(10.0), "which it has shown"
    assert a_short_run(progress=to_json(ended(0))).finished


def test_the_next_estimate_knows_how_long_the_program_takes_to_its_first_step() -> None:
    known = Experience(digest="b2t", accounts=(replace(a_short_run(), job_digest="b2t"),))
    conditions = known.conditions(offer(), default_conditions("aws"))
    assert (conditions.place_s.likely, conditions.leave_s.likely) == pytest.approx((6.0, 8.0))
    pace = EarlierRun(steps_per_s=1.0, gpu_name="T4")
    found, said = (
        estimate(offer(), work, conditions=conditions, sizes=Sizes(), history=[pace])
        for work in (Work(steps=100), Work(steps=100, evaluation_h=1.0))
    )
    line = next(item for item in found.lines if item.item == "evaluation")
    assert 3600.0 * line.hours.likely == pytest.approx(10.0)
    assert line.basis == "10 s to the first step, as in run b2t-x4k2"
    told = next(item for item in said.lines if item.item == "evaluation")
    assert told.hours.likely == 1.0, "the job says all that comes beside its steps"
    pull = next(item for item in found.lines if item.item == "output pull")
    assert 3600.0 * pull.hours.likely == pytest.approx(8.0) and pull.basis.endswith("as in run b2t-x4k2")
    transfer = next(item for item in found.lines if item.item == "data transfer")
    assert 3600.0 * transfer.hours.likely == pytest.approx(6.0)
    elsewhere = known.conditions(offer(provider="gcp"), default_conditions("gcp"))
    assert elsewhere.start_s.likely == pytest.approx(10.0) and elsewhere.mirror_ratio is None
