"""What goes wrong before the program begins is told as such, and is not the program's fault."""

from __future__ import annotations

from tests.launcher.runners.index import own_variables, serving, wheel
from tests.system.house import House


def test_requirements_that_cannot_be_had_are_no_failure_of_the_job(house: House) -> None:
    (house.project / "requirements.txt").write_text("/nowhere/at/all.whl\n")
    run = house.launch(house.job("echo never", environment={"requirements": "requirements.txt"}))
    result = run.wait(timeout_s=120)

    assert result.state == "failed"
    assert run.status().reason_code == "setup_failed", result.reason
    assert b"never" not in run.read_log().data
    house.audit(run)


def test_requirements_that_nobody_can_resolve_rent_nothing(house: House) -> None:
    house.environ |= own_variables(house.root)
    with serving(house.root / "index") as index:
        wheel(index.folder, "tiny-one", "1.0")
        (house.project / "requirements.txt").write_text("tiny-one>=9\n")
        environment = (
            f"environment: {{requirements: requirements.txt}}\nenvs: {{PIP_INDEX_URL: {index.url}/simple}}\n"
        )
        (house.project / "launch.yaml").write_text(f"name: job\nrun: echo never\n{environment}")
        asked = ("--provider", "fake", "--gpu", "T4", "--yes")
        refused = house.command(*asked)
        assert refused.returncode == 2, refused.stderr
        assert (
            "environment.requirements: requirements.txt cannot be resolved: No solution found"
            in refused.stderr
        )
        assert "you require tiny-one>=9" in refused.stderr
        assert house.machines() == []
        unasked = house.command(*asked, "--no-resolve", "--dry-run")
        assert unasked.returncode == 0, unasked.stderr
