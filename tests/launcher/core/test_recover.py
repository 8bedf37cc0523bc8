from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from launcher.policy.actions import (
    EndMachine,
    Finish,
    Kill,
    NewAttempt,
    Proceed,
    RestartHere,
    Save,
    StartMachine,
    Wait,
)
from launcher.policy.recover import decide
from launcher.policy.situation import Deadlines, Past, Policy, Situation, Trouble, Wish
from launcher.policy.states import Reason, RunState
from launcher.runners.base import Fault, MemoryKind, Progress
from provisioning import InstanceState
from tests.launcher.core.builders import NOON, ended, machine, running, situation
from trainer.contract import Cause, Phase

GONE = machine(InstanceState.TERMINATED, reachable=False)
CLAIMED = machine(claimed=True)
STOP = Wish(stop=True)
DOWN = Wish(stop=True, down=True)
LATE = Deadlines(soft=NOON - timedelta(minutes=5), hard=NOON + timedelta(minutes=5))
OVER = Deadlines(soft=NOON - timedelta(minutes=5), hard=NOON)
NO_MONEY = Deadlines(soft=NOON, hard=NOON + timedelta(minutes=5), reason=Reason.BUDGET)
TWO_ERRORS = Policy(max_restarts_on_errors=2)
GPU, HOST = MemoryKind.GPU, MemoryKind.MACHINE
NO_MEMORY = Reason.OUT_OF_MEMORY


def silent(**changes: Any) -> Any:
    return machine(**{"reachable": False, "silent_s": 300.0, **changes})


@pytest.mark.parametrize(
    ("progress", "policy", "past", "action", "reason"),
    [
        # Nobody asked the job to leave: its exit code decides.
        (ended(0), Policy(), Past(), Finish, Reason.FINISHED),
        (ended(0, step=None), Policy(), Past(), Finish, Reason.FINISHED),
        (ended(2), TWO_ERRORS, Past(), Finish, Reason.BAD_CONFIG),
        (ended(1, fault=Fault.MACHINE), TWO_ERRORS, Past(in_setup=True), EndMachine, Reason.MACHINE_FAULT),
        (ended(2, fault=Fault.ENVIRONMENT), TWO_ERRORS, Past(in_setup=True), Finish, Reason.SETUP_FAILED),
        (ended(75), Policy(), Past(), RestartHere, Reason.SAVED_AND_LEFT),
        (ended(1), Policy(), Past(), Finish, Reason.JOB_FAILED),
        (ended(1), TWO_ERRORS, Past(), RestartHere, Reason.JOB_FAILED),
        (ended(137), TWO_ERRORS, Past(errors=1), RestartHere, Reason.JOB_FAILED),
        (ended(1), TWO_ERRORS, Past(errors=2), Finish, Reason.JOB_FAILED),
        (ended(None), TWO_ERRORS, Past(), RestartHere, Reason.JOB_FAILED),
        # Memory that did not suffice does not suffice again, unless the job had got further meanwhile.
        (ended(1, out_of_memory=GPU), TWO_ERRORS, Past(starts=1, step_at_start=50), Finish, NO_MEMORY),
        (ended(137, step=None, out_of_memory=HOST), TWO_ERRORS, Past(), Finish, NO_MEMORY),
        (ended(1, out_of_memory=GPU), TWO_ERRORS, Past(step_at_start=20), RestartHere, NO_MEMORY),
        (ended(1, out_of_memory=GPU), TWO_ERRORS, Past(step_at_start=20, errors=2), Finish, NO_MEMORY),
        # In setup an exit code of 2 is any tool's failure, not the program's word.
        (ended(2, step=None), TWO_ERRORS, Past(in_setup=True), RestartHere, Reason.SETUP_FAILED),
        (ended(1, step=None), Policy(), Past(in_setup=True), Finish, Reason.SETUP_FAILED),
        # A program that ended sooner than anybody looked was not in setup any more.
        (ended(2, setup_s=0.1), TWO_ERRORS, Past(in_setup=True), Finish, Reason.BAD_CONFIG),
        # A killed watchdog is not the job's fault.
        (running(alive=False), Policy(), Past(), RestartHere, Reason.WATCHDOG_LOST),
        (running(alive=False), Policy(), Past(errors=3), Finish, Reason.WATCHDOG_LOST),
        # Stopped, at its deadline, idle: the run ends, whatever the exit code.
        *[
            (ended(code, cause), TWO_ERRORS, Past(), Finish, reason)
            for cause, reason in (
                (Cause.STOP, Reason.STOPPED_BY_USER),
                (Cause.DEADLINE, Reason.DEADLINE),
                (Cause.IDLE, Reason.IDLE),
            )
            for code in (1, 2, 75, 137, None)
        ],
        # Notice: the machine is given up, whatever the exit code.
        *[
            (ended(code, Cause.NOTICE), Policy(), Past(), EndMachine, Reason.SPOT_NOTICE)
            for code in (1, 2, 75, 137)
        ],
        (running(alive=False, cause=Cause.NOTICE), Policy(), Past(), EndMachine, Reason.SPOT_NOTICE),
    ],
)
def test_after_the_job_has_ended(
    progress: Progress, policy: Policy, past: Past, action: type, reason: Reason
) -> None:
    decided = decide(situation(progress, policy=policy, past=past))
    assert (type(decided), decided.reason) == (action, reason)
    assert decided.words


@pytest.mark.parametrize("cause", [Cause.NOTICE, Cause.STOP, Cause.DEADLINE, Cause.IDLE])
def test_exit_0_after_being_asked_is_done_only_when_the_count_of_steps_agrees(cause: Cause) -> None:
    assert decide(situation(ended(0, cause, step=100))).reason is Reason.FINISHED
    assert decide(situation(ended(0, cause, step=40))).reason is not Reason.FINISHED


def test_exit_0_without_a_count_is_done_unless_a_notice_interrupted_it() -> None:
    assert decide(situation(ended(0, Cause.STOP, step=None))).reason is Reason.FINISHED
    assert isinstance(decide(situation(ended(0, Cause.NOTICE, step=None))), EndMachine)


def test_a_job_that_finished_on_a_claimed_machine_has_succeeded_after_its_release() -> None:
    released = machine(InstanceState.TERMINATED, claimed=True)
    decided = decide(situation(ended(0, step=100), machine=released, deadlines=OVER))
    assert isinstance(decided, Finish)
    assert (decided.reason, decided.pull) == (Reason.FINISHED, True)


class TestGivingUp:
    WORDS = "given up at step 50: val_bleu is 1, not >= 5"

    def test_the_job_is_asked_to_save_and_the_run_ends_for_that_reason(self) -> None:
        asked = decide(situation(running(), hopeless=self.WORDS))
        assert (type(asked), asked.reason) == (Save, Reason.GAVE_UP)
        for progress in (ended(75, Cause.STOP), ended(0, Cause.STOP, step=None)):
            decided = decide(situation(progress, hopeless=self.WORDS))
            assert (type(decided), decided.reason, decided.words) == (Finish, Reason.GAVE_UP, self.WORDS)
        gone = decide(situation(ended(75, Cause.STOP), machine=GONE, hopeless=self.WORDS))
        assert (type(gone), gone.reason) == (Finish, Reason.GAVE_UP)

    def test_a_person_and_a_limit_come_first(self) -> None:
        assert decide(situation(running(), hopeless=self.WORDS, wish=STOP)).reason is Reason.STOPPED_BY_USER
        assert decide(situation(running(), hopeless=self.WORDS, deadlines=LATE)).reason is Reason.DEADLINE

    @pytest.mark.parametrize(
        ("progress", "at"),
        [
            (running(), GONE),
            (ended(1), machine()),
            (ended(75, Cause.NOTICE), machine()),
            (running(alive=False), machine()),
            (running(), machine(InstanceState.STOPPED, reachable=False, can_start=True)),
        ],
    )
    def test_whatever_happens_before_it_leaves_it_stays_given_up(self, progress: Any, at: Any) -> None:
        past = Past(asked_s=1.0, given_up=True)
        decided = decide(situation(progress, machine=at, past=past, hopeless=self.WORDS))
        assert (type(decided), decided.reason) == (Finish, Reason.GAVE_UP)
        assert decided.words.startswith(self.WORDS)
        assert isinstance(decided, Finish)
        assert decided.keep_disk == (at.state is InstanceState.STOPPED), "its outputs are on it"

    def test_a_job_that_was_done_all_the_same_has_finished(self) -> None:
        assert (
            decide(situation(ended(0, Cause.STOP, step=100), hopeless=self.WORDS)).reason is Reason.FINISHED
        )


class TestCrashLoop:
    def test_two_failures_without_a_step_in_between_end_the_run(self) -> None:
        past = Past(starts=2, errors=1, step_at_start=50)
        decided = decide(situation(ended(1, step=50), past=past, policy=Policy(max_restarts_on_errors=9)))
        assert (type(decided), decided.reason) == (Finish, Reason.CRASH_LOOP)

    def test_the_first_failure_is_not_a_loop(self) -> None:
        decided = decide(
            situation(ended(1, step=50), past=Past(starts=1, step_at_start=50), policy=TWO_ERRORS)
        )
        assert isinstance(decided, RestartHere)
        assert decided.count_as_error

    def test_a_new_checkpoint_is_progress_also_without_new_steps(self) -> None:
        past = Past(starts=2, errors=1, step_at_start=50, saved=True)
        assert isinstance(decide(situation(ended(1, step=50), past=past, policy=TWO_ERRORS)), RestartHere)

    def test_a_job_that_counts_no_steps_is_judged_by_the_number_of_errors_alone(self) -> None:
        past = Past(starts=2, errors=1)
        assert isinstance(decide(situation(ended(1, step=None), past=past, policy=TWO_ERRORS)), RestartHere)

    def test_exit_75_that_leads_anywhere_goes_on_for_ever(self) -> None:
        decided = decide(situation(ended(75, step=90), past=Past(starts=500, step_at_start=80)))
        assert isinstance(decided, RestartHere)
        assert not decided.count_as_error
        assert decided.after_s == 0

    def test_exit_75_that_leads_nowhere_ends(self) -> None:
        decided = decide(situation(ended(75, step=80), past=Past(starts=2, step_at_start=80)))
        assert decided.reason is Reason.CRASH_LOOP

    def test_exit_75_without_any_sign_of_progress_ends_after_a_number_of_starts(self) -> None:
        blind = ended(75, step=None)
        assert isinstance(decide(situation(blind, past=Past(starts=10))), RestartHere)
        assert decide(situation(blind, past=Past(starts=11))).reason is Reason.CRASH_LOOP

    def test_exit_75_that_does_and_says_the_same_again_ends_at_the_third_start(self) -> None:
        same = ended(75, step=None, repeated=True)
        assert isinstance(decide(situation(same, past=Past(starts=2))), RestartHere)
        assert decide(situation(same, past=Past(starts=3))).reason is Reason.CRASH_LOOP
        assert isinstance(decide(situation(same, past=Past(starts=3, saved=True))), RestartHere)
        on_its_way = replace(same, step=90)
        assert isinstance(decide(situation(on_its_way, past=Past(starts=3, step_at_start=80))), RestartHere)

    def test_a_rented_machine_is_not_paid_for_long_pauses(self) -> None:
        def pauses(told: Progress, **at: Any) -> list[float]:
            past = [Past(starts=n, errors=n - 1) for n in range(1, 11)]
            policy = Policy(max_restarts_on_errors=99)
            return [decide(situation(told, past=one, policy=policy, **at)).after_s for one in past]

        assert sum(pauses(ended(75, step=None))) <= 300
        assert sum(pauses(ended(1, step=None))) <= 300
        assert max(pauses(ended(75, step=None), machine=machine(claimed=True))) == Policy().backoff_max_s


class TestMachineGone:
    def test_confirmed_gone_without_a_word_is_replaced_elsewhere(self) -> None:
        decided = decide(situation(running(), machine=GONE))
        assert (type(decided), decided.reason) == (NewAttempt, Reason.INSTANCE_LOST)
        assert decided.avoid_place

    def test_gone_after_a_notice(self) -> None:
        for progress in (running(cause=Cause.NOTICE, phase=Phase.LEAVING), ended(75, Cause.NOTICE)):
            assert decide(situation(progress, machine=GONE)).reason is Reason.SPOT_NOTICE

    def test_gone_before_the_job_was_started_on_it(self) -> None:
        assert isinstance(decide(situation(None, machine=GONE)), NewAttempt)

    def test_our_own_ending_keeps_its_reason(self) -> None:
        ours = machine(
            InstanceState.TERMINATED, reachable=False, ending_s=5.0, ending_reason=Reason.UNREACHABLE
        )
        decided = decide(situation(running(), machine=ours))
        assert (type(decided), decided.reason) == (NewAttempt, Reason.UNREACHABLE)

    def test_gone_while_outputs_came_home_redoes_what_is_missing(self) -> None:
        assert isinstance(decide(situation(ended(0), machine=GONE)), NewAttempt)
        assert decide(situation(ended(0), machine=GONE, outputs_home=True)).reason is Reason.FINISHED

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"wish": STOP}, Reason.STOPPED_BY_USER),
            ({"deadlines": LATE}, Reason.DEADLINE),
            ({"deadlines": NO_MONEY}, Reason.BUDGET),
            ({"progress": ended(2)}, Reason.BAD_CONFIG),
            ({"progress": ended(75, Cause.DEADLINE)}, Reason.DEADLINE),
            ({"progress": ended(75, Cause.IDLE)}, Reason.IDLE),
            ({"progress": ended(75, Cause.STOP)}, Reason.STOPPED_BY_USER),
        ],
    )
    def test_nothing_is_rented_again_where_the_run_is_over(
        self, changes: dict[str, Any], reason: Reason
    ) -> None:
        decided = decide(situation(**{"progress": running(), "machine": GONE, **changes}))
        assert (type(decided), decided.reason) == (Finish, reason)
        assert isinstance(decided, Finish)
        assert not decided.pull

    def test_machines_that_lead_nowhere_are_given_up_after_some(self) -> None:
        stuck = situation(running(50), machine=GONE, past=Past(fruitless=4, step_at_attempt=50))
        assert decide(stuck).reason is Reason.NO_PROGRESS
        helped = situation(running(51), machine=GONE, past=Past(fruitless=4, step_at_attempt=50))
        assert isinstance(decide(helped), NewAttempt)

    def test_the_pause_before_the_next_machine_grows(self) -> None:
        pauses = []
        for fruitless in range(4):
            decided = decide(
                situation(running(50), machine=GONE, past=Past(fruitless=fruitless, step_at_attempt=50))
            )
            assert isinstance(decided, NewAttempt)
            pauses.append(decided.after_s)
        assert pauses == [0, 10, 20, 40]


class TestUnreachable:
    def test_is_not_gone(self) -> None:
        decided = decide(situation(running(), machine=silent()))
        assert isinstance(decided, Wait)
        assert decided.check_address
        assert "no answer for 5 min" in decided.words
        assert "the provider says running" in decided.words

    def test_is_ended_by_us_after_the_grace(self) -> None:
        decided = decide(situation(running(), machine=silent(silent_s=900.0)))
        assert isinstance(decided, EndMachine)
        assert not decided.fetch_first

    def test_with_the_provider_silent_too_proves_nothing_however_long(self) -> None:
        decided = decide(situation(running(), machine=silent(state=None, silent_s=90000.0)))
        assert isinstance(decided, Wait)

    def test_after_the_hard_deadline_is_ended_for_that_reason(self) -> None:
        decided = decide(situation(running(), machine=silent(), deadlines=OVER))
        assert (type(decided), decided.reason) == (EndMachine, Reason.DEADLINE)

    def test_a_claimed_machine_is_waited_for_and_never_replaced(self) -> None:
        assert isinstance(decide(situation(running(), machine=silent(claimed=True, silent_s=90000.0))), Wait)
        decided = decide(situation(running(), machine=silent(claimed=True), deadlines=OVER))
        assert (type(decided), decided.reason) == (Finish, Reason.DEADLINE)
        decided = decide(situation(running(), machine=silent(claimed=True, silent_s=901.0), wish=STOP))
        assert (type(decided), decided.reason) == (Finish, Reason.STOPPED_BY_USER)
        assert "may still run there" in decided.words

    def test_while_booting_is_normal_until_it_takes_too_long(self) -> None:
        booting = silent(was_reached=False, state=InstanceState.PENDING)
        assert isinstance(decide(situation(None, machine=booting)), Wait)
        late = silent(was_reached=False, silent_s=901.0)
        assert (
            type(decide(situation(None, machine=late))),
            decide(situation(None, machine=late)).reason,
        ) == (
            EndMachine,
            Reason.NO_BOOT,
        )
        never_ours = silent(was_reached=False, silent_s=901.0, claimed=True)
        assert decide(situation(None, machine=never_ours)).reason is Reason.NO_BOOT


class TestEnding:
    def test_waits_for_the_provider_to_confirm(self) -> None:
        assert isinstance(decide(situation(running(), machine=machine(ending_s=30.0))), Wait)

    def test_asks_again_when_it_does_not(self) -> None:
        assert isinstance(decide(situation(running(), machine=machine(ending_s=130.0))), EndMachine)


class TestStoppedByTheProvider:
    STOPPED = machine(InstanceState.STOPPED, reachable=False)

    def test_is_started_again_for_the_work_on_its_disk(self) -> None:
        startable = machine(InstanceState.STOPPED, reachable=False, can_start=True)
        assert isinstance(decide(situation(running(), machine=startable)), StartMachine)

    def test_is_ended_first_when_it_cannot_be_started(self) -> None:
        assert isinstance(decide(situation(running(), machine=self.STOPPED)), EndMachine)

    @pytest.mark.parametrize("changes", [{"wish": STOP}, {"deadlines": OVER}])
    def test_keeps_its_disk_when_the_run_is_over(self, changes: dict[str, Any]) -> None:
        decided = decide(situation(running(), machine=self.STOPPED, **changes))
        assert isinstance(decided, Finish)
        assert decided.keep_disk
        assert not decided.pull

    def test_is_waited_for_while_it_stops(self) -> None:
        stopping = machine(InstanceState.STOPPING, reachable=False)
        assert isinstance(decide(situation(running(), machine=stopping)), Wait)


class TestClaimedMachine:
    def test_a_notice_leads_to_a_new_attempt_at_once(self) -> None:
        decided = decide(situation(ended(75, Cause.NOTICE), machine=CLAIMED))
        assert isinstance(decided, NewAttempt)
        assert decided.reason is Reason.SPOT_NOTICE
        assert decided.after_s == 0
        assert not decided.avoid_place


class TestWishesAndLimits:
    def test_stop_asks_the_job_to_save(self) -> None:
        decided = decide(situation(running(), wish=STOP))
        assert isinstance(decided, Save)
        assert decided.cause is Cause.STOP

    def test_stop_before_the_job_was_started(self) -> None:
        assert decide(situation(None, wish=STOP)).reason is Reason.STOPPED_BY_USER

    def test_stop_after_an_unasked_end_does_not_restart(self) -> None:
        for code in (1, 75, 137):
            assert (
                decide(situation(ended(code), wish=STOP, policy=TWO_ERRORS)).reason is Reason.STOPPED_BY_USER
            )

    def test_keep_disk_is_passed_on(self) -> None:
        decided = decide(situation(ended(75, Cause.STOP), wish=Wish(stop=True, keep_disk=True)))
        assert isinstance(decided, Finish)
        assert decided.keep_disk
        assert decided.pull

    def test_discard_ends_at_once_and_brings_nothing_home(self) -> None:
        decided = decide(situation(running(), wish=Wish(stop=True, discard=True)))
        assert isinstance(decided, Finish)
        assert not decided.pull

    def test_soft_deadline_saves_with_its_reason(self) -> None:
        assert decide(situation(running(), deadlines=LATE)).reason is Reason.DEADLINE
        decided = decide(situation(running(), deadlines=NO_MONEY))
        assert isinstance(decided, Save)
        assert (decided.cause, decided.reason) == (Cause.DEADLINE, Reason.BUDGET)

    def test_no_restart_after_the_soft_deadline(self) -> None:
        assert decide(situation(ended(75), deadlines=NO_MONEY)).reason is Reason.BUDGET

    def test_no_start_after_the_soft_deadline(self) -> None:
        assert decide(situation(None, deadlines=LATE)).reason is Reason.DEADLINE

    def test_a_job_that_leaves_is_waited_for_and_then_killed(self) -> None:
        leaving = running(phase=Phase.LEAVING, cause=Cause.STOP)
        assert isinstance(decide(situation(leaving, wish=STOP, past=Past(asked_s=20.0))), Wait)
        assert isinstance(decide(situation(leaving, wish=STOP, past=Past(asked_s=200.0))), Kill)
        assert isinstance(decide(situation(leaving, wish=DOWN, past=Past(asked_s=31.0))), Kill)
        waits = [decide(situation(leaving, wish=wish, past=Past(asked_s=29.0))) for wish in (STOP, DOWN)]
        assert [wait.words for wait in waits] == [
            "the job was asked to leave 20 s ago; it is killed after 120 s",
            "the job was asked to leave 20 s ago; it is killed after 30 s",
        ]
        assert isinstance(decide(situation(leaving, deadlines=OVER, past=Past(asked_s=20.0))), Kill)

    def test_a_signal_that_is_on_its_way_is_not_sent_twice(self) -> None:
        assert isinstance(decide(situation(running(), wish=STOP, past=Past(asked_s=1.0))), Wait)

    def test_a_notice_is_not_answered_by_a_second_signal(self) -> None:
        assert isinstance(decide(situation(running(cause=Cause.NOTICE), wish=STOP)), Wait)


class TestBeforeTheJobStarts:
    def test_a_machine_that_is_up_is_used(self) -> None:
        assert isinstance(decide(situation(None)), Proceed)

    def test_trouble_that_another_machine_may_not_have(self) -> None:
        trouble = Trouble(reason=Reason.PLACEMENT, words="no space on /data", permanent=False)
        assert isinstance(decide(situation(None, trouble=trouble)), EndMachine)
        assert isinstance(decide(situation(None, trouble=trouble, machine=CLAIMED)), NewAttempt)

    def test_trouble_that_stays(self) -> None:
        trouble = Trouble(reason=Reason.PLACEMENT, words="the archive is not a tar file", permanent=True)
        decided = decide(situation(None, trouble=trouble))
        assert (type(decided), decided.reason, decided.words) == (Finish, Reason.PLACEMENT, trouble.words)


def test_a_job_at_work_is_left_alone() -> None:
    assert isinstance(decide(situation(running())), Wait)


def test_deciding_twice_decides_the_same() -> None:
    seen: Situation = situation(ended(1), policy=TWO_ERRORS)
    assert decide(seen) == decide(seen)


def test_finish_knows_its_state() -> None:
    assert Finish(reason=Reason.BUDGET, words="").state is RunState.STOPPED


def test_a_soft_deadline_after_the_hard_one_is_refused() -> None:
    with pytest.raises(ValueError, match="soft deadline"):
        Deadlines(soft=NOON + timedelta(seconds=1), hard=NOON)
