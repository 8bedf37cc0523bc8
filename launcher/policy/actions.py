"""What can be decided about a run: one small record per kind of action, each with its reason in words. Pure.

`launcher.policy.recover` decides, the orchestrator carries out. Every action can be carried out twice without harm, because
the process that does it may be killed at any moment and the next one decides again from the record.
"""

from __future__ import annotations

from dataclasses import dataclass

from launcher.policy.states import Reason, RunState
from trainer.contract import Cause

__all__ = [
    "Action",
    "EndMachine",
    "Finish",
    "Kill",
    "NewAttempt",
    "Proceed",
    "RestartHere",
    "Save",
    "StartMachine",
    "Wait",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What every action carries: a reason for scripts, and a sentence for people that goes into the event log."""

    reason: Reason = Reason.NONE
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(Decided):
    """Do nothing now and look again in ``next_look_s`` seconds."""

    next_look_s: float
    check_address: bool = False
    """The machine does not answer: see whether this computer's address changed, and re-open the firewall for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proceed(Decided):
    """The machine is up and the job was not started on it yet: place code and data, and submit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Save(Decided):
    """Ask the job to save and leave (SIGTERM), with this cause."""

    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(Decided):
    """The job was asked to leave and did not, in all the time it had: SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartHere(Decided):
    """End what is left of the job's processes, then start it again on the same machine from its newest checkpoint."""

    count_as_error: bool
    """Counts against ``max_restarts_on_errors``."""
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMachine(Decided):
    """Start the machine that the provider stopped: its disk holds work that is nowhere else. SPENDS MONEY."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndMachine(Decided):
    """Terminate the machine; what follows is decided when the provider has confirmed that it is gone."""

    fetch_first: bool
    """Bring checkpoints and outputs home before; False where the machine cannot be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttempt(Decided):
    """Rent the next candidate and go on from the newest checkpoint at home. SPENDS MONEY.

    Decided only when the old machine is confirmed gone, or is one that is claimed rather than rented.
    """

    after_s: float = 0.0
    avoid_place: bool = False
    """The place just took a machine away or failed to give one: others first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish(Decided):
    """The run ends: fetch outputs if ``pull``, end or release the machine, then enter the final state."""

    pull: bool = True
    keep_disk: bool = False
    """End the compute alone: the disk stays, with the run's files on it."""
    stage: str = ""
    """Of a run of several stages: the one for whose end it ends."""

    @property
    def said(self) -> str:
        """The words, with the stage that they are about."""
        return f"stage {self.stage}: {self.words}" if self.stage else self.words

    @property
    def state(self) -> RunState:
        """The final state that belongs to the reason."""
        return self.reason.final_state


Action = Wait | Proceed | Save | Kill | RestartHere | StartMachine | EndMachine | NewAttempt | Finish
