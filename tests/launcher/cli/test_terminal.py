"""The command on a real terminal: the question, the live view, Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.launcher.cli.conftest import Cli

COLUMNS, ROWS = 80, 40
DEADLINE_S = 40.0
KEY_EVERY_S = 0.1
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-_])")

SLOW = """\
name: slow
run: |
  for step in $(seq 1 600); do
    echo "{\\"step\\": $step, \\"total\\": 600, \\"loss\\": 1.5}" >> "$LAUNCH_METRICS_FILE"
    echo "working on $step"
    sleep 0.1
  done
resources: {cloud: local}
"""


class Terminal:
    """A command on a pseudo terminal, and everything that it has shown so far."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self.raw = ""

    @property
    def text(self) -> str:
        """What was shown, without control sequences."""
        return ESCAPES.sub("", self.raw).replace("\r", "")

    def until(self, words: str) -> None:
        """Read until ``words`` have been shown."""
        give_up_at = time.monotonic() + DEADLINE_S
        while words not in self.text:
            assert time.monotonic() < give_up_at, f"no {words!r} in:\n{self.text}"
            if not self._read() and self.process.poll() is not None:
                break
        assert words in self.text, self.text

    def type(self, keys: str) -> None:
        """Press keys one after the other, as people do: what comes at once, tmux takes for pasted text."""
        for key in keys:
            os.write(self._master, key.encode())
            next_key_at = time.monotonic() + KEY_EVERY_S
            while time.monotonic() < next_key_at:
                self._read()

    def end(self, *, pressing: str = "") -> int:
        """Read to the end and return the exit code; keys are pressed again when nothing has come of them.

        (Between printing its prompt and waiting for a key, Python's ``input`` can miss a Ctrl-C.)
        """
        give_up_at = time.monotonic() + DEADLINE_S
        press_at = time.monotonic()
        while self.process.poll() is None:
            assert time.monotonic() < give_up_at, self.text
            if pressing and time.monotonic() >= press_at:
                self.type(pressing)
                press_at = time.monotonic() + 2.0
            self._read()
        while self._read():
            pass
        return self.process.returncode

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 0.1)
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so when the last writer has gone
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)


@contextmanager
def on_terminal(cli: Cli, *args: str, stdout: BinaryIO | None = None, **environ: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        cli.argv(*args),
        cwd=cli.cwd,
        env={**cli.environ, "TERM": "xterm-256color", **environ},
        stdin=slave,
        stdout=stdout or slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)


@pytest.fixture
def slow(cli: Cli) -> Cli:
    (cli.cwd / "launch.yaml").write_text(SLOW)
    return cli


def test_no_starts_nothing(slow: Cli) -> None:
    with on_terminal(slow) as terminal:
        terminal.until("Start? [Y/n]")
        terminal.type("n\n")
        assert terminal.end() == 1
    assert "nothing was started" in terminal.text
    assert slow("ls", "--json").document["runs"] == []


def test_ctrl_c_at_the_question_starts_nothing(slow: Cli) -> None:
    with on_terminal(slow) as terminal:
        terminal.until("Start? [Y/n]: ")
        assert terminal.end(pressing="\x03") == 130
    assert "nothing was started" in terminal.text
    assert slow("ls", "--json").document["runs"] == []


def test_the_live_view_shows_progress_and_ctrl_c_leaves_the_run_alone(slow: Cli) -> None:
    with on_terminal(slow) as terminal:
        terminal.until("Start? [Y/n]")
        terminal.type("\n")
        terminal.until("loss 1.5")
        terminal.until("of 600")
        terminal.until("working on")
        terminal.until("Ctrl-C leaves this view; the run goes on.")
        terminal.type("\x03")
        assert terminal.end() == 130
    last = " ".join(terminal.text.strip().splitlines()[-2:])
    run = slow("ls", "--json").document["runs"][0]
    assert f"{run['run_id']} goes on at $0/h" in last
    assert f"launch stop {run['run_id']}" in last
    assert f"launch logs -f {run['run_id']}" in last
    step = slow("status", "slow", "--json").document["step"]
    came_back = slow("logs", "slow").out
    assert f"working on {step}" in came_back
    assert slow("status", "slow", "--json").document["state"] == "running"


def test_with_json_the_question_is_on_stderr(slow: Cli, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out, on_terminal(slow, "--json", stdout=out) as terminal:
        terminal.until("Start? [Y/n]")
        terminal.type("n\n")
        assert terminal.end() == 1
        assert out.tell() == 0


def test_no_colour_when_it_is_not_wanted(slow: Cli) -> None:
    with on_terminal(slow, "--dry-run", NO_COLOR="1") as terminal:
        assert terminal.end() == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", terminal.raw)
    assert "in all" in terminal.text


def test_a_dumb_terminal_gets_plain_lines(cli: Cli) -> None:
    with on_terminal(cli, "--provider", "local", "--yes", "--", "true", TERM="dumb") as terminal:
        assert terminal.end() == 0
    assert "\x1b[" not in terminal.raw
    assert re.search(r"\d\d:\d\d:\d\d  syncing ", terminal.text)


def test_ssh_attaches_to_the_session_of_the_run(slow: Cli) -> None:
    assert slow("--yes", "--detach").code == 0
    give_up_at = time.monotonic() + DEADLINE_S
    while "working" not in slow("logs", "slow").out:
        assert time.monotonic() < give_up_at
    with on_terminal(slow, "ssh", "slow") as terminal:
        terminal.until("working on")
        terminal.type("\x02d")
        assert terminal.end() == 0
    assert slow("status", "slow", "--json").document["state"] == "running"
