"""All that a decision about a run depends on, as data. Pure.

`launcher.policy.recover.decide` reads a `Situation`; the orchestrator fills one in after every look at a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from launcher.policy.states import Reason
from launcher.runners.base import GRACE_S
from provisioning import InstanceState
from trainer.contract import Cause, Exit, Phase

if TYPE_CHECKING:
    from launcher.runners.base import Progress

__all__ = ["Deadlines", "Machine", "Past", "Policy", "Situation", "Trouble", "Wish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine of the present attempt, as it was just seen."""

    state: InstanceState | None
    """The provider's word; None when it could not be asked, which says nothing about the machine."""
    reachable: bool = True
    """It answered us now."""
    was_reached: bool = True
    """It has answered before: until then it boots."""
    silent_s: float = 0.0
    """From `launcher.policy.silence`: what was observed, not what a clock says; also of a machine that still boots."""
    ending_s: float | None = None
    """Seconds since we told the provider to end it; None when we did not."""
    ending_reason: Reason = Reason.NONE
    """Why we did."""
    claimed: bool = False
    """It is claimed and released, never created or terminated (`provisioning.Capabilities.claimed`)."""
    can_start: bool = False
    """If stopped, it can be started again with its disk, and that has not been refused yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What happened before this look."""

    starts: int = 1
    """Starts of the job on this machine, the present one included."""
    errors: int = 0
    """Earlier starts, on all machines, that ended in an error which counts."""
    fruitless: int = 0
    """Earlier machines in a row, up to this one, that were lost before the job got any further."""
    step_at_start: int | None = None
    """How far the job had come, on any machine, when its present start began."""
    step_at_attempt: int | None = None
    """How far it had come when this machine was rented."""
    saved: bool = False
    """A checkpoint newer than the one the present start began from is complete."""
    asked_s: float | None = None
    """Seconds since the job was asked to leave, by us or by its watchdog; None when it was not."""
    given_up: bool = False
    """The present start was given up early: it was asked to leave, or is about to be."""
    in_setup: bool = False
    """The present start has not been seen beyond ``setup``; a `Progress` that knows how long setup took wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person asked for."""

    stop: bool = False
    """Save, bring outputs home, end."""
    discard: bool = False
    """End now and bring nothing home."""
    keep_disk: bool = False
    down: bool = False
    """It is to end now: beside ``stop``, less patience with a job that does not leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """When this attempt has to be over. Money is part of it: see `launcher.policy.limits.deadlines_of`."""

    soft: datetime
    """Save, bring home, end."""
    hard: datetime
    """End."""
    reason: Reason = Reason.DEADLINE
    """`Reason.BUDGET` when it is money that runs out first."""

    def __post_init__(self) -> None:
        if self.soft > self.hard:
            raise ValueError(f"the soft deadline {self.soft} is after the hard one {self.hard}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How patient we are."""

    max_restarts_on_errors: int = 0
    """Errors of the job itself that are answered by another start, over the whole run."""
    max_watchdog_losses: int = 3
    """A killed watchdog is answered by another start at least this often: a reboot is not the job's fault."""
    max_blind_restarts: int = 10
    """Restarts on one machine of a job that asks for them (exit 75) and shows neither steps nor checkpoints."""
    max_repeated_starts: int = 3
    """Starts on one machine of such a job whose newest one did and said nothing that the one before had not."""
    rented_pause_s: float = 30.0
    """The longest pause before a restart on a machine that costs money meanwhile."""
    max_fruitless: int = 5
    """Machines in a row that may be lost before the job gets any further."""
    boot_s: float = 900.0
    usual_boot_s: float = 120.0
    """Past it, a machine that does not answer may be shut off by a firewall rather than still boot."""
    unreachable_grace_s: float = 900.0
    watchdog_grace_s: float = GRACE_S
    down_grace_s: float = 30.0
    """As ``save_grace_s``, for a job that is not to go on: what it writes at its end is wanted, a save is not waited for."""
    save_grace_s: float = 180.0
    """From asking the job to leave to killing it; longer than the watchdog's own, which comes first."""
    confirm_s: float = 120.0
    """A termination that the provider has not confirmed by then is asked for again."""
    look_s: float = 10.0
    backoff_s: float = 10.0
    """Before the first repetition; doubles with each further one, up to `backoff_max_s`."""
    backoff_max_s: float = 600.0

    def backoff(self, repetitions: int) -> float:
        """Seconds to wait before repeating something for the n-th time in a row; 0 for the first time."""
        return (
            0.0
            if repetitions < 1
            else min(self.backoff_max_s, self.backoff_s * 2.0 ** min(repetitions - 1, 32))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that kept us from starting the job on a machine that is up."""

    reason: Reason
    words: str
    permanent: bool
    """Another machine would not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a decision depends on."""

    now: datetime
    machine: Machine
    progress: Progress | None
    """The last that was seen of the job, also when the machine does not answer now; None before it was submitted."""
    deadlines: Deadlines
    past: Past = Past()
    wish: Wish = Wish()
    policy: Policy = Policy()
    trouble: Trouble | None = None
    hopeless: str = ""
    """Why the run is given up early, in words; empty while it is not."""
    outputs_home: bool = False
    """All outputs are at home and verified, as they were when the job ended."""

    @property
    def progressed(self) -> bool | None:
        """Has the present start got further than everything before it? None when the job does not say."""
        return _further(self.progress, self.past.step_at_start, self.past.saved)

    @property
    def machine_helped(self) -> bool | None:
        """Has the job got further on this machine, in whichever of its starts?"""
        return _further(self.progress, self.past.step_at_attempt, self.past.saved)

    @property
    def has_ended(self) -> bool:
        """The job's process is over, or whoever would tell us is."""
        return self.progress is not None and (self.progress.phase is Phase.ENDED or not self.progress.alive)

    @property
    def finished(self) -> bool:
        """Did the job do all its work?

        Exit 0 says so, unless the program had been asked to leave: many programs answer SIGTERM by saving and a
        plain exit 0. Then its own count of steps decides; without one a notice means that it goes on elsewhere, where
        a job that was really done ends again at once, while a half-done one taken for finished would be lost.
        """
        seen = self.progress
        if seen is None or seen.phase is not Phase.ENDED or seen.exit_code != Exit.DONE:
            return False
        if seen.cause is Cause.NONE:
            return True
        if seen.step is None or seen.total is None:
            return seen.cause is not Cause.NOTICE and not self.hopeless
        return seen.step >= seen.total

    @property
    def failed_in_setup(self) -> bool:
        """Did ``setup`` end, and not the program? A program may end sooner than anybody looked."""
        return self.past.in_setup and (self.progress is None or self.progress.setup_s is None)

    @property
    def misconfigured(self) -> bool:
        """The program itself, unasked, says that trying again cannot help."""
        seen = self.progress
        return (
            seen is not None
            and seen.phase is Phase.ENDED
            and seen.cause is Cause.NONE
            and seen.exit_code == Exit.BAD_CONFIG
            and not self.failed_in_setup
        )


def _further(progress: Progress | None, step_before: int | None, saved: bool) -> bool | None:
    if saved:
        return True
    if progress is None or progress.step is None:
        return None
    return progress.step > (step_before or 0)
