"""The decoder's options under their customary names, with the official values as defaults."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.lm.errors import BadOption

__all__ = ["DecoderOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderOptions:
    """How a search weighs and prunes. Raises `BadOption` for what cannot be."""

    acoustic_scale: float = 0.325
    """Weight of the acoustic log-probabilities against the language model's."""
    blank_penalty: float = 90.0
    """Its natural logarithm is taken off the blank's log-probability in every frame; 1 changes nothing."""
    beam: float = 17.0
    """Paths that are worse than the best by more are dropped while frames come in."""
    lattice_beam: float = 8.0
    """Sentences that are worse than the best by more are left out of the n-best list."""
    max_active: int = 7000
    """At most about so many states are expanded in a frame; and at least `min_active`."""
    min_active: int = 200
    beam_delta: float = 0.5
    """Added to the beam when `max_active` or `min_active` narrows or widens it."""
    nbest: int = 100
    """Different sentences kept."""

    def __post_init__(self) -> None:
        for name in ("acoustic_scale", "blank_penalty", "beam", "lattice_beam", "beam_delta"):
            object.__setattr__(self, name, float(getattr(self, name)))
        self._require("acoustic_scale", self.acoustic_scale > 0, "more than 0")
        self._require("blank_penalty", self.blank_penalty > 0, "more than 0 (1 switches it off)")
        self._require("beam", self.beam > 0, "more than 0")
        self._require("lattice_beam", 0 <= self.lattice_beam <= self.beam, "between 0 and beam")
        self._require("min_active", self.min_active >= 1, "at least 1")
        self._require("max_active", self.max_active >= self.min_active, "at least min_active")
        self._require("beam_delta", self.beam_delta >= 0, "at least 0")
        self._require("nbest", self.nbest >= 1, "at least 1")

    def _require(self, name: str, good: bool, expected: str) -> None:
        value = getattr(self, name)
        # An infinite beam is "no pruning"; everything else must be finite, and NaN fails every comparison.
        if not good or (math.isinf(value) and name not in ("beam", "lattice_beam")):
            raise BadOption(f"{name} is {value}; it must be {expected}")

    def changed(self, changes: Mapping[str, Any]) -> DecoderOptions:
        """A copy with some options replaced, from numbers or their texts. Raises `BadOption`."""
        kinds: dict[str, type] = {f.name: type(getattr(self, f.name)) for f in dataclasses.fields(self)}
        found: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in kinds:
                near = difflib.get_close_matches(name, kinds, n=1)
                raise BadOption(f"unknown option {name}" + (f", did you mean {near[0]}?" if near else ""))
            try:
                found[name] = int(float(value)) if kinds[name] is int else float(value)
            except (TypeError, ValueError, OverflowError) as error:
                raise BadOption(f"{name}: expected a number, found {value!r}") from error
        return dataclasses.replace(self, **found)
