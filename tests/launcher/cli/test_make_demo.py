"""Ctrl-C in ``make demo`` leaves the view; make itself has nothing to complain of."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.launcher.cli.conftest import ROOT

LAUNCH = """#!/bin/sh
trap 'echo "demo-ab12 goes on"; exit 130' INT
echo following
while true; do sleep 0.1; done
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_ctrl_c_in_make_demo_ends_quietly_and_says_how_to_come_back(tmp_path: Path) -> None:
    for name, text in {"launch": LAUNCH, "trainer": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    ours, theirs = pty.openpty()
    argv = ["make", "-C", str(ROOT), "-o", "environment", "-o", "tools", "demo", f"BIN={tmp_path}"]
    process = subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=take_terminal
    )
    os.close(theirs)
    try:
        said = read_until(ours, b"following")
        os.write(ours, b"\x03")
        said += read_until(ours, b"come back: ")
        process.wait(timeout=20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)
    assert b"goes on" in said
    assert b"***" not in said


def take_terminal() -> None:
    """Make stdin the terminal whose Ctrl-C reaches this session."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read_until(descriptor: int, mark: bytes) -> bytes:
    """Read what is said until ``mark`` was."""
    said, give_up_at = b"", time.monotonic() + 20
    while mark not in said:
        left_s = give_up_at - time.monotonic()
        assert left_s > 0 and select.select([descriptor], [], [], left_s)[0], said
        said += os.read(descriptor, 4096)
    return said
