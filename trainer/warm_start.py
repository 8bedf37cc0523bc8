"""Starting a new run from the weights of another, for any PyTorch script::

    report = warm_start(model, weights, require=["encoder."])
    print(report.table())

Parameters are matched by name and shape. Nothing matched, or nothing under a required prefix: the run
is refused, because training from random weights by mistake looks just like training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.errors import CheckpointMismatch

__all__ = ["WarmStart", "warm_start"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmStart:
    """What happened to each parameter."""

    matched: tuple[str, ...]
    """Taken from the checkpoint."""
    skipped: tuple[str, ...]
    """In both, with another shape: left as initialised."""
    absent: tuple[str, ...]
    """In the model only: left as initialised."""
    unused: tuple[str, ...]
    """In the checkpoint only."""

    def summary(self) -> str:
        """One line."""
        return (
            f"{len(self.matched)} parameters taken, {len(self.skipped)} skipped for their shape, "
            f"{len(self.absent)} absent from the checkpoint, {len(self.unused)} of its own unused"
        )

    def table(self) -> str:
        """One line for each group of parameters (``gru``, ``day_weights``), with its counts."""
        groups: dict[str, list[int]] = {}
        columns = (self.matched, self.skipped, self.absent, self.unused)
        for column, names in enumerate(columns):
            for name in names:
                groups.setdefault(name.partition(".")[0], [0, 0, 0, 0])[column] += 1
        width = max([len("parameters"), *map(len, groups)])
        lines = [f"{'parameters':<{width}}  matched  skipped  absent  unused"]
        for group, (matched, skipped, absent, unused) in groups.items():
            lines.append(f"{group:<{width}}  {matched:>7}  {skipped:>7}  {absent:>6}  {unused:>6}")
        return "\n".join(lines)


def warm_start(model: nn.Module, weights: Mapping[str, Tensor], *, require: Sequence[str] = ()) -> WarmStart:
    """Copy into `model` every parameter and buffer of `weights` that fits by name and shape.

    Raises `CheckpointMismatch`, with `model` unchanged, when nothing fits at all, when what fits holds NaN or
    infinity, or, for a prefix in `require`, when any of the model's parameters under it would stay as initialised.
    """
    own = model.state_dict()
    matched = [n for n, v in own.items() if n in weights and weights[n].shape == v.shape]
    report = WarmStart(
        matched=tuple(matched),
        skipped=tuple(n for n in own if n in weights and weights[n].shape != own[n].shape),
        absent=tuple(n for n in own if n not in weights),
        unused=tuple(n for n in weights if n not in own),
    )
    _check(report, require)
    broken = [n for n in matched if not torch.isfinite(weights[n]).all()]
    if broken:
        raise CheckpointMismatch(f"warm start: {broken[0]} holds numbers that are not finite")
    with torch.no_grad():
        for name in matched:
            own[name].copy_(weights[name])
    return report


def _check(report: WarmStart, require: Sequence[str]) -> None:
    if not report.matched:
        raise CheckpointMismatch(f"warm start: nothing matched; {report.summary()}", hint=report.table())
    left = (*report.skipped, *report.absent)
    for prefix in require:
        missing = [n for n in left if n.startswith(prefix)]
        found = [n for n in report.matched if n.startswith(prefix)]
        if missing or not found:
            what = f"{missing[0]} was not taken" if missing else "the model has no such parameter"
            raise CheckpointMismatch(f"warm start: {prefix} is required, but {what}", hint=report.table())
