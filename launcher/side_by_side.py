"""Several runs side by side: what they came to, what they cost, and in which settings they differ. Reads the record alone."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.errors import RunNotFound, UsageError
from launcher.home import Home
from launcher.job.parts import Metric, MetricMode
from launcher.judging import numbers_of
from launcher.status import Status, status_of
from launcher.store import RunRow, Store
from provisioning.models import utc_now

__all__ = ["SideBySide", "compare_runs", "differences", "settings_of"]

NOT_SETTINGS = frozenset({"name", "notify", "max_cost", "max_duration", "when_unattended"})
"""Fields of the job file that say nothing about what was computed."""
_PROGRESS = frozenset({"step", "total"})
CODE_FILES = 8
"""More files that differ are only counted."""
DIGEST_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Runs in the order in which they were asked for; every tuple has one item per run."""

    runs: tuple[Status, ...]
    hours: tuple[float, ...]
    """For which each had a machine."""
    metrics: Mapping[str, tuple[float | None, ...]]
    """The newest value of every number that any of them reported; of the job's ``metric`` the best."""
    settings: Mapping[str, tuple[str | None, ...]]
    """Only those that differ, by dotted path; of a script only the lines that differ. None: not set."""
    metric: Metric | None
    """What decides, where all of them name the same."""
    winner: int | None
    """Position of the run whose ``metric`` is best; None without one."""


def compare_runs(texts: Sequence[str], *, environ: Mapping[str, str] | None = None) -> SideBySide:
    """Lay runs side by side, each named by id, unique prefix or name.

    Raises:
        UsageError: fewer than two different runs are named.
        RunNotFound: names every one that is not there.
    """
    home = Home.open(environ)
    store = Store(home.database)
    rows = _rows(store, texts)
    now = utc_now()
    attempts = [store.attempts(row.run_id) for row in rows]
    runs = tuple(
        status_of(row, attempts[n], store.instances(row.run_id), (), now) for n, row in enumerate(rows)
    )
    numbers = [numbers_of(row, attempts[n]) for n, row in enumerate(rows)]
    deciding = {one.metric for one in numbers}
    metric = deciding.pop() if len(deciding) == 1 else None
    names = dict.fromkeys(name for one in numbers for name in one.newest if name not in _PROGRESS)
    metrics = {name: tuple(one.judged(name) for one in numbers) for name in names}
    return SideBySide(
        runs=runs,
        hours=tuple(
            sum(((one.ended or now) - one.started).total_seconds() for one in run.attempts) / 3600
            for run in runs
        ),
        metrics=metrics,
        settings={
            **differences([_settings(row, run) for row, run in zip(rows, runs, strict=True)]),
            **_code_differences([_code(home.run(row.run_id).snapshot) for row in rows]),
        },
        metric=metric,
        winner=_winner(metric, metrics),
    )


def _rows(store: Store, texts: Sequence[str]) -> list[RunRow]:
    found: dict[str, RunRow] = {}
    missing: list[RunNotFound] = []
    for text in texts:
        try:
            row = store.find_run(text)
        except RunNotFound as err:
            missing.append(err)
        else:
            found[row.run_id] = row
    if missing:
        raise RunNotFound("; ".join(err.message for err in missing), hint=missing[0].hint)
    if len(found) < 2:
        raise UsageError(
            f"there is nothing to compare: {', '.join(found) or 'no run'} is all that was named",
            hint="name at least two runs; `launch ls --all` lists them",
        )
    return list(found.values())


def _winner(metric: Metric | None, metrics: Mapping[str, tuple[float | None, ...]]) -> int | None:
    if metric is None:
        return None
    sign = -1.0 if metric.mode is MetricMode.MAX else 1.0
    known = [(sign * value, n) for n, value in enumerate(metrics.get(metric.name, ())) if value is not None]
    comparable = [item for item in known if item[0] == item[0]]  # nan is neither better nor worse
    return min(comparable)[1] if comparable else None


def _settings(row: RunRow, run: Status) -> dict[str, str]:
    """Everything that was set, as text by dotted path."""
    return {**settings_of(row.job["fields"]), **({"machine": run.attempts[-1].offer} if run.attempts else {})}


def settings_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return what a job file says of what is computed, as text by dotted path (``stages.hybrid.run``)."""
    return _flat({name: value for name, value in fields.items() if name not in NOT_SETTINGS}, "")


def _code_differences(codes: Sequence[Mapping[str, str] | None]) -> dict[str, tuple[str | None, ...]]:
    """Which files of the code differ; nothing where the code of a run is no longer kept."""
    known = [code for code in codes if code is not None]
    if len(known) < len(codes):
        return {}
    differing = differences(known)
    shown = {f"code: {path}": digests for path, digests in list(differing.items())[:CODE_FILES]}
    more = len(differing) - len(shown)
    return {**shown, **({f"code: {more} more files": ("differ",) * len(codes)} if more else {})}


def _code(snapshot: Path) -> dict[str, str] | None:
    """The digest of every file that went up, by its path; a changed time alone is no other code."""
    try:
        with tarfile.open(snapshot) as packed:
            return {member.name: _content(packed, member) for member in packed if not member.isdir()}
    except (OSError, tarfile.TarError):  # removed by `launch gc`
        return None


def _content(packed: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = packed.extractfile(member) if member.isfile() else None
    if file is None:
        return f"→ {member.linkname}"
    digest = hashlib.sha256()
    with file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:DIGEST_SHOWN]


def _flat(value: Any, path: str) -> dict[str, str]:
    """Everything below by its dotted path; stages by their names, other lists of mappings by position."""
    if isinstance(value, Mapping) and value:
        below = [_flat(item, f"{path}.{name}" if path else str(name)) for name, item in value.items()]
        return {name: text for part in below for name, text in part.items()}
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        if all("name" in item for item in value):
            named = {str(item["name"]): {k: v for k, v in item.items() if k != "name"} for item in value}
            return {f"{path}.order": ", ".join(named), **_flat(named, path)}
        return {
            name: text for n, item in enumerate(value) for name, text in _flat(item, f"{path}[{n}]").items()
        }
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {path: ", ".join(value)}
    return {path: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}


def differences(settings: Sequence[Mapping[str, str]]) -> dict[str, tuple[str | None, ...]]:
    """Return the settings in which the runs differ; of texts of several lines the lines that not all of them have."""
    found: dict[str, tuple[str | None, ...]] = {}
    names = dict.fromkeys(name for one in settings for name in one)
    groups = {
        name: n for n, name in reversed([*enumerate(map(_group, names))])
    }  # a stage's fields in one place
    for name in sorted(names, key=lambda name: groups[_group(name)]):
        values = [one.get(name) for one in settings]
        if len(set(values)) > 1:
            found[name] = tuple(_own_lines(values))
    return found


def _group(name: str) -> str:
    return ".".join(name.split(".")[:2])


def _own_lines(values: Sequence[str | None]) -> list[str | None]:
    if not any("\n" in value.rstrip("\n") for value in values if value is not None):
        return [None if value is None else value.rstrip("\n") for value in values]
    lines = [(value or "").splitlines() for value in values]
    common = set(lines[0]).intersection(*lines[1:])
    own = ["\n".join(line for line in one if line not in common) for one in lines]
    return [None if value is None else text for value, text in zip(values, own, strict=True)]
