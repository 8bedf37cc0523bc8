"""What every test of the suite shares."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

from tests.forking import cache, fork, forker
from tests.launcher.cli.starting import starter_ends

__all__ = ["cache", "fork", "forker", "starter_ends"]

# The same examples on every machine, and no verdict by the clock: two busy cores must not fail a law.
settings.register_profile(
    "suite", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", settings.get_profile("suite"), derandomize=False, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

# A suite that was started in the background ignores Ctrl-C, and so would every program that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
