"""What people see: on a terminal one line that moves, elsewhere plain lines, and the log in any case."""

from __future__ import annotations

import contextlib
import os
import pty
from pathlib import Path

from trainer.progress import Console, Speed


def shown_on_a_terminal(log: Path) -> str:
    """What a pseudo-terminal gets from two states of a run and a line that stays."""
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as stream:
        console = Console(log, stream)
        console.status("step 1/20 · loss 13.000")
        console.status("step 2/20 · loss 9")
        console.warn("disk nearly full")
        console.status("step 3/20")
        console.close()
    text = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while piece := os.read(reader, 10_000):
            text += piece
    os.close(reader)
    return text.decode()


def test_a_terminal_gets_one_line_that_moves_and_warnings_above_it(tmp_path: Path) -> None:
    text = shown_on_a_terminal(tmp_path / "log")
    assert text.startswith("\rstep 1/20 · loss 13.000\rstep 2/20 · loss 9    ")
    assert "\rwarning: disk nearly full\r\n" in text
    assert text.endswith("\rstep 3/20\r\n")
    logged = (tmp_path / "log").read_text().splitlines()
    assert [line.partition(": ")[2] for line in logged] == [
        "step 1/20 · loss 13.000", "step 2/20 · loss 9", "WARNING: disk nearly full", "step 3/20"
    ]  # fmt: skip


def test_elsewhere_every_state_is_a_line_and_a_closed_pipe_ends_nothing(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        console = Console(tmp_path / "log", stream)
        console.status("step 1/20")
        console.say("done")
    assert (tmp_path / "out").read_text() == "step 1/20\ndone\n"
    console.say("after the end")
    console.close()
    assert "after the end" in (tmp_path / "log").read_text()


def test_speed_is_that_of_the_recent_past() -> None:
    now = 0.0
    speed = Speed(clock=lambda: now, window_s=10)
    assert speed.steps_per_s() is None
    for second in range(40):
        now = float(second)
        speed.mark(second if second < 20 else 20 + 5 * (second - 20))
    assert speed.steps_per_s() == 5.0
    assert speed.seconds_left(115, 615) == 100.0
