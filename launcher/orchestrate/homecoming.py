"""Bringing things home: the log as it grows, checkpoints as they are made, outputs at the end. All of it repeatable."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from launcher import results
from launcher.checkpoints import (
    Mirrored,
    newest_good_checkpoint,
    order_of,
    patterns_of,
    prune,
    what_to_mirror,
)
from launcher.errors import LaunchError, MachineUnreachable
from launcher.events import Kind
from launcher.home import RunPaths
from launcher.logs import with_part
from launcher.orchestrate.attention import NOBODY, GaveWay, Onlooker, onlooker_of
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.earlier_files import keep_of_earlier_machines, settle_what_is_kept
from launcher.orchestrate.progress import follow_progress
from launcher.orchestrate.stage_copies import copy_of_others
from launcher.orchestrate.stage_files import keep_of_others
from launcher.orchestrate.stage_lost import bring_lost
from launcher.orchestrate.stage_outputs import fetch_for_others, note_outputs
from launcher.orchestrate.traffic import note_traffic
from launcher.policy.output import TOO_MUCH_OUTPUT, read_from
from launcher.policy.reserve import Measured
from launcher.policy.stages import is_over
from launcher.policy.states import Reason, RunState
from launcher.records import from_json, to_json
from launcher.runners.base import Area, FetchReport, Handle, LogChunk, Progress, Runner
from launcher.store import AttemptRow
from trainer.contract import Phase

if TYPE_CHECKING:
    from launcher.events import Listen
    from launcher.orchestrate.observe import Seen

__all__ = [
    "bring_everything",
    "bring_log",
    "bring_log_if_possible",
    "bring_lost_if_possible",
    "bring_outputs",
    "is_newest",
    "mirror_checkpoints",
    "mirror_if_possible",
    "resume_source",
]

LOG_CHUNKS_PER_LOOK = 16
"""Of a mebibyte each: a job that floods its log must not keep us from looking at it."""
LOOK_MEANWHILE_S = 5.0
"""While a checkpoint is on its way."""
LOCK_AGAIN_S = 0.25


def bring_log_if_possible(context: RunContext, seen: Seen) -> None:
    """Bring the log home as far as it goes now; what stands in the way is said, and must not keep us from deciding."""
    if seen.runner is None or seen.handle is None:
        return
    try:
        bring_log(context, seen.runner, seen.handle, seen.attempt)
    except (LaunchError, OSError) as err:
        context.memory.is_doubtful |= isinstance(err, MachineUnreachable)
        context.complain("log", f"the log cannot be brought home now: {err}")
    else:
        context.is_well("log")


def mirror_if_possible(context: RunContext, seen: Seen, *, force: bool) -> None:
    """Keep the newest checkpoint safe at home; what stands in the way is said, and the next look tries again."""
    progress = seen.situation.progress
    if seen.runner is None or seen.handle is None or progress is None or not progress.checkpoints:
        return
    try:
        mirror_checkpoints(context, seen.runner, seen.handle, seen.attempt, progress, force=force)
    except (LaunchError, OSError) as err:
        context.memory.is_doubtful |= isinstance(err, MachineUnreachable)
        context.complain("mirror", f"a checkpoint could not be brought home yet: {err}")
    else:
        context.is_well("mirror")


def bring_lost_if_possible(context: RunContext, seen: Seen) -> None:
    """Look once, while its machine works, whether outputs of earlier stages are at home; else take them from there."""
    progress, memory = seen.situation.progress, context.memory
    if memory.has_looked_for_lost or seen.runner is None or seen.handle is None or progress is None:
        return
    try:
        bring_lost(
            context,
            seen.runner,
            seen.handle,
            _onlooker_meanwhile(context, seen.runner, seen.handle, progress),
        )
    except (LaunchError, OSError) as err:
        memory.is_doubtful |= isinstance(err, MachineUnreachable)
        context.complain("lost", f"what earlier stages have left could not be brought home yet: {err}")
    else:
        memory.has_looked_for_lost = True
        context.is_well("lost")


def bring_log(
    context: RunContext, runner: Runner, handle: Handle, attempt: AttemptRow, *, to_the_end: bool = False
) -> AttemptRow:
    """Copy what is new of the machine's output to the run's log at home, without gaps or repeats."""
    # The caller's row may be older than what this very look has brought already.
    attempt = context.as_it_is(attempt)
    end = runner.poll(handle).log_bytes if to_the_end else 0
    for _ in itertools.count() if to_the_end else range(LOG_CHUNKS_PER_LOOK):
        start = read_from(attempt.log_offset, end, has_ended=to_the_end)
        if start != attempt.log_offset:
            context.say_once("flood", Kind.WARNING, TOO_MUCH_OUTPUT)
        if start is None:
            break
        chunk = runner.logs(handle, start)
        if not chunk.data:
            break
        attempt = _append(context, attempt, chunk, asked_from=start)
    return attempt


def _append(context: RunContext, attempt: AttemptRow, chunk: LogChunk, *, asked_from: int) -> AttemptRow:
    """Append to the log first and note it then; where output is missing in between, the log says so.

    The file is longer than the record says when we were killed in between: it is cut back before.
    """
    log_bytes = context.run.log_bytes
    dropped, missing = chunk.offset - asked_from, chunk.offset - attempt.log_offset
    if dropped > 0:  # the machine dropped its oldest output to save its disk
        context.report(
            Kind.WARNING, f"{dropped} bytes of output were dropped on the machine before they were home"
        )
    notice = f"\n[launch] {missing} bytes of output are missing here\n".encode() if missing > 0 else b""
    data = notice + chunk.data
    with context.paths.log.open("ab") as log:
        log.truncate(log_bytes)
        log.seek(0, os.SEEK_END)
        log.write(data)
        log.flush()
        os.fsync(log.fileno())
    parts = context.run.log_parts
    if context.job.stages:
        parts = with_part(parts, log_bytes, attempt.stage, attempt.n)
    with context.store.together():
        context.update_run(log_bytes=log_bytes + len(data), log_parts=parts)
        return context.update_attempt(attempt, log_offset=chunk.next_offset)


def mirror_checkpoints(
    context: RunContext,
    runner: Runner,
    handle: Handle,
    attempt: AttemptRow,
    progress: Progress,
    *,
    force: bool = False,
) -> AttemptRow:
    """Copy the newest complete checkpoint home when it is due (``force``: now), and drop what is older than ``keep``."""
    checkpoint = context.job.checkpoint
    if checkpoint.mirror != "home":  # the machine brings them to a bucket by itself, or nobody does
        return attempt
    known = {name: from_json(Mirrored, entry) for name, entry in attempt.mirrored.items()}
    every_s = 0.0 if force or progress.warned else context.mirror_every_s(attempt)
    due = what_to_mirror(progress.checkpoints, known, now=context.clock(), every_s=every_s)
    for entry in due:
        # Before it comes: killed in between, we must know whose it is.
        known[entry.name] = Mirrored(modified_at=entry.modified_at)
        attempt = context.update_attempt(attempt, mirrored=to_json(known))
        onlooker, began = _onlooker_meanwhile(context, runner, handle, progress), context.monotonic()
        report = runner.fetch(
            handle,
            patterns_of(entry.name),
            context.mirror_of(attempt),
            area=Area.CHECKPOINTS,
            report=onlooker.report,
            listen=onlooker.listen,
        )
        attempt = context.as_it_is(attempt)  # it was followed meanwhile
        if not report.files:  # the program deleted it meanwhile
            continue
        known[entry.name] = Mirrored(modified_at=entry.modified_at, at=context.clock())
        with context.store.together():
            note_traffic(context, report, context.monotonic() - began)
            attempt = context.update_attempt(attempt, mirrored=to_json(known))
            words = f"checkpoint {entry.name} is home"
            context.report(Kind.CHECKPOINT, words, name=entry.name, where="home", bytes=entry.size_bytes)
    if due:
        prune(context.mirror_of(attempt), keep=max(2, checkpoint.keep), order=_order(context, attempt))
    return attempt


def _onlooker_meanwhile(context: RunContext, runner: Runner, handle: Handle, progress: Progress) -> Onlooker:
    """While a checkpoint is on its way the job goes on: it is followed, and when it leaves that comes first."""
    onlooker = onlooker_of(context)
    looked_at = context.monotonic()

    def listen() -> None:
        nonlocal looked_at
        onlooker.listen()
        if progress.phase is not Phase.RUNNING or context.monotonic() - looked_at < LOOK_MEANWHILE_S:
            return
        looked_at = context.monotonic()
        now = runner.poll(handle)
        _follow_meanwhile(context, runner, handle, now)
        if not now.alive or now.phase is not progress.phase:
            raise GaveWay("what was on its way waits: the job is about to leave")

    return Onlooker(onlooker.report, listen)


def _follow_meanwhile(context: RunContext, runner: Runner, handle: Handle, progress: Progress) -> None:
    attempt = context.attempt
    assert attempt is not None
    with context.store.together():
        changes = follow_progress(context, attempt, progress)
        context.update_run(looked_at=context.clock())
        if changes:
            attempt = context.update_attempt(attempt, **changes)
    bring_log(context, runner, handle, attempt)


def _order(context: RunContext, attempt: AttemptRow) -> dict[str, tuple[int, datetime]]:
    return order_of(
        {
            row.n: {name: from_json(Mirrored, entry) for name, entry in row.mirrored.items()}
            for row in context.of_the_same_stage(attempt)
        }
    )


def resume_source(context: RunContext, attempt: AttemptRow) -> Path | None:
    """Return the newest checkpoint at home that is whole, saying so loudly when a newer one is not."""
    found = newest_good_checkpoint(context.mirror_of(attempt), _order(context, attempt))
    for name, problem in found.skipped:
        words = f"checkpoint {name} at home is not used: {problem}; falling back to the one before"
        context.report(Kind.WARNING, words, name=name)
    return found.path


def is_newest(context: RunContext, attempt: AttemptRow, checkpoint: Path | None) -> bool:
    """Whether a checkpoint at home was saved by an earlier attempt, on another machine than the one of ``attempt``."""
    saved_by, _ = (
        _order(context, attempt).get(checkpoint.name, (0, None)) if checkpoint is not None else (0, None)
    )
    if not 0 < saved_by < attempt.n:
        return False
    earlier = next(row for row in context.of_the_same_stage(attempt) if row.n == saved_by)
    return context.may_be_elsewhere(earlier, attempt)


def bring_outputs(
    context: RunContext,
    runner: Runner,
    handle: Handle,
    *,
    dest: Path | None = None,
    alone: bool = False,
    onlooker: Onlooker = NOBODY,
) -> tuple[FetchReport, ...]:
    """Bring the outputs home, verified; what is home already is not copied again.

    With ``dest`` they go to a folder of the run's id in there, with what earlier stages have brought home unless this
    machine's are wanted ``alone``, and the record of what is home stays as it is.

    Raises:
        MachineUnreachable, FetchError, HomeError, UsageError: what came so far is kept; call again.
        OSError: this computer cannot take them, now.
    """
    job, out = context.job, dest if dest is not None else context.plan.out
    fetches = results.wanted(job, context.run_id, out=out, stage=handle.stage if job.stages else "")
    main = results.results_dir(job, context.run_id, out=out)
    own = dest is None or str(main) == context.run.results_dir

    def fetched(fetch: results.Fetch) -> FetchReport:
        return _fetch(context, runner, handle, fetch, main, onlooker, own=own)

    with _pulling(context.paths, onlooker.listen):
        reports = [fetched(fetch) for fetch in fetches]
        work = [report for fetch, report in zip(fetches, reports, strict=True) if fetch.area is Area.WORK]
        if (for_others := fetch_for_others(context, handle.stage)) is not None:
            report = fetched(replace(for_others, dest=main))
            if own:
                note_outputs(context, handle.stage, report)
            reports.append(report)
            work.append(report)
        if job.file_outputs and _has_finished(context) and (why := results.why_everything(job, work)):
            context.complain("outputs", why)
            reports.append(fetched(results.everything_changed(job, context.run_id, out=out)))
        warning = results.point_latest(main) if own else None
    if (
        not own and job.stages and not alone
    ):  # it may take a while, and who ends the machine needs the lock meanwhile
        brought = {file.path: file.sha256 for report in reports for file in report.files}
        reports.append(copy_of_others(context, handle.stage, main, brought, onlooker))
    if warning:
        context.complain("latest", warning)
    return tuple(reports)


def _has_finished(context: RunContext) -> bool:
    """Only then do outputs that match nothing mean a mistake: a job that goes on may still write them."""
    verdict = context.run.verdict
    has_finished = verdict is not None and verdict["code"] == Reason.FINISHED.value
    if not context.job.stages:
        return has_finished
    names, records = [stage.name for stage in context.job.stages], context.stage_records
    to_come = [name for name in names if not is_over(name, records)]
    # The verdict on the run comes after the last stage's outputs.
    is_ending = has_finished or (verdict is None and context.state is RunState.PULLING)
    return is_ending and to_come == [context.stage.name] and not _has_results(context)


def _has_results(context: RunContext) -> bool:
    """Whether an earlier stage has brought more home than metrics and curves."""
    logs = Path(context.run.results_dir, results.LOGS_DIR)
    return any(not Path(path).is_relative_to(logs) for path, _, _ in context.store.outputs(context.run_id))


def bring_everything(
    context: RunContext,
    runner: Runner,
    handle: Handle,
    attempt: AttemptRow,
    *,
    onlooker: Onlooker | None = None,
) -> tuple[FetchReport, ...]:
    """Bring the newest checkpoint, all outputs and the rest of the log home, and note that they are.

    In this order: where a machine is about to be taken away, the checkpoint is what the next one needs. Raises as
    `bring_outputs` does.
    """
    progress = runner.poll(handle)
    attempt = mirror_checkpoints(context, runner, handle, attempt, progress, force=True)
    reports = bring_outputs(context, runner, handle, onlooker=onlooker or onlooker_of(context))
    attempt = bring_log(context, runner, handle, attempt, to_the_end=True)
    files = {file.path for report in reports for file in report.files}
    size = sum(file.size_bytes for report in reports for file in report.files)
    words = f"{len(files)} files are home and verified, in {context.run.results_dir}"
    own_bytes = max(0, size - sum(entry.size_bytes for entry in progress.checkpoints))
    measured = replace(from_json(Measured, context.run.measured), output_bytes=own_bytes)
    with context.store.together():
        context.update_run(measured=to_json(measured))
        context.update_attempt(attempt, fetched=True)
        context.report(Kind.TRANSFER, words, what="outputs", files=len(files), bytes=size)
    return reports


def _fetch(
    context: RunContext,
    runner: Runner,
    handle: Handle,
    fetch: results.Fetch,
    main: Path,
    onlooker: Onlooker,
    *,
    own: bool,
) -> FetchReport:
    """Bring one part home; ``own``: into the run's own results, which the record lists."""
    results.claim(main, context.run_id)
    if not fetch.dest.is_relative_to(main):
        results.claim(fetch.dest, context.run_id)
    began, stage = context.monotonic(), handle.stage if context.job.stages else ""

    def make_way(paths: Sequence[Path]) -> None:
        if own and stage:
            keep_of_others(context, stage, fetch.dest, paths)
        if own:
            keep_of_earlier_machines(context, handle, fetch.dest, paths)

    report = runner.fetch(
        handle,
        fetch.patterns,
        fetch.dest,
        area=fetch.area,
        report=onlooker.report,
        listen=onlooker.listen,
        make_way=make_way,
    )
    with context.store.together():
        if own:
            _note_outputs(context, report, main, stage)
        note_traffic(context, report, context.monotonic() - began)
    if own:
        settle_what_is_kept(context, handle, fetch.dest)
    for name, reason in report.refused:
        context.complain(f"refused {name}", f"{name} was not fetched: {reason}", path=name)
    return report


def _note_outputs(context: RunContext, report: FetchReport, main: Path, stage: str) -> None:
    context.store.add_outputs(
        context.run_id,
        [(str(file.path), file.size_bytes, file.sha256) for file in report.files],
        context.clock(),
        stage=stage,
    )
    for file in report.files:
        if not file.was_home:
            path, size = str(file.path), file.size_bytes
            name = file.path.relative_to(main) if file.path.is_relative_to(main) else file.path
            context.report(Kind.OUTPUT, f"{name} is home", path=path, bytes=size, sha256=file.sha256)


@contextlib.contextmanager
def _pulling(paths: RunPaths, listen: Listen) -> Iterator[None]:
    """Let one process at a time write a run's results: a person may pull while the supervisor does."""
    descriptor = os.open(paths.pull_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _is_locked(descriptor):
            time.sleep(LOCK_AGAIN_S)
            listen()
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
