"""From one stage to the next when something goes wrong just there: no machine ended for a silence, no disk, no word lost."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from launcher import Run
from launcher.orchestrate.act import act
from launcher.orchestrate.budget import deadlines_now
from launcher.orchestrate.candidates import OTHERS_WAIT
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.observe import Seen, observe
from launcher.orchestrate.parking import leave_parked
from launcher.orchestrate.stage_lost import INCOMING, lost_files
from launcher.orchestrate.stage_outputs import note_outputs
from launcher.orchestrate.stage_record import conclude
from launcher.orchestrate.stages import RETRY_S, begin_next, is_behind
from launcher.policy.actions import Finish
from launcher.policy.recover import decide
from launcher.policy.situation import Policy
from launcher.policy.stages import StageState
from launcher.policy.states import Reason, RunState
from launcher.runners.base import FetchReport
from launcher.supervise import hold_lock
from provisioning import InstanceRef, InstanceState, Parkable, ProviderContext
from provisioning.models import utc_now
from provisioning.registry import provider
from tests.launcher.orchestrate.test_parking import follow
from tests.system.house import House


def context_of(house: House, run: Run) -> RunContext:
    return RunContext(house.home, house.store, run.id, house.environ)


def look(context: RunContext) -> Seen:
    assert context.attempt is not None
    return observe(context, context.attempt, Policy())


def miss_one_look(context: RunContext) -> None:
    """The network at home is away for a moment: neither the machine nor the provider answers."""
    seen = look(context)
    silent = replace(seen.situation.machine, state=None, reachable=False)
    unseen = replace(seen, runner=None, situation=replace(seen.situation, machine=silent))
    act(context, unseen, decide(unseen.situation))
    assert context.run.reason_code == Reason.UNREACHABLE.value


def is_between_stages(house: House, run: Run) -> bool:
    context = context_of(house, run)
    attempt = context.attempt
    return attempt is not None and attempt.ended_at is None and is_behind(context, attempt)


def counting(house: House, name: str, *, gate: int | None = None, **fields: object) -> dict[str, object]:
    waits = f"{gate} {house.gate}" if gate is not None else ""
    return {"name": name, "run": f"{sys.executable} counter.py 4 0.01 3 {waits}", **fields}


def on_record(house: House, run: Run) -> object:
    store = house.store
    rows = [replace(row, silence={}) for row in store.attempts(run.id)]
    return replace(store.run(run.id), looked_at=None), rows


@pytest.mark.parametrize("end", ["stopped", "terminated"])
def test_a_stage_that_was_cut_off_and_its_machine_goes_before_its_outputs_are_home(
    house: House, end: str
) -> None:
    stages = [counting(house, "long", gate=2), {"name": "compare", "run": "echo", "after": ["long"]}]
    with hold_lock(house.home) as held:
        assert held
        job = house.job(None, stages=stages)
        run = house.launch(job, provider="fake", instance="t4.1x", until=utc_now() + timedelta(hours=2))
        follow(house, run, to_step=2)
        context = context_of(house, run)
        context.move(RunState.STOPPING, "the job saves")
        ref = InstanceRef.parse(house.store.instances(run.id)[0].ref)
        cloud = provider("fake", ProviderContext(home=house.state, environ=house.environ))
        assert isinstance(cloud, Parkable)
        if end == "stopped":
            cloud.park(ref)
        else:
            cloud.terminate(ref)
        while (seen := look(context)).situation.machine.state is not InstanceState(end):
            assert seen.situation.machine.state is not InstanceState.TERMINATED
        action = Finish(reason=Reason.DEADLINE, words="time is up", pull=False, keep_disk=end == "stopped")
        act(context, seen, action)
        follow(house, run)
    status = run.status()
    assert (status.state, status.reason_code) == ("stopped", "deadline"), status.reason
    states = [stage.state for stage in status.stages]
    if end == "stopped":
        assert [machine["state"] for machine in house.machines()] == ["stopped"], "its disk has the outputs"
        assert states == ["stopped", "waiting"]
    else:
        assert states == ["dropped", "succeeded"], "nothing is left to be kept: the others have their time"
    house.audit(run, kept=end == "stopped")


def test_a_create_call_without_an_answer_is_settled_before_the_next_stage_rents(house: House) -> None:
    stages = [counting(house, "long"), {"name": "compare", "run": "echo", "after": ["long"]}]
    script = {"faults": [{"call": "create", "kind": "lost_answer"}]}
    with hold_lock(house.home) as held:
        assert held
        job = house.job(None, stages=stages, provider_options={"fake": script})
        run = house.launch(job, provider="fake", instance="t4.1x", until=utc_now() + timedelta(hours=2))
        follow(house, run, until=lambda: bool(house.store.unanswered_tries(run.id)))
        assert not house.store.instances(run.id), "the record does not know it yet"
        away = deadlines_now(context_of(house, run)).soft - utc_now()
        follow(house, run, clock=lambda: utc_now() + away)
    status = run.status()
    assert [stage.state for stage in status.stages] == ["dropped", "succeeded"], status.reason
    first, second = house.store.instances(run.id)
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.ended_at is not None
    assert first.ended_at <= second.created_at, "two were never rented at once"
    house.audit(run)


def test_between_two_stages_one_missed_answer_ends_no_machine(house: House) -> None:
    stages = [counting(house, "first"), *({"name": name, "run": "echo"} for name in ("second", "third"))]
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.job(None, stages=stages), provider="fake", instance="t4.1x")
        follow(house, run, until=lambda: is_between_stages(house, run))
        context = context_of(house, run)
        seen = look(context)
        assert seen.runner is not None
        before, machine = on_record(house, run), seen.situation.machine
        assert context.run.metrics["loss"] == 0.25
        for state, silent_s in ((None, 0.0), (None, 5000.0), (InstanceState.RUNNING, 899.0)):
            silent = replace(machine, state=state, reachable=False, silent_s=silent_s)
            unseen = replace(seen, runner=None, situation=replace(seen.situation, machine=silent))
            assert begin_next(context, unseen.attempt, unseen) == RETRY_S
            assert on_record(house, run) == before
        begin_next(context, seen.attempt, seen)
        assert context.run.metrics == {}, "a new stage is not judged by the numbers of the one before"

        follow(house, run, until=lambda: is_between_stages(house, run))
        context = context_of(house, run)
        seen = look(context)
        ref = InstanceRef.parse(house.store.instances(run.id)[0].ref)
        provider("fake", ProviderContext(home=house.state, environ=house.environ)).terminate(ref)
        before = on_record(house, run)
        assert begin_next(context, seen.attempt, seen) == 1.0, "it was there at the last look"
        assert context.memory.is_doubtful
        assert on_record(house, run) == before
        follow(house, run)
    status = run.status()
    assert status.state == "succeeded", status.reason
    attempts = [(attempt.stage, attempt.n) for attempt in status.attempts]
    assert attempts == [("first", 1), ("second", 1), ("third", 2)], "what is gone is replaced"
    assert status.metrics["loss"] == 0.25, "it stays known what the first stage reported"
    house.audit(run)


def test_a_failure_that_ends_the_run_ends_it_also_if_we_were_killed_before_saying_so(house: House) -> None:
    stages = [counting(house, "first", gate=2), {"name": "second", "run": "echo"}]
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.job(None, stages=stages))
        follow(house, run, to_step=2)
        context = context_of(house, run)
        assert context.attempt is not None
        conclude(context, context.attempt, Reason.JOB_FAILED, "the job ended with exit 1")
        follow(house, run)
    status = run.status()
    assert (status.state, status.reason_code) == ("failed", "job_failed")
    assert status.reason == "stage first: the job ended with exit 1"
    assert [attempt.stage for attempt in status.attempts] == ["first"]


def test_a_stage_that_leaves_a_fifth_parked_machine_ends_the_run_and_is_named(house: House) -> None:
    stages = [counting(house, "first", gate=2, on_failure="continue"), {"name": "second", "run": "echo"}]
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.job(None, stages=stages))
        follow(house, run, to_step=2)
        context = context_of(house, run)
        seen = look(context)
        past = replace(seen.situation.past, step_at_attempt=99, saved=False)
        fifth = replace(
            seen,
            attempt=context.update_attempt(seen.attempt, fruitless=4),
            situation=replace(seen.situation, past=past),
        )
        leave_parked(context, fifth, "its disk is kept")
        follow(house, run)
    status = run.status()
    assert (status.state, status.reason_code) == ("failed", "no_progress")
    assert status.reason == "stage first: its disk is kept, the 5th in a row that led no further"
    assert [stage.state for stage in status.stages] == ["failed", "waiting"]


def test_what_is_said_of_a_failure_is_said_once(house: House) -> None:
    stages = [{"name": "first", "run": "exit 3"}, {"name": "second", "run": "echo"}]
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.job(None, stages=stages))
        follow(house, run)
    status, failed = run.status(), "the job ended with exit 3, and max_restarts_on_errors is 0"
    assert (status.reason, status.stages[0].reason) == (f"stage first: {failed}", failed)
    assert not [event.message for event in run.events() if event.message.count("stage first") > 1]
    assert status.exit_code == 3


def test_what_is_lost_at_home_is_taken_from_the_machine_else_nothing_is_rented_in_vain(house: House) -> None:
    small = {"instance_type": "cpu.4x"}
    make = "echo 1 > one; echo 2 > two"
    stages = [
        {"name": "first", "run": make, "outputs": ["one", "two"], "resources": small},
        counting(house, "second", gate=2),
        {
            "name": "third",
            "needs": "first",
            "run": "cat one two",
            "resources": small,
            "on_failure": "continue",
        },
        {"name": "last", "after": ["third"], "run": "echo"},
    ]
    with hold_lock(house.home) as held:
        assert held
        job = house.job(None, stages=stages, resources={"instance_type": "t4.1x"})
        run = house.launch(job, provider="fake")
        results = Path(run.status().results_dir)
        follow(house, run, until=lambda: is_between_stages(house, run))
        (results / "one").unlink()
        (obstacle := results / INCOMING).touch()
        follow(house, run, until=lambda: any("is not at home:" in event.message for event in run.events()))
        assert house.machines()[0]["state"] == "running", "it is kept for what another stage needs"
        obstacle.unlink()
        follow(house, run, to_step=2)
        assert (results / "one").read_text() == "1\n", "its machine was still there"
        (told,) = [event.data for event in run.events() if event.data.get("what") == "first"]
        assert (told["files"], told["bytes"]) == (1, 2)
        assert not obstacle.exists()
        (results / "two").unlink()
        house.open_gate()
        follow(house, run)
    third = run.status().stages[2]
    assert (third.state, house.store.run(run.id).stages["third"]["code"]) == ("failed", "inputs_lost")
    assert "two, an output of stage first, is not at home any more" in third.reason
    assert run.status().stages[3].state == "succeeded"
    assert [machine["attempt"] for machine in house.machines()] == [1, 2, 4]
    assert not lost_files(context_of(house, run)), "nobody needs it any more"
    (results / "two").write_text("2\n")
    house.audit(run)


def test_a_stage_that_was_on_the_kept_machine_before_is_started_anew_there(house: House) -> None:
    mended = house.root / "mended"
    stages = [
        {"name": "first", "run": f"test -e {mended}", "on_failure": "continue"},
        counting(house, "second", gate=2),
    ]
    with hold_lock(house.home) as held:
        assert held
        job = house.job(None, stages=stages, recovery={"max_restarts_on_errors": 0})
        run = house.launch(job, provider="fake", instance="t4.1x")
        follow(house, run, to_step=2)
        run.stop(keep_disk=True)
        follow(house, run)
        assert [stage.state for stage in run.status().stages] == ["failed", "stopped"]
        mended.touch()
        house.open_gate()
        run.resume()
        follow(house, run)
    status = run.status()
    assert status.state == "succeeded", status.reason
    starts = {row.stage: (row.n, row.starts) for row in house.store.attempts(run.id)}
    assert starts == {"first": (1, 2), "second": (1, 2)}
    house.audit(run)


def test_a_run_that_was_stopped_between_two_stages_goes_on_with_the_machine_that_was_kept(
    house: House,
) -> None:
    stages = [counting(house, "first"), {"name": "second", "run": "cat outputs/weights.txt"}]
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.job(None, stages=stages), provider="fake", instance="t4.1x")
        follow(house, run, until=lambda: is_between_stages(house, run))
        run.stop(keep_disk=True)
        follow(house, run)
        assert [machine["state"] for machine in house.machines()] == ["stopped"]
        run.resume()
        follow(house, run)
    status = run.status()
    assert status.state == "succeeded", status.reason
    assert len(house.machines()) == 1, "nothing was rented beside what was kept"
    starts = {row.stage: (row.n, row.starts) for row in house.store.attempts(run.id)}
    assert starts == {"first": (1, 1), "second": (1, 1)}
    house.audit(run)


def test_what_two_processes_write_of_stages_does_not_undo_each_other(house: House) -> None:
    stages = [counting(house, "first"), {"name": "second", "run": "echo"}]
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.job(None, stages=stages))
        person, supervisor = context_of(house, run), context_of(house, run)
        assert person.stage_records == {}
        supervisor.update_stage("first", state=StageState.SUCCEEDED, attempt=1)
        note_outputs(person, "first", FetchReport(files=(), refused=(), unmatched=("late.txt",)))
        person.update_stage("second", words="seen")
        records = context_of(house, run).stage_records
        assert (records["first"].state, records["first"].missing) == (StageState.SUCCEEDED, ())
        assert records["second"].words == "seen"
        run.down()
        follow(house, run)


def test_what_is_given_up_and_what_finds_no_machine_has_failed_and_the_others_go_on(house: House) -> None:
    go_on = {"on_failure": "continue"}
    stages = [
        {"name": "large", "run": "echo", "resources": {"instance_type": "a100.8x"}, **go_on},
        {"name": "words", "run": "echo", "needs": "large"},
        {**counting(house, "hopeless", gate=3), **go_on},
        {"name": "compare", "run": "echo compared", "after": ["hopeless"]},
    ]
    fields: dict[str, object] = {
        "give_up": {"after_steps": 3, "unless": {"loss": "< 0.1"}},
        "provider_options": {"fake": {"capacity": [{"machines": 0, "instance_type": "a100.8x"}]}},
        "resources": {"instance_type": "t4.1x"},
    }
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.job(None, stages=stages, **fields), provider="fake")
        follow(house, run, until=lambda: any(row.asked_at for row in house.store.attempts(run.id)))
        miss_one_look(context_of(house, run))
        follow(house, run)
        status = run.status()
        assert (status.state, status.reason_code) == ("failed", "job_failed")
        assert [(stage.name, stage.state) for stage in status.stages] == [
            ("large", "failed"), ("words", "skipped"), ("hopeless", "failed"), ("compare", "succeeded"),
        ]  # fmt: skip
        assert "no capacity for a100.8x" in status.reason
        assert "hopeless (given up at step 3: loss is 0.333" in status.reason
        codes = [house.store.run(run.id).stages[name]["code"] for name in ("large", "hopeless")]
        assert codes == ["no_capacity", "gave_up"]
        said = [event.message for event in run.events()]
        assert any(words.startswith("stage large failed: no capacity for") for words in said)
        attempts = [(attempt.stage, attempt.n, attempt.cause) for attempt in status.attempts]
        assert attempts == [("large", 1, "no_capacity"), ("hopeless", 2, "stop"), ("compare", 2, "finished")]
        house.audit(run)

        house.open_gate()
        run.resume()
        follow(house, run, until=lambda: run.status().state == "queued")
        assert "asked again in 30 s" in run.status().reason
        follow(house, run, clock=lambda: utc_now() + OTHERS_WAIT)
    states = [stage.state for stage in run.status().stages]
    assert states == ["failed", "skipped", "succeeded", "succeeded"], "it is not given up twice"
    assert run.status().reason_code == "no_capacity", "nothing else is lacking"
    house.audit(run)
