"""`launch gc` as a person has it: a list, one question for each machine, and an answer that counts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from launcher.home import Home
from provisioning import InstanceRef, InstanceSpec, ProviderContext, Query
from provisioning.models import utc_now
from provisioning.registry import provider
from tests.launcher.cli.conftest import Cli
from tests.launcher.cli.test_terminal import on_terminal


@pytest.fixture
def forgotten(cli: Cli) -> InstanceRef:
    """A machine that was rented from another home of the same person."""
    home = Home.open(cli.environ)
    cloud = provider("fake", ProviderContext(home=cli.home, environ=cli.environ))
    spec = InstanceSpec(
        run_id="demo-0001",
        attempt=1,
        try_number=1,
        home_id="feedfeedfeedfeed",
        owner=home.owner,
        deadline=utc_now() + timedelta(hours=1),
    )
    return cloud.create(cloud.offers(Query(instance_type="t4.1x", spot=False))[0], spec).ref


def test_each_doubtful_machine_is_asked_about(cli: Cli, forgotten: InstanceRef) -> None:
    for answer, said in (("n\n", f"{forgotten} is kept"), ("y\n", f"ended {forgotten}")):
        with on_terminal(cli, "gc", AWS_EC2_METADATA_DISABLED="true") as terminal:
            terminal.until("[y/N]")
            terminal.type(answer)
            assert terminal.end() == 0
        assert "from another home (feedfeedfeedfeed)" in " ".join(terminal.text.split())
        assert said in terminal.text
    assert cli("gc", AWS_EC2_METADATA_DISABLED="true").out == "nothing carries our tags\n"


def test_an_address_that_is_nothing_of_ours(cli: Cli) -> None:
    done = cli("gc", "fake/us-east/i-never-was", "--yes", "--json", AWS_EC2_METADATA_DISABLED="true")
    assert (done.code, done.document["error"]["code"]) == (2, "usage")
    assert "no machine with our tags" in done.document["error"]["message"]


def test_one_wrong_address_ends_nothing(cli: Cli, forgotten: InstanceRef) -> None:
    refused = cli("gc", "fake/us-east/nothing", str(forgotten), "--yes", AWS_EC2_METADATA_DISABLED="true")
    assert refused.code == 2
    assert str(forgotten) in cli("gc", "--json", AWS_EC2_METADATA_DISABLED="true").out
