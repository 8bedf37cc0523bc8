"""Names that nobody would choose, and some program will."""

from __future__ import annotations

import json
from pathlib import Path

from tests.system.house import House

ODD = r"""
printf one > "$LAUNCH_OUTPUT_DIR"/$'no \xff text'
printf two > "$LAUNCH_OUTPUT_DIR"/$'a\nb "quoted" $(name)'
"""


def test_outputs_with_names_that_are_no_text_come_home_and_can_be_shown(house: House) -> None:
    run = house.launch(house.job(ODD))
    result = run.wait(timeout_s=60)

    assert result.state == "succeeded"
    found = {path.read_text() for path in (Path(result.results_dir) / "outputs").iterdir()}
    assert found == {"one", "two"}
    house.audit(run)
    shown = house.command("status", run.id, "--events")
    assert shown.returncode == 0, shown.stderr
    document = house.command("status", run.id, "--json")
    assert document.returncode == 0, document.stderr
    assert json.loads(document.stdout)["state"] == "succeeded"
