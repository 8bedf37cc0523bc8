from __future__ import annotations

import csv
import io

from provisioning.aws import prices
from provisioning.aws.table import main, write
from tests.provisioning.aws.cloud import Ec2Cloud, Fault


def rows_of(text: str) -> dict[tuple[str, str], dict[str, str]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {(row["instance_type"], row["region"]): row for row in csv.DictReader(lines)}


def test_fresh_rows_replace_old_ones_and_the_others_stay(cloud: Ec2Cloud) -> None:
    cloud.listed_usd["g4dn.xlarge", "us-east-1"] = 0.6
    cloud.listed_usd["p3.2xlarge", "us-east-1"] = 3.06
    out = io.StringIO()
    assert main(["us-east-1"], cloud.environ(), out) == 0
    rows = rows_of(out.getvalue())
    assert (
        rows["g4dn.xlarge", "us-east-1"]["usd_per_hour"],
        rows["g4dn.xlarge", "us-east-1"]["evidence"],
    ) == ("0.6", "read")
    assert rows["g4dn.xlarge", "us-east-2"]["usd_per_hour"] == "0.526"
    assert ("p3.2xlarge", "us-east-1") not in rows


def test_nothing_is_written_when_aws_does_not_answer(cloud: Ec2Cloud) -> None:
    cloud.faults.append(Fault("GetProducts", "AccessDeniedException", 400, times=9))
    out = io.StringIO()
    assert main(["us-east-1"], cloud.environ(), out) == 1
    assert not out.getvalue()


def test_the_table_that_ships_is_what_would_be_written() -> None:
    from importlib import resources

    out = io.StringIO()
    write(prices.table(), out)
    assert out.getvalue() == resources.files("provisioning.aws").joinpath("prices.csv").read_text()
