"""The states of a run, the legal moves between them, and the reasons that explain them. Pure.

A state says where the *run* stands; the machine's own state is `provisioning.InstanceState` and a separate field.
``docs/states.md`` shows the same table for people, and a test holds the two together.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from launcher.errors import LaunchError

__all__ = ["FINAL", "LIVE", "MOVES", "IllegalMove", "Reason", "RunState", "can_move", "check_move"]


class IllegalMove(LaunchError):
    """A run was to be moved to a state that cannot follow the one it is in. Always our own mistake."""

    code = "illegal_move"
    exit_code = 70


class RunState(str, enum.Enum):
    """Where a run stands."""

    PLANNED = "planned"
    QUEUED = "queued"
    PROVISIONING = "provisioning"
    SYNCING = "syncing"
    SETUP = "setup"
    RUNNING = "running"
    """The job's process lives."""
    INTERRUPTED = "interrupted"
    RECOVERING = "recovering"
    STOPPING = "stopping"
    PULLING = "pulling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_final(self) -> bool:
        """Nothing more happens by itself and nothing is rented; only `launch resume` leads out again."""
        return self in FINAL

    @property
    def is_live(self) -> bool:
        """A supervisor has to follow it."""
        return self not in FINAL

    @property
    def is_resumable(self) -> bool:
        """It has ended, and `launch resume` may go on from the last checkpoint."""
        return self.is_final and bool(MOVES[self])

    @property
    def words(self) -> str:
        """What it means, as half a sentence for people."""
        return _STATE_WORDS[self]


FINAL = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED})
"""States in which nothing is rented and nobody watches."""

LIVE = frozenset(RunState) - FINAL
"""States in which a supervisor follows the run."""

_STATE_WORDS = {
    RunState.PLANNED: "recorded, nothing rented yet",
    RunState.QUEUED: "waits for its turn: a machine, a queue, or capacity",
    RunState.PROVISIONING: "a machine is being rented and boots",
    RunState.SYNCING: "code and data are on their way to the machine",
    RunState.SETUP: "the environment is being made and `setup` runs",
    RunState.RUNNING: "the job's process lives",
    RunState.INTERRUPTED: "the job was cut off; what to do next is being decided",
    RunState.RECOVERING: "the job is being brought back, here or on another machine",
    RunState.STOPPING: "the job was asked to save and leave",
    RunState.PULLING: "outputs are coming home and the machine is being ended",
    RunState.SUCCEEDED: "the job finished and its outputs are home",
    RunState.FAILED: "the run ended without success",
    RunState.STOPPED: "ended on request or at a limit; can be resumed",
}

_S = RunState
_ENDINGS = frozenset({_S.STOPPING, _S.PULLING, _S.FAILED, _S.STOPPED})

MOVES: Mapping[RunState, frozenset[RunState]] = MappingProxyType(
    {
        _S.PLANNED: frozenset({_S.QUEUED, _S.PROVISIONING, _S.FAILED, _S.STOPPED}),
        _S.QUEUED: frozenset({_S.PROVISIONING, _S.SETUP, _S.RUNNING, _S.INTERRUPTED}) | _ENDINGS,
        _S.PROVISIONING: frozenset({_S.QUEUED, _S.SYNCING, _S.INTERRUPTED}) | _ENDINGS,
        _S.SYNCING: frozenset({_S.QUEUED, _S.SETUP, _S.RUNNING, _S.INTERRUPTED}) | _ENDINGS,
        _S.SETUP: frozenset({_S.RUNNING, _S.INTERRUPTED}) | _ENDINGS,
        # A run of several stages goes on to the next one from `running` or, when outputs are fetched between
        # them, from `pulling`: on the same machine (syncing, setup) or on another (provisioning).
        _S.RUNNING: frozenset({_S.PROVISIONING, _S.SYNCING, _S.SETUP, _S.INTERRUPTED}) | _ENDINGS,
        _S.INTERRUPTED: frozenset({_S.RECOVERING}) | _ENDINGS,
        _S.RECOVERING: (
            frozenset({_S.QUEUED, _S.PROVISIONING, _S.SYNCING, _S.SETUP, _S.RUNNING, _S.INTERRUPTED})
            | _ENDINGS
        ),
        _S.STOPPING: frozenset({_S.PULLING, _S.FAILED, _S.STOPPED}),
        # A machine that is taken away while outputs come home interrupts the run once more.
        _S.PULLING: frozenset(
            {_S.PROVISIONING, _S.SYNCING, _S.SETUP, _S.INTERRUPTED, _S.SUCCEEDED, _S.FAILED, _S.STOPPED}
        ),
        _S.SUCCEEDED: frozenset(),
        _S.FAILED: frozenset({_S.RECOVERING}),
        _S.STOPPED: frozenset({_S.RECOVERING}),
    }
)
"""For each state, the states that may follow. Those that follow a final state need a person: `launch resume`."""


def can_move(old: RunState, new: RunState) -> bool:
    """Whether ``new`` may follow ``old``. Staying is always allowed: a reason may change within a state."""
    return new is old or new in MOVES[old]


def check_move(old: RunState, new: RunState) -> None:
    """Raise `IllegalMove` unless ``new`` may follow ``old``."""
    if can_move(old, new):
        return
    legal = ", ".join(sorted(state.value for state in MOVES[old])) or "nothing"
    raise IllegalMove(
        f"a run cannot go from {old.value} to {new.value}; from {old.value} it can go to {legal}",
        left_behind=f"the run stays {old.value}",
        hint="this is a bug in launch: please report it with the output of `launch status RUN --events`",
    )


class Reason(str, enum.Enum):
    """Why a run is in its state, or why something was decided: a closed set, for scripts."""

    NONE = ""
    # Ends well.
    FINISHED = "finished"
    # Ends as `stopped`: somebody or something asked for it, and it can be resumed.
    STOPPED_BY_USER = "stopped_by_user"
    BUDGET = "budget"
    DEADLINE = "deadline"
    IDLE = "idle"
    GAVE_UP = "gave_up"
    # Ends as `failed`.
    JOB_FAILED = "job_failed"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_CONFIG = "bad_config"
    SETUP_FAILED = "setup_failed"
    CRASH_LOOP = "crash_loop"
    NO_CAPACITY = "no_capacity"
    NO_PROGRESS = "no_progress"
    CREDENTIALS = "credentials"
    PLACEMENT = "placement"
    INPUTS_LOST = "inputs_lost"
    OUR_FAULT = "our_fault"
    # Things that happen on the way and are recovered from; as the reason of an end, the retries were used up.
    SAVED_AND_LEFT = "saved_and_left"
    SPOT_NOTICE = "spot_notice"
    INSTANCE_LOST = "instance_lost"
    INSTANCE_STOPPED = "instance_stopped"
    NO_BOOT = "no_boot"
    UNREACHABLE = "unreachable"
    WATCHDOG_LOST = "watchdog_lost"
    MACHINE_FAULT = "machine_fault"

    @property
    def words(self) -> str:
        """What it means, as half a sentence for people."""
        return _REASON_WORDS[self]

    @property
    def final_state(self) -> RunState:
        """The state of a run that ends for this reason."""
        if self is Reason.FINISHED:
            return RunState.SUCCEEDED
        return RunState.STOPPED if self in _STOPS else RunState.FAILED


_STOPS = frozenset({Reason.STOPPED_BY_USER, Reason.BUDGET, Reason.DEADLINE, Reason.IDLE, Reason.GAVE_UP})

_REASON_WORDS = {
    Reason.NONE: "",
    Reason.FINISHED: "the job finished",
    Reason.STOPPED_BY_USER: "stopped on request",
    Reason.BUDGET: "the money limit was reached",
    Reason.DEADLINE: "the time limit was reached",
    Reason.IDLE: "the GPU idled for too long",
    Reason.GAVE_UP: "it was not what `give_up` asks for by then",
    Reason.JOB_FAILED: "the job failed",
    Reason.OUT_OF_MEMORY: "the job ran out of memory, and a restart would again",
    Reason.BAD_CONFIG: "the job says its configuration or data are wrong (exit 2), which is never retried",
    Reason.SETUP_FAILED: "setup failed",
    Reason.CRASH_LOOP: "the job failed twice without a step of progress in between",
    Reason.NO_CAPACITY: "no machine could be rented within the limits",
    Reason.NO_PROGRESS: "several machines in a row were lost before the job got any further",
    Reason.CREDENTIALS: "the provider did not accept the credentials",
    Reason.PLACEMENT: "code or data could not be placed on the machine",
    Reason.INPUTS_LOST: "what an earlier stage has left for it is not at home any more, and on no machine",
    Reason.OUR_FAULT: "launch itself failed",
    Reason.SAVED_AND_LEFT: "the job saved and asked to be started again (exit 75)",
    Reason.SPOT_NOTICE: "the provider announced that it takes the machine away",
    Reason.INSTANCE_LOST: "the machine is gone",
    Reason.INSTANCE_STOPPED: "the provider stopped the machine",
    Reason.NO_BOOT: "the machine did not come up",
    Reason.UNREACHABLE: "the machine does not answer",
    Reason.WATCHDOG_LOST: "the job's watchdog was killed",
    Reason.MACHINE_FAULT: "the machine does not do what it was rented for",
}
