"""A connection to the record per thread, and transactions that hold together what belongs together."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher.errors import StoreError
from launcher.store.codec import COLUMNS, KEYS, TABLES, Row, encode, read, values_of
from launcher.store.schema import migrate

__all__ = ["Connections"]

BUSY_TIMEOUT_S = 30.0


class Connections:
    """Opens the database once per thread. WAL: readers never wait for writers; a commit is durable (``FULL``)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self.get()

    def get(self) -> sqlite3.Connection:
        """Return this thread's connection, opening and migrating the database the first time."""
        known: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if known is not None:
            return known
        try:
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        except sqlite3.Error as err:
            raise self._cannot_open(err) from err
        try:
            self._write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            migrate(connection)
            self._path.chmod(0o600)
        except (sqlite3.Error, OSError) as err:
            connection.close()
            raise self._cannot_open(err) from err
        except StoreError:
            connection.close()
            raise
        self._local.connection = connection
        return connection

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        """Choose the journal, once in the life of the file.

        Two connections that change it at once refuse one another without waiting for their timeout (each would
        wait for the other), so that the first commands of a home take turns.
        """
        if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            return
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            os.close(folder)

    def _cannot_open(self, err: Exception) -> StoreError:
        return StoreError(
            f"the record {self._path} cannot be opened: {err}",
            left_behind="runs that were going on still are",
            hint="check the folder's space and permissions; LAUNCH_HOME chooses another",
        )

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            del self._local.connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write in one durable transaction, all or nothing; one within another joins it.

        Raises:
            StoreError: the record cannot be written (full disk, locked for too long); nothing was changed.
            sqlite3.IntegrityError: what was written contradicts the record; nothing was changed.
        """
        connection = self.get()
        if connection.in_transaction:
            yield connection
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself on some errors
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as err:
            raise StoreError(
                f"the record {self._path} cannot be written: {err}",
                left_behind="nothing was changed by this step",
                hint="check the space left on its disk",
            ) from err

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Return all answers to a question."""
        try:
            return self.get().execute(statement, values).fetchall()
        except sqlite3.Error as err:
            raise StoreError(f"the record {self._path} cannot be read: {err}") from err

    def select(self, cls: type[Row], where: str, *values: Any) -> list[Row]:
        """Return the rows of one kind that ``where`` chooses."""
        found = self.query(f"SELECT {', '.join(COLUMNS[cls])} FROM {TABLES[cls]} WHERE {where}", *values)
        return [read(cls, row) for row in found]

    def insert(self, row: Any, *, replace: bool = False) -> None:
        """Write a row; ``replace`` what has its key."""
        names = COLUMNS[type(row)]
        marks = ", ".join("?" for _ in names)
        verb = "INSERT OR REPLACE" if replace else "INSERT"
        with self.transaction() as connection:
            connection.execute(
                f"{verb} INTO {TABLES[type(row)]} ({', '.join(names)}) VALUES ({marks})", values_of(row)
            )

    def update(self, cls: type, key: tuple[Any, ...], changes: Mapping[str, Any]) -> None:
        """Change some columns of the row with this key."""
        unknown = set(changes) - set(COLUMNS[cls])
        assert not unknown, f"no such columns: {unknown}"
        assignments = ", ".join(f"{name} = ?" for name in changes)
        where = " AND ".join(f"{name} = ?" for name in KEYS[cls])
        values = [encode(value) for value in changes.values()]
        with self.transaction() as connection:
            connection.execute(f"UPDATE {TABLES[cls]} SET {assignments} WHERE {where}", (*values, *key))
