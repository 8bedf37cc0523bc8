"""The list of runs, from the record alone. It imports next to nothing, because it is asked for most often."""

from __future__ import annotations

from collections.abc import Mapping

from launcher.home import Home
from launcher.status import Status, status_of
from launcher.store import Store
from provisioning.models import utc_now

__all__ = ["follow_if_nobody_does", "list_runs"]


def list_runs(*, limit: int | None = 20, environ: Mapping[str, str] | None = None) -> list[Status]:
    """Return live runs, those with a kept disk, and the newest others, newest first; all with ``limit=None``.

    Reads the record alone. Where runs are live and nobody follows them, a supervisor is started first.
    """
    home = Home.open(environ)
    store = Store(home.database)
    follow_if_nobody_does(home, store, environ)
    rows = {row.run_id: row for row in (*store.newest_runs(limit), *store.live_runs(), *store.renting_runs())}
    now = utc_now()
    newest_first = sorted(rows.values(), key=lambda row: row.created_at, reverse=True)
    return [
        status_of(row, store.attempts(row.run_id), store.instances(row.run_id), (), now)
        for row in newest_first
    ]


def follow_if_nobody_does(home: Home, store: Store, environ: Mapping[str, str] | None) -> None:
    """Start the supervisor where live runs have lost theirs: after a crash or a reboot, whatever command comes first."""
    if not store.live_intents():
        return
    from launcher.supervise import ensure_supervisor  # only where there is somebody to follow

    ensure_supervisor(home, environ)
