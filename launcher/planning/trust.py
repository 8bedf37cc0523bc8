"""What goes to machines of strangers: nothing that opens a door, unless the job says so by name. Pure but for file names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import JobFileError
from launcher.planning.preflight import Finding, Level, looks_like_credentials

if TYPE_CHECKING:
    from launcher.job import Job
    from launcher.snapshot import Manifest
    from provisioning import Capabilities

__all__ = ["TRUST_OPTION", "for_strangers"]

TRUST_OPTION = "trust_with"
"""In ``provider_options`` of a provider whose machines belong to strangers: names of secrets, paths on the machine."""
MOST_NAMES = 3


def for_strangers(
    job: Job, manifest: Manifest | None, capabilities: Mapping[str, Capabilities]
) -> tuple[Finding, ...]:
    """Return an error for every cloud of strangers that would be given a secret that the job does not trust it with.

    ``capabilities`` is by provider, of those that may be rented from.
    """
    return tuple(
        finding
        for cloud, able in capabilities.items()
        if able.strangers
        for finding in _on(cloud, job, manifest)
    )


def _on(cloud: str, job: Job, manifest: Manifest | None) -> Iterator[Finding]:
    trusted = _trusted_names(job.provider_options.get(cloud, {}))
    field = f"provider_options.{cloud}.{TRUST_OPTION}"
    secrets = sorted(name for name in job.secrets if name not in trusted)
    if secrets:
        yield _refused(cloud, field, "secrets", secrets)
    mounts = sorted({target for target in _mounts_with_credentials(job) if target not in trusted})
    if mounts:
        yield _refused(cloud, field, "file_mounts with credentials", mounts)
    code = sorted(
        entry.path
        for entry in (manifest.entries if manifest is not None else ())
        if looks_like_credentials(entry.path) and entry.path not in trusted
    )
    if code:
        yield _refused(cloud, field, "files that look like credentials", code)


def _trusted_names(options: Mapping[str, Any]) -> frozenset[str]:
    named = options.get(TRUST_OPTION, ())
    return frozenset(map(str, named)) if isinstance(named, (list, tuple)) else frozenset()


def _mounts_with_credentials(job: Job) -> Iterator[str]:
    for target, source in job.file_mounts.items():
        if "://" in source:
            continue
        path = job.home_path(source)
        if (
            looks_like_credentials(path.as_posix())
            or looks_like_credentials(target)
            or (path.is_dir() and any(looks_like_credentials(name) for name in _names_in(path)))
        ):
            yield target


def _names_in(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _refused(cloud: str, field: str, what: str, names: list[str]) -> Finding:
    shown = ", ".join(names[:MOST_NAMES]) + (
        f" and {len(names) - MOST_NAMES} more" if names[MOST_NAMES:] else ""
    )
    error = JobFileError(
        f"{what} would go to {cloud}, where whoever runs the machine can read everything: {shown}",
        field=field,
        hint=f"{field}: [{', '.join(names[:MOST_NAMES])}] allows it by name; or another provider",
    )
    return Finding(check="trust", level=Level.ERROR, message=error.message, fix=error.hint, error=error)
