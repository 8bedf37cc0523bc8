"""Parcels through S3: written with signed addresses alone, verified by the store and by whoever opens them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from launcher.buckets.parcels import checkpoints_in, part_links, read_head, sign_slot, stored_checkpoint
from launcher.remote.onboard import download, parcel
from launcher.remote.onboard.bucket import LONGEST_FETCH_S, signs_of_home
from launcher.remote.onboard.push import is_time
from launcher.remote.runfile import link_of
from launcher.runners.base import Area, Bucket, Slot, Wanted
from provisioning import Command, ProviderContext
from provisioning.models import utc_now
from provisioning.storage import ObjectStore, Place, store_for
from tests.launcher.remote.jobs import FAST, Machine, wait_until
from tests.provisioning.aws.answers import Answer
from tests.provisioning.aws.cloud import Ec2Cloud
from tests.provisioning.aws.object_store import Request

HOUR = timedelta(hours=1)
PLACE = Place("s3", "parcels-of-mine", "demo-abcd")


@pytest.fixture
def store(cloud: Ec2Cloud, tmp_path: Path) -> ObjectStore:
    cloud.buckets.make(PLACE.bucket)
    return store_for("s3", ProviderContext(home=tmp_path, environ=cloud.environ()))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    quick = replace(FAST, push_after_s=0.2, end_after_s=1.0)
    machine = Machine(tmp_path / "m", intervals=quick)
    machine.folder.mkdir()
    yield machine
    machine.close()


def told(slot: Slot) -> dict[str, Any]:
    return {"head": link_of(slot.head), "parts": [link_of(part) for part in slot.parts]}


def archive_of(folder: Path) -> parcel.Archive:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return parcel.Archive([parcel.packed(str(path.relative_to(folder)), str(path)) for path in files])


def some_files(folder: Path) -> dict[str, bytes]:
    files = {"a b/c+ü.bin": b"x" * 3000, "empty": b"", "z" * 150 + "/deep/d": b"y" * 512, "one": b"1"}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return files


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unpack(store: ObjectStore, head: dict[str, Any], folder: Path) -> None:
    links = part_links(store, PLACE, head, lasts=HOUR)
    parcel.unpack(
        head, lambda number, path: download.fetch(lambda: link_of(links[number]), Path(path)), str(folder)
    )


def test_what_was_sent_comes_back_and_is_a_plain_tar_archive(
    store: ObjectStore, cloud: Ec2Cloud, tmp_path: Path
) -> None:
    files = some_files(tmp_path / "from")
    slot = told(sign_slot(store, PLACE, parts=20, lasts=HOUR))
    trouble = iter(("500 now", "503 then"))

    def fail(request: Request) -> Answer | None:
        return Answer(int(said[:3]), "") if (said := next(trouble, None)) else None

    cloud.buckets.fail = fail
    head = parcel.send(archive_of(tmp_path / "from"), lambda: slot, {"kind": "test"}, part_bytes=1000)
    assert read_head(store, PLACE) == head
    assert len(head["parts"]) > 5
    unpack(store, head, tmp_path / "to")
    assert content_of(tmp_path / "to") == files
    parts = [key for key in cloud.buckets.keys(PLACE.bucket) if not key.endswith(".json")]
    joined = b"".join(cloud.buckets.content(PLACE.bucket, key) for key in parts)
    (tmp_path / "by-hand").mkdir()
    subprocess.run(["tar", "x"], input=joined, cwd=tmp_path / "by-hand", check=True)
    assert content_of(tmp_path / "by-hand") == files
    times = [(folder / "one").stat().st_mtime_ns for folder in (tmp_path / "from", tmp_path / "to")]
    assert times[0] == times[1]


def test_what_is_not_whole_is_never_taken_for_it(store: ObjectStore, cloud: Ec2Cloud, tmp_path: Path) -> None:
    some_files(tmp_path / "from")
    slot = told(sign_slot(store, PLACE, parts=20, lasts=HOUR))
    head = parcel.send(archive_of(tmp_path / "from"), lambda: slot, {}, part_bytes=1000)
    cloud.buckets.put(PLACE.bucket, f"{PLACE.key}/00001", b"!" * 1000)
    with pytest.raises(parcel.Failed, match="part 1 is not what its digest says"):
        unpack(store, head, tmp_path / "to")
    cloud.buckets.fail = lambda request: Answer(403, "") if request.key.endswith("00002") else None
    with pytest.raises(parcel.Failed, match="00002 could not be written: 403") as failed:
        parcel.send(archive_of(tmp_path / "from"), lambda: slot, {}, part_bytes=1000)
    assert "Signature" not in str(failed.value)
    cloud.buckets.fail = None
    now = read_head(store, PLACE)
    assert now is not None
    assert not now["complete"], "it is being replaced"
    with pytest.raises(parcel.Failed, match="do not fit"):
        parcel.send(archive_of(tmp_path / "from"), lambda: slot, {}, part_bytes=100)


def test_a_broken_checkpoint_in_the_bucket_is_passed_over_loudly(
    store: ObjectStore, cloud: Ec2Cloud, machine: Machine
) -> None:
    """A first machine saves two and is gone; a second one starts with the bucket alone."""
    save = "mkdir $LAUNCH_CHECKPOINT_DIR/{n}.tmp; echo {n} > $LAUNCH_CHECKPOINT_DIR/{n}.tmp/w; mv $LAUNCH_CHECKPOINT_DIR/{n}.tmp $LAUNCH_CHECKPOINT_DIR/{n}\n"
    run = save.format(n="step_1") + "sleep 1\n" + save.format(n="step_2") + "exit 75"
    slots = [sign_slot(store, PLACE.below("checkpoints", f"{n:02d}"), parts=2, lasts=HOUR) for n in range(3)]
    bucket = Bucket(part_bytes=1 << 20, mirror=tuple(slots), mirror_every_s=0.0)
    first = machine.ended(machine.submit(run, bucket=bucket))
    assert [one.name for one in first.mirrored] == ["step_1", "step_2"]
    heads = checkpoints_in(store, PLACE, 3)
    assert [heads[number]["name"] for number in heads] == ["step_1", "step_2"]
    cloud.buckets.put(PLACE.bucket, f"{PLACE.key}/checkpoints/01/00000", b"!")
    stored = stored_checkpoint(store, PLACE, heads, lasts=HOUR)
    assert [one.head["name"] for one in stored] == ["step_2", "step_1"]
    another = Machine(machine.folder / "another")
    another.folder.mkdir()
    handle = another.submit("cat $LAUNCH_RESUME_FROM/w", stored=stored)
    assert another.ended(handle).resumed_from == "step_1"
    assert "step_1" in another.log(handle)
    told_of = [message for _, message, _ in another.events]
    assert any("step_2 in the bucket is not used" in message for message in told_of)
    another.close()


def test_a_machine_that_nobody_comes_to_pushes_and_then_ends_itself(
    store: ObjectStore, cloud: Ec2Cloud, machine: Machine, tmp_path: Path
) -> None:
    ended = tmp_path / "ended"
    slot = sign_slot(store, PLACE, parts=4, lasts=HOUR)
    bucket = Bucket(
        part_bytes=1 << 20,
        push=slot,
        wanted=(Wanted(patterns=("none*",), area=Area.WORK),),
        otherwise=Wanted(patterns=("**",), area=Area.CHANGED),
    )
    handle = machine.submit(
        "echo out > made.txt; echo said; exit 3",
        bucket=bucket,
        hard_deadline=utc_now() + HOUR,
        self_destroy=Command(argv=("touch", str(ended))),
    )
    wait_until(ended.exists, "the end of the machine")
    head = read_head(store, PLACE)
    assert head is not None
    assert head["complete"]
    names = [name for name, _, _ in head["files"]]
    assert "work/project/made.txt" in names
    assert "control/main/1-1/status.json" in names
    assert any(name.startswith("logs/main/1/") for name in names)
    state = json.loads((Path(machine.paths(handle).control) / "push.json").read_text())
    assert state["pushed"]


def test_whoever_is_fetching_is_not_disturbed(tmp_path: Path) -> None:
    orders, home = {"paths": {"stage_control": str(tmp_path)}}, tmp_path / "home.json"
    assert signs_of_home(orders) == []
    home.write_text('{"fetching": true}')
    began = home.stat().st_mtime
    os.utime(home, (began - 1000.0, began - 1000.0))
    assert max(signs_of_home(orders)) >= began, "still at it"
    os.utime(home, (began - LONGEST_FETCH_S - 1.0,) * 2)
    assert max(signs_of_home(orders)) < began - LONGEST_FETCH_S, "it died meanwhile"
    home.write_text('{"fetching": false}')
    os.utime(home, (began - 100.0, began - 100.0))
    assert signs_of_home(orders) == [pytest.approx(began - 100.0)]


@pytest.mark.parametrize(
    ("quiet_s", "left_s", "wanted"),
    [
        (59.0, None, False),
        (61.0, None, True),
        (59.0, 3600.0, False),
        (0.0, 599.0, True),
        (61.0, 3600.0, True),
    ],
)
def test_when_it_is_time_to_push(quiet_s: float, left_s: float | None, wanted: bool) -> None:
    assert is_time(quiet_s, 60.0, left_s) is wanted
