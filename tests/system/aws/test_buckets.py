"""Jobs whose data lies in S3: the machine fetches it by itself, and no credential reaches it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from launcher import prepare
from launcher.errors import UsageError
from provisioning import BadCredentials, BadOption
from tests.provisioning.aws.cloud import KEY, SECRET, Ec2Cloud
from tests.system.house import House, environ_with

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


def assert_private(house: House) -> None:
    """What was signed is in private files of the run alone; credentials are nowhere."""
    for path in (item for item in house.state.rglob("*") if item.is_file()):
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        if b"Signature=" in content:
            assert path.name == "downloads.json", path
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
