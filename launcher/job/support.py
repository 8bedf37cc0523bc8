"""What can be written in a job file and cannot be run yet. The one place: as something starts to work, its line goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.job.problem import FieldError, Path, dotted
from launcher.job.sources import scheme_of
from provisioning.models import WhenUnattended
from provisioning.storage import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.job.model import Job

__all__ = ["require_supported", "unsupported"]


def unsupported(job: Job) -> list[tuple[str, str]]:
    """Return (field, reason) for everything in ``job`` that this release cannot do; empty when all of it can."""
    return [(dotted(path), reason) for path, reason in _unsupported(job)]


def require_supported(job: Job) -> None:
    """Raise for the first thing that this release cannot do, naming its field; the hint names the others."""
    found = list(_unsupported(job))
    if found:
        (path, reason), *others = found
        names = ", ".join(dotted(other) for other, _ in others)
        raise FieldError(reason, path=path, hint=f"the same holds for {names}" if names else None)


def _unsupported(job: Job) -> Iterator[tuple[Path, str]]:
    scheme = scheme_of(job.checkpoint.mirror)
    if job.when_unattended is WhenUnattended.PUSH and scheme is None:
        yield (
            ("when_unattended",),
            "push needs a bucket: name one in checkpoint.mirror, such as s3://my-bucket/runs",
        )
    if scheme is not None and scheme not in SCHEMES:
        yield ("checkpoint", "mirror"), f"mirroring to {scheme}:// does not work yet; use home"
    for target, source in job.file_mounts.items():
        if scheme_of(source) in ("s3", "gs", "kaggle") and scheme_of(source) not in SCHEMES:
            yield (
                ("file_mounts", target),
                f"{scheme_of(source)}:// is not fetched yet; use a local path or https://",
            )
