"""`launch report`: one page on a run, or how good the estimates have been."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.arguments import example
from launcher.cli.screen import Screen, with_screen

if TYPE_CHECKING:
    from launcher.forecast.account import Account

__all__ = ["report"]


@click.command(
    "report",
    short_help="Estimate against bill, curves: one page.",
    epilog=example("launch report demo", "launch report        every run, and how often the range held"),
)
@click.argument("run_text", metavar="[RUN]", required=False)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Where the page is put."
)
@with_screen
def report(screen: Screen, run_text: str | None, out: Path | None) -> int:
    """Write one HTML page on a run: estimate against bill by line, curves, machines, what happened.

    Without RUN: what the newest runs came to, and how often the real cost fell inside the range that was told.
    """
    if run_text is None:
        return _history(screen)
    from launcher.records import to_json
    from launcher.report.write import write_report

    path, told = write_report(run_text, out=out)
    if screen.json:
        account = None if told.account is None else to_json(told.account)
        screen.document({"run_id": told.status.run_id, "path": str(path), "account": account})
        return 0
    if told.account is not None:
        from launcher.render.account import account_view

        screen.show(account_view(told.account))
    from launcher.render.words import home_path

    screen.say(f"report: {home_path(path)}")
    return 0


def _history(screen: Screen) -> int:
    from launcher.forecast.experience import calibration_of
    from launcher.report.write import history

    accounts = history()
    seen = calibration_of(accounts)
    if screen.json:
        calibration = {
            "runs": seen.runs,
            "inside": seen.inside,
            "median_error": seen.median_error,
            "by_source": {name: {"runs": n, "inside": m} for name, (n, m) in seen.by_source.items()},
        }
        screen.document({"runs": [_document(item) for item in accounts], "calibration": calibration})
        return 0
    if not accounts:
        screen.say("no run has ended yet")
        return 0
    from launcher.render.account import history_view

    screen.show(history_view(accounts, seen))
    return 0


def _document(item: Account) -> dict[str, Any]:
    from launcher.records import to_json

    return {
        "run_id": item.run_id,
        "offer": f"{item.provider} {item.instance_type}",
        "spot": item.spot,
        "finished": item.finished,
        "ended_at": item.ended_at.isoformat(),
        "basis": item.source,
        "expected_usd": to_json(item.expected_usd),
        "usd": item.usd,
        "expected_hours": to_json(item.expected_hours),
        "hours": item.hours,
        "inside": item.is_inside,
        "error": item.error,
    }
