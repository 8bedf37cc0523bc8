"""Gathering what a page tells from the record, and writing it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from launcher.errors import HomeError
from launcher.forecast.account import Account
from launcher.forecast.bookkeeping import account_of
from launcher.forecast.experience import calibration_of
from launcher.forecast.history import accounts
from launcher.home import Home
from launcher.logs import last_words
from launcher.planning.plan import Plan
from launcher.report.curves import series_of
from launcher.report.environments import environments_of
from launcher.report.page import Report, page
from launcher.status import status_of
from launcher.store import Store
from provisioning.models import utc_now

__all__ = ["history", "report_of", "write_report"]


def report_of(home: Home, store: Store, run_id: str, now: datetime) -> Report:
    """Return what there is to tell of a run up to now; reads the record, and what its machines wrote down of themselves."""
    run, attempts, instances = store.run(run_id), store.attempts(run_id), store.instances(run_id)
    events = store.events(run_id)
    return Report(
        status=status_of(run, attempts, instances, store.outputs(run_id), now),
        account=account_of(run, Plan.from_json(run.plan), attempts, instances, events, now),
        events=events,
        series=series_of(events),
        calibration=calibration_of(accounts(store, run.job["fields"])),
        made_at=now,
        environments=environments_of(Path(run.results_dir)),
        last_words=last_words(run, home.run(run_id).log),
    )


def write_report(
    run: str, *, out: Path | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Path, Report]:
    """Write the page of a run and return where it is: beside its results, in the run's own folder, or at ``out``.

    Raises:
        RunNotFound: there is no such run.
        HomeError: the file cannot be written.
    """
    home = Home.open(dict(os.environ) if environ is None else environ)
    store = Store(home.database)
    row = store.find_run(run)
    report = report_of(home, store, row.run_id, utc_now())
    results = Path(row.results_dir)
    path = out or (results if results.is_dir() else home.run(row.run_id).root) / "report.html"
    try:
        path.write_text(page(report), encoding="utf-8")
    except OSError as err:
        raise HomeError(f"the report cannot be written: {err}", hint="--out FILE puts it elsewhere") from err
    return path, report


def history(*, environ: Mapping[str, str] | None = None, limit: int = 100) -> tuple[Account, ...]:
    """Return the accounts of the newest runs that have ended, newest first."""
    home = Home.open(dict(os.environ) if environ is None else environ)
    return accounts(Store(home.database), limit=limit)
