"""Jobs whose data lies in S3: the machine fetches it by itself, and no credential reaches it."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path

import pytest

from launcher import prepare
from launcher.errors import JobFileError, UsageError
from launcher.orchestrate.orchestrator import Orchestrator
from launcher.supervise import hold_lock
from provisioning import BadCredentials, BadOption, InstanceRef, ProviderContext
from provisioning.registry import provider
from tests.provisioning.aws.cloud import KEY, SECRET, Ec2Cloud
from tests.system.aws.test_address import follow
from tests.system.house import House, environ_with, eventually, expected_outcome

LISTS = "cd data && find -L . -type f -print0 | sort -z | xargs -0 sha256sum > $LAUNCH_OUTPUT_DIR/list.txt"


@pytest.fixture
def bucket(cloud: Ec2Cloud) -> str:
    cloud.buckets.make("sets-of-mine")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner/d.txt", "dd")
    for name, content in (
        ("sets/one/a b.bin", b"a" * 100_000),
        ("sets/one/sub/c+ü.bin", b"c" * 7),
        ("sets/one/empty", b""),
        ("sets/one-more/x", b"x"),
        ("packed.zip", packed.getvalue()),
    ):
        cloud.buckets.put("sets-of-mine", name, content)
    return "sets-of-mine"


def test_the_machine_fetches_a_prefix_and_an_object_by_itself(
    house: House, cloud: Ec2Cloud, bucket: str
) -> None:
    mounts = {"data/one": f"s3://{bucket}/sets/one", "data/packed": f"s3://{bucket}/packed.zip"}
    job = house.job(LISTS, file_mounts=mounts)
    prepared = prepare(job, provider="local", environ=house.environ)
    assert any("3 objects, 100 kB" in finding.message for finding in prepared.findings)
    run = house.launch(job)
    assert run.wait(timeout_s=60).state == "succeeded", b"".join(run.logs()).decode()
    listed = (Path(run.status().results_dir) / "outputs/list.txt").read_text().splitlines()
    names = [line.split(maxsplit=1)[1] for line in listed]
    assert names == ["./one/a b.bin", "./one/empty", "./one/sub/c+ü.bin", "./packed/inner/d.txt"]
    asked = [request for request in cloud.buckets.requests if request.is_presigned]
    assert {request.key for request in asked} == {"sets/one/a b.bin", "sets/one/sub/c+ü.bin", "packed.zip"}
    assert_private(house)


def test_checkpoints_go_to_the_bucket_and_the_next_machine_goes_on_from_there(
    house: House, cloud: Ec2Cloud, bucket: str
) -> None:
    checkpoint = {"dir": "saved", "mirror": f"s3://{bucket}/runs/", "mirror_every": "1s"}
    count = f"{sys.executable} counter.py 30 0.02 3 8 {house.gate}"
    stages = [
        {"name": "train", "run": count, "outputs": "outputs/weights.txt"},
        {"name": "last", "needs": "train", "run": 'test -z "$LAUNCH_RESUME_FROM"; cat outputs/weights.txt'},
    ]
    job = house.job(None, stages=stages, checkpoint=checkpoint, recovery={"max_restarts_on_errors": 0})
    run = house.launch(job, provider="fake", instance="t4.1x", spot=True)
    house.until_step(run, 8)
    heads = f"runs/{run.id}/train/checkpoints/"
    eventually(
        lambda: any(key.startswith(heads) for key in cloud.buckets.keys(bucket)), "a checkpoint in the bucket"
    )
    run.interrupt(notice_s=20.0)
    eventually(lambda: len(run.status().attempts) == 2, "the next machine")
    house.open_gate()
    result = run.wait(timeout_s=90)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(30)
    assert [attempt.steps_lost for attempt in run.status().attempts] == [0, 0, 0]
    said = [event.message for event in run.events()]
    assert any("is in the bucket" in words for words in said)
    assert b"".join(run.logs()).count(b"saved at 8") == 1, "the log has no repeats"
    assert "step_000008.json" in house.store.attempts(run.id)[0].mirrored, "known to be safe"
    assert any("the machine has fetched checkpoint" in words for words in said)
    assert not list(house.home.run(run.id).mirror.glob("*")), (
        "nothing of it came through the connection at home"
    )
    house.audit(run)
    assert_private(house)


@pytest.mark.parametrize("stage", ["", "train"])
def test_what_nobody_fetched_is_pushed_and_comes_home_from_the_bucket(
    house: House, cloud: Ec2Cloud, bucket: str, stage: str
) -> None:
    command = f"{sys.executable} counter.py 12 0.02 3 5 {house.gate}"
    small = {"instance_type": "cpu.4x"}
    checkpoint = {"dir": "saved", "mirror": f"s3://{bucket}"}
    fields: dict[str, object] = {"checkpoint": checkpoint, "max_duration": "5m"}
    if stage:
        fields |= {"resources": {"instance_type": "t4.1x"}, "file_outputs": {"*.csv": str(house.results)}}
        fields["stages"] = [
            {"name": stage, "run": command, "outputs": ["outputs/"]},
            {"name": "last", "needs": stage, "run": "cp outputs/weights.txt seen.csv", "resources": small},
        ]
    job = house.job(None if stage else command, **fields)
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(job, provider="fake", instance=None if stage else "t4.1x")
        orchestrator = Orchestrator(house.home, house.store, house.environ)
        follow(orchestrator, run, to_step=5)
        house.open_gate()  # and this computer falls asleep
        pushed = f"{run.id}/{f'{stage}/' if stage else ''}outputs/1-1/"
        eventually(
            lambda: f"{pushed}parcel.json" in cloud.buckets.keys(bucket) and whole(cloud, bucket, pushed),
            "a push",
        )
        ref = InstanceRef.parse(house.store.instances(run.id)[0].ref)
        provider("fake", ProviderContext(home=house.state, environ=house.environ)).terminate(ref)
        follow(orchestrator, run)
    assert run.status().state == "succeeded", run.status().reason
    assert house.outcome(run) == expected_outcome(12)
    if stage:
        seen = Path(run.status().results_dir, "seen.csv").read_text()
        assert seen == expected_outcome(12)[0], "what the next stage was given came from the bucket"
    assert len(run.status().attempts) == (2 if stage else 1), "nothing was done twice"
    assert b"counted" in b"".join(run.logs())
    assert not [key for key in cloud.buckets.keys(bucket) if key.startswith(pushed)], "it is home"
    house.audit(run)
    assert_private(house)


def whole(cloud: Ec2Cloud, bucket: str, place: str) -> bool:
    return bool(json.loads(cloud.buckets.content(bucket, f"{place}parcel.json"))["complete"])


def assert_private(house: House) -> None:
    """What was signed is in private files of the run alone; credentials are nowhere."""
    for path in (item for item in house.state.rglob("*") if item.is_file()):
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        if b"Signature=" in content:
            assert path.name in ("downloads.json", "bucket.json"), path
            assert path.stat().st_mode & 0o077 == 0
            assert KEY.encode() in content


def test_what_is_wrong_is_said_before_anything_is_rented(house: House, bucket: str) -> None:
    def prepared(source: str, **environ: str) -> object:
        job = house.job("true", file_mounts={"data": source})
        return prepare(job, provider="local", environ=environ_with(house.environ, **environ))

    with pytest.raises(UsageError, match="nothing at s3://sets-of-mine/sets/two") as nothing:
        house.launch(house.job("true", file_mounts={"data": f"s3://{bucket}/sets/two"}))
    assert "aws s3 ls s3://sets-of-mine/sets" in str(nothing.value.hint)
    with pytest.raises(BadOption, match="no bucket nothing-like-this"):
        prepared("s3://nothing-like-this/x")
    with pytest.raises(BadCredentials):
        prepared(f"s3://{bucket}/sets", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    with pytest.raises(BadCredentials, match="InvalidAccessKeyId"):
        prepared(f"s3://{bucket}/sets", AWS_ACCESS_KEY_ID="AKIAOFSOMEBODYELSE00")
    mirrored = house.job("true", checkpoint={"mirror": "s3://nothing-like-this/runs"})
    with pytest.raises(BadOption, match="no bucket nothing-like-this"):
        prepare(mirrored, provider="local", environ=house.environ)
    with pytest.raises(JobFileError, match="push needs a bucket"):
        house.launch(house.job("true", when_unattended="push"))
