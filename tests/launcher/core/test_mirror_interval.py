from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.forecast.mirror_interval import (
    LONGEST_S,
    SHORTEST_S,
    MirrorChoice,
    choose_mirror_every,
    survives_notice,
)
from tests.launcher.core.builders import offer, spot_offer, this_computer

FULL_MODEL = 530_000_000


def choose(of: object = None, **changes: object) -> MirrorChoice:
    values: dict[str, object] = {
        "checkpoint_bytes": FULL_MODEL,
        "link_bytes_per_s": 12.5e6,
        "save_every_s": 300.0,
    }
    return choose_mirror_every(of or offer(), **{**values, **changes})  # type: ignore[arg-type]


def test_a_full_model_is_never_mirrored_for_more_than_the_gpu_costs() -> None:
    every_five_minutes = choose(asked_s=300.0)
    assert every_five_minutes.usd_per_hour > offer().usd_per_hour
    assert choose().usd_per_hour < 0.1 * offer().usd_per_hour


def test_more_often_where_machines_are_taken_away() -> None:
    assert choose(spot_offer(interruptions_per_hour=0.5)).every_s < choose().every_s


def test_less_often_where_a_notice_saves_it() -> None:
    risky = spot_offer(interruptions_per_hour=0.5)
    assert choose(risky, notice_survived=True).every_s > choose(risky).every_s


def test_as_often_as_it_saves_where_traffic_is_free() -> None:
    free = choose(offer(egress_usd_per_gib=0.0), checkpoint_bytes=1_000_000)
    assert free.every_s == 300.0
    assert "as often as the program saves" in free.reason
    assert "traffic is free" in free.reason


def test_on_this_computer_within_seconds() -> None:
    assert choose(this_computer(), save_every_s=0.0, link_bytes_per_s=0.5e9, shortest_s=5.0).every_s == 5.0


def test_a_slow_link_is_not_filled() -> None:
    slow = choose(offer(egress_usd_per_gib=0.0), link_bytes_per_s=1e6)
    assert slow.every_s == pytest.approx(2 * 530)
    assert "as often as the link allows" in slow.reason


def test_what_the_job_says_is_priced_and_kept() -> None:
    said = choose(asked_s=600.0)
    assert said.every_s == 600.0
    assert "as the job says" in said.reason
    assert "every 10 min" in said.reason


@given(st.floats(0.0, 1.0), st.integers(1, 1 << 35), st.floats(1e4, 1e9), st.floats(0.0, 7200.0))
def test_never_more_often_than_saves_and_link_allow_and_never_rarer_than_an_hour_without_need(
    egress: float, size: int, link: float, save_every_s: float
) -> None:
    found = choose(
        offer(egress_usd_per_gib=egress),
        checkpoint_bytes=size,
        link_bytes_per_s=link,
        save_every_s=save_every_s,
    )
    soonest_s = max(SHORTEST_S, save_every_s, 2 * size / link)
    assert soonest_s <= found.every_s * (1 + 1e-9)
    assert found.every_s <= max(LONGEST_S, soonest_s) * (1 + 1e-9)


def test_whether_a_notice_is_enough() -> None:
    assert survives_notice(notice_s=120, save_s=5, transfer_s=40, disk_outlives=False)[0]
    too_short, words = survives_notice(notice_s=30, save_s=5, transfer_s=40, disk_outlives=False)
    assert not too_short
    assert "30 s of notice are too short" in words
    assert survives_notice(notice_s=0, save_s=5, transfer_s=40, disk_outlives=True)[0]
    assert not survives_notice(notice_s=0, save_s=5, transfer_s=40, disk_outlives=False)[0]
