"""A rebalance recommendation: no reason to leave, and one for checkpoints to leave at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from launcher.buckets.parcels import sign_slot
from launcher.runners.base import Bucket
from provisioning import Instance, InstanceRef, InstanceState, ProviderContext
from provisioning.aws.provider import AwsProvider
from provisioning.models import utc_now
from provisioning.storage import Place, store_for
from tests.launcher.remote.jobs import Machine
from tests.provisioning.aws.cloud import Ec2Cloud
from tests.system.aws.metadata import Metadata
from trainer.contract import Cause, Phase

SAVES_TWICE = """
mkdir -p $LAUNCH_CHECKPOINT_DIR
echo 1 > x; mv x $LAUNCH_CHECKPOINT_DIR/step_1
until [ -e more ]; do sleep 0.05; done
echo 2 > x; mv x $LAUNCH_CHECKPOINT_DIR/step_2
until [ -e done ]; do sleep 0.05; done
"""


def test_checkpoints_leave_at_once(cloud: Ec2Cloud, tmp_path: Path) -> None:
    context = ProviderContext(home=tmp_path, environ=cloud.environ())
    cloud.buckets.make("mine")
    store, place = store_for("s3", context), Place("s3", "mine", "demo-abcd")
    slots = tuple(sign_slot(store, place.below(str(n)), parts=2, lasts=timedelta(hours=1)) for n in range(2))
    rented = Instance(
        ref=InstanceRef("aws", "us-east-1", "i-0abc"),
        state=InstanceState.RUNNING,
        seen_at=utc_now(),
        run_id="demo-abcd",
        token=None,
        spot=True,
    )
    probe = AwsProvider(context).notice(rented)
    assert probe is not None
    metadata = Metadata()
    metadata.start()
    try:
        machine = Machine(tmp_path / "m", environ={"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url})
        machine.folder.mkdir()
        handle = machine.submit(
            SAVES_TWICE,
            notice=replace(probe, interval_s=0.1),
            bucket=Bucket(part_bytes=1 << 20, mirror=slots, mirror_every_s=3600.0),
        )
        machine.wait(handle, lambda progress: len(progress.mirrored) == 1, "the first one to leave")
        metadata.rebalance = '{"noticeTime": "2030-01-01T00:00:00Z"}'
        warned = machine.wait(handle, lambda progress: progress.warned, "the warning")
        assert (warned.phase, warned.cause) == (Phase.RUNNING, Cause.NONE)
        (machine.workdir(handle) / "more").touch()
        seen = machine.wait(handle, lambda progress: len(progress.mirrored) == 2, "the second one to leave")
        assert [one.name for one in seen.mirrored] == ["step_1", "step_2"]
        (machine.workdir(handle) / "done").touch()
        assert machine.ended(handle).exit_code == 0
        machine.close()
    finally:
        metadata.stop()
