"""The schema of the record, one migration per version; a database is brought up to date when it is opened."""

from __future__ import annotations

import sqlite3

from launcher.errors import StoreError

__all__ = ["MIGRATIONS", "migrate"]

MIGRATIONS: tuple[str, ...] = (
    # 1: runs, attempts, tries, instances, events, leases, outputs, measured speeds
    """
    CREATE TABLE runs (
        run_id TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL,
        reason_code TEXT NOT NULL, reason TEXT NOT NULL,
        created_at TEXT NOT NULL, updated_at TEXT NOT NULL, ended_at TEXT,
        job TEXT NOT NULL, plan TEXT NOT NULL, limits TEXT NOT NULL,
        workdir TEXT NOT NULL, results_dir TEXT NOT NULL,
        intent TEXT NOT NULL, intent_options TEXT NOT NULL,
        verdict TEXT, exit_code INTEGER,
        step INTEGER, total INTEGER, metrics TEXT NOT NULL, steps_per_s REAL, looked_at TEXT,
        log_bytes INTEGER NOT NULL, working_since TEXT
    );
    CREATE UNIQUE INDEX one_live_run_per_name ON runs(name) WHERE ended_at IS NULL;
    CREATE INDEX newest_runs ON runs(created_at);
    CREATE TABLE attempts (
        run_id TEXT NOT NULL REFERENCES runs(run_id), stage TEXT NOT NULL, n INTEGER NOT NULL,
        candidate INTEGER NOT NULL, offer TEXT NOT NULL,
        started_at TEXT NOT NULL, ended_at TEXT, cause TEXT NOT NULL, reason TEXT NOT NULL,
        starts INTEGER NOT NULL, errors INTEGER NOT NULL, fruitless INTEGER NOT NULL,
        step_at_attempt INTEGER, step_at_start INTEGER, step_last INTEGER, steps_lost INTEGER NOT NULL,
        handle TEXT, progress TEXT, has_run INTEGER NOT NULL, not_before TEXT, trouble TEXT,
        reached_at TEXT, silence TEXT NOT NULL, asked_at TEXT, ending_at TEXT, ending_code TEXT NOT NULL, fetched INTEGER NOT NULL,
        log_offset INTEGER NOT NULL, mirrored TEXT NOT NULL, usd REAL NOT NULL,
        PRIMARY KEY (run_id, stage, n)
    );
    CREATE TABLE tries (
        token TEXT PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(run_id), stage TEXT NOT NULL,
        attempt INTEGER NOT NULL, try_number INTEGER NOT NULL, offer TEXT NOT NULL, spec TEXT NOT NULL,
        asked_at TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL, instance TEXT,
        UNIQUE (run_id, attempt, try_number)
    );
    CREATE TABLE instances (
        ref TEXT NOT NULL, run_id TEXT NOT NULL REFERENCES runs(run_id), stage TEXT NOT NULL,
        attempt INTEGER NOT NULL, token TEXT NOT NULL, offer TEXT NOT NULL,
        state TEXT NOT NULL, state_reason TEXT NOT NULL,
        created_at TEXT NOT NULL, seen_at TEXT NOT NULL, ended_at TEXT,
        PRIMARY KEY (ref, token)
    );
    CREATE INDEX instances_of_run ON instances(run_id);
    CREATE TABLE events (
        run_id TEXT NOT NULL REFERENCES runs(run_id), seq INTEGER NOT NULL, at TEXT NOT NULL,
        kind TEXT NOT NULL, message TEXT NOT NULL, data TEXT NOT NULL,
        PRIMARY KEY (run_id, seq)
    ) WITHOUT ROWID;
    CREATE TABLE leases (
        run_id TEXT PRIMARY KEY REFERENCES runs(run_id),
        pid INTEGER NOT NULL, pid_started TEXT NOT NULL, expires_at TEXT NOT NULL
    );
    CREATE TABLE outputs (
        run_id TEXT NOT NULL REFERENCES runs(run_id), path TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, fetched_at TEXT NOT NULL,
        PRIMARY KEY (run_id, path)
    );
    CREATE TABLE speeds (
        run_id TEXT NOT NULL, job_digest TEXT NOT NULL,
        provider TEXT NOT NULL, instance_type TEXT NOT NULL,
        gpu_name TEXT, gpu_memory_gib REAL NOT NULL, vcpus REAL NOT NULL,
        steps_per_s REAL NOT NULL, total_steps INTEGER, measured_at TEXT NOT NULL,
        PRIMARY KEY (run_id, measured_at)
    );
    CREATE INDEX speeds_of_job ON speeds(job_digest, measured_at);
    """,
    # 2: what was warned about, resumes, stopped machines; indexes for lists of live things
    """
    ALTER TABLE runs ADD COLUMN resumed_at TEXT;
    ALTER TABLE runs ADD COLUMN warned TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE tries ADD COLUMN lookups INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE instances ADD COLUMN stopped_at TEXT;
    ALTER TABLE instances ADD COLUMN stopped_s REAL NOT NULL DEFAULT 0;
    CREATE INDEX live_runs ON runs(created_at) WHERE ended_at IS NULL;
    CREATE INDEX runs_of_name ON runs(name, created_at);
    CREATE INDEX open_instances ON instances(created_at) WHERE ended_at IS NULL;
    """,
    # 3: the deadline that is armed on a machine
    """
    ALTER TABLE instances ADD COLUMN deadline TEXT;
    """,
    # 4: traffic that is billed
    """
    ALTER TABLE instances ADD COLUMN egress_bytes INTEGER NOT NULL DEFAULT 0;
    """,
    # 5: how long saving and bringing home take
    """
    ALTER TABLE runs ADD COLUMN measured TEXT NOT NULL DEFAULT '{}';
    """,
    # 6: what runs came to, beside their estimates; how a pace was computed
    """
    CREATE TABLE accounts (
        run_id TEXT PRIMARY KEY, job_digest TEXT NOT NULL, ended_at TEXT NOT NULL, account TEXT NOT NULL
    );
    CREATE INDEX newest_accounts ON accounts(ended_at);
    CREATE INDEX accounts_of_job ON accounts(job_digest, ended_at);
    ALTER TABLE speeds ADD COLUMN beside_share REAL;
    ALTER TABLE speeds ADD COLUMN batch_size REAL;
    ALTER TABLE speeds ADD COLUMN precision TEXT;
    """,
    # 7: what the first minutes of a run say about the rest of it
    """
    ALTER TABLE runs ADD COLUMN calibrated TEXT NOT NULL DEFAULT '{}';
    """,
    # 8: what became of the stages of a job that has several
    """
    ALTER TABLE runs ADD COLUMN stages TEXT NOT NULL DEFAULT '{}';
    """,
    # 9: which stage of such a job has made a file that is home
    """
    ALTER TABLE outputs ADD COLUMN stage TEXT NOT NULL DEFAULT '';
    """,
    # 10: where the stages of such a job begin in its log
    """
    ALTER TABLE runs ADD COLUMN log_parts TEXT NOT NULL DEFAULT '[]';
    """,
    # 11: what jobs and stages took by the clock, and what each stage left
    """
    CREATE TABLE works (
        run_id TEXT NOT NULL, stage TEXT NOT NULL, work_digest TEXT NOT NULL,
        provider TEXT NOT NULL, instance_type TEXT NOT NULL,
        gpu_name TEXT, gpu_count INTEGER NOT NULL, gpu_memory_gib REAL NOT NULL, vcpus REAL NOT NULL,
        measured_at TEXT NOT NULL, work_s REAL, steps INTEGER, stays INTEGER NOT NULL,
        setup_s REAL, checkpoint_bytes INTEGER, output_bytes INTEGER,
        PRIMARY KEY (run_id, stage)
    );
    CREATE INDEX works_of_job ON works(work_digest, measured_at);
    """,
    # 12: that an attempt was given up, and why
    """
    ALTER TABLE attempts ADD COLUMN given_up TEXT NOT NULL DEFAULT '';
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to the newest version, all of it or nothing; several processes may try at once.

    Raises:
        StoreError: a newer version of the product wrote it.
    """
    if _version(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise StoreError(
                f"the record has schema version {version}, this launch knows {len(MIGRATIONS)}",
                hint="a newer launch wrote it: update this one (pip install -U gpu-launch)",
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in script.split(";"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    row = connection.execute("PRAGMA user_version").fetchone()
    return int(row[0])
