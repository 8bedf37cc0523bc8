import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.cli import main
from trainer.synthetic import SIZES
from trainer.synthetic.cli import add_arguments, spec_from

SMALL = ["--sessions", "1", "--train", "3", "--val", "1", "--test", "1", "--max-words", "4"]
PROGRAM = "import sys; from trainer.cli import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def _own_signals() -> object:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def synthesize(*arguments: str | Path) -> int:
    return main(["synthesize", *map(str, arguments)])


def test_writes_and_says_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synthesize("--out", tmp_path / "d", *SMALL) == 0
    said = capsys.readouterr()
    assert said.out.startswith("wrote 5 trials in 3 files of 1 sessions")
    assert str(tmp_path / "d" / "hdf5_data_final") in said.out
    assert synthesize("--out", tmp_path / "d", *SMALL) == 0
    assert capsys.readouterr().out.startswith("already there: 5 trials in 3 files")


def test_sizes_are_presets_that_options_change() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--out", "d", "--size", "large", "--val", "0", "--noise", "0.5"])
    assert spec_from(args) == SIZES["large"].changed(val=0, noise=0.5)
    assert spec_from(parser.parse_args(["--out", "d"])) == SIZES["demo"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--sessions", "0"], "sessions is 0; it must lie between 1 and 1000"),
        (["--train", "-1"], "train is -1; it must lie between 0 and 10000"),
        (["--train", "10001"], "train is 10001"),
        (["--noise", "nan"], "noise is nan"),
        (["--drift", "1.5"], "drift is 1.5; it must lie between 0 and 1"),
        (["--bins-per-phoneme", "2"], "hint: change --bins-per-phoneme"),
        (["--min-words", "5", "--max-words", "4"], "max_words is 4; it must lie between 5 and"),
        (["--train", "0", "--val", "0", "--test", "0"], "nothing to synthesize"),
        (["--workers", "0"], "workers is 0"),
        (["--cmudict", "/nowhere/cmudict"], "cannot read the dictionary /nowhere/cmudict"),
    ],
)
def test_wrong_options_are_told_in_a_line_exit_2_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert synthesize("--out", tmp_path / "d", *SMALL, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert complaint in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "d").exists()


def test_a_taken_folder_is_exit_2_and_a_refusing_disk_exit_1(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    assert synthesize("--out", tmp_path / "taken", *SMALL) == 2
    assert synthesize("--out", tmp_path / "taken", *SMALL, "--force") == 0
    assert synthesize("--out", tmp_path / "file", *SMALL) == 1


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "d"
    command = [sys.executable, "-c", PROGRAM, "synthesize", "--out", str(out), "--train", "500"]
    program = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    try:
        while not list(out.rglob("*.hdf5")):
            assert program.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        program.terminate()
        program.communicate(timeout=60)
    assert program.returncode == 128 + signal.SIGTERM
    assert not out.exists()
