"""Errors of the trainer.

TrainerError              (every error has .hint, what to do next, .left_behind and the exit code it ends a run with)
  ConfigError             a field of the configuration is wrong: trying again cannot help
  DataError               a file of the data set is wrong
  BadSubmission           a submission file that must not be handed in
  DeviceUnavailable       the processor that was asked for is not there
  CheckpointError
    NoCheckpoint          nothing to resume from, or nothing at the path that was named
    CheckpointCorrupt     the file does not match its digest, or cannot be read
    CheckpointMismatch    a sound file, of another model or another run
    CheckpointNotSaved    the disk refused the newest state; older ones are untouched
  TrainingDiverged        too many steps in a row without a finite gradient
  OutOfMemory             even one trial at a time does not fit the device, or what is left of it
  RunFolderBusy           another process trains in the same run folder
  PeerFailed              another of the processes that train one model together gave up
"""

from __future__ import annotations

from trainer.contract import Exit

__all__ = [
    "BadSubmission",
    "CheckpointCorrupt",
    "CheckpointError",
    "CheckpointMismatch",
    "CheckpointNotSaved",
    "ConfigError",
    "DataError",
    "DeviceUnavailable",
    "NoCheckpoint",
    "OutOfMemory",
    "PeerFailed",
    "RunFolderBusy",
    "TrainerError",
    "TrainingDiverged",
]


class TrainerError(Exception):
    """Base of everything the trainer raises on purpose; its text is one line meant for people."""

    exit_code: Exit = Exit.FAILED

    def __init__(self, message: str, *, hint: str | None = None, left_behind: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.left_behind = left_behind


class ConfigError(TrainerError):
    """A field of the configuration is unknown, of the wrong type, or impossible together with another."""

    exit_code = Exit.BAD_CONFIG


class DataError(TrainerError):
    """A file of the data set cannot be used; the text names file, trial and field."""

    exit_code = Exit.BAD_CONFIG


class BadSubmission(TrainerError):
    """A submission has the wrong form, lacks sentences, or was made of synthetic data."""

    exit_code = Exit.BAD_CONFIG


class DeviceUnavailable(TrainerError):
    """The GPU that was asked for is not there; the trainer does not go on in silence on the CPU."""

    exit_code = Exit.BAD_CONFIG


class CheckpointError(TrainerError):
    """Base of what can go wrong with checkpoints."""


class NoCheckpoint(CheckpointError):
    """There is no checkpoint where somebody said that there is one."""

    exit_code = Exit.BAD_CONFIG


class CheckpointCorrupt(CheckpointError):
    """A checkpoint is truncated, does not match its digest, or is no checkpoint at all."""


class CheckpointMismatch(CheckpointError):
    """A checkpoint is sound but belongs to another architecture or another configuration."""

    exit_code = Exit.BAD_CONFIG


class CheckpointNotSaved(CheckpointError):
    """The state could not be written; the checkpoints written before are untouched."""


class TrainingDiverged(TrainerError):
    """The gradient stayed NaN or infinite for longer than the configuration allows."""


class OutOfMemory(TrainerError):
    """The device's memory, or what others leave of it, does not hold even a micro-batch of one trial."""


class RunFolderBusy(TrainerError):
    """Another process trains in the same run folder; two would overwrite each other's results."""


class PeerFailed(TrainerError):
    """Another process of this run gave up; its own error, with the details, is in its output."""

    def __init__(self, message: str, *, exit_code: Exit) -> None:
        super().__init__(message)
        self.exit_code = exit_code
