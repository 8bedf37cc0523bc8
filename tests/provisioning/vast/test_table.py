from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from provisioning.readings import read_readings
from provisioning.vast import table
from provisioning.vast.table import main
from tests.provisioning.vast.cloud import VastCloud

SHIPPED = Path(table.__file__).parent
FILES = ("readings.csv", "typical.csv")


def test_the_middle_of_the_market_replaces_what_was_read_before(
    cloud: VastCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in FILES:
        shutil.copy(SHIPPED / name, tmp_path)
    for number in range(8):
        cloud.add(50 + number, dph_base=0.5 + 0.01 * number)
    assert main(["--live"], cloud.environ(), tmp_path) == 0
    readings = {
        (item.item, item.market): item for item in read_readings((tmp_path / "readings.csv").read_text())
    }
    fresh = readings["RTX 4090", "on-demand"]
    assert fresh.source.name.startswith("market-") and 0.3 < fresh.low_usd < fresh.high_usd < 0.6
    assert readings["H200", "on-demand"].source.name == "catalog"  # nobody rents one there
    assert f"RTX 4090,24,16,64,on-demand,{fresh.usd_per_hour:.4g}," in (tmp_path / "typical.csv").read_text()
    before = {name: (tmp_path / name).read_text() for name in FILES}
    assert main(["--live"], cloud.environ(VAST_API_KEY="unknown"), tmp_path) == 1
    assert main(["--everything"], {}, tmp_path) == 2
    assert main([], {}, tmp_path) == 0
    assert {name: (tmp_path / name).read_text() for name in FILES} == before
