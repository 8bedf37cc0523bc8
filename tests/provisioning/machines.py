"""Sentences for tests about machines that are really this computer."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from provisioning import Instance, InstanceSpec, LocalAccess
from provisioning.models import utc_now

START = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)


class Clock:
    """A wall clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def spec(run_id: str = "demo-abcd", attempt: int = 1, try_number: int = 1, **more: Any) -> InstanceSpec:
    fields = {"home_id": "home-1", "owner": "ann", "deadline": utc_now() + timedelta(hours=1), **more}
    return InstanceSpec(run_id=run_id, attempt=attempt, try_number=try_number, **fields)


@contextmanager
def job(instance: Instance, script: str = "sleep 600") -> Iterator[subprocess.Popen[bytes]]:
    """Run a shell script on the machine, as its launcher would; killed at the end if it still lives."""
    access = instance.access
    assert isinstance(access, LocalAccess)
    environ = {**os.environ, **access.environ}
    with process(["bash", "-c", script], environ, access.work_root) as running:
        yield running


@contextmanager
def process(
    argv: list[str], environ: dict[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(argv, env=environ, cwd=cwd, start_new_session=True)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def eventually(condition: Callable[[], Any], within_s: float = 20.0) -> Any:
    """Wait until ``condition`` is true and return what it returned; fail when it does not become so."""
    give_up_at = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < give_up_at, f"not within {within_s:g} s: {condition}"
        time.sleep(0.01)
    return found
