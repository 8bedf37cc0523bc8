"""What the processes of tests owe them: an end that is told, and a way on after a test that failed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.forking import Forked, Forker, Lines, OutOfStepError
from tests.launcher.cli.conftest import is_alive
from tests.system.house import eventually

SLEEP = "print('here', flush=True); import time; time.sleep(600)"
Start = Callable[..., Forked]


@pytest.fixture(params=["forked", "anew"])
def own_forker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Forker]:
    forker = Forker(tmp_path, tmp_path / "cache", imports="", anew=request.param == "anew")
    yield forker
    forker.end_program()
    forker.close()


@pytest.fixture
def start(own_forker: Forker, tmp_path: Path) -> Start:
    def run(code: str, count: int = 1) -> Forked:
        output = tmp_path / "output.txt"
        output.write_text("")
        order = {"argv": ["-c"], "count": count, "environment": {}, "folder": "", "code": code}
        return own_forker.start({**order, "output": str(output)}, output)

    return run


def test_all_of_several_are_killed_and_the_next_starts(start: Start) -> None:
    pair = start(SLEEP, count=2)
    eventually(lambda: pair.output().count("here") == 2, "both")
    with pytest.raises(AssertionError, match="one is running"):
        start("print('no')")
    pair.kill()
    assert pair.returncode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError, match="has ended with -9"):
        pair.send(0)
    assert start("print('next')").wait() == "next\n"


def test_an_end_before_anybody_looks_is_seen(start: Start) -> None:
    quick = start("print('done'); raise SystemExit(3)")
    eventually(lambda: not is_alive(quick.pid), "the end")
    assert (quick.wait(), quick.returncode) == ("done\n", 3)
    pair = start("import os; raise SystemExit(int(os.environ['RANK']))", count=2)
    pair.wait()
    assert pair.returncode == 1, "the worst"


def test_a_forker_that_has_gone_is_replaced(start: Start, own_forker: Forker) -> None:
    lost = start(SLEEP)
    assert own_forker._process is not None
    own_forker._process.kill()
    with pytest.raises(OutOfStepError, match="has gone"):
        lost.wait()
    with pytest.raises(OutOfStepError):
        lost.kill()
    eventually(lambda: not is_alive(lost.pid), "its end")
    assert start("print('next')").wait() == "next\n"


def test_the_answer_to_another_question_is_no_answer() -> None:
    here, there = os.pipe()
    try:
        os.write(there, b"pid 12\nend -9\nhalf")
        said = Lines(here)
        assert said.number("pid", 0) == 12
        with pytest.raises(OutOfStepError, match="was to say 'pid' and said b'end -9'"):
            said.number("pid", 0)
        assert said.number("pid", 0) is None, "half a line is none"
    finally:
        os.close(here)
        os.close(there)
