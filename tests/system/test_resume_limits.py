"""A resume that could only end again at once is refused before anything is rented."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from launcher import OverBudget
from tests.system.house import House, eventually


def test_a_date_that_has_passed_is_refused_and_a_new_limit_takes_its_place(house: House) -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=6)
    run = house.launch(house.counting(total=400, pace_s=0.1), until=soon)
    result = run.wait(timeout_s=60)
    assert (result.state, run.status().reason_code) == ("stopped", "deadline")

    eventually(lambda: datetime.now(timezone.utc) > soon, "the date to pass")
    with pytest.raises(OverBudget, match="has passed"):
        run.resume()
    assert len(run.status().attempts) == 1

    run.resume(max_duration_s=600)
    house.until(run, "running", "succeeded")
    run.down(discard=True)
    run.wait(timeout_s=60)
    house.audit(run)
