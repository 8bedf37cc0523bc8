"""The page on the fake cloud: its job runs as written, and its tables name what the provider takes."""

from __future__ import annotations

import dataclasses
import re
import typing

from provisioning.fake.options import Fault, FaultKind, Options
from tests.launcher.cli.conftest import ROOT, Cli

PAGE = (ROOT / "docs" / "providers" / "fake.md").read_text()


def test_the_job_on_the_page_is_interrupted_and_gets_through(cli: Cli) -> None:
    job = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert job
    (cli.cwd / "job.yaml").write_text(job[1])
    done = cli("job.yaml", "--yes")
    assert done.code == 0, done.out + done.err
    status = cli("status", "taken-away", "--json").document
    assert len(status["attempts"]) == 2
    assert status["attempts"][0]["cause"] == "notice"
    assert (cli.cwd / "results" / status["run_id"] / "outputs" / "steps.txt").read_text() == "40\n"


def test_every_option_and_fault_is_on_the_page() -> None:
    for cls in (Options, Fault):
        for field in dataclasses.fields(cls):
            assert field.name in PAGE
    for kind in typing.get_args(FaultKind):
        assert f"`{kind}`" in PAGE
