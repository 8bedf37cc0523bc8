"""The page of a run: whatever was reported is text on it, never markup."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser

from launcher.events import Event, Kind
from launcher.forecast.experience import calibration_of
from launcher.report.curves import MOST_POINTS, series_of, svg
from launcher.report.page import Report, page
from launcher.status import status_of
from tests.launcher.core.builders import NOON, offer
from tests.launcher.core.test_account import account, plan, run


def progress(step: int, metrics: dict[str, object]) -> Event:
    return Event(
        kind=Kind.PROGRESS,
        message=f"step {step}",
        at=NOON + timedelta(seconds=step),
        run_id="b2t-x4k2",
        data={"step": step, "metrics": metrics},
    )


def test_curves_are_what_was_reported_and_thinned_where_there_is_too_much() -> None:
    events = [
        progress(step, {"loss": 100.0 / (step + 1), "step": step, "word": "no number"})
        for step in range(2000)
    ]
    found = series_of(events)
    assert list(found) == ["loss"]
    assert len(found["loss"]) <= MOST_POINTS + 1
    assert found["loss"][0] == (0.0, 100.0) and found["loss"][-1][0] == 1999.0
    drawn = svg("loss", found["loss"])
    points = re.search(r'points="([^"]+)"', drawn)
    assert points and all(
        0 <= float(x) <= 360 and 0 <= float(y) <= 150
        for x, y in (pair.split(",") for pair in points[1].split())
    )


def test_a_flat_line_is_drawn_too() -> None:
    assert "<polyline" in svg("lr", [(1.0, 0.0), (2.0, 0.0)])


class Tags(HTMLParser):
    """Collects the elements of a page and checks that they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in ("meta", "path", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_what_a_job_says_is_never_markup() -> None:
    bad = "<script>alert(1)</script>"
    ended = run(plan(offer()), reason=bad, results_dir=f"/tmp/{bad}", ended_at=NOON)
    events = [progress(1, {bad: 1.0}), progress(2, {bad: 2.0})]
    events.append(Event(kind=Kind.WARNING, message=bad, at=NOON, run_id=""))
    report = Report(
        status=status_of(ended, [], [], [], NOON),
        account=account(source=bad),
        events=events,
        series=series_of(events),
        calibration=calibration_of([account()]),
        made_at=NOON,
    )
    text = page(report)
    assert "<script" not in text and "&lt;script&gt;" in text
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    assert {"html", "svg", "table", "figure"} <= tags.seen
