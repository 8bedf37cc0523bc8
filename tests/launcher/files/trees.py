"""Folders as tests describe them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ENVIRON = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


def grow(folder: Path, files: Mapping[str, str]) -> Path:
    """Make ``folder`` with these files (path → text) and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def git(folder: Path, *words: str) -> str:
    """Run git there, with nobody's own configuration."""
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, env=ENVIRON, check=True, capture_output=True, text=True).stdout


def repository(folder: Path, files: Mapping[str, str]) -> Path:
    """Make a repository in which everything that is not ignored is committed."""
    grow(folder, files)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first", "--allow-empty")
    return folder
