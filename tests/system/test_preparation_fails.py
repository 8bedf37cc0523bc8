"""What goes wrong before the program begins is told as such, and is not the program's fault."""

from __future__ import annotations

from tests.system.house import House


def test_requirements_that_cannot_be_had_are_no_failure_of_the_job(house: House) -> None:
    (house.project / "requirements.txt").write_text("/nowhere/at/all.whl\n")
    run = house.launch(house.job("echo never", environment={"requirements": "requirements.txt"}))
    result = run.wait(timeout_s=120)

    assert result.state == "failed"
    assert run.status().reason_code == "setup_failed", result.reason
    assert b"never" not in run.read_log().data
    house.audit(run)
