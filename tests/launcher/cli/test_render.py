"""What is drawn from given records, to the letter, at 80 columns."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from textwrap import dedent
from typing import Any

import pytest
from rich.console import Console, RenderableType

from launcher.events import Event, Kind
from launcher.logs import NOTHING_SAID, LastWords, last_lines
from launcher.policy.verdict import Expectation, Verdict
from launcher.render import facts
from launcher.render.bill import one_per_machine
from launcher.render.lines import event_line, progress_line, run_lines
from launcher.render.live import Checkpoints, panel
from launcher.render.runs import runs_table, status_view
from launcher.render.summary import summary
from launcher.runners.base import Best, LogReading
from launcher.status import AttemptStatus, Output, Status

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)


def a_status(**changes: Any) -> Status:
    live = Status(
        run_id="b2t-k3f9",
        name="b2t",
        state="running",
        reason="the job's process lives",
        reason_code="",
        provider="aws",
        instance="aws/us-east-1/i-0abc",
        instance_state="running",
        attempts=(
            AttemptStatus(
                n=1,
                stage="main",
                instances=("aws/us-east-1/i-0abc",),
                offer="aws g4dn.xlarge (T4) us-east-1a spot",
                started=NOW - timedelta(hours=2),
                ended=None,
                cause="",
                steps_done=62_000,
                steps_lost=0,
                seconds_lost=0.0,
                usd=0.42,
            ),
        ),
        step=62_000,
        total=120_000,
        metrics={"step": 62_000, "total": 120_000, "loss": 0.81234, "val_per": 0.2137},
        steps_per_s=9.1,
        seconds_left=6373.0,
        cost_usd=0.42,
        usd_per_hour_now=0.21,
        outputs=(),
        results_dir="/data/results/b2t-k3f9",
        exit_code=None,
        created_at=NOW - timedelta(hours=2, minutes=1),
        working_since=NOW - timedelta(hours=1, minutes=50),
        ended_at=None,
        looked_at=NOW - timedelta(seconds=3),
        estimate={
            "hours": {"low": 3, "likely": 4, "high": 6},
            "usd": {"low": 0.6, "likely": 0.85, "high": 1.4},
        },
        limits={"max_cost_usd": 2.8},
    )
    return replace(live, **changes)


def ended(state: str, **changes: Any) -> Status:
    return a_status(
        state=state,
        ended_at=NOW,
        seconds_left=None,
        usd_per_hour_now=0.0,
        instance_state="terminated",
        **changes,
    )


def drawn(*parts: RenderableType, width: int = 80) -> str:
    console = Console(
        file=io.StringIO(), width=width, color_system=None, emoji=False, markup=False, highlight=False
    )
    console.print(*parts, sep="\n")
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().splitlines())


def expected(text: str) -> str:
    return dedent(text).strip("\n")


def test_status_of_a_live_run() -> None:
    assert drawn(status_view(a_status(), NOW)) == expected(
        """
        b2t-k3f9  running  the job's process lives
          machine      aws/us-east-1/i-0abc · running · seen 3 s ago
          progress     step 62,000 of 120,000 (51 %) · 9.1 steps/s · 1 h 46 min left
          metrics      loss 0.8123 · val_per 0.2137
          time         2 h so far · estimated 4 h (3 h to 6 h)
          cost         $0.42 so far · $0.210/h now · estimated $0.85 ($0.60 to $1.40) ·
                       limit $2.80
          results      /data/results/b2t-k3f9

        #  STAGE  MACHINE                          LASTED  STEPS   LOST  COST   ENDED BY
        ────────────────────────────────────────────────────────────────────────────────
        1  main   aws g4dn.xlarge (T4) us-east-1a  2 h     62,000  0     $0.42  goes on
                  spot
        """
    )


def test_the_live_block() -> None:
    seen = Checkpoints()
    for name, where, age_s in (
        ("step_60.pt", "machine", 70),
        ("step_60.pt", "home", 60),
        ("step_62.pt", "machine", 9),
    ):
        at = NOW - timedelta(seconds=age_s)
        data = {"name": name, "where": where}
        seen.note(Event(kind=Kind.CHECKPOINT, message="", at=at, run_id="b2t-k3f9", data=data))
    assert drawn(panel(a_status(), seen, ["step 61990 loss 0.8", "step 62000 loss 0.8"], NOW)) == expected(
        """
        b2t-k3f9  running  the job's process lives                               2:01:00
          ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
          progress     step 62,000 of 120,000 (51 %) · 9.1 steps/s · 1 h 46 min left
          metrics      loss 0.8123 · val_per 0.2137
          checkpoints  2 saved · 1 at home · newest step_62.pt, 9 s ago
          cost         $0.42 so far · $0.210/h now · estimated $0.85 ($0.60 to $1.40) ·
                       limit $2.80
          machine      aws/us-east-1/i-0abc · running · seen 3 s ago

          │ step 61990 loss 0.8
          │ step 62000 loss 0.8

          Ctrl-C leaves this view; the run goes on.
        """
    )


def test_the_end_of_a_success() -> None:
    outputs = (
        Output(path="/data/results/b2t-k3f9/metrics.csv", size_bytes=12_300, sha256="0"),
        Output(path="/data/results/b2t-k3f9/checkpoint/best_checkpoint", size_bytes=176_000_000, sha256="1"),
    )
    done = ended("succeeded", reason="the job finished", step=120_000, outputs=outputs, exit_code=0)
    assert drawn(summary(done, NOTHING_SAID, NOW)).lstrip("\n") == expected(
        """
        b2t-k3f9  succeeded  the job finished
          progress     step 120,000 of 120,000 (100 %)
          metrics      loss 0.8123 · val_per 0.2137
          time         2 h · estimated 4 h (3 h to 6 h)
          cost         $0.42 · estimated $0.85 ($0.60 to $1.40) · limit $2.80
          results      /data/results/b2t-k3f9 (2 files, 176 MB)
             176 MB  checkpoint/best_checkpoint
            12.3 kB  metrics.csv
        """
    )


def test_the_end_of_a_failure_has_the_last_words_and_the_way_on() -> None:
    failed = ended("failed", reason="the job failed", reason_code="job_failed", exit_code=1)
    said = LastWords(lines=("epoch 3", "Traceback (most recent call last):", "ValueError: NaN"))
    text = drawn(summary(failed, said, NOW))
    assert "│ ValueError: NaN" in text
    assert "exit code    1" in text
    assert "go on        launch resume b2t-k3f9" in text
    assert "what to do" not in text
    lacks = LastWords(lines=("ModuleNotFoundError: No module named 'h5py'", "[launch] the job ended"))
    assert "what to do   name what has h5py in requirements.txt" in drawn(summary(failed, lacks, NOW))
    assert "makes a Python" in facts.what_to_do(failed, ("bash: line 1: python: command not found",))


@pytest.mark.parametrize("code", ["job_failed", "crash_loop"])
def test_a_program_that_fails_is_not_mended_by_going_on(code: str) -> None:
    said = facts.how_to_go_on(ended("failed", reason_code=code))
    assert said == "launch resume b2t-k3f9, with the code as it was; what you mend now needs a new launch"


def test_a_run_ended_by_its_budget_is_told_how_to_get_more() -> None:
    assert (
        facts.how_to_go_on(ended("stopped", reason_code="budget")) == "launch resume b2t-k3f9 --max-cost +2"
    )
    late = {"max_duration_s": 5400.0, "duration_is_default": False}
    assert (
        facts.how_to_go_on(ended("stopped", reason_code="deadline", limits=late))
        == "launch resume b2t-k3f9 --max-duration 3h"
    )
    dated = {"max_duration_s": 3600.0, "duration_is_default": True, "until": "2026-01-01T06:00:00+00:00"}
    for limits, more in ((dated, " --max-duration 2h"), ({**dated, "until": None}, "")):
        said = facts.how_to_go_on(ended("stopped", reason_code="deadline", limits=limits))
        assert said == f"launch resume b2t-k3f9{more}"
    forecast, limits = {"usd": {"low": 3.0, "likely": 4.0, "high": 12345.661}}, {"max_cost_usd": 2.0}
    by_pace = ended("stopped", reason_code="budget", forecast=forecast, limits=limits)
    assert facts.how_to_go_on(by_pace) == "launch resume b2t-k3f9 --max-cost 12345.67"


def test_many_files_are_counted_not_listed() -> None:
    outputs = tuple(Output(path=f"{n:03}.txt", size_bytes=1, sha256="") for n in range(200))
    text = drawn(summary(ended("succeeded", outputs=outputs), NOTHING_SAID, NOW))
    assert "… and 188 more" in text
    assert len(text.splitlines()) < 25


def test_runs_one_a_line_and_what_they_cost_together() -> None:
    runs = [a_status(), ended("failed", run_id="nlp-0001", name="nlp", provider="local", cost_usd=0.0)]
    assert drawn(runs_table(runs, NOW)) == expected(
        """
        RUN       STATE    WHERE  DONE  LEFT        COST   NOW       AGE  SEEN
        ─────────────────────────────────────────────────────────────────────────
        b2t-k3f9  running  aws    51 %  1 h 46 min  $0.42  $0.210/h  2 h  3 s ago
        nlp-0001  failed   local  51 %              $0               2 h
        1 live run, $0.210/h now
        """
    )
    assert "\n".join(run_lines(runs, NOW)) == expected(
        """
        RUN       STATE    WHERE  DONE  LEFT        COST   NOW       AGE  SEEN
        b2t-k3f9  running  aws    51 %  1 h 46 min  $0.42  $0.210/h  2 h  3 s ago
        nlp-0001  failed   local  51 %              $0               2 h
        """
    )


def test_leaving_says_what_burns_how_to_come_back_and_how_to_end_it() -> None:
    assert facts.after_detaching(a_status()) == (
        "b2t-k3f9 goes on at $0.210/h. Come back: launch logs -f b2t-k3f9 · End it: launch stop b2t-k3f9"
    )
    soon = facts.after_detaching(a_status(usd_per_hour_now=0.0, usd_per_hour_planned=0.526, instance=None))
    assert soon.startswith(
        "b2t-k3f9 goes on and will cost $0.526/h from when its machine is rented. Come back"
    )
    assert soon.endswith("End it: launch stop b2t-k3f9")
    assert facts.after_detaching(ended("stopped")).startswith("b2t-k3f9 has ended (stopped).")


def test_without_steps_progress_is_by_time_and_said_so() -> None:
    silent = a_status(step=None, total=None, seconds_left=None)
    assert facts.progress(silent) == "by time alone: the job reports no steps"
    thought = facts.progress(a_status(step=None, total=None, seconds_left=90.0))
    assert thought == "by time alone: the job reports no steps, 1 min 30 s left by the estimate"
    assert progress_line(a_status(step=None)) == ""
    assert facts.progress(a_status(total=None)).startswith("step 62,000 · 9.1 steps/s")


@pytest.mark.parametrize(
    ("tail", "lines"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"a\nb\nc\nd\n", ["b", "c", "d"]),
        (b" 10%\r 50%\r100%", ["100%"]),
        (b"windows\r\nline\r\n", ["windows", "line"]),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07end\n", ["red end"]),
        (b"bell\x07 and\x00 null \xff\n", ["bell and null \ufffd"]),
        (b"tab\there\n\n\n", ["tab here"]),
    ],
)
def test_a_programs_output_cannot_move_the_cursor(tail: bytes, lines: list[str]) -> None:
    assert last_lines(tail, 3) == lines


def test_many_numbers_are_not_looked_at_in_passing() -> None:
    many = a_status(metrics={f"m{n}": float(n) for n in range(20)})
    assert "m5 5 · 14 more" in progress_line(many)
    assert "m19 19" in drawn(status_view(many, NOW))


def test_what_a_job_says_of_itself_cannot_move_the_cursor_either() -> None:
    evil = "\x1b[2Jloss\udcff"
    assert facts.metrics({evil: 1.0}) == "\ufffd[2Jloss\ufffd 1"
    event = Event(kind=Kind.OUTPUT, message=f"{evil} is home", at=NOW, run_id="b2t-k3f9")
    assert "\x1b" not in event_line(event)
    outputs = (Output(path=evil, size_bytes=1, sha256=""),)
    assert "\x1b" not in drawn(summary(ended("succeeded", outputs=outputs), NOTHING_SAID, NOW))


def test_a_low_terminal_has_no_room_for_the_log() -> None:
    assert last_lines(b"one\ntwo\n", 0) == []


def test_an_event_is_one_plain_line() -> None:
    event = Event(
        kind=Kind.STATE,
        message="running: the job's process lives",
        at=NOW,
        run_id="b2t-k3f9",
        data={"state": "running", "reason": "the job's process lives"},
    )
    line = event_line(event, with_date=True)
    assert line.startswith(f"{NOW.astimezone():%Y-%m-%d %H:%M:%S}  running ")
    assert line.endswith("  the job's process lives")


def test_the_same_machine_in_other_places_is_one_line() -> None:
    from launcher.forecast.estimates import Estimate
    from launcher.forecast.ranges import Range
    from launcher.forecast.throughput import Source
    from provisioning import Offer

    def estimate(kind: str, zone: str, usd: float) -> Estimate:
        offer = Offer(
            provider="fake",
            instance_type=kind,
            location=zone,
            region=zone[:-2],
            zone=zone,
            usd_per_hour=usd,
            priced_at=NOW,
            price_source="test",
        )
        return Estimate(
            offer=offer,
            hours=Range.exactly(1.0),
            usd=Range.exactly(usd),
            lines=(),
            source=Source.MEASURED,
            mirror=None,
        )

    found = one_per_machine(
        [estimate("b", "us-b", 3.0), estimate("a", "eu-a", 2.0), estimate("a", "us-a", 1.0)]
    )
    assert [(item.offer.instance_type, item.offer.zone, more) for item, more in found] == [
        ("a", "us-a", 1),
        ("b", "us-b", 0),
    ]


def test_the_time_is_that_of_its_machines_and_a_long_pause_is_said_apart() -> None:
    first = replace(a_status().attempts[0], started=NOW - timedelta(hours=9), ended=NOW - timedelta(hours=8))
    second = replace(first, n=2, started=NOW - timedelta(hours=1), ended=NOW)
    status = ended("stopped", attempts=(first, second), created_at=NOW - timedelta(hours=9))
    text = facts.time_taken(status, NOW)
    assert text.startswith("2 h · estimated 4 h")
    assert text.endswith("9 h since launch, pauses included")
    assert "pauses" not in facts.time_taken(a_status(), NOW)


def test_what_the_job_was_run_for_comes_first_in_the_list_of_files() -> None:
    names = [
        *(f"checkpoints/step_{n}.pt{end}" for n in range(9) for end in ("", ".sha256")),
        "outputs/model.txt",
    ]
    names += ["logs/main-1/system.csv", "metrics.csv"]
    outputs = tuple(Output(path=f"/data/results/b2t-k3f9/{name}", size_bytes=1, sha256="") for name in names)
    shown = drawn(summary(ended("succeeded", outputs=outputs), NOTHING_SAID, NOW))
    files = shown[shown.index("metrics.csv") :]
    assert files.index("outputs/model.txt") < files.index("checkpoints/step_0.pt") < files.index("and 9 more")
    assert files.index("checkpoints/step_8.pt") < files.index(".sha256") and "system.csv" not in files


def test_the_end_of_a_log_says_how_it_ended_and_where_results_are() -> None:
    outputs = (Output(path="/data/results/b2t-k3f9/a", size_bytes=3, sha256=""),)
    text = facts.after_the_end(ended("stopped", outputs=outputs, reason="stop was requested"))
    assert "b2t-k3f9: stopped, stop was requested" in text
    assert "/data/results/b2t-k3f9 (1 file, 3 B)" in text
    assert "launch resume b2t-k3f9" in text


def test_a_verdict_is_so_far_what_was_reported_and_at_the_end_everything() -> None:
    asked = (
        Expectation(name="val_bleu", condition=">= 20", value=12.5, met=False),
        Expectation(name="val_loss", condition="< 3", value=None, met=False),
    )
    live = a_status(verdict=Verdict(met=False, expectations=asked), best=Best(value=13.0, step=800))
    assert facts.verdict(live) == "so far val_bleu 12.5 (not >= 20) · best 13 at step 800"
    assert facts.verdict(a_status(verdict=Verdict(met=False, expectations=asked[1:]))) == ""
    ended = a_status(state="succeeded", ended_at=NOW, verdict=live.verdict)
    assert facts.verdict(ended) == (
        "missed: val_bleu 12.5 (not >= 20), val_loss was never reported (asked for: < 3)"
    )


def test_progress_that_matches_nothing_is_said() -> None:
    silent = a_status(step=None, seconds_left=None, log_reading=LogReading(lines=1234))
    assert facts.progress(silent) == "by time alone: progress has matched none of 1,234 lines"
    stepless = a_status(step=None, seconds_left=None, log_reading=LogReading(lines=10, matched=3))
    assert facts.progress(stepless) == "by time alone: progress finds no step in the output"
