"""A program that prints more than anybody reads."""

from __future__ import annotations

import pytest

from launcher.policy import output
from launcher.supervise import hold_lock
from tests.launcher.orchestrate.test_parking import follow
from tests.system.house import House


def test_a_flood_of_output_comes_home_bounded_and_with_its_last_words(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "MOST_BYTES", 2_000_000)
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.job("echo first; seq -w 1 1999999; echo last; exit 3"))
        follow(house, run)
    status, log = run.status(), run.read_log(0, 1 << 30).data
    assert (status.state, status.exit_code) == ("failed", 3)
    assert len(log) == run.log_bytes() < 2_000_000 + (1 << 20) + output.LAST_BYTES + 1000
    assert log.startswith(b"first\n0000001\n")
    before, _, after = log.partition(b"\n[launch] ")
    missing, _, rest = after.partition(b" bytes of output are missing here\n")
    at = (len(before) + int(missing) - len(b"first\n")) % 8
    assert int(rest[8 - at :].split(b"\n")[0]) - 1 == (len(before) + int(missing) - 6 + 8 - at) // 8
    assert b"\nlast\n" in rest
    assert output.TOO_MUCH_OUTPUT in [event.message for event in run.events()]
