"""What runs leave on this computer: checkpoints, code and working folders; how much it is, and what may go.

Nothing goes that is nowhere else: what a run can be resumed from, or what never came home, is given up by a person alone.
The record of a run, its log and its results are never touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from launcher.errors import HomeError, WrongState
from launcher.forecast.sizes import tree_bytes
from launcher.gc import Judgement
from launcher.home import Home
from launcher.policy.states import RunState
from launcher.store import InstanceRow, RunRow, Store

__all__ = ["KEEP", "KeptHere", "judge_kept", "remove_kept", "survey_kept"]

KEEP = timedelta(days=14)
"""For how long what a succeeded run has left is kept: its last checkpoints may be worth a look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptHere:
    """What one run has left here."""

    run_id: str
    paths: tuple[Path, ...]
    size_bytes: int
    judgement: Judgement
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``launch gc --json`` has for each."""
        return {
            "run_id": self.run_id,
            "size_bytes": self.size_bytes,
            "judgement": self.judgement.value,
            "why": self.why,
        }


def judge_kept(run: RunRow | None, machines: Sequence[InstanceRow], now: datetime) -> tuple[Judgement, str]:
    """Return what may be done about what a run has left here, and why. ``machines`` are all of the run's. Pure."""
    if run is None:
        return (
            Judgement.ASK,
            "the record does not know this run: this may be the only copy of its checkpoints",
        )
    state = RunState(run.state)
    if state.is_live:
        return Judgement.LEAVE, f"its run is live ({state.value})"
    if any(row.ended_at is None for row in machines):
        return Judgement.LEAVE, "its machine's disk is kept: `launch pull` or `launch down` first"
    if state.is_resumable:
        return Judgement.ASK, f"`launch resume {run.run_id}` goes on from it"
    goes_at = (run.ended_at or run.updated_at) + KEEP
    if now < goes_at:
        return Judgement.LEAVE, f"its run succeeded; kept until {goes_at:%Y-%m-%d}"
    return Judgement.END, "its run succeeded, and its outputs are home and verified"


def survey_kept(home: Home, store: Store, now: datetime) -> list[KeptHere]:
    """Return what all runs have left on this computer, the largest first. Deletes nothing."""
    found = []
    for run_id in sorted(_run_ids(home)):
        paths = tuple(path for path in _paths_of(home, run_id) if path.exists())
        size_bytes = sum(tree_bytes(path) for path in paths)
        if size_bytes:
            run = store.run(run_id) if store.has_run(run_id) else None
            judgement, why = judge_kept(run, store.instances(run_id), now)
            found.append(
                KeptHere(run_id=run_id, paths=paths, size_bytes=size_bytes, judgement=judgement, why=why)
            )
    return sorted(found, key=lambda item: -item.size_bytes)


def remove_kept(kept: KeptHere, home: Home, store: Store, now: datetime) -> None:
    """Delete what one run has left here.

    Raises:
        WrongState: it is to be left alone, or became so since it was judged.
        HomeError: something of it cannot be deleted.
    """
    run = store.run(kept.run_id) if store.has_run(kept.run_id) else None
    judgement, why = judge_kept(run, store.instances(kept.run_id), now)
    if judgement is Judgement.LEAVE:
        raise WrongState(f"what {kept.run_id} has left here is kept: {why}", left_behind="all of it")
    for path in kept.paths:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as err:
            raise HomeError(
                f"{path} cannot be deleted: {err.strerror or err}", left_behind=str(path)
            ) from err


def _run_ids(home: Home) -> set[str]:
    return {path.name for folder in (home.root / "runs", _local(home)) for path in _entries(folder)}


def _entries(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _paths_of(home: Home, run_id: str) -> tuple[Path, ...]:
    paths = home.run(run_id)
    return (paths.mirror, paths.snapshot, paths.machine_logs, _local(home) / run_id)


def _local(home: Home) -> Path:
    """The run folders of the provider ``local``."""
    return home.root / "local" / "launch"
