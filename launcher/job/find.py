"""The job file that is meant when none is named."""

from __future__ import annotations

from pathlib import Path

__all__ = ["JOB_FILE", "find_job_file"]

JOB_FILE = "launch.yaml"


def find_job_file(start: Path) -> Path | None:
    """Return the nearest ``launch.yaml`` in ``start`` or above, up to the root of its git repository.

    Outside of a repository only ``start`` itself is looked at: a file further up was not meant for it.
    """
    folders = [start.absolute(), *start.absolute().parents]
    root = next((folder for folder in folders if (folder / ".git").exists()), folders[0])
    for folder in folders[: folders.index(root) + 1]:
        if (folder / JOB_FILE).is_file():
            return folder / JOB_FILE
    return None
