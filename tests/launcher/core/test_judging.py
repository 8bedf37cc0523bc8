"""What a run of several stages has reported: all of it counts at its end, and a stage at work answers for itself."""

from __future__ import annotations

from dataclasses import replace

from launcher.judging import hopeless, missing_metrics, numbers_of, verdict_of_run
from launcher.store import AttemptRow, RunRow
from provisioning.models import utc_now

NOW = utc_now()
FIELDS = {
    "stages": [{"name": "first", "run": "x"}, {"name": "second", "run": "x"}],
    "metric": {"name": "loss", "mode": "min"},
    "give_up": {"after": "1h", "unless": {"loss": "< 1", "accuracy": "> 0.5"}},
    "expect": {"loss": "< 1", "accuracy": "> 0.1"},
}


def run_of(**told: object) -> RunRow:
    over = {"state": "succeeded", "ended_at": NOW.isoformat(), "metrics": {"loss": 0.2, "accuracy": 0.3}}
    return RunRow(
        run_id="demo-ab12",
        name="demo",
        state="running",
        created_at=NOW,
        updated_at=NOW,
        job={"fields": FIELDS},
        stages={"first": over},
        **told,  # type: ignore[arg-type]
    )


def attempt(stage: str, best: float | None) -> AttemptRow:
    progress = None if best is None else {"best": {"value": best, "step": 1}}
    return AttemptRow(
        run_id="demo-ab12", stage=stage, n=1, candidate=0, offer={}, started_at=NOW, progress=progress
    )


def test_a_stage_is_given_up_for_its_own_numbers_alone() -> None:
    attempts = [attempt("first", 0.2), attempt("second", None)]
    assert hopeless(run_of(), attempts, worked_s=4000.0) == "", "nothing of its own yet"
    attempts = [attempt("first", 0.2), attempt("second", 7.0)]
    words = hopeless(run_of(metrics={"loss": 8.0}), attempts, worked_s=4000.0)
    assert words.endswith("loss is 7, not < 1"), words
    resumed = run_of(metrics={"loss": 8.0}, resumed_at=NOW)
    assert hopeless(resumed, attempts, worked_s=4000.0), (
        "that another stage was resumed says nothing about this one"
    )
    resumed = replace(resumed, stages={"second": {"resumed": True}})
    assert hopeless(resumed, attempts, worked_s=4000.0) == ""


def test_what_every_stage_reported_counts_for_the_run() -> None:
    run, attempts = run_of(metrics={"loss": 8.0}), [attempt("first", 0.2), attempt("second", 7.0)]
    assert numbers_of(run, attempts).newest == {"loss": 8.0, "accuracy": 0.3}
    verdict = verdict_of_run(run, attempts)
    assert verdict is not None
    assert verdict.met
    assert missing_metrics(run) == ""
