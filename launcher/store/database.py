"""Reading and writing the record.

Every write is one short transaction, durable when the method returns (``synchronous=FULL``): what was
written before a create call is still there after the power went. Readers never wait for writers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import threading
import typing
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from launcher.errors import NameTaken, RunNotFound, StoreError
from launcher.events import Event, Kind
from launcher.store.rows import AttemptRow, InstanceRow, Intent, RunRow, SpeedRow, TryOutcome, TryRow
from launcher.store.schema import migrate

__all__ = ["Store"]

Row = TypeVar("Row", RunRow, AttemptRow, TryRow, InstanceRow, SpeedRow)

BUSY_TIMEOUT_S = 30.0
TABLES: dict[type, str] = {
    RunRow: "runs",
    AttemptRow: "attempts",
    TryRow: "tries",
    InstanceRow: "instances",
    SpeedRow: "speeds",
}
KEYS: dict[type, tuple[str, ...]] = {
    RunRow: ("run_id",),
    AttemptRow: ("run_id", "stage", "n"),
    TryRow: ("token",),
    InstanceRow: ("ref", "token"),
}


class Store:
    """The record of one home. One object may be used from several threads; each gets its own connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connect()

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            del self._local.connection

    # Runs

    def add_run(self, run: RunRow) -> None:
        """Write a new run.

        Raises:
            NameTaken: a live run has this name, or the id exists.
        """
        try:
            with self._write() as connection:
                _insert(connection, run)
        except sqlite3.IntegrityError as err:
            live = [row.run_id for row in self.live_runs() if row.name == run.name]
            raise NameTaken(
                f"a run named {run.name!r} is live: {', '.join(live) or run.run_id}",
                hint=f"follow it with `launch logs -f {run.name}`, end it with `launch stop {run.name}`, "
                "or choose another --name",
            ) from err

    def run(self, run_id: str) -> RunRow:
        """Return the run with exactly this id; `RunNotFound` when there is none."""
        rows = self._select(RunRow, "run_id = ?", run_id)
        if not rows:
            raise RunNotFound(f"no run {run_id!r}", hint="`launch ls` shows the runs of this computer")
        return rows[0]

    def find_run(self, text: str) -> RunRow:
        """Return the run that a person means: an id, a unique prefix of one, or a name (its newest run)."""
        exact = self._select(RunRow, "run_id = ?", text)
        if exact:
            return exact[0]
        named = self._select(RunRow, "name = ? ORDER BY created_at DESC LIMIT 1", text)
        if named:
            return named[0]
        pattern = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        prefixed = self._select(RunRow, "run_id LIKE ? ESCAPE '\\' ORDER BY created_at DESC LIMIT 6", pattern)
        if len(prefixed) == 1 and text:
            return prefixed[0]
        if len(prefixed) > 1 and text:
            ids = ", ".join(row.run_id for row in prefixed[:5]) + (", …" if len(prefixed) > 5 else "")
            raise RunNotFound(f"{text!r} is the beginning of several runs: {ids}", hint="give more of the id")
        raise RunNotFound(f"no run {text!r}", hint="`launch ls` shows the runs of this computer")

    def live_runs(self) -> list[RunRow]:
        """Return all runs that have not ended, oldest first."""
        return self._select(RunRow, "ended_at IS NULL ORDER BY created_at")

    def newest_runs(self, limit: int | None = 20) -> list[RunRow]:
        """Return the newest runs, newest first; all of them with ``limit=None``."""
        return self._select(
            RunRow, "1 ORDER BY created_at DESC, run_id LIMIT ?", -1 if limit is None else limit
        )

    def update_run(self, run_id: str, **changes: Any) -> None:
        """Change some columns of a run."""
        self._update(RunRow, (run_id,), changes)

    def revive_run(self, run_id: str, *, limits: Mapping[str, Any], now: datetime) -> None:
        """Make an ended run live again, its verdict and wishes forgotten; `NameTaken` when its name is in use."""
        changes = {
            "ended_at": None,
            "verdict": None,
            "intent": Intent.NONE,
            "intent_options": {},
            "limits": limits,
            "updated_at": now,
        }
        try:
            self._update(RunRow, (run_id,), changes)
        except sqlite3.IntegrityError as err:
            name = self.run(run_id).name
            raise NameTaken(
                f"a run named {name!r} is live", hint=f"end it with `launch stop {name}` before this one goes on"
            ) from err

    def ask(self, run_id: str, intent: Intent, **options: Any) -> None:
        """Note what a person wants of a run; a live one's supervisor will see it."""
        self._update(RunRow, (run_id,), {"intent": intent, "intent_options": options})

    # Attempts, tries, instances

    def put(self, row: AttemptRow | TryRow | InstanceRow | SpeedRow) -> None:
        """Write a row, replacing the one with the same key."""
        with self._write() as connection:
            _insert(connection, row, replace=True)

    def update_attempt(self, attempt: AttemptRow, **changes: Any) -> AttemptRow:
        """Change some columns of an attempt and return it as it is now."""
        self._update(AttemptRow, (attempt.run_id, attempt.stage, attempt.n), changes)
        return dataclasses.replace(attempt, **changes)

    def advance_log(self, attempt: AttemptRow, *, log_bytes: int, log_offset: int) -> AttemptRow:
        """Note in one step how much of the run's log is home, and up to where the machine's has been read."""
        with self._write() as connection:
            connection.execute("UPDATE runs SET log_bytes = ? WHERE run_id = ?", (log_bytes, attempt.run_id))
            connection.execute(
                "UPDATE attempts SET log_offset = ? WHERE run_id = ? AND stage = ? AND n = ?",
                (log_offset, attempt.run_id, attempt.stage, attempt.n),
            )
        return dataclasses.replace(attempt, log_offset=log_offset)

    def attempts(self, run_id: str) -> list[AttemptRow]:
        """Return the attempts of a run, oldest first."""
        return self._select(AttemptRow, "run_id = ? ORDER BY started_at, n", run_id)

    def tries(self, run_id: str, attempt: int | None = None) -> list[TryRow]:
        """Return the tries of a run, or of one attempt, oldest first."""
        if attempt is None:
            return self._select(TryRow, "run_id = ? ORDER BY attempt, try_number", run_id)
        return self._select(TryRow, "run_id = ? AND attempt = ? ORDER BY try_number", run_id, attempt)

    def answer_try(
        self, token: str, outcome: TryOutcome, *, detail: str = "", instance: str | None = None
    ) -> None:
        """Note what became of a create call."""
        self._update(TryRow, (token,), {"outcome": outcome, "detail": detail, "instance": instance})

    def instances(self, run_id: str | None = None) -> list[InstanceRow]:
        """Return the instances of a run, or all that have not been confirmed as ended, oldest first."""
        if run_id is None:
            return self._select(InstanceRow, "ended_at IS NULL ORDER BY created_at")
        return self._select(InstanceRow, "run_id = ? ORDER BY created_at", run_id)

    # Events

    def append(self, run_id: str, kind: Kind, message: str, at: datetime, data: Mapping[str, Any]) -> Event:
        """Append one event to a run's log and return it with its position."""
        with self._write() as connection:
            (last,) = connection.execute(
                "SELECT coalesce(max(seq), 0) FROM events WHERE run_id = ?", (run_id,)
            ).fetchone()
            connection.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
                (run_id, last + 1, at.isoformat(), kind.value, message, json.dumps(data, default=str)),
            )
        return Event(kind=kind, message=message, at=at, run_id=run_id, seq=last + 1, data=data)

    def events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """Return a run's events after a position, oldest first."""
        rows = self._connect().execute(
            "SELECT seq, at, kind, message, data FROM events WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?",
            (run_id, after, -1 if limit is None else limit),
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
        with self._write() as connection:
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
        row = (
            self._connect()
            .execute("SELECT pid, pid_started FROM leases WHERE run_id = ?", (run_id,))
            .fetchone()
        )
        return None if row is None else (row[0], row[1])

    def drop_lease(self, run_id: str, *, pid: int) -> None:
        """Give a lease back."""
        with self._write() as connection:
            connection.execute("DELETE FROM leases WHERE run_id = ? AND pid = ?", (run_id, pid))

    # Outputs and measured speeds

    def add_outputs(self, run_id: str, files: Sequence[tuple[str, int, str]], at: datetime) -> None:
        """Note files that are home: (absolute path, bytes, sha256)."""
        with self._write() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO outputs VALUES (?, ?, ?, ?, ?)",
                [(run_id, path, size, digest, at.isoformat()) for path, size, digest in files],
            )

    def outputs(self, run_id: str) -> list[tuple[str, int, str]]:
        """Return the files of a run that are home: (absolute path, bytes, sha256)."""
        query = "SELECT path, size_bytes, sha256 FROM outputs WHERE run_id = ? ORDER BY path"
        return [(row[0], row[1], row[2]) for row in self._connect().execute(query, (run_id,))]

    def speeds(self, job_digest: str, limit: int = 50) -> list[SpeedRow]:
        """Return how fast a job has gone, newest first."""
        return self._select(SpeedRow, "job_digest = ? ORDER BY measured_at DESC LIMIT ?", job_digest, limit)

    def data_version(self) -> int:
        """Return a number that changes when another connection has written; costs next to nothing."""
        (version,) = self._connect().execute("PRAGMA data_version").fetchone()
        return int(version)

    # Plumbing

    def _connect(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            return connection
        try:
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            migrate(connection)
            self._path.chmod(0o600)
        except (sqlite3.Error, OSError) as err:
            raise StoreError(
                f"the record {self._path} cannot be opened: {err}",
                left_behind="runs that were going on still are",
                hint="check the folder's space and permissions; LAUNCH_HOME chooses another",
            ) from err
        self._local.connection = connection
        return connection

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as err:
            raise StoreError(
                f"the record {self._path} cannot be written: {err}",
                left_behind="nothing was changed by this step",
                hint="check the space left on its disk",
            ) from err

    def _select(self, cls: type[Row], where: str, *values: Any) -> list[Row]:
        names = ", ".join(COLUMNS[cls])
        query = f"SELECT {names} FROM {TABLES[cls]} WHERE {where}"
        try:
            return [_read(cls, row) for row in self._connect().execute(query, values)]
        except sqlite3.Error as err:
            raise StoreError(f"the record {self._path} cannot be read: {err}") from err

    def _update(self, cls: type, key: tuple[Any, ...], changes: Mapping[str, Any]) -> None:
        unknown = set(changes) - set(COLUMNS[cls])
        assert not unknown, f"no such columns: {unknown}"
        assignments = ", ".join(f"{name} = ?" for name in changes)
        where = " AND ".join(f"{name} = ?" for name in KEYS[cls])
        values = [_encode(changes[name]) for name in changes]
        with self._write() as connection:
            connection.execute(f"UPDATE {TABLES[cls]} SET {assignments} WHERE {where}", (*values, *key))


def _decoder(hint: Any) -> Any:
    parts = set(typing.get_args(hint)) or {hint}
    origins = {typing.get_origin(part) for part in (hint, *parts)}
    if datetime in parts:
        return datetime.fromisoformat
    if Mapping in origins:
        return json.loads
    if tuple in origins:
        return lambda text: tuple(json.loads(text))
    if Intent in parts:
        return Intent
    if TryOutcome in parts:
        return TryOutcome
    if bool in parts:
        return bool
    return None


COLUMNS = {cls: tuple(field.name for field in dataclasses.fields(cls)) for cls in TABLES}
DECODERS = {
    cls: tuple(_decoder(typing.get_type_hints(cls)[name]) for name in names) for cls, names in COLUMNS.items()
}


def _read(cls: type[Row], values: Sequence[Any]) -> Row:
    decoded = (
        decoder(value) if decoder is not None and value is not None else value
        for decoder, value in zip(DECODERS[cls], values, strict=True)
    )
    return cls(**dict(zip(COLUMNS[cls], decoded, strict=True)))


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (Mapping, tuple)):
        return json.dumps(value, default=str)
    if isinstance(value, (Intent, TryOutcome)):
        return value.value
    return value


def _insert(connection: sqlite3.Connection, row: Any, *, replace: bool = False) -> None:
    names = COLUMNS[type(row)]
    marks = ", ".join("?" for _ in names)
    verb = "INSERT OR REPLACE" if replace else "INSERT"
    values = [_encode(getattr(row, name)) for name in names]
    connection.execute(f"{verb} INTO {TABLES[type(row)]} ({', '.join(names)}) VALUES ({marks})", values)
