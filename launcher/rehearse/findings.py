"""What a rehearsal means: each finding with its grade and the lines to change. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from launcher.quantities import duration, size
from launcher.rehearse.observed import Leaving, Observed, Return
from trainer.contract import Exit

__all__ = ["Finding", "Grade", "Loss", "Rehearsal", "begins_anew", "judge", "save_interval_s"]

SLOW_LEAVING = 0.8
"""Of the notice: who needs more than this will one day not make it."""

SAVE_BESIDE = """\
path = pathlib.Path(os.environ["LAUNCH_CHECKPOINT_DIR"], f"step_{step:08d}.pt")
torch.save(state, f"{path}.tmp")     # beside it: half a file is never taken for a checkpoint
os.replace(f"{path}.tmp", path)"""
GO_ON = """\
if os.environ.get("LAUNCH_RESUME_FROM"):
    state = torch.load(os.environ["LAUNCH_RESUME_FROM"], weights_only=True)
    first_step = state["step"] + 1"""
LISTEN = """\
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
for step in range(first_step, total + 1):
    train(step)
    if asked:
        save(step)
        sys.exit(75)                 # saved: start me again"""
REPORT = """\
with open(os.environ["LAUNCH_METRICS_FILE"], "a") as out:
    print(json.dumps({"step": step, "total": total, "loss": loss}), file=out)"""


class Grade(str, enum.Enum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    """It works, and costs more than it has to."""
    FAILED = "failed"
    """On a machine that is taken away this loses work or results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check of the rehearsal."""

    check: str
    grade: Grade
    words: str
    fix: str = ""
    """Lines to change or add; empty when there is nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What an interruption without notice would cost at the price of one offer."""

    offer: str
    usd_per_hour: float
    usd: float
    """All work since the last save, at its worst; the whole run where it goes on from nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The result: what was seen, what it means, and what it would cost."""

    observed: Observed
    findings: tuple[Finding, ...]
    losses: tuple[Loss, ...]

    @property
    def passed(self) -> bool:
        """Nothing would lose work or results."""
        return self.was_tried and all(finding.grade is not Grade.FAILED for finding in self.findings)

    @property
    def was_tried(self) -> bool:
        """The program was interrupted at all: of one that was done before that, nothing is known."""
        seen = self.observed
        return seen.after_notice is not None or seen.after_kill is not None


def judge(seen: Observed) -> tuple[Finding, ...]:
    """Return the findings in the order of a run's life."""
    return tuple(_findings(seen))


def begins_anew(seen: Observed) -> bool:
    """After a loss everything is done again: no checkpoint was there, or it was not used."""
    back = seen.after_kill or seen.after_notice
    return back is not None and (back.given is None or _is_ignored(back))


def _is_ignored(back: Return) -> bool:
    """It was given a checkpoint and began at the first step all the same."""
    return back.first_step is not None and (back.step_before or 0) > 1 and back.first_step <= 1


def save_interval_s(seen: Observed) -> float | None:
    """How often the program saves by itself; None when it was not seen to save twice."""
    times = [save.at_s for save in seen.saves]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return median(gaps) if gaps else None


def _findings(seen: Observed) -> Iterator[Finding]:
    if seen.failure is not None:
        yield Finding(check="program", grade=Grade.FAILED, words=f"it fails by itself:\n{seen.failure}")
        if seen.leaving is None:
            return
    yield from _beginning(seen)
    yield from _saving(seen)
    if seen.leaving is not None:
        yield _reaction(seen.leaving)
    if seen.after_notice is not None:
        yield _going_on("resume", "after a notice", seen.after_notice, here=not seen.saved_elsewhere)
    if seen.after_kill is not None:
        yield _going_on("kill", "after a kill without notice", seen.after_kill, here=not seen.saved_elsewhere)
    if seen.finished_early:
        words = "it was done before everything could be tried: give it more to do, or a longer smoke.run"
        yield Finding(check="length", grade=Grade.WARNING, words=words)
    if seen.failure is None:
        yield from _results(seen)


def _beginning(seen: Observed) -> Iterator[Finding]:
    if seen.setup_s is None:
        if seen.failure is None and not seen.finished_early:
            words = "the program did not begin within the time of the rehearsal; --minutes gives it more"
            yield Finding(check="environment", grade=Grade.FAILED, words=words)
        return
    words = f"environment and setup from nothing in {duration(seen.setup_s)}"
    yield Finding(check="environment", grade=Grade.OK, words=words)
    if seen.first_step_s is None:
        words = (
            "it reports no steps: progress, time left and the next estimate know nothing but the clock. Where the program "
            "cannot be changed, `progress` in the job file reads them from its output"
        )
        if seen.unread_lines:
            words = f"`progress` of the job file has matched none of {seen.unread_lines:,} lines that it printed: no steps are known"
        yield Finding(check="progress", grade=Grade.WARNING, words=words, fix=REPORT)
    else:
        words = f"steps are reported, the first {duration(seen.first_step_s)} after the start"
        yield Finding(check="progress", grade=Grade.OK, words=words)


def _saving(seen: Observed) -> Iterator[Finding]:
    saved_on_notice = seen.leaving is not None and seen.leaving.saved
    if not seen.saves and not saved_on_notice:
        if seen.setup_s is not None:
            words = f"no checkpoint in LAUNCH_CHECKPOINT_DIR within {duration(seen.watched_s)}: a loss costs everything"
            fix = SAVE_BESIDE
            if seen.saved_elsewhere:
                path = seen.saved_elsewhere[0]
                words += f". It wrote {path}, and nobody looks for checkpoints there"
                folder = path.rpartition("/")[0]
                fix = (
                    f"checkpoint: {{dir: {folder}}}     # in the job file; or let the program save to "
                    "$LAUNCH_CHECKPOINT_DIR"
                    if folder and folder != "outputs"
                    else "give the program $LAUNCH_CHECKPOINT_DIR as the folder in which it saves"
                )
            yield Finding(check="checkpoints", grade=Grade.FAILED, words=words, fix=fix)
        return
    interval_s = save_interval_s(seen)
    if not seen.saves:
        words = (
            f"it saved nothing by itself within {duration(seen.watched_s)}, only when it was asked to leave"
        )
        yield Finding(check="checkpoints", grade=Grade.WARNING, words=words)
    else:
        large = size(max(save.size_bytes for save in seen.saves))
        often = (
            f"every {duration(interval_s)}"
            if interval_s is not None
            else f"once in {duration(seen.watched_s)}"
        )
        yield Finding(check="checkpoints", grade=Grade.OK, words=f"saves {often}, up to {large} each")
    if seen.written_in_place:
        shown = ", ".join(seen.written_in_place[:3])
        words = f"{shown} grew under {'their' if len(seen.written_in_place) > 1 else 'its'} final name: a kill in that moment leaves half a checkpoint"
        again = [name for name in seen.written_in_place if _is_overwritten(name, seen)]
        words += ", and nothing to fall back to" if again else ", and the run falls back to the one before"
        grade = Grade.FAILED if again else Grade.WARNING
        yield Finding(check="whole files", grade=grade, words=words, fix=SAVE_BESIDE)
    elif seen.saves:
        words = "half a checkpoint was never seen under its final name"
        yield Finding(check="whole files", grade=Grade.OK, words=words)


def _is_overwritten(name: str, seen: Observed) -> bool:
    """The next save takes its place; a name without a number is the same every time."""
    return sum(save.name == name for save in seen.saves) > 1 or not any(letter.isdigit() for letter in name)


def _reaction(left: Leaving) -> Finding:
    if left.seconds is None:
        words = f"SIGTERM was ignored: it still ran {duration(left.notice_s)} later and was killed"
        return Finding(check="notice", grade=Grade.FAILED, words=words, fix=LISTEN)
    took = f"{left.seconds:.1f} s"
    if left.exit_code == Exit.INTERRUPTED:
        if not left.saved:
            words = f"it left with 75 after {took}, and no checkpoint appeared: 75 says that it has saved"
            return Finding(check="notice", grade=Grade.FAILED, words=words, fix=SAVE_BESIDE)
        grade = Grade.OK if left.seconds <= SLOW_LEAVING * left.notice_s else Grade.WARNING
        return Finding(check="notice", grade=grade, words=f"SIGTERM: saved and left with 75 after {took}")
    if left.exit_code == Exit.DONE:
        words = f"it left with 0 after {took}: that means done, and a run that says so is not resumed"
        return Finding(check="notice", grade=Grade.FAILED, words=words, fix=LISTEN)
    if left.saved:
        words = f"it saved and left with {left.exit_code} after {took}; 75 says so, anything else counts as an error"
        return Finding(check="notice", grade=Grade.WARNING, words=words, fix="sys.exit(75)")
    words = f"it does not listen to SIGTERM (exit {left.exit_code}): with notice or without, work since its last save is lost"
    return Finding(check="notice", grade=Grade.WARNING, words=words, fix=LISTEN)


def _going_on(check: str, when: str, back: Return, *, here: bool) -> Finding:
    """``here``: it is not seen to save elsewhere, which another line mends."""
    if back.given is None:
        words = f"{when} there was no checkpoint to go on from: everything is done again"
        return Finding(check=check, grade=Grade.FAILED, words=words, fix=SAVE_BESIDE if here else "")
    if back.first_step is None:
        words = f"{when} it was given {back.given}; it reports no steps, so whether it uses it cannot be seen"
        return Finding(check=check, grade=Grade.WARNING, words=words, fix=REPORT)
    before = back.step_before or 0
    if _is_ignored(back):
        words = (
            f"{when} it began again at step {back.first_step}, though {back.given} was in LAUNCH_RESUME_FROM"
        )
        return Finding(check=check, grade=Grade.FAILED, words=words, fix=GO_ON)
    lost = max(0, before - back.first_step + 1)
    done_again = f", {lost} of {before} steps done again" if lost else ", no step lost"
    words = f"{when} it went on at step {back.first_step} from {back.given}{done_again}"
    return Finding(check=check, grade=Grade.OK, words=words)


def _results(seen: Observed) -> Iterator[Finding]:
    if seen.unmatched or not seen.outputs:
        what = ", ".join(seen.unmatched) + " matched nothing" if seen.unmatched else "nothing came home"
        if not seen.finished:
            words = f"{what} yet: it was stopped before its end. --minutes gives it more time"
            yield Finding(check="outputs", grade=Grade.WARNING, words=words)
            return
        grade = Grade.WARNING if seen.outputs else Grade.FAILED
        yield Finding(check="outputs", grade=grade, words=what, fix="file_outputs: {outputs/: results/}")
        return
    rest = "" if seen.has_patterns else "; everything that it changed, because file_outputs names nothing"
    yield Finding(check="outputs", grade=Grade.OK, words=f"{_files(seen.outputs)} came home, verified{rest}")


def _files(number: int) -> str:
    return f"{number} file" if number == 1 else f"{number} files"
