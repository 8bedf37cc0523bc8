"""Outputs of finished stages that are not at home: after a take-over, or when the folder of results was lost.

A machine that ran such a stage, or was given what it has left, is the last place where they may lie. They are taken from
there as long as it is there; what lies nowhere any more is said before a machine is rented for who needs it.
"""

from __future__ import annotations

import glob
import shutil
from pathlib import Path

from launcher import results
from launcher.errors import HomeError
from launcher.events import Kind
from launcher.orchestrate.attention import Onlooker
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.stage_copies import copied
from launcher.orchestrate.stage_outputs import carried_to
from launcher.policy.stages import StageState
from launcher.remote.onboard.files import sha256_of
from launcher.runners.base import Handle, Runner, StageFile
from launcher.store import AttemptRow
from provisioning.registry import provider_class

__all__ = ["bring_lost", "lost_files", "why_not_given"]


def lost_files(context: RunContext) -> dict[str, list[StageFile]]:
    """Return the outputs of stages that have succeeded and are not where they should be at home, by stage."""
    main = Path(context.run.results_dir)
    lost = {
        name: [file for file in record.files if not file.below(main).exists()]
        for name, record in context.stage_records.items()
        if record.state is StageState.SUCCEEDED
    }
    return {name: files for name, files in lost.items() if files}


def bring_lost(context: RunContext, runner: Runner, handle: Handle, onlooker: Onlooker) -> None:
    """Take from a machine what it still has of them, each file only if it is what its stage has made.

    Raises:
        MachineUnreachable, FetchError, OSError: what came so far is kept; call again.
    """
    _note_found(context)
    for name, files in lost_files(context).items():
        folder = context.paths.root / "found" / name
        patterns = tuple(glob.escape(file.name) for file in files)
        report = runner.fetch(handle, patterns, folder, report=onlooker.report, listen=onlooker.listen)
        there = {str(file.path.relative_to(folder)): file.sha256 for file in report.files}
        whole = [file for file in files if there.get(file.name) == file.sha256]
        if whole:
            _put_back(context, name, whole, folder)
        shutil.rmtree(folder, ignore_errors=True)


def _note_found(context: RunContext) -> None:
    """Write down what is at home and not on record: the record was lost, or we were killed before it was written."""
    main = Path(context.run.results_dir)
    known = {path for path, _, _ in context.store.outputs_with_stages(context.run_id)}
    for name, record in context.stage_records.items():
        found = [file for file in record.files if str(file.below(main)) not in known]
        whole = [
            file
            for file in found
            if file.below(main).is_file() and sha256_of(file.below(main)) == file.sha256
        ]
        if whole and record.state is StageState.SUCCEEDED:
            _note(context, name, whole)


def _note(context: RunContext, name: str, files: list[StageFile]) -> None:
    main = Path(context.run.results_dir)
    rows = [(str(file.below(main)), file.size_bytes, file.sha256) for file in files]
    context.store.add_outputs(context.run_id, rows, context.clock(), stage=name)


def _put_back(context: RunContext, name: str, files: list[StageFile], folder: Path) -> None:
    main = results.claim(Path(context.run.results_dir), context.run_id)
    for file in files:
        copied(folder / file.name, file.below(main), file.sha256)
    with context.store.together():
        _note(context, name, files)
        number = f"{len(files)} file{'s' * (len(files) > 1)}"
        words = f"{number} of stage {name} that were not at home are taken from the machine"
        context.report(Kind.TRANSFER, words, what=name, files=len(files))


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
