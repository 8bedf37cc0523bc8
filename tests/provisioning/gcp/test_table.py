from __future__ import annotations

import csv
import shutil
from pathlib import Path

from provisioning.gcp import table
from provisioning.gcp.table import main
from tests.provisioning.gcp import stock
from tests.provisioning.gcp.cloud import GceCloud

SHIPPED = Path(table.__file__).parent
FILES = ("readings.csv", "prices.csv")


def test_what_the_catalog_says_of_a_region_replaces_what_was_read_before(
    cloud: GceCloud, tmp_path: Path
) -> None:
    for name in FILES:
        shutil.copy(SHIPPED / name, tmp_path)
    cloud.skus = None
    assert main(["us-east1"], cloud.environ(), tmp_path) == 1
    assert all((tmp_path / name).read_bytes() == (SHIPPED / name).read_bytes() for name in FILES)
    cloud.skus = stock.skus()
    assert main(["us-east1"], cloud.environ(), tmp_path) == 0
    lines = [line for line in (tmp_path / "prices.csv").read_text().splitlines() if line[0] != "#"]
    rows = {(row["part"], row["regions"], row["market"]): row for row in csv.DictReader(lines)}
    fresh = rows["nvidia-tesla-t4", "us-east1", "spot"]
    assert (fresh["usd_per_hour"], fresh["evidence"]) == ("0.2", "read")
    assert rows["nvidia-tesla-t4", "us-central1", "spot"]["usd_per_hour"] == "0.2088"
    assert rows["nvidia-l4", "us-east1", "spot"]["evidence"] == "remembered"
    assert not any(region == "europe-west4" for _, region, _ in rows)
