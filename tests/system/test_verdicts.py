"""Programs that were not changed: followed by what they print, judged by their numbers, not restarted without hope."""

from __future__ import annotations

import sys

from launcher.cli.closing import exit_code
from launcher.forecast.history import earlier_runs
from launcher.report.write import write_report
from tests.system.house import House

PRINTING = """
import time
for step in range(1, 21):
    print(f"Epoch 1 [{step:>3}/20] loss: {2 / step:.4f}", flush=True)
    time.sleep(0.1)
print("BLEU = 17.25")
"""
FOUND = [r"\[ *(?P<step>\d+)/(?P<total>\d+)\] loss: (?P<loss>\S+)", r"BLEU = (?P<val_bleu>\S+)"]
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


def test_a_program_that_only_prints_is_followed_and_judged(house: House) -> None:
    (house.project / "train.py").write_text(PRINTING)
    job = house.job(
        f"{sys.executable} train.py",
        progress=FOUND,
        metric={"name": "val_bleu", "mode": "max"},
        expect={"val_bleu": ">= 20", "loss": "< 0.2"},
    )
    run = house.launch(job)
    result = run.wait(timeout_s=120)
    assert (result.state, result.metrics["val_bleu"]) == ("succeeded", 17.25)
    assert result.verdict is not None
    assert result.verdict.words == "missed: val_bleu 17.25 (not >= 20), loss 0.1 (< 0.2)"
    assert exit_code(result) == 1, "a job that did not come to what was expected of it"
    document = run.status().to_json()
    assert (document["step"], document["total"]) == (20, 20)
    assert document["best"] == {"value": 17.25, "step": 20}
    assert [one["met"] for one in document["verdict"]["expectations"]] == [False, True]
    said = [event.message for event in run.events()]
    assert f"expect: {result.verdict.words}" in said
    (learned,) = earlier_runs(house.store, job.to_dict())
    assert 1 < learned.steps_per_s < 20
    page, told = write_report(run.id, environ=house.environ)
    assert "loss" in told.series
    written = page.read_text()
    assert "<figcaption>loss</figcaption>" in written
    assert "missed: val_bleu 17.25 (not &gt;= 20)" in written
    shown = house.command("status", run.id)
    assert "missed: val_bleu 17.25 (not >= 20)" in " ".join(shown.stdout.split())


def test_a_program_that_ran_out_of_gpu_memory_is_not_started_again_and_again(house: House) -> None:
    words = f"echo starting; echo '{OOM}' >&2; exit 1"
    fields = {"progress": r"step (?P<step>\d+)", "recovery": {"max_restarts_on_errors": 9}}
    run = house.launch(house.job(words, **fields), provider="fake", instance="t4.1x")
    result = run.wait(timeout_s=120)
    assert (result.state, result.reason_code) == ("failed", "out_of_memory")
    assert "the GPU ran out of memory (torch.OutOfMemoryError: CUDA out of memory." in result.reason
    assert [row.starts for row in house.store.attempts(run.id)] == [1]
    assert "progress: none of 2 lines of output matched" in [event.message for event in run.events()]
    shown = " ".join(house.command("status", run.id).stdout.split())
    assert "what to do a smaller batch" in shown
    assert "a larger GPU than T4, which has 16 GiB: L4, RTX 4090, A10G with 24 GiB" in shown


def test_a_run_that_leads_nowhere_is_given_up_and_a_person_may_go_on(house: House) -> None:
    job = house.counting(
        total=12,
        gate=6,
        give_up={"after_steps": 6, "unless": {"loss": "< 0.01"}},
        expect={"loss": "<= 0.1", "val_bleu": "> 3"},
    )
    run = house.launch(job)
    result = run.wait(timeout_s=120)
    assert (result.state, result.reason_code) == ("stopped", "gave_up")
    assert result.reason == "given up at step 6: loss is 0.166667, not < 0.01"
    house.open_gate()
    run.resume()
    again = run.wait(timeout_s=120)
    assert again.state == "succeeded"
    assert b"from step 6\n" in run.read_log().data, "it had saved when it was given up"
    assert again.verdict is not None
    assert [one.met for one in again.verdict.expectations] == [True, False]
    said = [event.message for event in run.events()]
    assert "val_bleu was never reported; it reported loss" in said
