"""Which stage is next, which can no longer run, how a run of several ends, and what they cost together."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import NothingToRent, OverBudget, UsageError
from launcher.forecast.conditions import Sizes
from launcher.forecast.estimates import Estimate, StageShare
from launcher.forecast.ranges import Range
from launcher.forecast.stages import PricedStage
from launcher.forecast.throughput import Source, Work
from launcher.forecast.times import EarlierTime
from launcher.job import Job, Stage
from launcher.job.stages import alone, job_of_stage
from launcher.planning.earlier import one_stage
from launcher.planning.plan import Plan, Wants, make_plan, price
from launcher.planning.stages import in_order, markets_words, meets, plan_stages, what_fits
from launcher.policy.limits import up_to_cent
from launcher.policy.stages import (
    StageRecord,
    StageState,
    blocked,
    can_be_spared,
    dropped_in_time,
    how_it_ends,
    next_stage,
    others_go_on,
    room_for_closing,
    to_drop,
    to_redo,
)
from launcher.policy.states import Reason
from launcher.quantities import usd
from launcher.records import to_json
from launcher.runners.base import StageFile
from launcher.stage_status import stages_of
from launcher.store import AttemptRow, RunRow, Store
from provisioning import Capabilities, DeadlineKind, Offer, WhenUnattended
from provisioning.models import utc_now

OVER = [StageState.SUCCEEDED, StageState.FAILED, StageState.DROPPED]


@st.composite
def jobs(draw: st.DrawFn) -> list[Stage]:
    """Stages that wait for earlier ones, in an order of the file that says nothing."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 6)))]
    stages = []
    for position, name in enumerate(names):
        kinds = [draw(st.sampled_from(["", "needs", "after"])) for _ in names[:position]]
        waits = {
            word: [other for other, kind in zip(names, kinds, strict=False) if kind == word]
            for word in ("needs", "after")
        }
        stages.append(Stage(name=name, run="true", **waits))  # type: ignore[arg-type]
    return draw(st.permutations(stages))


@given(jobs(), st.lists(st.sampled_from(OVER), min_size=6, max_size=6))
def test_every_stage_is_over_once_and_in_its_turn(stages: list[Stage], ends: list[StageState]) -> None:
    records: dict[str, StageRecord] = {}
    coming = iter(ends)
    while (stage := next_stage(stages, records)) is not None:
        assert stage.name not in records, "never a second time"
        assert all(records[name].state is StageState.SUCCEEDED for name in stage.needs)
        assert set(stage.after) <= set(records)
        records[stage.name] = StageRecord(state=next(coming), words="exit 1")
        for skipped, needed in blocked(stages, records):
            assert needed in skipped.needs
            records[skipped.name] = StageRecord(state=StageState.SKIPPED)
    assert set(records) == {stage.name for stage in stages}
    reason, words = how_it_ends(stages, records)
    states = {record.state for record in records.values()}
    assert (reason is Reason.FINISHED) == (states == {StageState.SUCCEEDED})
    assert (reason is Reason.JOB_FAILED) == (StageState.FAILED in states)
    if reason is not Reason.FINISHED:
        assert all(stage.name in words for stage in stages), "whoever reads it knows about all of them"
    kept = {name for name, record in to_redo(stages, records).items() if record == records[name]}
    assert all(records[name].state is StageState.SUCCEEDED for name in kept)
    again = {name for name, record in records.items() if record.state is StageState.SUCCEEDED} - kept
    for stage in stages:
        if stage.after and not stage.needs:
            is_redone = stage.name in again or stage.name not in records
            assert is_redone or stage.name not in kept or set(stage.after) <= kept, (
                "a comparison sees what is new"
            )
    assert not again or kept != set(records)


def test_the_file_breaks_ties_and_the_order_of_a_plan_is_that_of_a_run_without_failures() -> None:
    stages = [
        Stage(name="compare", run="c", after=("a", "b")),
        Stage(name="b", run="b", needs=("features",)),
        Stage(name="a", run="a", needs=("features",)),
        Stage(name="features", run="f"),
    ]
    assert [stage.name for stage in in_order(stages)] == ["features", "b", "a", "compare"]


@pytest.mark.parametrize(
    ("on_failure", "reason", "goes_on"),
    [
        ("stop", Reason.JOB_FAILED, False),
        ("continue", Reason.JOB_FAILED, True),
        ("continue", Reason.SETUP_FAILED, True),
        ("continue", Reason.BUDGET, False),
        ("continue", Reason.STOPPED_BY_USER, False),
        ("continue", Reason.IDLE, False),
        ("continue", Reason.NO_CAPACITY, True),
        ("stop", Reason.NO_CAPACITY, False),
        ("continue", Reason.PLACEMENT, True),
        ("continue", Reason.GAVE_UP, True),
        ("stop", Reason.GAVE_UP, False),
        ("stop", Reason.FINISHED, True),
    ],
)
def test_what_a_stage_fails_for_is_its_own_affair(on_failure: str, reason: Reason, goes_on: bool) -> None:
    assert others_go_on(Stage(name="a", run="x", on_failure=on_failure), reason) is goes_on  # type: ignore[arg-type]


def test_who_is_waited_for_and_what_a_run_without_machines_is_called() -> None:
    stages = [Stage(name="a", run="x", on_failure="continue"), Stage(name="b", run="x", needs=("a",))]  # type: ignore[arg-type]
    assert not can_be_spared(stages, {}, "a"), "nothing can be done without it"
    stages.append(Stage(name="c", run="x"))
    assert can_be_spared(stages, {}, "a")
    assert not can_be_spared(stages, {}, "c"), "its failure ends the run"
    lacks = StageRecord(state=StageState.FAILED, code="no_capacity", words="no T4 left")
    skipped, done = StageRecord(state=StageState.SKIPPED), StageRecord(state=StageState.SUCCEEDED)
    records = {"a": lacks, "b": skipped, "c": done}
    assert how_it_ends(stages, records) == (
        Reason.NO_CAPACITY,
        "a (no T4 left) failed; b skipped; c finished",
    )
    records["c"] = StageRecord(state=StageState.FAILED, code="gave_up", words="given up at step 3")
    assert how_it_ends(stages, records)[0] is Reason.JOB_FAILED


def test_a_stage_is_the_job_with_what_it_says_itself() -> None:
    job = Job.from_dict(
        {
            "name": "night",
            "setup": "common",
            "work": {"steps": 7},
            "resources": {"accelerators": "T4", "use_spot": True},
            "stages": [
                {"name": "a", "run": "x", "work": {"steps": 9}, "setup": "own"},
                {"name": "b", "run": "y", "needs": "a", "resources": {"cpus": 4, "accelerators": "L4"}},
            ],
        }
    )
    first, second = job_of_stage(job, "a"), job_of_stage(job, "b")
    assert (first.run, first.setup, first.stages, first.name) == ("x", "own", (), "night")
    assert (first.work and first.work.steps, second.work and second.work.steps) == (9, 7)
    assert (second.setup, str(second.resources.accelerators), second.resources.use_spot) == (
        "common",
        "L4:1",
        True,
    )
    assert first.resources == job.resources
    (only,) = alone(job, "b").stages
    assert (only.name, only.needs) == ("b", ())
    plain = Job.from_dict({"run": "x"})
    assert job_of_stage(plain, "main") is plain


def offer(**changes: object) -> Offer:
    told: dict[str, object] = {
        "provider": "fake", "instance_type": "t4.1x", "region": "here", "location": "here", "usd_per_hour": 0.5,
        "gpu_name": "T4", "gpu_count": 1, "gpu_memory_gib": 16.0, "vcpus": 4.0, "memory_gib": 16.0,
        "price_source": "table", "priced_at": utc_now(), "spot": False,
    }  # fmt: skip
    return Offer(**{**told, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resources", "stays"),
    [
        ({}, True),
        ({"accelerators": "T4"}, True),
        ({"accelerators": "T4:2"}, False),
        ({"accelerators": "L4"}, False),
        ({"cpus": "2+", "memory": "16+"}, True),
        ({"cpus": "8+"}, False),
        ({"cloud": "fake"}, True),
        ({"cloud": "aws"}, False),
        ({"instance_type": "cpu.4x"}, False),
        ({"max_hourly_cost": 0.1}, False),
        ({"use_spot": True}, False),
        ({"image_id": "another"}, False),
        ({"disk_size": 500}, True),
        ({"any_of": [{"accelerators": "H100"}, {"accelerators": "T4"}]}, True),
    ],
)
def test_nothing_is_rented_again_where_the_machine_will_do(resources: dict[str, object], stays: bool) -> None:
    asked = Job.from_dict({"run": "x", "resources": resources}).resources
    assert meets(offer(), asked, image_id=None) is stays


def test_all_orders_of_a_small_job_are_legal() -> None:
    stages = [Stage(name=name, run="x") for name in "abc"]
    for order in itertools.permutations(stages):
        assert [stage.name for stage in in_order(order)] == [stage.name for stage in order]


NIGHT = [
    Stage(name="features", run="f"),
    Stage(name="baseline", run="b", needs=("features",)),
    Stage(name="hybrid", run="h", needs=("features",)),
    Stage(name="words", run="w", needs=("hybrid",)),
    Stage(name="compare", run="c", after=("baseline", "hybrid")),
]
LIKELY_S = {"features": 600.0, "baseline": 3600.0, "hybrid": 7200.0, "words": 600.0, "compare": 300.0}


@pytest.mark.parametrize(
    ("left_s", "run"),
    [
        (12300, ["features", "baseline", "hybrid", "words", "compare"]),
        (12299, ["features", "baseline", "hybrid", "compare"]),
        (11699, ["features", "baseline", "compare"]),
        (4499, ["features", "compare"]),
        (100, ["compare"]),
    ],
)
def test_what_no_longer_fits_is_dropped_and_the_comparison_runs(left_s: float, run: list[str]) -> None:
    runs, dropped = dropped_in_time(NIGHT, LIKELY_S, left_s)
    assert sorted(stage.name for stage in runs) == sorted(run)
    assert {stage.name for stage in (*runs, *dropped)} == set(LIKELY_S)


def test_a_stage_of_unknown_length_begins_and_leaves_room() -> None:
    done = {name: StageRecord(state=StageState.SUCCEEDED) for name in ("features", "baseline")}
    assert to_drop(NIGHT, done, {}, 3600.0) is None
    assert room_for_closing(NIGHT, done, "hybrid", {}, 3600.0) == 300.0
    assert room_for_closing(NIGHT, done, "hybrid", {}, 100.0) == 25.0
    assert room_for_closing(NIGHT, done, "hybrid", LIKELY_S, 3600.0) == 300.0
    assert room_for_closing(NIGHT, done, "compare", LIKELY_S, 3600.0) == 0.0
    found = to_drop(NIGHT, done, LIKELY_S, 3600.0)
    assert found is not None
    assert (found[0].name, found[1]) == (
        "hybrid",
        "it takes about 2 h; time left: 1 h, of which 5 min are kept for what comes after",
    )


def planned(**stages: float) -> Estimate:
    """An estimate of which only the stages' likely seconds matter; those without any are guesses."""
    of = priced(offer(), Wants(work=Work(hours=1.0, on="T4")))
    shares = tuple(
        StageShare(
            name=name,
            offer=offer(),
            stays=False,
            hours=Range.exactly(seconds / 3600.0),
            usd=Range.zero(),
            source=Source.MEASURED if seconds else Source.GUESS,
            basis="",
        )
        for name, seconds in stages.items()
    )
    return replace(of, stages=shares)


def priced(of: Offer, wants: Wants) -> Estimate:
    return price(of, wants, Capabilities(deadline=DeadlineKind.BOOT))


def test_the_plan_says_what_will_be_dropped_and_what_nobody_knows() -> None:
    job = Job.from_dict(
        {
            "stages": [
                {"name": "features", "run": "f"},
                {"name": "hybrid", "run": "h", "needs": "features"},
                {"name": "compare", "run": "c", "after": "hybrid"},
            ]
        }
    )
    now = utc_now()

    def said(seconds: float, **likely_s: float) -> str:
        return " | ".join(what_fits(job, planned(**likely_s), now + timedelta(seconds=seconds), now))

    known = {"features": 600.0, "hybrid": 3600.0, "compare": 240.0}
    assert said(4440 + 120, **known) == "", "all fits, what is kept for the end of the run beside it"
    assert "there is hardly time for hybrid: dropped then; features, compare will run; 4 min are kept for compare" in said(
        4440 + 119, **known
    )  # fmt: skip
    unknown = said(7200, **{**known, "hybrid": 0.0, "compare": 0.0})
    assert (
        "nobody knows how long hybrid will take: it begins while there is time, and is saved and stopped by"
        in unknown
    )
    both = said(7200, **{**known, "features": 0.0, "hybrid": 0.0})
    assert "features, hybrid will take: they begin while there is time, and are saved and stopped by" in both
    assert "5 min are kept for compare (nobody knows how long compare will take)" in unknown


def test_a_machine_that_takes_the_place_of_one_where_a_stage_stayed_boots_and_is_given_all() -> None:
    of = offer(provider="aws", spot=True, interruptions_per_hour=0.5, ingress_usd_per_gib=0.1)
    work = Wants(
        work=Work(hours=2.0, on="T4"),
        sizes=Sizes(code_bytes=1 << 20, data_bytes=20 << 30, checkpoint_bytes=1 << 20, output_bytes=0),
        has_environment=True,
    )
    can = Capabilities(deadline=DeadlineKind.BOOT)
    new, stays = price(of, work, can), price(of, work, can, is_there=True, is_made=True)
    first, here = ({line.item: line for line in found.lines} for found in (new, stays))
    for item in ("interruptions", "ingress again"):
        assert here[item].hours == first[item].hours and here[item].usd == first[item].usd
    assert "boot" in first and "boot" not in here
    assert here["setup"].hours.high < first["setup"].hours.low, "until then nothing is sent or made again"
    assert here["data transfer"].hours.high < first["data transfer"].hours.low


def test_a_stage_is_priced_and_warned_of_where_it_will_run() -> None:
    job = Job.from_dict(
        {
            "stages": [
                {"name": "train", "run": "t", "resources": {"accelerators": "T4"}},
                {"name": "compare", "run": "c", "after": "train"},
            ]
        }
    )
    cheap = offer(
        provider="vast", gpu_name="A100", gpu_memory_gib=40.0, instance_type="a100.1x", usd_per_hour=0.1
    )
    offers = [offer(), cheap]
    capabilities = {
        "fake": Capabilities(deadline=DeadlineKind.BOOT, park=True),
        "vast": Capabilities(deadline=DeadlineKind.BOOT),
    }
    times = (EarlierTime(work_s=600.0, gpu_name="T4", gpu_count=1, instance_type="t4.1x", label="night-x"),)

    def planned_with(max_cost_usd: float | None) -> Plan:
        return plan_stages(
            job.with_overrides({"max_cost": max_cost_usd} if max_cost_usd else {}),
            lambda _, one: Wants(times=times, max_cost_usd=max_cost_usd),
            lambda one, wants: make_plan(
                [of for of in offers if meets(of, one.resources, image_id=None)],
                wants,
                capabilities=capabilities,
                now=utc_now(),
            ),
            capabilities,
            utc_now(),
        )

    plan = planned_with(None)
    assert [share.stays for share in plan.estimate.stages] == [False, True]
    assert plan.stages[1].candidates[0] == cheap, "what it would have by itself, as a guess"
    assert plan.stages[1].when_unattended is WhenUnattended.PARK, "and what holds where it will be"
    assert set(plan.stages[1].mirror_every_s_on) == {"fake", "vast"}, "and where it may have to go"
    assert plan.of_stage("compare").mirror_every_s == plan.stages[1].mirror_every_s_on["fake"]
    assert plan.estimate.source is Source.MEASURED
    assert not any("the time is a guess" in words for words in plan.warnings)
    likely, high = plan.estimate.usd.likely, plan.estimate.usd.high
    stopped = planned_with((likely + high) / 2.0)
    assert any("may need up to" in words for words in stopped.warnings), (
        "what is promised is what is enforced"
    )
    assert stopped.limits.max_cost_usd == pytest.approx((likely + high) / 2.0)
    with pytest.raises(OverBudget, match="the 2 stages together would cost about") as dear:
        planned_with(0.95 * likely)
    assert f"--max-cost {up_to_cent(likely):.2f} to let it begin" in (dear.value.hint or "")
    with pytest.raises(OverBudget, match="stage train: the cheapest way") as dear:
        planned_with(0.2 * likely)
    assert "what the others cost comes on top" in (dear.value.hint or "")


def test_advice_about_one_stage_says_how_far_it_reaches() -> None:
    own = {"name": "big", "run": "b", "resources": {"accelerators": "H100:16"}}
    small = {"name": "small", "run": "s"}
    for stages, reaches in (
        ([small, own], "options hold for every stage"),
        (
            [own, small],
            "for big alone --set 'stages[0].resources.FIELD=VALUE', or --set 'stages[0].resources=null'",
        ),
    ):
        job = Job.from_dict({"stages": stages})
        with pytest.raises(NothingToRent) as caught:
            plan_stages(
                job,
                lambda _, one: Wants(),
                lambda one, wants: make_plan([], wants, capabilities={}, now=utc_now()),
                {},
                utc_now(),
            )
        first = str(stages[0]["name"])
        assert str(caught.value).startswith(f"stage {first}: ") and reaches in (caught.value.hint or "")
    alone = Job.from_dict({"stages": [own]}).with_overrides({"stages[0].resources": None})
    assert job_of_stage(alone, "big").resources.accelerators is None, "what is advised works"


def test_the_market_is_told_of_all_stages() -> None:
    wants = Wants(work=Work(hours=1.0, on="T4"))
    cpu = offer(gpu_name=None, gpu_count=0, gpu_memory_gib=0.0, instance_type="cpu.4x", usd_per_hour=0.1)
    free = offer(provider="local", usd_per_hour=0.0)

    def stage(name: str, of: Offer) -> PricedStage:
        return PricedStage(name=name, estimate=priced(of, wants), stays=False)

    def on(of: Offer, *, spot: bool = True) -> Estimate:
        return priced(replace(of, spot=spot, usd_per_hour=0.3 * of.usd_per_hour), wants)

    here, features, train = stage("here", free), stage("features", cpu), stage("train", offer())
    assert markets_words([here], [here.estimate]) == "free"
    both = [here, features, train]
    total = sum(item.estimate.usd.likely for item in both)
    words = markets_words(both, [here.estimate, on(cpu), on(offer())])
    assert words.startswith(f"on demand at {usd(total)}; spot ") and "spot would save 70%" in words
    words = markets_words(both, [here.estimate, features.estimate, on(offer())])
    assert words.endswith("interruptions included; features on demand in any case")
    assert markets_words(both, [item.estimate for item in both]) == "on demand"
    mixed = [features, PricedStage(name="train", estimate=on(offer()), stays=False)]
    words = markets_words(mixed, [on(cpu), train.estimate])
    assert words.startswith("train on spot, features on demand at $")
    assert (
        f"; all on demand {usd(features.estimate.usd.likely + train.estimate.usd.likely)}; all spot $"
        in words
    )


def test_what_is_left_of_a_stage_without_steps_is_what_it_was_thought_to_take() -> None:
    now = utc_now()
    shares = [
        {"name": name, "source": source, "hours": {"likely": 1.0}}
        for name, source in (("features", "measured"), ("train", "guess"), ("compare", "scaled"))
    ]
    stages = [{"name": name, "run": "x"} for name in ("features", "train", "compare")]
    run = RunRow(
        run_id="demo-ab12",
        name="demo",
        state="running",
        created_at=now,
        updated_at=now,
        job={"fields": {"stages": stages}},
        plan={"estimate": {"stages": shares}},
    )
    began = AttemptRow(
        run_id="demo-ab12",
        stage="features",
        n=1,
        candidate=0,
        offer={},
        started_at=now - timedelta(minutes=20),
    )

    def left(row: AttemptRow, present_left_s: float | None = None, **changes: Any) -> list[float | None]:
        found = stages_of(replace(run, **changes), [row], {}, now, present_left_s=present_left_s)
        return [stage.seconds_left for stage in found]

    assert left(began) == [2400.0, None, 3600.0]
    assert left(began, 7.0) == [7.0, None, 3600.0], "its own pace knows better"
    assert left(replace(began, started_at=now - timedelta(hours=2))) == [None, None, 3600.0]
    assert left(began, ended_at=now) == left(began, verdict={"code": "finished"}) == [None, None, None]


def test_from_a_name_is_from_the_newest_run_that_has_all_of_what_is_needed(tmp_path: Path) -> None:
    stages = [
        {"name": "feat", "run": "x", "outputs": ["a.h5", "b.h5"]},
        {"name": "last", "run": "x", "needs": "feat"},
        {"name": "compare", "run": "x", "after": "feat"},
        {"name": "base", "run": "x", "outputs": ["c.csv"]},
        {"name": "both", "run": "x", "needs": "feat", "after": "base"},
    ]
    job, now = Job.from_dict({"stages": stages}, base_dir=tmp_path), utc_now()
    store, fields = Store(tmp_path / "launch.db"), {"fields": job.to_dict()}
    file = StageFile(name="a.h5", size_bytes=1, sha256="0" * 64)
    done = StageRecord(state=StageState.SUCCEEDED, files=(file,))
    left = {
        "whole": done,
        "half": replace(done, missing=("b.h5",)),
        "gone": done,
        "lost": StageRecord(state=StageState.FAILED, words="exit 1"),
    }
    table = StageFile(name="c.csv", size_bytes=2, sha256="0" * 64)
    base = to_json(replace(done, files=(table,)))
    for age, (name, record) in enumerate(left.items()):
        row = RunRow(
            run_id=f"demo-{name}",
            name="demo",
            state="succeeded",
            created_at=now + timedelta(hours=age),
            updated_at=now,
            ended_at=now,
            job=fields,
            results_dir=str(tmp_path / name),
            stages={"feat": to_json(record), "base": base},
        )
        store.add_run(row)
    with pytest.raises(
        UsageError, match=r"no run of the name demo has what is needed: .*demo-lost.*demo-half"
    ):
        one_stage(job, "last", "demo", store)
    found = one_stage(job, "compare", "demo", store)
    assert [said.message for said in found.findings] == [
        "stage feat of demo-lost has not succeeded, it is failed: exit 1: nothing of feat is given to this stage"
    ]
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/a.h5").write_bytes(b"a")
    for stage in ("last", "compare"):
        found = one_stage(job, stage, "demo", store)
        assert [one.root.name for one in found.carried] == ["whole"]
        (said,) = found.findings
        assert said.message.startswith("outputs of feat are taken from demo-whole; newer ones lack it: ")
    with pytest.raises(UsageError, match=r"feat of demo-half ended without b\.h5"):
        one_stage(job, "last", "demo-half", store)

    def given(stage: str, run: str) -> tuple[list[str], str]:
        found = one_stage(job, stage, run, store)
        files = [f"{one.root.name}/{file.name}" for one in found.carried for file in one.files]
        return files, "\n".join(said.message for said in found.findings)

    files, said = given("both", "demo")  # no run has all of it: what is needed decides
    assert files == ["whole/a.h5"]
    assert "outputs of feat are taken from demo-whole" in said
    assert "c.csv, an output of stage base, is not at home any more" in said
    (tmp_path / "half").mkdir()
    (tmp_path / "half/a.h5").write_bytes(b"a")
    files, said = given("compare", "demo-half")
    assert files == ["half/a.h5"]
    assert said == "stage feat of demo-half ended without b.h5: this stage is given the rest"
    for name in ("gone", "whole"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "a.h5").write_bytes(b"a")
    assert given("both", "demo")[0] == ["gone/a.h5"]
    (tmp_path / "whole/c.csv").write_bytes(b"1\n")
    files, said = given("both", "demo")
    assert files == ["whole/a.h5", "whole/c.csv"], "an older run that has all of it comes first"
    assert "newer ones lack it: " in said
