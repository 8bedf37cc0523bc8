"""What to synthesize: one frozen record from which everything else follows."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from trainer.synthetic.errors import BadSpec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SIZES", "SPLITS", "Split", "SyntheticSpec", "session_name"]

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

MAX_TRIALS = 10_000
"""Trials in one file: the names of the official layout have four digits."""

_FIRST_DAY = datetime.date(2001, 1, 5)
_GAPS_DAYS = (2, 5, 2, 5, 9, 2, 12, 5, 2, 16)


def session_name(index: int) -> str:
    """Name of the session, ``t15.YYYY.MM.DD``.

    The same for every seed, so that a configuration can list the names; and in years before any such recording was
    made, so that no name is ever that of a real session.
    """
    cycles, rest = divmod(index, len(_GAPS_DAYS))
    days = cycles * sum(_GAPS_DAYS) + sum(_GAPS_DAYS[:rest])
    return f"t15.{_FIRST_DAY + datetime.timedelta(days=days):%Y.%m.%d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSpec:
    """A data set in words and numbers; equal specs give byte-identical arrays. Raises `BadSpec` on nonsense."""

    sessions: int = 4
    train: int = 120
    """Trials per session in the training split; likewise `val` and `test`. 0 leaves the file out."""
    val: int = 15
    test: int = 10
    seed: int = 0
    noise: float = 1.0
    """Scales everything random in the signal; 0 leaves the clean trajectory."""
    drift: float = 0.4
    """How far electrode tuning turns from one session to the next: 0 not at all, 1 entirely."""
    bins_per_phoneme: float = 8.0
    """Mean length of a phoneme in bins of 20 ms."""
    min_words: int = 3
    max_words: int = 12
    cmudict: Path | None = None
    """A pronunciation dictionary to use in place of the built-in table."""

    def __post_init__(self) -> None:
        self._check_range("sessions", 1, 1000)
        for split in SPLITS:
            self._check_range(split, 0, MAX_TRIALS)
        self._check_range("seed", 0, 2**63 - 1)
        self._check_range("noise", 0, 10)
        self._check_range("drift", 0, 1)
        # Shorter, and the decoder's steps of 80 ms leave no room for an alignment.
        self._check_range("bins_per_phoneme", 6, 50)
        self._check_range("min_words", 1, 30)
        self._check_range("max_words", self.min_words, 30)
        if self.train + self.val + self.test == 0:
            raise BadSpec(
                "train, val and test are all 0: nothing to synthesize", hint="ask for at least one trial"
            )

    def _check_range(self, field: str, low: float, high: float) -> None:
        value = getattr(self, field)
        if not low <= value <= high:  # also refuses NaN
            raise BadSpec(
                f"{field} is {value}; it must lie between {low} and {high}",
                hint=f"change --{field.replace('_', '-')}",
            )

    @classmethod
    def tiny(cls, **changes: Any) -> SyntheticSpec:
        """Two sessions of 6 + 2 + 2 short sentences: written in a fraction of a second, for tests."""
        small: dict[str, Any] = {
            "sessions": 2,
            "train": 6,
            "val": 2,
            "test": 2,
            "max_words": 4,
            "bins_per_phoneme": 6.0,
        }
        return cls(**{**small, **changes})

    def trials(self, split: Split) -> int:
        """Trials of a split in each session."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]

    def all_trials(self) -> int:
        """Trials of all splits in all sessions."""
        return self.sessions * (self.train + self.val + self.test)

    def session_names(self) -> tuple[str, ...]:
        """Names of all sessions, oldest first."""
        return tuple(session_name(i) for i in range(self.sessions))

    def changed(self, **changes: Any) -> SyntheticSpec:
        """A copy with some fields replaced, checked again."""
        return replace(self, **changes)

    def parameters(self) -> dict[str, Any]:
        """Every field that shapes the data, ready for JSON; the dictionary is told by its content elsewhere."""
        return {name: value for name, value in asdict(self).items() if name != "cmudict"}


SIZES: dict[str, SyntheticSpec] = {
    "demo": SyntheticSpec(max_words=6),
    "small": SyntheticSpec(sessions=10, train=150, val=25, test=25),
    "large": SyntheticSpec(sessions=45, train=180, val=32, test=32, bins_per_phoneme=12.0),
}
"""Named sizes of `trainer synthesize`: about 0.25, 1 and 8 GB. ``large`` has as many trials as the official data."""
