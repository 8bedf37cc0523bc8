"""Errors of the launcher; each knows its exit code, what was left behind and what to do next.

LaunchError                    code, exit_code, .left_behind, .hint
  UsageError            (2)    flags that contradict each other, an answer that is needed and nobody there to give it
  JobFileError          (2)    the job file or a Job is wrong; names the field by its full path
  RunNotFound           (2)    no run has this id, prefix or name
  NameTaken             (2)    a live run has this name
  WrongState            (2)    the run is in a state in which this makes no sense
  HomeError             (2)    LAUNCH_HOME cannot be used
  DependencyMissing     (3)    a tool or package that this needs is not installed
  CredentialsMissing    (3)    nobody is logged in at the provider
  NothingToRent         (4)    no offer, or no capacity, within the limits
  OverBudget            (5)    refused before or ended because of a limit on money or time
  RunFailed             (1)    the run ended without success
    SmokeFailed                the small run before a long one did; the long one was not started
  MachineError          (1)    a machine could not do what was asked of it
    MachineUnreachable         no answer: unreachable is not gone
      MachineNotReady          it answers and still boots
    MachineRefused             it answered and will not let us in, or we will not talk to it
      HostKeyRefused           it shows another key than it should
    MachineUnfit               it was tried before anything was sent, and is not what the job needs
    CommandFailed              a command on the machine ended with another exit code than expected
    PlacementError             code or data could not be placed, or did not arrive whole
      MachineFull              there is no room left on the machine
    FetchError                 outputs could not be brought home, or did not arrive whole
  StoreError            (70)   the record of the runs cannot be read or written
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from launcher.run import RunResult

__all__ = [
    "CommandFailed",
    "CredentialsMissing",
    "DependencyMissing",
    "FetchError",
    "HomeError",
    "HostKeyRefused",
    "JobFileError",
    "LaunchError",
    "MachineError",
    "MachineFull",
    "MachineNotReady",
    "MachineRefused",
    "MachineUnfit",
    "MachineUnreachable",
    "NameTaken",
    "NothingToRent",
    "OverBudget",
    "PlacementError",
    "RunFailed",
    "RunNotFound",
    "SmokeFailed",
    "StoreError",
    "UsageError",
    "WrongState",
]


class LaunchError(Exception):
    """Base of everything that `launcher` raises."""

    code: ClassVar[str] = "error"
    """Stable word for scripts: ``error.code`` in ``--json`` output."""
    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, left_behind: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.left_behind = left_behind
        self.hint = hint


class UsageError(LaunchError):
    """The call itself is wrong; nothing was done."""

    code = "usage"
    exit_code = 2


class JobFileError(LaunchError):
    """A field of the job is unknown, missing, of the wrong type or impossible."""

    code = "job_file"
    exit_code = 2

    def __init__(
        self, message: str, *, field: str | None = None, source: str | None = None, hint: str | None = None
    ) -> None:
        where = ": ".join(part for part in (source, field) if part)
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.field = field
        self.source = source


class RunNotFound(LaunchError):
    """No run matches what was asked for."""

    code = "run_not_found"
    exit_code = 2


class NameTaken(LaunchError):
    """Names are unique among live runs."""

    code = "name_taken"
    exit_code = 2


class WrongState(LaunchError):
    """The run is in a state in which this makes no sense."""

    code = "wrong_state"
    exit_code = 2


class HomeError(LaunchError):
    """``LAUNCH_HOME`` does not exist, is not ours, is not writable or is full."""

    code = "home"
    exit_code = 2


class DependencyMissing(LaunchError):
    """A tool or package is missing; the hint is the line that installs it."""

    code = "dependency_missing"
    exit_code = 3


class CredentialsMissing(LaunchError):
    """The provider does not know who is asking."""

    code = "credentials_missing"
    exit_code = 3


class NothingToRent(LaunchError):
    """Nothing within the limits can be rented now."""

    code = "nothing_to_rent"
    exit_code = 4


class OverBudget(LaunchError):
    """A limit on money or time forbids it."""

    code = "over_budget"
    exit_code = 5


class RunFailed(LaunchError):
    """The run ended without success; the message says in which state and why."""

    code = "run_failed"
    exit_code = 1


class SmokeFailed(RunFailed):
    """The small run before a long one did not succeed; ``result`` is what became of it."""

    code = "smoke_failed"

    def __init__(self, result: RunResult) -> None:
        super().__init__(
            f"the small run {result.run_id} {result.state}: {result.reason}",
            left_behind="the long run was not started",
            hint=f"`launch logs {result.run_id}` shows its output",
        )
        self.result = result


class MachineError(LaunchError):
    """A machine could not do what was asked of it."""

    code = "machine"
    exit_code = 1


class MachineUnreachable(MachineError):
    """No answer from the machine. It may still be working: unreachable is not gone."""

    code = "machine_unreachable"


class MachineNotReady(MachineUnreachable):
    """The machine answers and does not show the host key yet that is being injected; nothing was sent to it."""

    code = "machine_not_ready"


class MachineRefused(MachineError):
    """The machine answered and does not accept our login, or we do not accept its key; trying again changes nothing."""

    code = "machine_refused"


class HostKeyRefused(MachineRefused):
    """The machine shows another host key than the one that is known; nothing was sent to it."""

    code = "host_key_refused"


class MachineUnfit(MachineError):
    """A machine that was just rented is not what the job needs: another one may be."""

    code = "machine_unfit"


class CommandFailed(MachineError):
    """A command on the machine failed."""

    code = "command_failed"

    def __init__(
        self, message: str, *, exit_code_of_command: int, output: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.exit_code_of_command = exit_code_of_command
        self.output = output


class PlacementError(MachineError):
    """Code, data or a checkpoint could not be placed on the machine, or did not arrive whole."""

    code = "placement"


class MachineFull(PlacementError):
    """There is no room left on the machine for code or data; what had arrived before is still there."""

    code = "machine_full"


class FetchError(MachineError):
    """Files could not be brought home, or did not arrive whole; what was home before is untouched."""

    code = "fetch"


class StoreError(LaunchError):
    """The record of the runs cannot be read or written."""

    code = "store"
    exit_code = 70
