"""The page itself: HTML that needs nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from launcher.events import Event, Kind
from launcher.forecast.account import Account, AccountLine, AccountStage
from launcher.forecast.experience import Calibration
from launcher.forecast.ranges import Range
from launcher.logs import NOTHING_SAID, LastWords
from launcher.quantities import duration, usd
from launcher.report.curves import Series, svg
from launcher.report.environments import section
from launcher.status import Status

__all__ = ["Report", "page"]

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
td.n,th.n{text-align:right;white-space:nowrap}td.q,p.q{color:#666;font-size:.9em}tr.sum td{font-weight:600}
.out{color:#a33}.in{color:#273}figure{display:inline-block;margin:.5rem;width:22rem}figcaption{font-size:.9em}
svg{width:100%}svg text{font-size:9px;fill:#666}svg .axis{fill:none;stroke:#bbb}svg polyline{fill:none;stroke:#26c;stroke-width:1.2}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}th,td{border-color:#333}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a page tells."""

    status: Status
    account: Account | None
    """None where the run never had a machine."""
    events: Sequence[Event]
    series: Mapping[str, Series]
    calibration: Calibration
    """Of this job's finished runs."""
    made_at: datetime
    environments: Sequence[Mapping[str, Any]] = ()
    """What its jobs ran with (`launcher.report.environments`)."""
    last_words: LastWords = NOTHING_SAID
    """Of what failed."""


def page(report: Report) -> str:
    """Write the page."""
    status = report.status
    parts = [
        f"<h1>{escape(status.run_id)} <small>{escape(status.state)}</small></h1>",
        f'<p class="q">{escape(status.reason)}</p>' if status.reason else "",
        _facts(report),
        _bill(report.account) if report.account is not None else "<p>It never had a machine.</p>",
        _history(report.calibration),
        _attempts(status),
        _last_words(report.last_words),
        _curves(report.series),
        section(report.environments),
        _events(report.events),
        f'<p class="q">made {report.made_at:%Y-%m-%d %H:%M} UTC; prices are those stored at launch</p>',
    ]
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(status.run_id)}</title>'
        f"<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _table(head: Iterable[tuple[str, str]], rows: Iterable[str]) -> str:
    heads = "".join(f'<th class="{kind}">{escape(name)}</th>' for name, kind in head)
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


def _row(cells: Iterable[tuple[str, str]], kind: str = "") -> str:
    return f'<tr class="{kind}">' + "".join(f'<td class="{k}">{escape(c)}</td>' for c, k in cells) + "</tr>"


def _facts(report: Report) -> str:
    status = report.status
    total = f" of {status.total:,}" if status.total else ""
    rows = [
        ("launched", f"{status.created_at:%Y-%m-%d %H:%M} UTC"),
        ("ended", f"{status.ended_at:%Y-%m-%d %H:%M} UTC" if status.ended_at else "goes on"),
        ("progress", f"step {status.step:,}{total}" if status.step is not None else ""),
        ("verdict", status.verdict.words if status.verdict is not None else ""),
        ("what to do", status.advice),
        ("cost", usd(status.cost_usd)),
        ("results", status.results_dir),
    ]
    return _table((), (_row([(name, "q"), (value, "")]) for name, value in rows if value))


def _bill(account: Account) -> str:
    head = [
        ("line", ""),
        ("expected time", "n"),
        ("took", "n"),
        ("expected cost", "n"),
        ("came to", "n"),
        ("basis of the estimate", ""),
    ]
    total = _row(
        [
            ("in all", ""),
            (_hours(account.expected_hours), "n"),
            (duration(3600 * account.hours), "n"),
            (_usd(account.expected_usd), "n"),
            (usd(account.usd), "n"),
            ("", ""),
        ],
        "sum",
    )
    bill = _table(head, [*map(_bill_row, account.lines), total])
    stages = _table([("stage", ""), *head[1:]], map(_stage_row, account.stages)) if account.stages else ""
    return f"<h2>Estimate and bill</h2>{_verdict(account)}{bill}{stages}"


def _verdict(account: Account) -> str:
    if not account.finished:
        return '<p class="q">The job did not do all its work: the bill is what it came to until then.</p>'
    kind, words = ("in", "inside") if account.is_inside else ("out", "outside")
    error = f", {account.error:+.0%} against the likely value" if account.error is not None else ""
    return f'<p class="{kind}">It came out {words} the range that was told{error}; the time was known as: {escape(account.source)}.</p>'


def _bill_row(line: AccountLine) -> str:
    return _row([(line.item, ""), *_beside(line)])


def _stage_row(stage: AccountStage) -> str:
    return _row([(stage.name, ""), *_beside(stage)])


def _beside(part: AccountLine | AccountStage) -> list[tuple[str, str]]:
    """What was expected beside what it came to."""
    return [
        (_hours(part.expected_hours), "n"),
        (duration(3600 * part.hours) if part.hours else "", "n"),
        (_usd(part.expected_usd), "n"),
        (usd(part.usd), "n"),
        (part.basis, "q"),
    ]


def _hours(hours: Range) -> str:
    if not hours:
        return ""
    low, likely, high = (duration(3600 * value) for value in (hours.low, hours.likely, hours.high))
    return likely if low == high else f"{likely} ({low} to {high})"


def _usd(value: Range) -> str:
    low, likely, high = usd(value.low), usd(value.likely), usd(value.high)
    return likely if low == high else f"{likely} ({low} to {high})"


def _history(seen: Calibration) -> str:
    if not seen.runs:
        return ""
    error = f"; half of them within {seen.median_error:.0%} of the likely value" if seen.median_error else ""
    words = f"Of {seen.runs} finished runs of this job {seen.inside} came out inside the range that was told{error}."
    return f"<h2>How good its estimates have been</h2><p>{escape(words)}</p>"


def _attempts(status: Status) -> str:
    head = [("#", "n"), ("machine", ""), ("steps", "n"), ("lost", "n"), ("cost", "n"), ("ended by", "")]
    rows = (
        _row(
            [
                (str(item.n), "n"),
                (item.offer, ""),
                (f"{item.steps_done:,}", "n"),
                (f"{item.steps_lost:,}", "n"),
                (usd(item.usd), "n"),
                (item.cause.replace("_", " ") if item.ended else "goes on", ""),
            ]
        )
        for item in status.attempts
    )
    return f"<h2>Machines</h2>{_table(head, rows)}" if status.attempts else ""


def _last_words(said: LastWords) -> str:
    if not said.lines:
        return ""
    whose = f"stage {said.stage}" if said.stage else "the program"
    lines = "\n".join(said.lines)
    return f"<h2>The last lines of {escape(whose)}</h2><pre>{escape(lines)}</pre>"


def _curves(series: Mapping[str, Series]) -> str:
    return f"<h2>Curves</h2>{''.join(svg(name, points) for name, points in series.items())}" if series else ""


def _events(events: Sequence[Event]) -> str:
    told = [event for event in events if event.kind not in (Kind.PROGRESS, Kind.OUTPUT)]
    rows = (
        _row([(f"{event.at:%m-%d %H:%M:%S}", "q"), (event.kind.value, "q"), (event.message, "")])
        for event in told
    )
    return f"<h2>What happened</h2>{_table((), rows)}" if told else ""
