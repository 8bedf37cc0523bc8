"""Outputs of finished stages that are not at home: after a take-over, or when the folder of results was lost.

A machine that ran such a stage, or was given what it has left, is the last place where they may lie. They are taken from
there as long as it is there; what lies nowhere any more is said before a machine is rented for who needs it. What was at
home and was removed there stays away, unless a stage still needs it.
"""

from __future__ import annotations

import glob
import shutil
from contextlib import suppress
from pathlib import Path

from launcher import results
from launcher.errors import HomeError, LaunchError, MachineUnreachable
from launcher.events import Kind
from launcher.orchestrate.attention import Onlooker, onlooker_of
from launcher.orchestrate.budget import deadlines_now
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.observe import Seen
from launcher.orchestrate.stage_outputs import carried_to
from launcher.orchestrate.traffic import note_traffic
from launcher.policy.stages import StageState, is_over
from launcher.remote.onboard.files import sha256_of
from launcher.runners.base import Handle, Runner, StageFile
from launcher.store import AttemptRow
from provisioning.registry import provider_class

__all__ = ["bring_lost", "lost_come_first", "lost_files", "why_not_given"]

INCOMING = ".incoming-lost"
"""In the folder of results, from where a rename brings a file to its place; no machine may write such a name."""


def lost_files(context: RunContext) -> dict[str, list[StageFile]]:
    """Return the outputs of stages that have succeeded and should be at home and are not, by stage.

    Those that a stage needs which is not over; and those that never came home, by the record of this computer.
    """
    main, records = Path(context.run.results_dir), context.stage_records
    open_ones = [stage for stage in context.job.stages if not is_over(stage.name, records)]
    needed = {name for stage in open_ones for name in (*stage.needs, *stage.after)}
    came_home = {path for path, _, _ in context.store.outputs_with_stages(context.run_id)}
    lost = {
        name: [
            file
            for file in record.files
            if not (path := file.below(main)).exists() and (name in needed or str(path) not in came_home)
        ]
        for name, record in records.items()
        if record.state is StageState.SUCCEEDED
    }
    return {name: files for name, files in lost.items() if files}


def lost_come_first(context: RunContext, seen: Seen) -> bool:
    """Bring lost files home before their machine ends; whether it is kept for another try. Not past its hard deadline."""
    if seen.runner is None or seen.handle is None or not lost_files(context):
        return False
    try:
        bring_lost(context, seen.runner, seen.handle, onlooker_of(context))
    except (LaunchError, OSError) as err:
        context.memory.is_doubtful |= isinstance(err, MachineUnreachable)
        context.complain("lost", f"what earlier stages have left is not at home: {err}")
        return context.now < deadlines_now(context).hard
    context.is_well("lost")
    return False


def bring_lost(context: RunContext, runner: Runner, handle: Handle, onlooker: Onlooker) -> None:
    """Take from a machine what it still has of them, each file only if it is what its stage has made.

    Raises:
        MachineUnreachable, FetchError, OSError: what came so far is kept; call again.
    """
    _note_found(context)
    for name, files in lost_files(context).items():
        incoming = results.claim(Path(context.run.results_dir), context.run_id) / INCOMING
        folder, began = incoming / name, context.monotonic()
        patterns = tuple(glob.escape(file.name) for file in files)
        report = runner.fetch(handle, patterns, folder, report=onlooker.report, listen=onlooker.listen)
        moved = note_traffic(context, report, context.monotonic() - began)
        there = {str(file.path.relative_to(folder)): file.sha256 for file in report.files}
        whole = [file for file in files if there.get(file.name) == file.sha256]
        if whole:
            _put_back(context, name, whole, folder, moved)
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # of another stage something is there that was cut off
            incoming.rmdir()


def _note_found(context: RunContext) -> None:
    """Write down what is at home and not on record: the record was lost, or we were killed before it was written."""
    main = Path(context.run.results_dir)
    known = {path for path, _, _ in context.store.outputs_with_stages(context.run_id)}
    for name, record in context.stage_records.items():
        if record.state is not StageState.SUCCEEDED:
            continue
        found = [file for file in record.files if str(file.below(main)) not in known]
        whole = [file for file in found if _is_whole(file.below(main), file)]
        if whole:
            _note(context, name, whole)


def _is_whole(path: Path, file: StageFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and sha256_of(path) == file.sha256


def _note(context: RunContext, name: str, files: list[StageFile]) -> None:
    main = Path(context.run.results_dir)
    rows = [(str(file.below(main)), file.size_bytes, file.sha256) for file in files]
    context.store.add_outputs(context.run_id, rows, context.clock(), stage=name)


def _put_back(context: RunContext, name: str, files: list[StageFile], folder: Path, moved: int) -> None:
    main = Path(context.run.results_dir)
    for file in files:
        target = file.below(main)
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / file.name).replace(target)
    with context.store.together():
        _note(context, name, files)
        number = f"{len(files)} file{'s' * (len(files) > 1)}"
        words = f"{number} of stage {name} that were not at home are taken from the machine"
        context.report(Kind.TRANSFER, words, what=name, files=len(files), bytes=moved)


def why_not_given(context: RunContext, attempt: AttemptRow) -> str:
    """Say why the stage of an attempt cannot be given what it needs on a machine that is yet to be rented; else empty.

    One that is only claimed may have it from before.
    """
    if provider_class(context.offer_of(attempt).provider).capabilities.claimed:
        return ""
    try:
        for carried in carried_to(context, attempt):
            results.require_at_home(carried)
    except HomeError as err:
        return f"{err.message} ({err.hint})" if err.hint else err.message
    return ""
