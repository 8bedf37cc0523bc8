"""`launch compare` on two runs that were really made."""

from __future__ import annotations

import csv
import io
import json

import pytest

from launcher.cli.screen import Screen
from tests.launcher.cli.conftest import Cli


def test_documents_are_json_also_of_numbers_that_json_does_not_have(
    capsys: pytest.CaptureFixture[str],
) -> None:
    metrics = {"loss": float("nan"), "seen": [1.5, float("-inf")], "step": 3}
    Screen(json=True).line({"metrics": metrics})
    Screen(json=True).document({"metrics": metrics, "text": "NaN"})
    line, _, document = capsys.readouterr().out.partition("\n")

    def refused(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    expected = {"loss": None, "seen": [1.5, None], "step": 3}
    assert json.loads(line, parse_constant=refused)["metrics"] == expected
    assert json.loads(document, parse_constant=refused) == {"schema": 1, "metrics": expected, "text": "NaN"}


JOB = """\
run: |
  echo "{\\"step\\": 5, \\"total\\": 5, \\"val_bleu\\": $BLEU}" >> "$LAUNCH_METRICS_FILE"
  cat notes.txt
envs: {BLEU: "%s", SAME: "1"}
resources: {cloud: local}
metric: {name: val_bleu, mode: max}
expect: {val_bleu: ">= 20"}
"""


@pytest.fixture(scope="module")
def two(shared_cli: Cli) -> Cli:
    """The run ``low`` with exit code 1, because it is not what was expected, and the run ``high``."""
    for name, bleu, code in (("low", "12.5", 1), ("high", "25", 0)):
        (shared_cli.cwd / "notes.txt").write_text(f"{name}\n")
        (shared_cli.cwd / "launch.yaml").write_text(JOB % bleu)
        done = shared_cli("--yes", "--name", name)
        assert done.code == code, done.err
        assert ("missed: val_bleu 12.5 (not >= 20)" in done.out) == (code == 1)
    return shared_cli


def test_metrics_settings_and_dollars_are_laid_side_by_side(two: Cli) -> None:
    document = two("compare", "low", "high", "low", "--json").document
    low, high = document["runs"]
    assert [run["name"] for run in (low, high)] == ["low", "high"]
    assert (low["state"], low["verdict"]["met"], high["verdict"]["met"]) == ("succeeded", False, True)
    assert low["usd"] == 0
    assert low["hours"] > 0
    assert document["metrics"] == {"val_bleu": [12.5, 25.0]}
    assert document["metric"] == {"name": "val_bleu", "mode": "max"}
    assert document["best_run"] == high["run_id"]
    notes = document["settings"].pop("code: notes.txt")
    assert len(set(notes)) == 2
    yaml = document["settings"].pop("code: launch.yaml")
    assert len(set(yaml)) == 2
    assert document["settings"] == {"envs.BLEU": ["12.5", "25"]}


def test_the_same_as_a_spreadsheet_and_for_people(two: Cli) -> None:
    written = list(csv.DictReader(io.StringIO(two("compare", "low", "high", "--csv").out)))
    assert [row["metric.val_bleu"] for row in written] == ["12.5", "25.0"]
    assert [row["best"] for row in written] == ["False", "True"]
    assert [row["setting.envs.BLEU"] for row in written] == ["12.5", "25"]
    shown = two("compare", "low", "high").out
    assert "25 ← best" in shown
    assert "envs.BLEU" in shown
    assert "SAME" not in shown


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nobody", "low", "none"], "no run 'nobody'; no run 'none'"),
        (["low", "low"], "there is nothing to compare: low-"),
        (["low", "high", "--json", "--csv"], "exclude each other"),
    ],
)
def test_runs_that_are_not_there_are_named(two: Cli, args: list[str], words: str) -> None:
    refused = two("compare", *args)
    assert refused.code == 2
    assert words in refused.err
