"""The rehearsal itself: a real run on this computer, in a home of its own, that is interrupted in every way there is."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from launcher.errors import LaunchError, UsageError
from launcher.job import Job, Recovery, Resources
from launcher.job.smoke import run_to_rehearse
from launcher.quantities import duration, offer_words
from launcher.rehearse.findings import Loss, Rehearsal, begins_anew, judge, save_interval_s
from launcher.rehearse.observed import Leaving, Observed, Return
from launcher.rehearse.watch import Life, Watch
from launcher.run import Run
from provisioning import CloudError
from trainer.contract import Exit

__all__ = ["rehearse"]

NOTICE_S = 30.0
"""What Google Cloud gives; EC2 gives two minutes."""
POLL_S = 0.1
ENOUGH_SAVES = 3
ENOUGH_STEPS = 0.35
"""Of all steps: who is as far as that is interrupted before it is done."""
LOG_LINES = 12
WATCHING = 0.4
"""Of the time for the rehearsal goes to watching the program undisturbed, at most; the rest to its interruptions."""


def rehearse(
    job: Job,
    *,
    minutes: float = 5.0,
    environ: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> Rehearsal:
    """Run a job's program here, send it a notice, kill it, resume it, and say what that would mean on a rented machine.

    Free of charge and without effect on anything of the user's: state, results and environment lie in a temporary
    folder that is removed at the end. What runs is `smoke.run` of the job where there is one, and of the trainer in the
    box a small model. Takes ``minutes``, or less.

    Raises:
        UsageError: the job cannot run here as one program.
        JobFileError, DependencyMissing: as for a launch on this computer; nothing was started.
    """
    given = dict(os.environ) if environ is None else dict(environ)
    scratch = Path(tempfile.mkdtemp(prefix="launch-rehearsal-"))
    if words := run_to_rehearse(job)[1]:
        say(words)
    try:
        played = _Play(
            _job_here(job, minutes), scratch, {**given, "LAUNCH_HOME": str(scratch / "home")}, minutes, say
        )
        observed = played.perform()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Rehearsal(observed=observed, findings=judge(observed), losses=_losses(job, observed, given))


def _job_here(job: Job, minutes: float) -> Job:
    if job.stages and job.smoke is None:
        raise UsageError(
            "a job with stages is rehearsed through its smoke.run, and it has none",
            left_behind="nothing was started",
            hint="write smoke: {run: …} with a small slice of the work",
        )
    return dataclasses.replace(
        job,
        name="rehearsal",
        run=run_to_rehearse(job)[0],
        stages=(),
        smoke=None,
        expect={},  # a slice of the work comes to nothing
        give_up=None,
        resources=Resources(),
        recovery=Recovery(),  # an error of its own ends it, and is what has to be told
        checkpoint=dataclasses.replace(job.checkpoint, mirror="home"),
        max_duration=timedelta(minutes=max(10.0, 3 * minutes)),
        notify=None,
        when_unattended=None,
    )


class _Play:
    """One performance; every wait has a deadline."""

    def __init__(
        self, job: Job, scratch: Path, environ: Mapping[str, str], minutes: float, say: Callable[[str], None]
    ) -> None:
        self._job = job
        self._scratch = scratch
        self._environ = environ
        self._seconds = minutes * 60
        self._give_up_at = time.monotonic() + self._seconds
        self._say = say

    def perform(self) -> Observed:
        from launcher.api import launch

        run = launch(self._job, provider="local", environ=self._environ, out=self._scratch / "results")
        try:
            with Watch(self._run_folder(run)) as watch:
                return self._acts(run, watch)
        finally:
            self._end(run)

    def _run_folder(self, run: Run) -> Path:
        """Where the run lies on this computer, known once it was submitted."""
        self._until(run, lambda: run.machine_folder() is not None)
        folder = run.machine_folder()
        if folder is None:
            raise UsageError(
                f"the program could not be placed here: {run.status().reason}",
                left_behind="nothing is running",
            )
        return Path(folder)

    def _acts(self, run: Run, watch: Watch) -> Observed:
        self._say("it runs, undisturbed: when does it step, when does it save?")
        self._undisturbed(run, watch)
        watched_s, saves, reading = watch.seconds, tuple(watch.saves), run.status().log_reading
        first = watch.newest
        leaving = after_notice = after_kill = None
        if first is not None and first.began_at_s is not None and run.status().is_live:
            leaving, after_notice = self._notice(run, watch, first)
        second = watch.newest
        if after_notice is not None and second is not None and run.status().is_live:
            after_kill = self._kill(run, watch, second)
        elsewhere = watch.saved_elsewhere() if not watch.saves else ()
        finished_early = after_kill is None and (run.status().state == "succeeded" or _is_done(watch))
        outputs, unmatched = self._bring_home(run)
        began = first.began_at_s if first is not None else None
        return Observed(
            setup_s=first.setup_s if first is not None and began is not None else None,
            first_step_s=first.steps[0][0] - began
            if first is not None and first.steps and began is not None
            else None,
            saves=saves,
            watched_s=watched_s,
            saved_elsewhere=elsewhere,
            unread_lines=reading.lines if reading is not None and not reading.matched else 0,
            written_in_place=tuple(sorted(watch.written_in_place)),
            leaving=leaving,
            after_notice=after_notice,
            after_kill=after_kill,
            finished_early=finished_early,
            finished=run.status().state == "succeeded",
            failure=self._failure(run),
            outputs=outputs,
            unmatched=unmatched,
            has_patterns=bool(self._job.file_outputs),
        )

    def _undisturbed(self, run: Run, watch: Watch) -> None:
        give_up_at = time.monotonic() + WATCHING * self._seconds

        def seen_enough() -> bool:
            life = watch.newest
            steps = life.steps if life is not None else []
            is_far = bool(steps and watch.total) and steps[-1][1] >= ENOUGH_STEPS * (watch.total or 0)
            has_saved = len(watch.saves) >= ENOUGH_SAVES and len(steps) >= 2
            return time.monotonic() > give_up_at or has_saved or is_far

        self._until(run, seen_enough)

    def _notice(self, run: Run, watch: Watch, life: Life) -> tuple[Leaving | None, Return | None]:
        self._say(f"its machine will be taken away in {NOTICE_S:g} s: SIGTERM")
        saves_before, step_before = len(watch.saves), _last_step(life)
        run.interrupt(notice_s=NOTICE_S)
        self._until(run, lambda: life.ended_at_s is not None or len(watch.lives) > 1)
        step_before = max(step_before or 0, _last_step(life) or 0) or None
        asked_s = watch.seconds - life.asked_at_s if life.asked_at_s is not None else 0.0
        if life.ended_at_s is None and len(watch.lives) == 1 and asked_s < NOTICE_S:
            return None, None  # the time of the rehearsal was over before its answer could be seen
        if life.exit_code == Exit.DONE and _is_done(watch):
            return None, None  # it came to its end in that moment: its answer is still not known
        left_s = None
        if life.ended_at_s is not None:  # who leaves faster than we look is never seen leaving
            left_s = life.ended_at_s - (life.ended_at_s if life.asked_at_s is None else life.asked_at_s)
        is_killed = left_s is not None and left_s >= NOTICE_S
        leaving = Leaving(
            notice_s=NOTICE_S,
            seconds=None if is_killed else left_s,
            exit_code=life.exit_code,
            step_before=step_before,
            saved=len(watch.saves) > saves_before,
        )
        return leaving, self._return(run, watch, life, step_before)

    def _kill(self, run: Run, watch: Watch, life: Life) -> Return | None:
        """Without notice: once it has saved again or moved on, so that there is something to lose."""
        saves = len(watch.saves)
        self._until(run, lambda: len(watch.saves) > saves or len(life.steps) >= 5 or self._is_late(0.85))
        if not run.status().is_live:
            return None
        self._say("it is killed without notice")
        step_before = _last_step(life)
        life.is_killed = True
        run.interrupt(notice_s=0)
        return self._return(run, watch, life, step_before)

    def _return(self, run: Run, watch: Watch, life: Life, step_before: int | None) -> Return | None:
        """Wait for the start that follows, and for its first step where steps are reported."""

        def is_back() -> bool:
            newest = watch.newest
            if newest is None or newest is life or newest.began_at_s is None:
                return False
            reports = any(one.steps for one in watch.lives.values())
            return bool(newest.steps) or not reports or watch.seconds - newest.began_at_s > 60

        self._until(run, is_back)
        newest = watch.newest
        if newest is None or newest is life or newest.began_at_s is None:
            return None
        first_step = newest.steps[0][1] if newest.steps else None
        return Return(given=newest.resumed_from, step_before=step_before, first_step=first_step)

    def _bring_home(self, run: Run) -> tuple[int, tuple[str, ...]]:
        """The end, where there is time for it: many programs write their results then. Else a stop."""
        left_s = run.status().seconds_left
        if left_s is not None and time.monotonic() + left_s < self._give_up_at:
            self._say(f"it is left alone to its end, in about {duration(left_s)}")
            self._until(run, lambda: False)
        if run.status().is_live:
            self._say("it is stopped, and its outputs come home")
            run.stop()
        with suppress(TimeoutError):
            run.wait(timeout_s=120)
        status = run.status()
        landed = [Path(output.path) for output in status.outputs if "logs" not in Path(output.path).parts]
        folder = Path(status.results_dir)
        unmatched = tuple(
            pattern
            for pattern in self._job.file_outputs
            if not _matches(pattern, [_relative(p, folder) for p in landed])
        )
        return len(landed), unmatched

    def _failure(self, run: Run) -> str | None:
        status = run.status()
        if status.state != "failed":
            return None
        lines = [f"  {line}" for line in run.last_words().lines[-LOG_LINES:]]
        return "\n".join([f"  {status.reason}", *lines])

    def _is_late(self, part: float) -> bool:
        return time.monotonic() > self._give_up_at - (1 - part) * self._seconds

    def _until(self, run: Run, condition: Callable[[], bool]) -> None:
        """Wait for the condition, the end of the run, or the end of the time."""
        while not condition() and run.status().is_live and time.monotonic() < self._give_up_at:
            time.sleep(POLL_S)

    def _end(self, run: Run) -> None:
        """Leave no process behind, whatever happened."""
        if run.status().is_live:
            with suppress(LaunchError):
                run.down(discard=True)
            with suppress(TimeoutError, LaunchError):
                run.wait(timeout_s=60)


def _is_done(watch: Watch) -> bool:
    """It has reported the last of its steps."""
    life = watch.newest
    return watch.total is not None and life is not None and (_last_step(life) or 0) >= watch.total


def _last_step(life: Life) -> int | None:
    return life.steps[-1][1] if life.steps else None


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if folder in path.parents else str(path)


def _matches(pattern: str, names: list[str]) -> bool:
    from fnmatch import fnmatch

    wanted = pattern + "*" if pattern.endswith("/") else pattern
    return any(fnmatch(name, wanted) or fnmatch(name.rpartition("/")[2], wanted) for name in names)


def _losses(job: Job, observed: Observed, environ: Mapping[str, str]) -> tuple[Loss, ...]:
    """The work between two saves, at the price of the cheapest offer of each provider; all of it where nothing is kept."""
    from launcher.planning.comparison import compare

    interval_s = save_interval_s(observed) or observed.watched_s
    if job.checkpoint.every is not None and run_to_rehearse(job)[1]:  # a slice saves at a pace of its own
        interval_s = job.checkpoint.every.total_seconds()
    if not interval_s or observed.failure is not None:
        return ()
    try:
        priced = compare(job, environ=environ).estimates
    except (LaunchError, CloudError):  # prices are a gift here: the rehearsal is worth showing without
        return ()
    cheapest: dict[str, Loss] = {}
    for estimate in priced:
        offer = estimate.offer
        if offer.usd_per_hour <= 0 or offer.provider in cheapest:
            continue
        hours = estimate.hours.high if begins_anew(observed) else interval_s / 3600
        usd = offer.usd_per_hour * hours
        cheapest[offer.provider] = Loss(offer=offer_words(offer), usd_per_hour=offer.usd_per_hour, usd=usd)
    return tuple(cheapest.values())
