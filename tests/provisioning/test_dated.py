"""The price tables that ship: dated, never in the future, every machine with the facts that an estimate needs."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from launcher.forecast.speeds import gpu_speed
from provisioning import Query
from provisioning.dated import dated_offers, providers_with_tables
from provisioning.models import utc_now

ROOT = Path(__file__).parents[2]
TABLES = sorted(
    path for path in (ROOT / "provisioning").rglob("*.csv") if "as_of" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_row_states_a_day_that_has_been(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    assert rows
    for row in rows:
        assert date(2025, 1, 1) <= date.fromisoformat(row["as_of"]) <= utc_now().date(), row
        if "evidence" in row:
            assert row["evidence"] in ("read", "remembered"), row


def test_there_are_tables() -> None:
    assert providers_with_tables() == ("aws", "gcp", "vast")
    assert dated_offers("local", Query()) == []


@pytest.mark.parametrize("name", providers_with_tables())
def test_every_machine_of_the_tables_can_be_estimated(name: str) -> None:
    found = dated_offers(name, Query())
    assert found
    for offer in found:
        assert offer.provider == name
        assert offer.usd_per_hour > 0.0 and offer.vcpus > 0 and offer.memory_gib > 0.0, offer
        if offer.gpu_name is not None:
            assert offer.gpu_memory_gib > 0.0, offer
            assert gpu_speed(offer.gpu_name, offer.gpu_memory_gib) is not None, offer
        if offer.spot:
            assert offer.interruptions_per_hour > 0.0, offer
        assert offer.disk_usd_per_gib_month > 0.0 and offer.egress_usd_per_gib > 0.0, offer
        # A price says the day that it is of, and that is the day that its age is counted from.
        assert offer.priced_at.date().isoformat() in offer.price_source, offer
        assert offer.priced_at <= utc_now(), offer


def test_reading_them_needs_no_sdk() -> None:
    program = (
        "import sys; from provisioning.dated import *; from provisioning import Query;"
        "[dated_offers(name, Query()) for name in providers_with_tables()];"
        "print([name for name in sys.modules if name.split('.')[0] in ('boto3', 'botocore', 'google', 'httpx')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_types_have_is_written_from_what_ec2_says() -> None:
    from provisioning.aws.dated import types, write_types

    known = types()["g4dn.xlarge"]
    answer = {
        "InstanceType": "g4dn.xlarge",
        "VCpuInfo": {"DefaultVCpus": 4},
        "MemoryInfo": {"SizeInMiB": 16384},
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "GpuInfo": {
            "Gpus": [{"Name": "T4", "Manufacturer": "NVIDIA", "Count": 1, "MemoryInfo": {"SizeInMiB": 16384}}]
        },
    }
    other = {**answer, "InstanceType": "x9.unpriced"}
    out = io.StringIO()
    write_types(json.loads(json.dumps([answer, other])), out)
    assert f"g4dn.xlarge,{known.vcpus},16,T4,1,16\n" in out.getvalue()
    assert "x9" not in out.getvalue()
