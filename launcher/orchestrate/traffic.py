"""What leaves a machine for this home: counted for its bill, and measured for the time that the way home takes."""

from __future__ import annotations

from launcher.orchestrate.context import RunContext
from launcher.policy.reserve import Measured
from launcher.records import from_json, to_json
from launcher.runners.base import FetchReport

__all__ = ["note_traffic"]


def note_traffic(context: RunContext, report: FetchReport, seconds: float) -> int:
    """Count what came from the present machine in so many seconds, and return the bytes; what was home did not travel."""
    moved = sum(file.size_bytes for file in report.files if not file.was_home)
    row = None if context.attempt is None else context.machine_of(context.attempt)
    if moved and row is not None:
        context.update_instance(row, egress_bytes=row.egress_bytes + moved)
        known = from_json(Measured, context.run.measured)
        if (measured := known.after_transfer(moved, seconds)) != known:
            context.update_run(measured=to_json(measured))
    return moved
