"""Reading and writing the record.

Every write is one short transaction, durable when the method returns: what was written before a create call is
still there after the power went. `Store.together` makes several of them one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from launcher.errors import NameTaken, RunNotFound
from launcher.events import Event, Kind
from launcher.store.codec import readable
from launcher.store.connection import Connections
from launcher.store.rows import (
    AccountRow,
    AttemptRow,
    InstanceRow,
    Intent,
    RunRow,
    SpeedRow,
    TryOutcome,
    TryRow,
    WorkRow,
)

__all__ = ["Store"]

WHERE_TO_LOOK = "`launch ls` shows the runs of this computer"


class Store:
    """The record of one home. One object may be used from several threads; each gets its own connection."""

    def __init__(self, path: Path) -> None:
        self._database = Connections(path)

    def close(self) -> None:
        """Close this thread's connection."""
        self._database.close()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Make all writes of the block one: after a crash, or an error in it, all of them are there or none."""
        with self._database.transaction():
            yield

    # Runs

    def add_run(self, run: RunRow) -> None:
        """Write a new run.

        Raises:
            NameTaken: a live run has this name, or the id exists.
        """
        try:
            self._database.insert(run)
        except sqlite3.IntegrityError as err:
            live = [row.run_id for row in self.live_runs() if row.name == run.name]
            raise NameTaken(
                f"a run named {run.name!r} is live: {', '.join(live) or run.run_id}",
                hint=f"follow it with `launch logs -f {run.name}`, end it with `launch stop {run.name}`, "
                "or choose another --name",
            ) from err

    def run(self, run_id: str) -> RunRow:
        """Return the run with exactly this id; `RunNotFound` when there is none."""
        rows = self._database.select(RunRow, "run_id = ?", run_id)
        if not rows:
            raise RunNotFound(f"no run {run_id!r}", hint=WHERE_TO_LOOK)
        return rows[0]

    def has_ended(self, run_id: str) -> bool:
        """Say whether a run is over, at the cost of one look into an index."""
        return not self._database.query("SELECT 1 FROM runs WHERE run_id = ? AND ended_at IS NULL", run_id)

    def has_run(self, run_id: str) -> bool:
        """Say whether a run with exactly this id is on record."""
        return bool(self._database.query("SELECT 1 FROM runs WHERE run_id = ?", run_id))

    def find_run(self, text: str) -> RunRow:
        """Return the run that a person means: an id, a unique prefix of one, or a name (its newest run)."""
        exact = self._database.select(RunRow, "run_id = ?", text)
        if exact:
            return exact[0]
        named = self._database.select(RunRow, "name = ? ORDER BY created_at DESC LIMIT 1", text)
        if named:
            return named[0]
        prefixed = self._database.select(
            RunRow, "run_id >= ? AND run_id < ? ORDER BY created_at DESC LIMIT 6", text, text + "\U0010ffff"
        )
        if len(prefixed) == 1 and text:
            return prefixed[0]
        if len(prefixed) > 1 and text:
            ids = ", ".join(row.run_id for row in prefixed[:5]) + (", …" if len(prefixed) > 5 else "")
            raise RunNotFound(f"{text!r} is the beginning of several runs: {ids}", hint="give more of the id")
        raise RunNotFound(f"no run {text!r}", hint=WHERE_TO_LOOK)

    def runs_named(self, name: str) -> list[RunRow]:
        """Return all runs of exactly this name, newest first."""
        return self._database.select(RunRow, "name = ? ORDER BY created_at DESC", name)

    def live_runs(self) -> list[RunRow]:
        """Return all runs that have not ended, oldest first."""
        return self._database.select(RunRow, "ended_at IS NULL ORDER BY created_at")

    def live_intents(self) -> dict[str, Intent]:
        """Return the ids of all live runs, oldest first, and what is wanted of each."""
        rows = self._database.query(
            "SELECT run_id, intent FROM runs WHERE ended_at IS NULL ORDER BY created_at"
        )
        return {run_id: Intent(intent) for run_id, intent in rows}

    def renting_runs(self) -> list[RunRow]:
        """Return all runs that have something at a provider that may cost money, kept disks of ended ones too."""
        renting = "run_id IN (SELECT run_id FROM instances WHERE ended_at IS NULL) ORDER BY created_at"
        return self._database.select(RunRow, renting)

    def newest_runs(self, limit: int | None = 20) -> list[RunRow]:
        """Return the newest runs, newest first; all of them with ``limit=None``."""
        return self._database.select(
            RunRow, "1 ORDER BY created_at DESC, run_id LIMIT ?", -1 if limit is None else limit
        )

    def update_run(self, run_id: str, **changes: Any) -> None:
        """Change some columns of a run."""
        self._database.update(RunRow, (run_id,), changes)

    def revive_run(self, run_id: str, now: datetime, **changes: Any) -> None:
        """Make an ended run live again, its verdict and wishes forgotten; `NameTaken` when its name is in use."""
        fresh: dict[str, Any] = {
            "ended_at": None,
            "verdict": None,
            "intent": Intent.NONE,
            "intent_options": {},
            "warned": (),
            "calibrated": {},
            "resumed_at": now,
            "updated_at": now,
        }
        try:
            self._database.update(RunRow, (run_id,), {**fresh, **changes})
        except sqlite3.IntegrityError as err:
            name = self.run(run_id).name
            raise NameTaken(
                f"a run named {name!r} is live",
                hint=f"end it with `launch stop {name}` before this one goes on",
            ) from err

    def ask(self, run_id: str, intent: Intent, **options: Any) -> None:
        """Note what a person wants of a run; a live one's supervisor will see it."""
        self.update_run(run_id, intent=intent, intent_options=options)

    # Attempts, tries, instances

    def put(self, row: AttemptRow | TryRow | InstanceRow | SpeedRow | WorkRow | AccountRow) -> None:
        """Write a row, replacing the one with the same key."""
        self._database.insert(row, replace=True)

    def update_attempt(self, attempt: AttemptRow, **changes: Any) -> AttemptRow:
        """Change some columns of an attempt and return it as it is now."""
        self._database.update(AttemptRow, (attempt.run_id, attempt.stage, attempt.n), changes)
        return dataclasses.replace(attempt, **changes)

    def update_instance(self, row: InstanceRow, **changes: Any) -> InstanceRow:
        """Change some columns of an instance and return it as it is now."""
        self._database.update(InstanceRow, (row.ref, row.token), changes)
        return dataclasses.replace(row, **changes)

    def update_try(self, row: TryRow, **changes: Any) -> TryRow:
        """Note what became of a create call."""
        self._database.update(TryRow, (row.token,), changes)
        return dataclasses.replace(row, **changes)

    def attempts(self, run_id: str) -> list[AttemptRow]:
        """Return the attempts of a run, oldest first."""
        return self._database.select(AttemptRow, "run_id = ? ORDER BY n, started_at, rowid", run_id)

    def tries(self, run_id: str, attempt: int | None = None) -> list[TryRow]:
        """Return the tries of a run, or of one attempt, oldest first."""
        if attempt is None:
            return self._database.select(TryRow, "run_id = ? ORDER BY attempt, try_number", run_id)
        return self._database.select(
            TryRow, "run_id = ? AND attempt = ? ORDER BY try_number", run_id, attempt
        )

    def unanswered_tries(self, run_id: str) -> list[TryRow]:
        """Return the create calls of a run of which nobody knows yet whether they made something."""
        return self._database.select(TryRow, "run_id = ? AND outcome = ?", run_id, TryOutcome.ASKED.value)

    def instances(self, run_id: str | None = None) -> list[InstanceRow]:
        """Return the instances of a run, or all that have not been confirmed as ended, oldest first."""
        if run_id is None:
            return self._database.select(InstanceRow, "ended_at IS NULL ORDER BY created_at")
        return self._database.select(InstanceRow, "run_id = ? ORDER BY created_at", run_id)

    # Events

    def append(self, run_id: str, kind: Kind, message: str, at: datetime, data: Mapping[str, Any]) -> Event:
        """Append one event to a run's log and return it with its position."""
        with self._database.transaction() as connection:
            (last,) = connection.execute(
                "SELECT coalesce(max(seq), 0) FROM events WHERE run_id = ?", (run_id,)
            ).fetchone()
            connection.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
                (
                    run_id,
                    last + 1,
                    at.isoformat(),
                    kind.value,
                    readable(message),
                    json.dumps(data, default=str),
                ),
            )
        return Event(kind=kind, message=message, at=at, run_id=run_id, seq=last + 1, data=data)

    def events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """Return a run's events after a position, oldest first."""
        rows = self._database.query(
            "SELECT seq, at, kind, message, data FROM events WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?",
            run_id,
            after,
            -1 if limit is None else limit,
        )
        return [
            Event(
                kind=Kind(kind),
                message=message,
                at=datetime.fromisoformat(at),
                run_id=run_id,
                seq=seq,
                data=json.loads(data),
            )
            for seq, at, kind, message, data in rows
        ]

    # Leases

    def take_lease(
        self,
        run_id: str,
        *,
        pid: int,
        pid_started: str,
        now: datetime,
        expires_at: datetime,
        holder_lives: bool,
    ) -> bool:
        """Take or renew the right to act for a run; False while somebody else, who lives, holds it."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT pid, pid_started, expires_at FROM leases WHERE run_id = ?", (run_id,)
            ).fetchone()
            if row is not None:
                mine = (row[0], row[1]) == (pid, pid_started)
                expired = datetime.fromisoformat(row[2]) <= now
                if not mine and holder_lives and not expired:
                    return False
            connection.execute(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)",
                (run_id, pid, pid_started, expires_at.isoformat()),
            )
        return True

    def lease_holder(self, run_id: str) -> tuple[int, str] | None:
        """Return (pid, its start time) of whoever holds a run's lease."""
        rows = self._database.query("SELECT pid, pid_started FROM leases WHERE run_id = ?", run_id)
        return None if not rows else (rows[0][0], rows[0][1])

    def drop_lease(self, run_id: str, *, pid: int) -> None:
        """Give a lease back."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM leases WHERE run_id = ? AND pid = ?", (run_id, pid))

    # Outputs and measured speeds

    def add_outputs(
        self, run_id: str, files: Iterable[tuple[str, int, str]], at: datetime, *, stage: str = ""
    ) -> None:
        """Note files that are home: (absolute path, bytes, sha256); what is the same stays the earlier ``stage``'s."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO outputs (run_id, path, size_bytes, sha256, fetched_at, stage) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (run_id, path) DO UPDATE SET size_bytes = excluded.size_bytes, sha256 = excluded.sha256,"
                " fetched_at = excluded.fetched_at,"
                " stage = CASE WHEN sha256 = excluded.sha256 AND stage <> '' THEN stage ELSE excluded.stage END",
                [
                    (run_id, _path_column(path), size, digest, at.isoformat(), stage)
                    for path, size, digest in files
                ],
            )

    def outputs_with_stages(self, run_id: str) -> list[tuple[str, str, str]]:
        """Return the files of a run that are home: (absolute path, the stage that made it, sha256)."""
        query = "SELECT path, stage, sha256 FROM outputs WHERE run_id = ?"
        return [
            (os.fsdecode(path), stage, digest) for path, stage, digest in self._database.query(query, run_id)
        ]

    def outputs_with_times(self, run_id: str, stage: str) -> list[tuple[str, str, datetime]]:
        """Return the files that a stage of a run has at home: (absolute path, sha256, when it last came home)."""
        query = "SELECT path, sha256, fetched_at FROM outputs WHERE run_id = ? AND stage = ?"
        return [
            (os.fsdecode(path), digest, datetime.fromisoformat(at))
            for path, digest, at in self._database.query(query, run_id, stage)
        ]

    def output_bytes(self, run_id: str, stage: str) -> int:
        """Return the bytes of the files that a stage of a run has brought home; ``""`` where the job has no stages."""
        query = "SELECT coalesce(sum(size_bytes), 0) FROM outputs WHERE run_id = ? AND stage = ?"
        return int(self._database.query(query, run_id, stage)[0][0])

    def outputs(self, run_id: str) -> list[tuple[str, int, str]]:
        """Return the files of a run that are home: (absolute path, bytes, sha256)."""
        query = "SELECT path, size_bytes, sha256 FROM outputs WHERE run_id = ? ORDER BY path"
        return [
            (os.fsdecode(path), size, digest) for path, size, digest in self._database.query(query, run_id)
        ]

    def speeds(self, job_digest: str, limit: int = 50) -> Sequence[SpeedRow]:
        """Return how fast a job has gone, newest first."""
        return self._database.select(
            SpeedRow, "job_digest = ? ORDER BY measured_at DESC LIMIT ?", job_digest, limit
        )

    def works(self, work_digest: str, limit: int = 20) -> Sequence[WorkRow]:
        """Return what a job, or a stage, took when it had done all its work, newest first."""
        return self._database.select(
            WorkRow, "work_digest = ? ORDER BY measured_at DESC LIMIT ?", work_digest, limit
        )

    def accounts(self, job_digest: str | None = None, limit: int = 100) -> Sequence[AccountRow]:
        """Return what runs came to, of one job or of all, newest first."""
        if job_digest is None:
            return self._database.select(AccountRow, "1 ORDER BY ended_at DESC LIMIT ?", limit)
        return self._database.select(
            AccountRow, "job_digest = ? ORDER BY ended_at DESC LIMIT ?", job_digest, limit
        )

    def data_version(self) -> int:
        """Return a number that changes when another connection has written; costs next to nothing."""
        return int(self._database.query("PRAGMA data_version")[0][0])


def _path_column(path: str) -> str | bytes:
    """File names are bytes, and some are no text: those are stored as the bytes they are."""
    name = os.fsencode(path)
    return path if readable(path) == path else name
