"""A notebook as the job: ``run: train.ipynb``. What counts as one, and what it needs to be executed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

__all__ = ["PACKAGES", "notebook_of", "notebook_problem", "with_packages"]

SUFFIX = ".ipynb"
PACKAGES = ("nbclient", "ipykernel")
"""What executes a notebook; added to the requirements that do not name them."""


def notebook_of(run: str | None) -> str | None:
    """Return the path of the notebook when ``run`` is that and nothing else; None when it is a script."""
    if run is None or not run.strip().strip("'\"").endswith(SUFFIX):
        return None
    try:
        words = shlex.split(run)
    except ValueError:
        return None
    return words[0] if len(words) == 1 else None


def notebook_problem(path: Path) -> str | None:
    """Say what keeps a file from being executed as a notebook; None when nothing is known to."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError as error:
        return f"is no notebook: {error}"
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        return "is no notebook: it has no list of cells"
    if int(document.get("nbformat", 0)) < 4:
        return f"is a notebook of format {document.get('nbformat')}: save it again with a newer Jupyter"
    language = document.get("metadata", {}).get("language_info", {}).get("name", "python")
    if language != "python":
        return f"is a notebook in {language}; only Python is executed"
    if not any(cell.get("cell_type") == "code" for cell in document["cells"]):
        return "has no code"
    return None


def with_packages(requirements: str) -> str:
    """Return a requirements file's text that names what executes notebooks, too."""
    named = {
        re.split(r"[\s\[=<>!~;@]", line.strip().lower(), maxsplit=1)[0] for line in requirements.splitlines()
    }
    missing = [package for package in PACKAGES if package not in named]
    return requirements.rstrip("\n") + "".join(f"\n{package}" for package in missing) + "\n"
