"""Whole or not at all: kill -9, full disks, taken folders, several writers at once."""

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from trainer.synthetic import CannotWrite, FolderTaken, SyntheticSpec, write_dataset
from trainer.synthetic.dataset import expected_bytes

SPEC = SyntheticSpec.tiny(sessions=4, train=30, val=6, test=6)
WRITE = """
import sys
from pathlib import Path
from trainer.synthetic import SyntheticSpec, write_dataset
write_dataset(Path(sys.argv[1]), SyntheticSpec.tiny(sessions=4, train=30, val=6, test=6))
"""


def wait_until(holds: Callable[[], bool], writer: subprocess.Popen[bytes], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds() and writer.poll() is None:
        assert time.monotonic() < deadline, "the writer did not get this far in time"
        time.sleep(0.005)


def test_kills_leave_no_half_data_set_and_the_next_run_makes_it_whole(tmp_path: Path) -> None:
    """One writer after the other is killed in the same folder, each a little later, and what they left is in nobody's way."""
    out = tmp_path / "out"
    for files in (0, 1, 4, 9, 12):
        left = set(out.glob(".synthetic-partial-*"))  # of writers before this one
        writer = subprocess.Popen([sys.executable, "-c", WRITE, str(out)])
        try:
            wait_until(lambda n=files, old=left: out.is_dir() and begun(out, old) >= n, writer)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        if (out / "hdf5_data_final").exists():  # it had come through before the signal did
            assert len(list((out / "hdf5_data_final").rglob("*.hdf5"))) == 12
    report = write_dataset(out, SPEC)
    assert (report.files, report.trials) == (12, 4 * 42)
    assert sorted(p.name for p in out.iterdir()) == [
        "hdf5_data_final",
        "synthetic.json",
        "t15_copyTaskData_description.csv",
    ]
    for path in out.rglob("*.hdf5"):
        with h5py.File(path) as file:
            assert len(file) == SPEC.trials(path.stem.removeprefix("data_"))  # type: ignore[arg-type]
    assert not write_dataset(out, SPEC).written


def begun(out: Path, left: set[Path]) -> int:
    """How many files the newest writer has made so far."""
    return sum(len(list(folder.rglob("*.hdf5"))) for folder in {*out.glob(".synthetic-partial-*")} - left)


def test_force_replaces_a_synthetic_set_and_a_kill_in_between_never_mixes_the_two(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_dataset(out, SyntheticSpec.tiny())
    old = sorted(p.stat().st_size for p in out.rglob("*.hdf5"))
    command = WRITE.replace("test=6))", "test=6), force=True)")
    writer = subprocess.Popen([sys.executable, "-c", command, str(out)])
    try:
        wait_until(lambda: len(list(out.glob(".synthetic-partial-*/**/*.hdf5"))) >= 3, writer)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert sorted(p.stat().st_size for p in (out / "hdf5_data_final").rglob("*.hdf5")) == old
    assert not write_dataset(out, SyntheticSpec.tiny()).written
    assert write_dataset(out, SPEC, force=True).files == 12
    assert len(list(out.rglob("*.hdf5"))) == 12


def test_the_same_specification_again_writes_nothing(tmp_path: Path) -> None:
    first = write_dataset(tmp_path, SyntheticSpec.tiny())
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    second = write_dataset(tmp_path, SyntheticSpec.tiny())
    assert first.written
    assert not second.written
    assert (second.trials, second.bytes, second.bins) == (first.trials, first.bytes, first.bins)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_another_specification_is_refused_without_force(tmp_path: Path) -> None:
    write_dataset(tmp_path, SyntheticSpec.tiny())
    with pytest.raises(FolderTaken, match="other parameters") as caught:
        write_dataset(tmp_path, SyntheticSpec.tiny(seed=1))
    assert "--force" in str(caught.value.hint)


def test_other_peoples_files_stay_and_real_data_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FolderTaken, match=r"is not empty: it holds notes\.txt"):
        write_dataset(tmp_path, SyntheticSpec.tiny())
    write_dataset(tmp_path, SyntheticSpec.tiny(), force=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"

    real = tmp_path / "real" / "hdf5_data_final" / "t15.2023.08.11" / "data_train.hdf5"
    real.parent.mkdir(parents=True)
    with h5py.File(real, "w") as file:
        file.create_group("trial_0000")
    with pytest.raises(FolderTaken, match=r"were not synthesized, such as .*data_train\.hdf5"):
        write_dataset(tmp_path / "real", SyntheticSpec.tiny(), force=True)
    assert real.exists()


def test_a_record_without_its_data_is_not_taken_for_a_data_set(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", SyntheticSpec.tiny())
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "synthetic.json").rename(tmp_path / "b" / "synthetic.json")
    assert write_dataset(tmp_path / "b", SyntheticSpec.tiny()).written


def test_a_writer_that_lives_keeps_its_unfinished_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first_file: list[bool] = []

    def meanwhile(done: int, _total: int) -> None:
        if done == 1:  # a second run of the same, from inside the first
            first_file.append(write_dataset(out, SyntheticSpec.tiny(train=3)).written)

    with pytest.raises(FolderTaken, match="in the meantime"):
        write_dataset(out, SyntheticSpec.tiny(), on_progress=meanwhile)
    assert first_file == [True]
    assert len(list(out.rglob("*.hdf5"))) == 6
    assert not write_dataset(out, SyntheticSpec.tiny(train=3)).written


def test_an_interruption_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "new" / "out", SyntheticSpec.tiny(), on_progress=interrupt)
    assert not (tmp_path / "new").exists()


def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CannotWrite, match="is not a folder"):
            write_dataset(out, SyntheticSpec.tiny())


AS_NOBODY = """
import os, sys
from pathlib import Path
from trainer.synthetic import CannotWrite, SyntheticSpec, builtin_lexicon, write_dataset
from trainer.synthetic.trial import planned_sentences
builtin_lexicon(), planned_sentences(SyntheticSpec.tiny())
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    write_dataset(Path(sys.argv[1]), SyntheticSpec.tiny())
except CannotWrite as error:
    print(error)
"""


def test_a_folder_without_permission_is_said(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    run = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(tmp_path / "locked")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "cannot write" in run.stdout
    assert "Permission denied" in run.stdout
    assert not list((tmp_path / "locked").iterdir())


def test_a_disk_that_refuses_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    def at_most_one_megabyte() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    command = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + WRITE
    run = subprocess.run(
        [sys.executable, "-c", command, str(tmp_path / "out")],
        preexec_fn=at_most_one_megabyte,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "CannotWrite: cannot write" in run.stderr
    assert not (tmp_path / "out").exists()


def test_a_data_set_larger_than_the_disk_is_refused_beforehand(tmp_path: Path) -> None:
    spec = SyntheticSpec(sessions=1000, train=10_000, bins_per_phoneme=50.0)  # 30 TB
    with pytest.raises(CannotWrite, match=r"needs about [\d.]+ GB and .* has [\d.]+ GB free"):
        write_dataset(tmp_path / "out", spec)
    assert not (tmp_path / "out").exists()


def test_the_forecast_of_size_is_close(tmp_path: Path) -> None:
    report = write_dataset(tmp_path, SPEC, workers=2)
    assert report.bytes == sum(p.stat().st_size for p in tmp_path.rglob("*.hdf5"))
    assert expected_bytes(SPEC) == pytest.approx(report.bytes, rel=0.08)
