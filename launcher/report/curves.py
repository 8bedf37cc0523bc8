"""Curves as inline SVG: no library, no network, and the page stays one file. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from launcher.events import Event, Kind

__all__ = ["Series", "series_of", "svg"]

Series = Sequence[tuple[float, float]]
"""(step, value), in the order in which they were reported."""

WIDTH, HEIGHT = 360, 150
LEFT, BOTTOM, TOP, RIGHT = 52, 22, 8, 8
MOST_POINTS = 600
_NOT_CURVES = frozenset({"step", "total"})


def series_of(events: Sequence[Event]) -> Mapping[str, Series]:
    """Return the numbers that the job reported over its steps, by name; those that never moved are left out."""
    found: dict[str, list[tuple[float, float]]] = {}
    for event in events:
        if event.kind is not Kind.PROGRESS or event.data.get("step") is None:
            continue
        step = float(event.data["step"])
        values = {**event.data.get("metrics", {}), "steps_per_s": event.data.get("steps_per_s")}
        for name, value in values.items():
            if name not in _NOT_CURVES and isinstance(value, (int, float)) and math.isfinite(value):
                found.setdefault(str(name), []).append((step, float(value)))
    return {name: _thin(points) for name, points in sorted(found.items()) if len(points) > 1}


def _thin(points: list[tuple[float, float]]) -> Series:
    every = max(1, math.ceil(len(points) / MOST_POINTS))
    return [*points[::every], points[-1]] if every > 1 else points


def svg(name: str, points: Series) -> str:
    """Draw one curve with its axes' ends named. A step that is done again goes back, as it happened."""
    steps, values = [point[0] for point in points], [point[1] for point in points]
    low, high = min(values), max(values)
    first, last = min(steps), max(steps)
    if high == low:
        low, high = low - abs(low or 1.0) * 0.5, high + abs(high or 1.0) * 0.5
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(step: float, value: float) -> str:
        x = LEFT + across * ((step - first) / (last - first) if last > first else 0.5)
        y = TOP + down * (high - value) / (high - low)
        return f"{x:.1f},{y:.1f}"

    line = " ".join(place(step, value) for step, value in points)
    title = escape(name)
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f'<path class="axis" d="M{LEFT},{TOP}V{TOP + down}H{LEFT + across}"/>'
        f'<text x="{LEFT - 4}" y="{TOP + 8}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{LEFT - 4}" y="{TOP + down}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 6}">{first:,.0f}</text>'
        f'<text x="{LEFT + across}" y="{HEIGHT - 6}" text-anchor="end">step {last:,.0f}</text>'
        f'<polyline points="{line}"/></svg></figure>'
    )
