"""The one place that decides what is retried, and for how long.

Only `Transient` is: everything else is an answer. A create is never retried here, because a create whose
answer was lost has to be looked for first; that is a decision, not a repetition.
"""

from __future__ import annotations

import random as _random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import tenacity

from provisioning.errors import Transient

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["END", "READ", "WATCH", "Policy", "call"]

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long one call is worth repeating. Whichever of the two limits is reached first ends it."""

    attempts: int
    deadline_s: float
    """From the first try; no wait goes beyond it."""
    first_wait_s: float = 0.5
    """Doubled by each further wait."""
    longest_wait_s: float = 15.0
    jitter: float = 0.5
    """The part of each wait that is left to chance, so that many callers do not come back together."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0.0 <= self.jitter <= 1.0:
            raise ValueError(f"a policy needs 1 attempt and a jitter in 0..1: {self}")

    def wait_s(self, failures: int, chance: float) -> float:
        """Return the wait after so many failures; ``chance`` lies in 0..1."""
        whole = min(self.first_wait_s * 2.0 ** (failures - 1), self.longest_wait_s)
        return whole * (1.0 - self.jitter * chance)


READ = Policy(attempts=6, deadline_s=60.0)
"""``check``, ``offers``, ``get`` and ``owned`` while somebody waits for the answer."""
WATCH = Policy(attempts=2, deadline_s=5.0)
"""``get`` in a loop that comes back by itself."""
END = Policy(attempts=12, deadline_s=300.0)
"""``terminate``: money burns until it works."""


def call(
    function: Callable[[], Answer],
    policy: Policy = READ,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = _random.random,
) -> Answer:
    """Call ``function`` until it answers or the policy is used up; then its last `Transient` is raised.

    The provider's own wish (``retry_after_s``) is kept to the second; one that goes beyond the deadline
    ends the matter at once.
    """
    started = clock()

    def left_s() -> float:
        return policy.deadline_s - (clock() - started)

    def give_up(state: tenacity.RetryCallState) -> bool:
        return state.attempt_number >= policy.attempts or left_s() <= _wish_s(state)

    def wait_s(state: tenacity.RetryCallState) -> float:
        return max(_wish_s(state), min(policy.wait_s(state.attempt_number, random()), left_s()))

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Transient),
        stop=give_up,
        wait=wait_s,
        sleep=sleep,
        reraise=True,
    )
    return retrying(function)


def _wish_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after_s or 0.0) if isinstance(error, Transient) else 0.0
