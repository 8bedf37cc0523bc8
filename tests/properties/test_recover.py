"""Laws of recovery: over any single situation, and over whole lives of runs in a hostile world."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.policy.actions import (
    Action,
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
from launcher.policy.situation import Deadlines, Machine, Past, Policy, Situation, Trouble, Wish
from launcher.policy.states import Reason
from launcher.runners.base import Progress
from provisioning import InstanceState
from tests.launcher.core.builders import NOON, running
from trainer.contract import Cause, Phase

SECONDS = st.floats(0.0, 1e5)
STEPS = st.none() | st.integers(0, 200)

PROGRESS = st.builds(
    Progress,
    seen_at=st.just(NOON),
    alive=st.booleans(),
    phase=st.sampled_from(Phase),
    cause=st.sampled_from(Cause),
    exit_code=st.none() | st.sampled_from([0, 1, 2, 75, 137, 143]),
    step=STEPS,
    total=st.none() | st.just(100),
)
MACHINES = st.builds(
    Machine,
    state=st.none() | st.sampled_from(InstanceState),
    reachable=st.booleans(),
    was_reached=st.booleans(),
    silent_s=SECONDS,
    ending_s=st.none() | SECONDS,
    ending_reason=st.sampled_from(Reason),
    claimed=st.booleans(),
    can_start=st.booleans(),
)
PASTS = st.builds(
    Past,
    starts=st.integers(1, 20),
    errors=st.integers(0, 5),
    fruitless=st.integers(0, 8),
    step_at_start=STEPS,
    step_at_attempt=STEPS,
    saved=st.booleans(),
    asked_s=st.none() | SECONDS,
    given_up=st.booleans(),
    in_setup=st.booleans(),
)
DEADLINES = st.builds(
    lambda soft_s, more_s, reason: Deadlines(
        soft=NOON + timedelta(seconds=soft_s), hard=NOON + timedelta(seconds=soft_s + more_s), reason=reason
    ),
    st.floats(-1e5, 1e5),
    SECONDS,
    st.sampled_from([Reason.DEADLINE, Reason.BUDGET]),
)
SITUATIONS = st.builds(
    Situation,
    now=st.just(NOON),
    machine=MACHINES,
    progress=st.none() | PROGRESS,
    deadlines=DEADLINES,
    past=PASTS,
    wish=st.builds(
        Wish, stop=st.booleans(), discard=st.booleans(), keep_disk=st.booleans(), down=st.booleans()
    ),
    policy=st.builds(Policy, max_restarts_on_errors=st.integers(0, 4)),
    trouble=st.none()
    | st.builds(
        Trouble, reason=st.just(Reason.PLACEMENT), words=st.just("no space"), permanent=st.booleans()
    ),
    outputs_home=st.booleans(),
)


@given(SITUATIONS)
def test_every_situation_has_an_answer_with_words(situation: Situation) -> None:
    action = decide(situation)
    assert action.words
    assert action == decide(situation)
    if isinstance(action, Wait):
        assert 0 < action.next_look_s <= 60
    if isinstance(action, (RestartHere, NewAttempt)):
        assert 0 <= action.after_s <= situation.policy.backoff_max_s
    if isinstance(action, Finish):
        assert action.reason is not Reason.NONE


@given(SITUATIONS)
def test_another_machine_is_rented_only_when_the_old_one_is_gone_or_claimed(situation: Situation) -> None:
    if isinstance(decide(situation), NewAttempt):
        assert situation.machine.state is InstanceState.TERMINATED or situation.machine.claimed


@given(SITUATIONS)
def test_a_claimed_machine_that_does_not_answer_is_never_given_a_second_start(situation: Situation) -> None:
    if situation.machine.claimed and not situation.machine.reachable:
        action = decide(situation)
        if isinstance(action, NewAttempt):
            assert situation.machine.state is InstanceState.TERMINATED


@given(SITUATIONS)
def test_nothing_is_started_after_a_limit_or_a_wish_to_stop_or_what_was_given_up(
    situation: Situation,
) -> None:
    over = situation.now >= situation.deadlines.soft or situation.wish.stop or situation.wish.discard
    over = over or situation.past.given_up
    if over:
        assert not isinstance(decide(situation), (NewAttempt, RestartHere, StartMachine, Proceed))


@given(SITUATIONS)
def test_errors_are_never_retried_beyond_what_is_allowed(situation: Situation) -> None:
    action = decide(situation)
    if isinstance(action, RestartHere) and action.count_as_error:
        most = situation.policy.max_restarts_on_errors
        if action.reason is Reason.WATCHDOG_LOST:
            most = max(most, situation.policy.max_watchdog_losses)
        assert situation.past.errors < most


@given(SITUATIONS)
def test_nothing_on_the_machine_is_touched_while_it_does_not_answer(situation: Situation) -> None:
    if not situation.machine.reachable:
        action = decide(situation)
        assert not isinstance(action, (Save, Kill, RestartHere, Proceed))
        if isinstance(action, (Finish, EndMachine)) and not situation.wish.discard:
            assert not (action.pull if isinstance(action, Finish) else action.fetch_first)


@given(SITUATIONS)
def test_outputs_are_home_before_a_reachable_machine_is_ended_by_choice(situation: Situation) -> None:
    action = decide(situation)
    machine = situation.machine
    if isinstance(action, EndMachine) and machine.reachable and machine.state is InstanceState.RUNNING:
        assert action.fetch_first or machine.ending_s is not None


@given(SITUATIONS)
def test_bad_configuration_is_never_retried(situation: Situation) -> None:
    if situation.misconfigured:
        assert not isinstance(decide(situation), (RestartHere, NewAttempt, Proceed))


@dataclass
class World:
    """A run's life where machines, networks and jobs fail at random; carries actions out as the orchestrator does."""

    chance: random.Random
    policy: Policy
    claimed: bool
    machine: Machine = field(default_factory=lambda: Machine(state=InstanceState.RUNNING))
    progress: Progress | None = None
    past: Past = field(default_factory=Past)
    step: int = 0
    now_s: float = 0.0
    errors: int = 0
    machines: int = 1
    still_there: int = 1
    log: list[Action] = field(default_factory=list)

    def situation(self) -> Situation:
        return Situation(
            now=NOON + timedelta(seconds=self.now_s),
            machine=self.machine,
            progress=self.progress,
            deadlines=Deadlines(soft=NOON + timedelta(hours=20), hard=NOON + timedelta(hours=21)),
            past=replace(self.past, errors=self.errors),
            policy=self.policy,
        )

    def live(self) -> Finish:
        while True:
            assert len(self.log) < 20_000, "the run does not end"
            action = decide(self.situation())
            self.log.append(action)
            if isinstance(action, Finish):
                return action
            self.carry_out(action)
            self.happen()

    def carry_out(self, action: Action) -> None:
        if isinstance(action, Wait):
            self.pass_time(action.next_look_s)
        elif isinstance(action, Proceed):
            self.progress = running(self.step)
        elif isinstance(action, RestartHere):
            self.errors += action.count_as_error
            self.restart(starts=self.past.starts + 1, after_s=action.after_s)
        elif isinstance(action, Save):
            self.past = replace(self.past, asked_s=0.0)
        elif isinstance(action, Kill):
            self.end(137, Cause.DEADLINE)
        elif isinstance(action, EndMachine):
            self.machine = replace(self.machine, ending_s=0.0, ending_reason=action.reason)
        elif isinstance(action, StartMachine):
            self.machine = replace(self.machine, state=InstanceState.RUNNING, reachable=True, can_start=False)
            self.progress = None
        elif isinstance(action, NewAttempt):
            fruitless = 0 if self.situation().machine_helped else self.past.fruitless + 1
            self.machines += 1
            self.still_there += 0 if self.claimed else 1
            assert self.still_there == 1, "two machines for one run"
            self.machine = Machine(state=InstanceState.RUNNING, claimed=self.claimed)
            self.past = Past(fruitless=fruitless, step_at_attempt=self.step, step_at_start=self.step)
            self.progress = None
            self.pass_time(action.after_s)

    def restart(self, *, starts: int, after_s: float) -> None:
        self.past = replace(self.past, starts=starts, step_at_start=self.step, asked_s=None)
        self.progress = running(self.step)
        self.pass_time(after_s)

    def end(self, code: int, cause: Cause) -> None:
        assert self.progress is not None
        self.progress = replace(
            self.progress, phase=Phase.ENDED, alive=False, exit_code=code, cause=cause, step=self.step
        )

    def pass_time(self, seconds: float) -> None:
        seconds += 1.0
        self.now_s += seconds
        if self.past.asked_s is not None:
            self.past = replace(self.past, asked_s=self.past.asked_s + seconds)
        if self.machine.ending_s is not None:
            self.machine = replace(self.machine, ending_s=self.machine.ending_s + seconds)
        if not self.machine.reachable:
            self.machine = replace(self.machine, silent_s=self.machine.silent_s + seconds)

    def happen(self) -> None:
        """Something of all that can go wrong, or a step of progress."""
        state, dice = self.machine.state, self.chance.random()
        if self.machine.ending_s is not None and state is not InstanceState.TERMINATED and dice < 0.3:
            self.lose()
        elif state is InstanceState.RUNNING and self.machine.ending_s is None:
            self.happen_to_a_running_machine(dice)

    def happen_to_a_running_machine(self, dice: float) -> None:
        if dice < 0.02 and not self.claimed:
            self.lose()
        elif dice < 0.03 and not self.claimed:
            self.machine = replace(
                self.machine,
                state=InstanceState.STOPPED,
                reachable=False,
                can_start=self.chance.random() < 0.5,
            )
        elif dice < 0.05:
            self.machine = replace(self.machine, reachable=not self.machine.reachable, silent_s=0.0)
        elif self.machine.reachable and self.progress is not None and self.progress.phase is Phase.RUNNING:
            self.happen_to_the_job(dice)

    def happen_to_the_job(self, dice: float) -> None:
        assert self.progress is not None
        if dice < 0.10:
            self.end(self.chance.choice([1, 75, 137]), Cause.NONE)
        elif dice < 0.14:
            self.end(self.chance.choice([0, 75, 143]), Cause.NOTICE)
        elif dice < 0.16:
            self.progress = replace(self.progress, alive=False)
        elif dice < 0.6:
            self.step += 1
            self.progress = replace(self.progress, step=self.step)
            if self.step >= 100:
                self.end(0, Cause.NONE)

    def lose(self) -> None:
        self.still_there -= 1
        self.machine = replace(self.machine, state=InstanceState.TERMINATED, reachable=False)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), claimed=st.booleans(), most_errors=st.integers(0, 6))
def test_every_life_ends_within_its_limits_and_never_with_two_machines(
    seed: int, claimed: bool, most_errors: int
) -> None:
    policy = Policy(max_restarts_on_errors=most_errors)
    world = World(
        random.Random(seed), policy, claimed, machine=Machine(state=InstanceState.RUNNING, claimed=claimed)
    )
    finish = world.live()
    assert world.errors <= max(most_errors, policy.max_watchdog_losses)
    assert finish.reason is not Reason.NONE
    assert finish.state.is_final
    restarts = [action for action in world.log if isinstance(action, (RestartHere, NewAttempt))]
    assert len(restarts) < 2_000


def test_a_job_that_always_crashes_at_the_same_step_ends_as_a_crash_loop() -> None:
    world = World(random.Random(1), Policy(max_restarts_on_errors=100), claimed=False)
    world.happen = lambda: world.end(1, Cause.NONE) if world.progress else None  # type: ignore[method-assign]
    assert world.live().reason is Reason.CRASH_LOOP


def test_machines_that_are_always_lost_before_the_first_step_are_given_up() -> None:
    world = World(random.Random(1), Policy(), claimed=False)
    world.happen = world.lose if world.still_there else lambda: None  # type: ignore[method-assign]
    assert world.live().reason is Reason.NO_PROGRESS
    assert world.machines == Policy().max_fruitless
