"""What a rehearsal has seen, as data. Times are seconds since the program was started for the first time."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Leaving", "Observed", "Return", "Save"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """A checkpoint that appeared, or changed as a whole."""

    name: str
    size_bytes: int
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """What the program did when it was told that its machine would be taken away."""

    notice_s: float
    seconds: float | None
    """From SIGTERM to the end; None when it had not ended by itself within the notice."""
    exit_code: int | None
    step_before: int | None
    """The last step that it had reported when it was asked."""
    saved: bool
    """A checkpoint appeared between the signal and the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """A start that followed an interruption."""

    given: str | None
    """Name of the checkpoint in LAUNCH_RESUME_FROM."""
    step_before: int | None
    """The last step of the life before."""
    first_step: int | None
    """The first step that the new life reported; None when it reported none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The whole rehearsal."""

    setup_s: float | None = None
    """Environment and setup, from nothing; None when the program never began."""
    first_step_s: float | None = None
    unread_lines: int = 0
    """Of its output, where `progress` of the job file was tried on them and matched none."""
    saves: tuple[Save, ...] = ()
    """While nobody disturbed the program: how often it saves by itself."""
    watched_s: float = 0.0
    """For how long it was left alone and watched."""
    saved_elsewhere: tuple[str, ...] = ()
    """Where nothing was saved in LAUNCH_CHECKPOINT_DIR: what looks like a checkpoint elsewhere, by its path in the working folder."""
    written_in_place: tuple[str, ...] = ()
    """Checkpoints that grew under their final name, where a kill would have left half of one."""
    leaving: Leaving | None = None
    after_notice: Return | None = None
    after_kill: Return | None = None
    finished_early: bool = False
    """It was done before everything could be tried."""
    finished: bool = False
    """It came to its end by itself, before or after its interruptions."""
    failure: str | None = None
    """It ended by an error of its own; the last lines of its output."""
    outputs: int = 0
    """Files that came home."""
    unmatched: tuple[str, ...] = ()
    """Patterns of ``file_outputs`` that matched nothing."""
    has_patterns: bool = True
