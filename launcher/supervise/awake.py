"""Keeping this computer awake while a run needs it: a process of the system's own tool, which ends when we do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from launcher.store import RunRow
from provisioning import CloudError, DeadlineKind
from provisioning.registry import provider_class

__all__ = ["Awake", "needs_this_computer"]

CONFIRMED_AFTER_S = 0.5
"""A tool that cannot do it (no system bus, no rights) says so and ends at once."""


def needs_this_computer(run: RunRow) -> bool:
    """Say whether a run suffers while this computer sleeps: it runs here, or only we would recover, end or go on with it."""
    if (
        len(run.plan.get("stages", ())) > 1
    ):  # nobody else begins the next stage, and a rented machine waits for that
        return True
    for offer in run.plan.get("candidates", ()):
        provider = str(offer.get("provider", ""))
        try:
            capabilities = provider_class(provider).capabilities
        except CloudError:
            continue
        if provider == "local" or offer.get("spot") or capabilities.deadline is DeadlineKind.CLIENT:
            return True
    return False


class Awake:
    """Holds off sleep by idleness, from `hold` to `release` or the end of this process, however it ends."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._is_impossible = False

    def hold(self) -> bool:
        """Ask for it, and say whether it is granted; costs nothing when called again."""
        if self._is_impossible:
            return False
        if self._process is None:
            self._start()
            return False
        if self._process.poll() is not None:
            self._is_impossible = True
            self.release()
            return False
        return self._monotonic() - self._started_at >= CONFIRMED_AFTER_S

    def release(self) -> None:
        """Let it sleep again."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        process.wait()

    def _start(self) -> None:
        command = _command()
        if command is None:
            self._is_impossible = True
            return
        # It reads a pipe that nobody writes to: the pipe breaks when this process is gone, kill -9 included.
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            self._is_impossible = True
        self._started_at = self._monotonic()


def _command() -> list[str] | None:
    """The tool of this system, around a program that ends when its input does."""
    if sys.platform == "darwin" and (tool := shutil.which("caffeinate")):
        return [tool, "-i", "cat"]
    if tool := shutil.which("systemd-inhibit"):
        return [
            tool,
            "--what=sleep:idle",
            "--who=launch",
            "--why=a training run goes on",
            "--mode=block",
            "cat",
        ]
    return None
