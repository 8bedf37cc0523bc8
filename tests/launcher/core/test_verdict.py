from __future__ import annotations

import math
from datetime import timedelta

import pytest

from launcher.job import Condition, GiveUp, Metric
from launcher.job.parts import MetricMode
from launcher.policy.memory import what_to_do
from launcher.policy.verdict import Numbers, best_of, never_reported, verdict_of, why_give_up
from launcher.runners.base import Best, MemoryKind
from tests.launcher.core.builders import offer, this_computer

BLEU = Metric(name="val_bleu", mode=MetricMode.MAX)
TWENTY = {"val_bleu": Condition.parse(">= 20")}


@pytest.mark.parametrize(
    ("condition", "met", "missed"),
    [(">= 20", 20.0, 19.9), ("> 20", 20.1, 20.0), ("<=0.5", 0.5, 0.6), ("< -1e-3", -1.0, -0.001)],
)
def test_a_condition_means_its_sign(condition: str, met: float, missed: float) -> None:
    asked = Condition.parse(condition)
    assert asked.holds(met)
    assert not asked.holds(missed)
    assert not asked.holds(math.nan)
    assert Condition.parse(str(asked)) == asked


def test_a_number_is_judged_by_its_newest_value_and_the_metric_by_its_best() -> None:
    newest = {"val_bleu": 18.0, "val_loss": 3.0}
    missed = verdict_of(TWENTY, Numbers(newest=newest))
    assert missed is not None
    assert (missed.met, missed.words) == (False, "missed: val_bleu 18 (not >= 20)")
    kept = Numbers(newest=newest, metric=BLEU, best=Best(value=21.5, step=800))
    met = verdict_of({**TWENTY, "val_loss": Condition.parse("< 3.5")}, kept)
    assert met is not None
    assert (met.met, met.words) == (True, "met: val_bleu 21.5 (>= 20), val_loss 3 (< 3.5)")
    assert verdict_of({}, kept) is None


def test_what_was_never_reported_is_not_what_was_expected() -> None:
    verdict = verdict_of(TWENTY, Numbers(newest={"loss": 1.0}))
    assert verdict is not None
    assert verdict.words == "missed: val_bleu was never reported (asked for: >= 20)"
    assert (
        never_reported(["val_blue", "loss", "val_blue"], {"loss": 1.0, "step": 3.0, "lr": 0.1})
        == "val_blue was never reported; it reported loss, lr"
    )
    assert never_reported(["a", "b"], {}) == "a, b were never reported; it reported no metric at all"
    assert never_reported(["loss"], {"loss": math.nan}) == ""


def test_the_best_of_several_machines() -> None:
    found = [Best(value=3.0, step=1), None, Best(value=2.0, step=9)]
    assert best_of("max", found) == found[0]
    assert best_of("min", found) == found[2]
    assert best_of("max", [None]) is best_of("min", []) is None


def test_giving_up_waits_for_its_moment_and_for_a_number() -> None:
    give_up = GiveUp(after_steps=100, unless={"val_bleu": ">= 5"})  # type: ignore[dict-item]  # as in a file
    low = Numbers(newest={"val_bleu": 1.0})
    assert why_give_up(give_up, low, step=99, worked_s=None) == ""
    assert (
        why_give_up(give_up, low, step=100, worked_s=None) == "given up at step 100: val_bleu is 1, not >= 5"
    )
    assert why_give_up(give_up, Numbers(newest={"val_bleu": 5.0}), step=100, worked_s=None) == ""
    assert why_give_up(give_up, Numbers(newest={"val_bleu": math.nan}), step=100, worked_s=None)
    assert why_give_up(give_up, Numbers(newest={}), step=100, worked_s=None) == ""
    assert why_give_up(None, low, step=100, worked_s=None) == ""
    timed = GiveUp(after=timedelta(hours=2), unless=give_up.unless)
    assert why_give_up(timed, low, step=None, worked_s=7199.0) == ""
    assert why_give_up(timed, low, step=None, worked_s=7200.0).startswith("given up after 2.0 h of work: ")


def test_more_memory_is_named() -> None:
    assert what_to_do(MemoryKind.GPU, offer()) == (
        "a smaller batch (gradient accumulation keeps the effective one), or a larger GPU than T4, which has "
        "16 GiB: L4, RTX 4090, A10G with 24 GiB; RTX 5090 with 32 GiB"
    )
    assert "A100-80GB, H100 with 80 GiB" in what_to_do(
        MemoryKind.GPU, offer(gpu_name="A100", gpu_memory_gib=40.0)
    )
    assert "split the model" in what_to_do(MemoryKind.GPU, offer(gpu_name="B200", gpu_memory_gib=180.0))
    assert "more memory than the 16 GiB of g4dn.xlarge (resources: {memory: 32GB+})" in what_to_do(
        MemoryKind.MACHINE, offer()
    )
    assert what_to_do(MemoryKind.MACHINE, this_computer()).endswith("a machine with more memory")
