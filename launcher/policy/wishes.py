"""What becomes of a wish when another one was there before: `launch down` wins over `launch stop`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from launcher.store.rows import Intent

if TYPE_CHECKING:
    from launcher.store.rows import RunRow

__all__ = ["merged", "why_not"]


def why_not(run: RunRow, intent: Intent, options: Mapping[str, Any]) -> str | None:
    """Return why a wish comes too late for a live run, in words; None when it can be followed."""
    is_down = run.intent is Intent.DOWN and intent is Intent.STOP
    if is_down and run.intent_options.get("discard"):
        return f"`launch down --no-pull` was asked for {run.run_id} before: it ends without its outputs"
    if not options.get("keep_disk"):
        return None
    if is_down:
        return f"`launch down` was asked for {run.run_id} before: it ends for good and no disk is kept"
    if run.verdict is not None and not run.verdict["keep_disk"]:
        return f"{run.run_id} is ending already ({run.verdict['words']}): its disk is not kept"
    return None


def merged(run: RunRow, intent: Intent, options: Mapping[str, Any]) -> tuple[Intent, Mapping[str, Any]]:
    """Return what is wanted of a run from now on: an end for good that was asked for before stays one."""
    if run.intent is Intent.DOWN and intent is Intent.STOP:
        return run.intent, run.intent_options
    return intent, options
