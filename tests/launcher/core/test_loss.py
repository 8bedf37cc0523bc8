from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from launcher.checkpoints import Mirrored
from launcher.policy.loss import Loss, is_overdue, loss_of
from launcher.runners.base import CheckpointEntry, Progress
from tests.launcher.core.builders import NOON
from trainer.contract import Phase


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def saved(name: str, minutes: float) -> CheckpointEntry:
    return CheckpointEntry(name=name, size_bytes=1, modified_at=at(minutes))


def loss(
    *checkpoints: CheckpointEntry, home: tuple[str, ...] = (), now: float = 60.0, **changes: Any
) -> Loss:
    heartbeat = at(changes.pop("heartbeat", now))
    progress = Progress(
        seen_at=at(now), alive=True, phase=Phase.RUNNING, heartbeat=heartbeat, checkpoints=checkpoints,
        resumed_from=changes.pop("resumed_from", None),
    )  # fmt: skip
    mirrored = {
        one.name: Mirrored(modified_at=one.modified_at, at=NOON) for one in checkpoints if one.name in home
    }
    values = {"working_since": NOON, "usd_per_hour": 0.6, "survives": False, **changes}
    return loss_of(progress, mirrored, now=at(now), **values)


def test_what_it_says() -> None:
    found = loss(saved("step_8", 8), home=("step_8",))
    assert (found.saved_ago_s, found.seconds, round(found.usd, 2)) == (52 * 60, 52 * 60, 0.52)
    assert found.words == "last save 52 min old: a loss now costs $0.52 and 52 min of work"


def test_a_save_that_would_go_with_the_machine_does_not_count() -> None:
    found = loss(saved("step_8", 8), saved("step_50", 50), home=("step_8",))
    assert (found.saved, found.saved_ago_s, found.seconds) == ("step_50", 10 * 60, 52 * 60)
    assert loss(saved("step_50", 50), survives=True).seconds == 10 * 60, "a machine of one's own stays"
    on_its_way = Mirrored(modified_at=at(50))
    progress = Progress(seen_at=at(60), alive=True, phase=Phase.RUNNING, checkpoints=(saved("step_50", 50),))
    lost = loss_of(
        progress, {"step_50": on_its_way}, now=at(60), working_since=NOON, usd_per_hour=0.0, survives=False
    )
    assert (lost.seconds, lost.words) == (3600, "last save 10 min old: a loss now costs 1 h of work")


def test_a_machine_whose_clock_is_a_day_behind() -> None:
    found = loss(saved("step_8", 8 - 1440), home=("step_8",), heartbeat=60 - 1440)
    assert found.saved_ago_s == 52 * 60


def test_the_one_that_it_began_from_is_the_beginning_and_no_save() -> None:
    found = loss(saved("step_8", 40), resumed_from="step_8", home=("step_8",))
    assert (found.saved, found.saved_ago_s) == (None, 20 * 60)
    assert found.words.startswith("nothing saved since step_8: a loss now costs")
    assert loss().words.startswith("nothing saved yet")


def test_overdue_is_by_what_the_job_file_says_else_half_an_hour() -> None:
    late = loss(saved("step_8", 8))
    assert is_overdue(late, 300.0) and is_overdue(late, None)
    assert not is_overdue(late, 3600.0)
    assert not is_overdue(loss(saved("step_8", 58)), 60.0)
