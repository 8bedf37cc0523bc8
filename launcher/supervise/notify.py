"""Telling people: the job's command or webhook, on the occasions that they asked for.

Deciding what is an occasion is apart from telling. Telling happens beside the work of the supervisor: a webhook that
hangs keeps nothing waiting, and one that fails is said and not repeated for ever.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.events import Event, Kind
from launcher.home import Home
from launcher.job import Job
from launcher.job.parts import Notify
from launcher.logs import last_words
from launcher.policy.states import FINAL, RunState
from launcher.store import Store
from launcher.supervise.workers import Workers

__all__ = ["Notifier", "occasions"]

COMMAND_TIMEOUT_S = 60.0
WEBHOOK_TIMEOUT_S = 10.0
PAUSES_S = (0.0, 2.0, 10.0)
"""Before each try of a webhook."""
LAST_WORDS_S = 90.0
"""How long a supervisor without runs waits for what is still being told."""


def occasions(events: Iterable[Event]) -> list[tuple[str, Event]]:
    """Return the occasions in a run's events: ``interrupted``, ``recovered``, ``finished`` and ``limit``. Pure.

    A recovery is that the job runs again after an interruption; that a person resumes it is none.
    """
    found: list[tuple[str, Event]] = []
    state, interrupted = "", False
    for event in events:
        if event.kind is Kind.WARNING and "limit" in event.data:
            found.append(("limit", event))
        if event.kind is not Kind.STATE or event.data["state"] == state:
            continue
        state = str(event.data["state"])
        if state == RunState.INTERRUPTED.value:
            interrupted = True
            found.append(("interrupted", event))
        elif state == RunState.RUNNING.value and interrupted:
            interrupted = False
            found.append(("recovered", event))
        elif RunState(state) in FINAL:
            interrupted = False
            found.append(("finished", event))
    return found


@dataclass
class Notifier:
    """Hears every event of the runs that are followed here, and tells whoever their jobs name."""

    store: Store
    home: Home
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    sleep: Callable[[float], None] = time.sleep
    complain: Callable[[str], None] = field(default=lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201
    _told: list[Future[None]] = field(default_factory=list)
    _jobs: dict[str, Job] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _workers: Workers = field(default_factory=lambda: Workers(2, "notify"))

    def __call__(self, event: Event) -> None:
        """Look whether an event is an occasion that somebody wants to hear of; returns at once."""
        if event.kind not in (Kind.STATE, Kind.WARNING):
            return
        with self._lock:
            job = self._job(event.run_id)
        notify = job.notify
        if notify is None:
            return
        so_far = [item for item in self.store.events(event.run_id) if item.seq <= event.seq]
        for occasion, at in occasions(so_far):
            if at.seq == event.seq and occasion in notify.on:
                document = self._document(occasion, event)
                tell = functools.partial(self._tell, notify, document, job.base_dir)
                with self._lock:
                    self._told.append(self._workers.submit(tell, occasion))

    def finish(self, *, timeout_s: float = LAST_WORDS_S) -> None:
        """Wait until all has been told, or for so long."""
        with self._lock:
            waiting = list(self._told)
        wait_for(waiting, timeout=timeout_s)

    def _job(self, run_id: str) -> Job:
        if run_id not in self._jobs:
            stored = self.store.run(run_id).job
            self._jobs[run_id] = Job.from_dict(stored["fields"], base_dir=Path(stored["base_dir"]))
        return self._jobs[run_id]

    def _document(self, occasion: str, event: Event) -> dict[str, Any]:
        run = self.store.run(event.run_id)
        said = last_words(run, self.home.run(run.run_id).log)
        return {
            "schema": 1,
            "occasion": occasion,
            "run_id": run.run_id,
            "name": run.name,
            "state": run.state,
            "message": event.message,
            "at": event.at.isoformat(),
            "step": run.step,
            "total": run.total,
            "results": run.results_dir,
            "last_words": {"stage": said.stage, "lines": list(said.lines)},
        }

    def _tell(self, notify: Notify, document: Mapping[str, Any], folder: Path, occasion: str) -> None:
        problems = []
        if notify.command is not None:
            problems.append(_run(notify.command, document, folder, self.environ))
        if notify.webhook is not None:
            problems.append(_post(notify.webhook, document, self.sleep))
        for problem in filter(None, problems):
            self.complain(f"{document['run_id']}: nobody was told ({occasion}): {problem}")


def _run(command: str, document: Mapping[str, Any], folder: Path, environ: Mapping[str, str]) -> str | None:
    """Run the command with what happened in its environment and as JSON on its input; return what went wrong."""
    told = {
        f"LAUNCH_{name.upper()}": str(document[name])
        for name in ("run_id", "name", "occasion", "state", "message", "results")
    }
    try:
        finished = subprocess.run(
            ["sh", "-c", command],
            input=json.dumps(document).encode(),
            env={**environ, **told},
            cwd=folder if folder.is_dir() else None,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        return f"its command: {err}"
    if finished.returncode:
        words = finished.stderr.decode(errors="replace").strip().splitlines()
        return f"its command ended with exit {finished.returncode}" + (f": {words[-1]}" if words else "")
    return None


def _post(address: str, document: Mapping[str, Any], sleep: Callable[[float], None]) -> str | None:
    """Send what happened as JSON, a few times if need be; return what went wrong."""
    import httpx  # an import of 100 ms that most runs never need

    problem = ""
    for pause_s in PAUSES_S:
        sleep(pause_s)
        try:
            answer = httpx.post(address, json=dict(document), timeout=WEBHOOK_TIMEOUT_S)
        except httpx.HTTPError as err:
            problem = f"its webhook: {err or type(err).__name__}"
            continue
        if answer.status_code < 400:
            return None
        problem = f"its webhook answered {answer.status_code}"
        if answer.status_code < 500 and answer.status_code != 429:
            return problem
    return problem
