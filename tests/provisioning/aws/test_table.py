from __future__ import annotations

import csv
import shutil
from datetime import date
from pathlib import Path

import pytest

from provisioning.aws import table
from provisioning.aws.table import main
from provisioning.models import utc_now
from tests.provisioning.aws.cloud import Ec2Cloud, Fault

SHIPPED = Path(table.__file__).parent
FILES = ("readings.csv", "prices.csv", "spot.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(SHIPPED / name, tmp_path)
    return tmp_path


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {(row["instance_type"], row["region"]): row for row in csv.DictReader(lines)}


def test_fresh_rows_replace_old_ones_and_the_others_stay(cloud: Ec2Cloud, folder: Path) -> None:
    cloud.listed_usd["g4dn.xlarge", "us-east-1"] = 0.6
    cloud.listed_usd["p3.2xlarge", "us-east-1"] = 3.06
    cloud.spot_usd["g4dn.xlarge", "us-east-1a"] = 0.2
    cloud.spot_usd["g4dn.xlarge", "us-east-1b"] = 0.24
    for (name, zone), usd in list(cloud.spot_usd.items()):
        if name == "g4dn.xlarge" and zone.startswith("us-east-1"):
            cloud.spot_usd[name, zone] = min(max(usd, 0.2), 0.24)
    today = utc_now().date()
    assert main(["us-east-1"], cloud.environ(), folder) == 0
    listed, spot = rows_of(folder / "prices.csv"), rows_of(folder / "spot.csv")
    fresh = listed["g4dn.xlarge", "us-east-1"]
    assert (fresh["usd_per_hour"], fresh["evidence"]) == ("0.6", "read")
    assert today <= date.fromisoformat(fresh["as_of"]) <= utc_now().date()
    assert spot["g4dn.xlarge", "us-east-1"]["usd_per_hour"] == "0.22"
    assert listed["g4dn.xlarge", "us-east-2"]["usd_per_hour"] == "0.526"
    assert spot["g4dn.xlarge", "us-east-2"] == rows_of(SHIPPED / "spot.csv")["g4dn.xlarge", "us-east-2"]
    assert ("p3.2xlarge", "us-east-1") not in listed
    before = {name: (folder / name).read_text() for name in FILES}
    assert main([], {}, folder) == 0  # of what stands there now: nothing is lost between the two
    assert {name: (folder / name).read_text() for name in FILES} == before


def test_nothing_is_written_when_aws_does_not_answer(cloud: Ec2Cloud, folder: Path) -> None:
    cloud.faults.append(Fault("GetProducts", "AccessDeniedException", 400, times=9))
    assert main(["us-east-1"], cloud.environ(), folder) == 1
    assert all((folder / name).read_bytes() == (SHIPPED / name).read_bytes() for name in FILES)
