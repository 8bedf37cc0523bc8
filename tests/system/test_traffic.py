"""What leaves a machine is on its bill: outputs and mirrored checkpoints, once each."""

from __future__ import annotations

import pytest

from launcher.forecast.money import GIB
from launcher.records import from_json
from provisioning import Offer
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
    rent = house.machines()[0]["usd"]
    traffic = offer.egress_usd_per_gib * row.egress_bytes / GIB
    assert result.cost_usd == pytest.approx(rent + traffic, abs=1e-4)


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
