"""What a stage brings home from one machine after another, under the same names."""

from __future__ import annotations

from pathlib import Path

from launcher import Run
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.earlier_files import settle_what_is_kept
from launcher.records import from_json
from launcher.runners.base import Handle
from tests.system.house import House

PROGRAM = """
mkdir -p outputs saved
step=0
if [ -n "$LAUNCH_RESUME_FROM" ]; then step=$(cat "$LAUNCH_RESUME_FROM"); fi
echo "$step" >> outputs/appended.csv
head -c 70000000 /dev/zero | tr '\\0' x > outputs/large.txt; echo "$step" >> outputs/large.txt
printf '\\0%s' "$step" > outputs/model.bin
echo same > outputs/same.txt
echo head > outputs/whole.csv
if [ "$step" = 7 ]; then echo tail >> outputs/whole.csv; exit 0; fi
echo "{\\"step\\": 7, \\"total\\": 9}" >> "$LAUNCH_METRICS_FILE"
trap 'echo 7 > saved/.new; mv saved/.new saved/step_7; exit 75' TERM
while true; do sleep 0.1; done
"""


def test_a_file_that_the_next_machine_begins_again_is_kept_and_one_that_goes_on_is_not(house: House) -> None:
    run = house.launch(house.job(PROGRAM), provider="fake", instance="t4.1x")
    house.until_step(run, 7)
    run.stop()
    run.wait(timeout_s=90)
    results = Path(run.status().results_dir)
    before = {
        path.name: path.read_text() for path in results.rglob("*.*") if path.suffix in (".csv", ".jsonl")
    }
    run.resume()
    status = run.wait(timeout_s=90)
    assert status.state == "succeeded", status.reason
    assert [attempt.n for attempt in run.status().attempts] == [1, 2]
    assert (results / "outputs/appended.csv").read_text() == "7\n"
    assert (results / "earlier/1/outputs/appended.csv").read_text() == before["appended.csv"] == "0\n"
    assert (results / "logs/earlier/1/metrics.jsonl").read_text() == before["metrics.jsonl"]
    assert (results / "outputs/whole.csv").read_text() == "head\ntail\n"
    kept = {path.name for path in (results / "earlier").rglob("*.*") if path.is_file()}
    assert kept == {"appended.csv"}, "what goes on, is the same, large or no text, is there once"
    told = [event.message for event in run.events() if event.data.get("action") == "kept"]
    assert any("appended.csv" in words and "attempt 1" in words for words in told)
    assert str(results / "earlier/1/outputs/appended.csv") in {
        path for path, _, _ in house.store.outputs(run.id)
    }
    a_step_that_was_cut_off_is_settled_by_the_next_one(house, run, results)


def a_step_that_was_cut_off_is_settled_by_the_next_one(house: House, run: Run, results: Path) -> None:
    """Files that were kept and replaced before the fetch came to its end."""
    context = RunContext(house.home, house.store, run.id, house.environ)
    assert context.attempt is not None and context.attempt.handle is not None
    kept = results / "earlier/1/outputs"
    (kept / "left.csv").write_text("1\n")
    (kept / "longer.csv").write_text("1\n")
    (results / "outputs/left.csv").write_text("2\n")
    (results / "outputs/longer.csv").write_text("1\n2\n")
    settle_what_is_kept(context, from_json(Handle, context.attempt.handle), results)
    on_record = {path for path, _, _ in house.store.outputs(run.id)}
    assert ((kept / "left.csv").read_text(), str(kept / "left.csv") in on_record) == ("1\n", True)
    assert (kept / "appended.csv").exists() and not (kept / "longer.csv").exists()
    assert any("left.csv: begun again" in event.message for event in run.events())
