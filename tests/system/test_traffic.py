"""What leaves a machine is on its bill: outputs and mirrored checkpoints, once each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.forecast.money import GIB
from launcher.records import from_json
from launcher.status import cost_of
from provisioning import Offer
from provisioning.models import utc_now
from tests.system.house import House

WRITES = """
head -c 3000000 /dev/zero > "$LAUNCH_CHECKPOINT_DIR/.new" && mv "$LAUNCH_CHECKPOINT_DIR/.new" "$LAUNCH_CHECKPOINT_DIR/step_1.pt"
head -c 2000000 /dev/zero > "$LAUNCH_OUTPUT_DIR/model.bin"
"""


def test_egress_is_counted_and_priced(house: House) -> None:
    run = house.launch(house.job(WRITES), provider="fake", instance="t4.1x")
    result = run.wait(timeout_s=60)
    assert result.state == "succeeded", result.reason

    (row,) = house.store.instances(run.id)
    offer = from_json(Offer, row.offer)
    assert offer.egress_usd_per_gib > 0, "the fake cloud charges for traffic"
    assert 5_000_000 <= row.egress_bytes < 5_100_000
    traffic = offer.egress_usd_per_gib * row.egress_bytes / GIB
    without = cost_of(
        replace(row, egress_bytes=0), float(house.store.run(run.id).plan["disk_gib"]), utc_now()
    )
    assert result.cost_usd == pytest.approx(without + traffic, abs=2e-6)
    a_look_later = 2 * offer.usd_per_hour / 3600  # the end is known when it is seen
    assert without == pytest.approx(house.machines()[0]["usd"], abs=a_look_later)


def test_pulling_twice_is_paid_once(house: House) -> None:
    run = house.launch(house.counting(total=400, pace_s=0.05), provider="fake")
    house.until_step(run, 20)
    run.pull()
    first = house.store.instances(run.id)[0].egress_bytes
    report = run.pull()
    again = house.store.instances(run.id)[0].egress_bytes
    moved = sum(file.size_bytes for file in report.files if not file.was_home)
    assert again - first >= moved
    assert again - first < first + 10_000
    run.down(discard=True)
    run.wait(timeout_s=60)
