"""What each thing that a rehearsal can see means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.rehearse.findings import Finding, Grade, Loss, Rehearsal, begins_anew, judge, save_interval_s
from launcher.rehearse.observed import Leaving, Observed, Return, Save
from launcher.render.rehearsal import rehearsal_lines

SAVES = tuple(Save(name=f"s{n}", size_bytes=1000, at_s=10.0 * n) for n in range(1, 4))
LEFT = Leaving(notice_s=30, seconds=0.5, exit_code=75, step_before=7, saved=True)
BACK = Return(given="s3", step_before=7, first_step=8)
GOOD = Observed(
    setup_s=2.0,
    first_step_s=1.0,
    saves=SAVES,
    watched_s=40,
    leaving=LEFT,
    after_notice=BACK,
    after_kill=replace(BACK, first_step=6),
    finished=True,
    outputs=2,
)


def found(seen: Observed, check: str) -> Finding:
    (finding,) = [one for one in judge(seen) if one.check == check]
    return finding


def test_a_program_that_does_it_all() -> None:
    findings = judge(GOOD)
    assert {finding.grade for finding in findings} == {Grade.OK}
    assert {finding.check for finding in findings} == {
        *("environment", "progress", "checkpoints", "whole files", "notice", "resume", "kill", "outputs")
    }
    assert "every 10 s" in found(GOOD, "checkpoints").words
    assert "2 of 7 steps done again" in found(GOOD, "kill").words
    assert save_interval_s(GOOD) == 10


def test_an_expression_that_reads_nothing_is_told() -> None:
    assert "it reports no steps" in found(replace(GOOD, first_step_s=None), "progress").words
    unread = replace(GOOD, first_step_s=None, unread_lines=1200)
    assert "has matched none of 1,200 lines" in found(unread, "progress").words


def test_where_it_saves_instead_is_told_with_the_line_that_takes_it_in() -> None:
    seen = replace(GOOD, saves=(), leaving=None, saved_elsewhere=("models/step_3.pt",))
    finding = found(seen, "checkpoints")
    assert "It wrote models/step_3.pt" in finding.words
    assert finding.fix.startswith("checkpoint: {dir: models}")
    nothing = replace(seen, after_notice=replace(BACK, given=None))
    assert (found(nothing, "resume").grade, found(nothing, "resume").fix) == (Grade.FAILED, "")


@pytest.mark.parametrize(
    ("changes", "grade", "words"),
    [
        ({"seconds": None}, Grade.FAILED, "ignored"),
        ({"exit_code": 0}, Grade.FAILED, "that means done"),
        ({"saved": False}, Grade.FAILED, "no checkpoint appeared"),
        ({"seconds": 29.0}, Grade.WARNING, "29.0 s"),
        ({"exit_code": 1}, Grade.WARNING, "75 says so"),
        ({"exit_code": 143, "saved": False}, Grade.WARNING, "does not listen"),
    ],
)
def test_how_it_leaves(changes: dict[str, object], grade: Grade, words: str) -> None:
    seen = replace(GOOD, leaving=replace(LEFT, **changes))  # type: ignore[arg-type]
    assert found(seen, "notice").grade is grade
    assert words in found(seen, "notice").words


@pytest.mark.parametrize(
    ("changes", "grade", "words"),
    [
        ({"given": None}, Grade.FAILED, "everything is done again"),
        ({"first_step": 1}, Grade.FAILED, "began again at step 1"),
        ({"first_step": None}, Grade.WARNING, "cannot be seen"),
        ({"step_before": None, "first_step": 1}, Grade.OK, "no step lost"),
    ],
)
def test_how_it_comes_back(changes: dict[str, object], grade: Grade, words: str) -> None:
    seen = replace(GOOD, after_kill=replace(BACK, **changes))  # type: ignore[arg-type]
    assert found(seen, "kill").grade is grade
    assert words in found(seen, "kill").words


def test_saving() -> None:
    never = replace(GOOD, saves=(), leaving=replace(LEFT, saved=False, exit_code=143))
    assert found(never, "checkpoints").grade is Grade.FAILED
    only_when_asked = replace(GOOD, saves=())
    assert found(only_when_asked, "checkpoints").grade is Grade.WARNING
    halves = replace(GOOD, written_in_place=("s1",))
    assert found(halves, "whole files").grade is Grade.WARNING, "the one before is still there"
    assert "os.replace" in found(halves, "whole files").fix
    for overwritten in (
        replace(halves, saves=(*SAVES, *SAVES)),
        replace(GOOD, written_in_place=("last",)),
    ):
        assert found(overwritten, "whole files").grade is Grade.FAILED


def test_results() -> None:
    nothing = replace(GOOD, outputs=0, unmatched=("outputs/",))
    assert found(nothing, "outputs").grade is Grade.FAILED
    assert found(replace(nothing, finished=False), "outputs").grade is Grade.WARNING
    assert found(replace(GOOD, unmatched=("*.csv",)), "outputs").grade is Grade.WARNING


def test_what_never_ran_is_judged_by_nothing_else() -> None:
    assert [one.check for one in judge(Observed(failure="it broke"))] == ["program"]
    assert [one.check for one in judge(Observed())] == ["environment", "outputs"]


def test_a_program_that_was_done_at_once_did_begin() -> None:
    seen = Observed(finished_early=True, finished=True, outputs=2)
    assert "environment" not in {finding.check for finding in judge(seen)}
    assert found(seen, "length").grade is Grade.WARNING


def test_what_was_done_before_anything_was_tried_has_not_passed() -> None:
    seen = Observed(finished_early=True, finished=True, outputs=2)
    result = Rehearsal(observed=seen, findings=judge(seen), losses=())
    assert not result.passed
    *_, verdict = rehearsal_lines("demo", result)
    assert "nothing is known of an interruption" in verdict


@pytest.mark.parametrize(
    ("after_notice", "after_kill", "said"),
    [
        (BACK, BACK, "costs at most, in work"),
        (replace(BACK, given=None), BACK, "costs at most, in work"),
        (BACK, replace(BACK, given=None), "costs the whole run up to then, at most,"),
        (BACK, replace(BACK, first_step=1), "costs the whole run up to then, at most,"),
        (replace(BACK, given=None), None, "costs the whole run up to then, at most,"),
    ],
)
def test_what_goes_on_from_nothing_costs_the_whole_run(
    after_notice: Return, after_kill: Return | None, said: str
) -> None:
    seen = replace(GOOD, after_notice=after_notice, after_kill=after_kill)
    loss = Loss(offer="fake t4.1x", usd_per_hour=0.35, usd=7.0)
    drawn = rehearsal_lines("demo", Rehearsal(observed=seen, findings=judge(seen), losses=(loss,)))
    assert begins_anew(seen) == ("whole run" in said)
    assert any(said in line for line in drawn)
