"""``promote``: a result takes the place of a file at home when it is better, and only then.

How good the file at home is stands in a note beside it, ``<file>.promoted.json``, which names the file's digest: a file
that somebody has changed since is one of which nothing is known, and is never replaced. What is replaced is kept beside.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.job.parts import MetricMode
from launcher.remote.onboard.files import sha256_of

if TYPE_CHECKING:
    from launcher.job.parts import Promote
    from launcher.runners.base import StageFile

__all__ = ["Candidate", "Outcome", "compared", "promote"]

NOTE_SUFFIX = ".promoted.json"
SCHEMA = 1
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A result that may take the place of a file at home."""

    source: Path
    """Where it lies among the results."""
    file: StageFile
    value: float | None
    """Of the metric; None when it was never reported."""
    run_id: str
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done, and why."""

    promoted: bool
    words: str
    old: float | None = None
    new: float | None = None
    backup: Path | None = None
    """What was there before."""


def promote(wanted: Promote, candidate: Candidate, workdir: Path, now: datetime) -> Outcome:
    """Replace ``workdir / wanted.file`` when the candidate is better; repeating it changes nothing.

    Raises:
        OSError: it could not be written; what was there is there, or beside with ``.before-<run>``.
    """
    with _one_at_a_time:  # of two runs that end together the second is compared with the first
        return _promote(wanted, candidate, workdir, now)


def _promote(wanted: Promote, candidate: Candidate, workdir: Path, now: datetime) -> Outcome:
    target = workdir / wanted.file
    note = target.with_name(target.name + NOTE_SUFFIX)
    new, metric = candidate.value, wanted.metric
    if new is None or math.isnan(new):
        said = "was never reported" if new is None else "is not a number"
        return Outcome(promoted=False, words=f"{wanted.file} stays as it is: {metric} {said}")
    if not target.exists():
        _put(candidate, target, note, metric, now)
        words = f"{wanted.file} is new at home, with {metric} {new:.6g}"
        return Outcome(promoted=True, words=words, new=new)
    told = _told(note)
    if (
        sha256_of(target) == candidate.file.sha256
    ):  # the same file, or the end of a promotion that was cut off
        if told.get("sha256") != candidate.file.sha256:
            _write_note(candidate, note, metric, now)
        return Outcome(promoted=True, words=f"{wanted.file} was promoted", new=new)
    old = _value_of(told, target, metric)
    if old is None:
        words = (
            f"{wanted.file} stays as it is: nothing says what its {metric} is ({note.name} is missing, or is about "
            f"another file); the new one, {new:.6g}, is {candidate.source}. Move the old one away to promote the next"
        )
        return Outcome(promoted=False, words=words, new=new)
    is_better, difference = compared(wanted, old, new)
    if not is_better:
        return Outcome(promoted=False, words=f"{wanted.file} stays as it is: {difference}", old=old, new=new)
    backup = target.with_name(f"{target.name}.before-{candidate.run_id}")
    _keep(target, backup)
    _keep(note, backup.with_name(backup.name + NOTE_SUFFIX))
    _put(candidate, target, note, metric, now)
    words = f"{wanted.file} is replaced: {difference}; the one before is {backup.name}"
    return Outcome(promoted=True, words=words, old=old, new=new, backup=backup)


def compared(wanted: Promote, old: float, new: float) -> tuple[bool, str]:
    """Return whether ``new`` is better by enough, and the difference in words. Pure."""
    gain = new - old if wanted.mode is MetricMode.MAX else old - new
    asked = f", at least {wanted.by:g} is asked for" if wanted.by else ""
    words = f"{wanted.metric} {old:.6g} → {new:.6g}"
    if gain > 0.0 and gain >= wanted.by:
        return True, f"{words}, better by {gain:.6g}{asked}"
    how = (
        f"better by {gain:.6g} only" if gain > 0.0 else f"worse by {-gain:.6g}" if gain < 0.0 else "no better"
    )
    return False, f"{words}, {how}{asked}"


def _told(note: Path) -> dict[str, Any]:
    try:
        told = json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _value_of(told: dict[str, Any], target: Path, metric: str) -> float | None:
    """What the note says of the file that is there; None when it is about another metric or another file."""
    value = told.get("value")
    if told.get("metric") != metric or not isinstance(value, (int, float)):
        return None
    return float(value) if told.get("sha256") == sha256_of(target) else None


def _keep(path: Path, backup: Path) -> None:
    """Keep what is there under another name, unless a run that was cut off has."""
    if backup.exists() or not path.exists():
        return
    try:
        os.link(path, backup)
    except OSError:  # a file system without hard links
        shutil.copy2(path, backup)


def _put(candidate: Candidate, target: Path, note: Path, metric: str, now: datetime) -> None:
    """Write file and note, each whole or not at all; in between the note is about another file, and says nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{candidate.run_id}.incoming")
    try:
        shutil.copyfile(candidate.source, beside)
        if sha256_of(beside) != candidate.file.sha256:
            raise OSError(f"{candidate.source} was changed since it came home")
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    _write_note(candidate, note, metric, now)


def _write_note(candidate: Candidate, note: Path, metric: str, now: datetime) -> None:
    told = {
        "schema": SCHEMA,
        "metric": metric,
        "value": candidate.value,
        "sha256": candidate.file.sha256,
        "run_id": candidate.run_id,
        "stage": candidate.stage,
        "at": now.isoformat(),
    }
    above = note.with_name(f".{note.name}.{candidate.run_id}.incoming")
    above.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    above.replace(note)
