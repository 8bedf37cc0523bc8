"""What happened to a run, as data. Events are appended to the record and shown by viewers; nothing else flows."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["Event", "Kind", "Listen", "Report", "keep_going", "unreported"]

Listen = Callable[[], None]
"""What work that takes long calls about once a second: whoever has something to say raises it, and the work gives way."""


def keep_going() -> None:
    """Say nothing: a `Listen` for work that nobody interrupts."""


class Kind(str, enum.Enum):
    """The closed set of things that happen."""

    PLANNED = "planned"
    STATE = "state"
    """The run moved to another state; data: ``state``, ``reason``."""
    TRY = "try"
    """A create call is about to be made, or has been answered; data: ``token``, ``outcome``, ``offer``."""
    INSTANCE = "instance"
    """The provider's word on an instance changed; data: ``ref``, ``state``, ``reason``."""
    TRANSFER = "transfer"
    """Code, data or outputs on their way; data: ``what``, ``bytes``, and ``files`` once they have arrived, before that
    ``total_bytes``, ``bytes_per_s``, ``seconds_left``."""
    PROGRESS = "progress"
    """The job's own words; data: ``step``, ``total`` and any numbers it reported."""
    CHECKPOINT = "checkpoint"
    """A checkpoint is durable on the machine, or at home; data: ``name``, ``where``, ``bytes``."""
    SIGNAL = "signal"
    """The job was asked to leave; data: ``signal``, ``cause``."""
    ENDED = "ended"
    """The job's process ended; data: ``exit_code``, ``cause``."""
    DECISION = "decision"
    """What is done next, and why; data: ``action``, ``reason``."""
    OUTPUT = "output"
    """A file came home; data: ``path``, ``bytes``, ``sha256``."""
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened, at one moment, with a sentence for people."""

    kind: Kind
    message: str
    at: datetime
    run_id: str
    seq: int = 0
    """Position in the run's log, from 1; 0 until the store has appended it."""
    data: Mapping[str, Any] = field(default_factory=dict)


class Report(Protocol):
    """What working code is handed to say what happened; time, run and position are stamped by the store."""

    def __call__(self, kind: Kind, message: str, **data: Any) -> None:
        """Append one event."""


def unreported(kind: Kind, message: str, **data: Any) -> None:
    """Tell nobody: a `Report` for work that nobody follows."""
