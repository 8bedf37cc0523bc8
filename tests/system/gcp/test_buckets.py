"""A job whose data lies in Cloud Storage and whose checkpoints go there: the machine moves the bytes by itself."""

from __future__ import annotations

from tests.provisioning.gcp.cloud import GceCloud
from tests.system.house import House, eventually, expected_outcome


def test_data_comes_from_the_bucket_and_checkpoints_go_there(house: House, cloud: GceCloud) -> None:
    cloud.buckets.make("sets-of-mine")
    known = cloud.buckets.objects["sets-of-mine"]
    known |= {"sets/one/a b.bin": b"a" * 100_000, "sets/one/sub/c+ü.bin": b"c" * 7, "sets/one-more/x": b"x"}
    job = house.counting(
        total=12,
        gate=8,
        file_mounts={"data/one": "gs://sets-of-mine/sets/one"},
        checkpoint={"dir": "saved", "mirror": "gs://sets-of-mine/runs/", "mirror_every": "1s"},
    )
    run = house.launch(job)
    heads = f"runs/{run.id}/checkpoints/"
    eventually(lambda: any(key.startswith(heads) for key in list(known)), "a checkpoint in the bucket")
    (data,) = house.state.rglob("data/one")
    assert (data / "a b.bin").read_bytes() == b"a" * 100_000
    assert sorted(path.name for path in data.rglob("*.bin")) == ["a b.bin", "c+ü.bin"]
    house.open_gate()
    result = run.wait(timeout_s=90)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(12)
    private = [
        path for path in house.state.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
    ]
    assert not [path for path in private if b"BEGIN OPENSSH" not in path.read_bytes()], (
        "no credential left home"
    )
