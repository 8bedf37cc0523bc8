"""Whether stages can be ordered at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.job.problem import FieldError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from launcher.job.parts import Stage

__all__ = ["check_stages"]


def check_stages(stages: Sequence[Stage]) -> None:
    """Refuse two stages of one name, an unknown stage in ``needs`` or ``after``, and a cycle, naming it.

    Raises:
        FieldError: with the path of the stage.
    """
    names = [stage.name for stage in stages]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise FieldError(f"two stages are called {name!r}", path=("stages", position, "name"))
    for position, stage in enumerate(stages):
        for word in ("needs", "after"):
            for number, other in enumerate(getattr(stage, word)):
                if other not in names:
                    close = nearest(other, names)
                    raise FieldError(
                        f"there is no stage {other!r}" + (f"; did you mean {close!r}?" if close else ""),
                        path=("stages", position, word, number),
                    )
    before = {stage.name: (*stage.needs, *stage.after) for stage in stages}
    cycle = _cycle(before)
    if cycle:
        raise FieldError("wait for each other: " + " → ".join(cycle), path=("stages",))


def _cycle(before: Mapping[str, Sequence[str]]) -> list[str] | None:
    """Return one cycle, first name repeated at its end; None when there is none."""
    done: set[str] = set()
    for start in before:
        trail: list[str] = []
        pending = [(start, iter(before[start]))]
        while pending:
            name, others = pending[-1]
            if len(trail) < len(pending):
                trail.append(name)
            following = next((other for other in others if other not in done), None)
            if following is None:
                done.add(name)
                pending.pop()
                trail.pop()
            elif following in trail:
                return [*trail[trail.index(following) :], following]
            else:
                pending.append((following, iter(before[following])))
    return None
