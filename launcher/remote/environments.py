"""What a machine is told of the environment that it is to make: files, how, and the folder that carries their hash. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.job.lock_format import LockFormat
from launcher.job.requirements import is_of_this_computer, lines_of

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from launcher.remote.torch_builds import TorchBuild
    from launcher.runners.base import Environment

__all__ = ["Recipe", "means_the_working_folder", "recipe_of"]

_LOCK_FILES = {
    LockFormat.UV: ("uv", "uv.lock"),
    LockFormat.PYLOCK: ("pylock", "pylock.toml"),
    LockFormat.PINNED: ("pinned", "requirements.txt"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one environment is made on one machine."""

    folder: PurePosixPath
    """Where it will lie; the name carries the hash of everything it is made of."""
    files: Mapping[str, str]
    """Name -> text, to be written into a folder of their own."""
    orders: Mapping[str, Any]
    """For the program that makes it (`launcher.remote.onboard.environment`)."""
    variables: Mapping[str, str]
    """What programs in it find beside ``PATH``."""


def recipe_of(
    environment: Environment,
    *,
    cache: PurePosixPath,
    machine: Sequence[Any],
    wheel: PurePosixPath | None,
    torch: TorchBuild | None,
    prepared: bool,
) -> Recipe:
    """Return how ``environment`` is made.

    ``cache``: the folder of environments. ``machine``: what beside the environment itself makes it another one: the
    machine's Python, and what of the working folder gets into it. ``wheel``: a package of ours that comes along.
    ``torch``: the build that the requirements' torch is taken from. ``prepared``: the machine is somebody's own.
    """
    how, files = _files(environment)
    build = None
    if torch is not None and how == "requirements" and torch.backend is not None:
        build = {"backend": torch.backend, "index": torch.index, "packages": list(torch.packages)}
    made_of = [
        how,
        environment.python,
        dict(files),
        list(environment.added),
        list(environment.extras),
        build,
        list(machine),
        wheel and wheel.name,
        *([list(environment.groups)] if environment.groups else []),
    ]
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache / f"env-{digest}"
    orders = {
        "folder": str(folder),
        "how": how,
        "python": environment.python or "",
        "hashed": how == "pinned" and "--hash=" in (environment.lock or ""),
        "added": list(environment.added),
        "extras": list(environment.extras),
        "groups": list(environment.groups),
        "wheel": str(wheel or ""),
        "torch": build,
        "why": torch.reason if torch is not None and how == "requirements" else "",
        "tools": str(cache / "tools"),
        "prepared": prepared,
    }
    name = "CONDA_PREFIX" if how == "conda" else "VIRTUAL_ENV"
    return Recipe(folder=folder, files=files, orders=orders, variables={name: str(folder)})


def _files(environment: Environment) -> tuple[str, dict[str, str]]:
    if environment.conda is not None:
        return "conda", {"environment.yml": environment.conda}
    if environment.lock is not None and environment.lock_format is not None:
        how, name = _LOCK_FILES[environment.lock_format]
        project = {} if environment.project is None else {"pyproject.toml": environment.project}
        return how, {name: environment.lock, **project}
    if environment.requirements is not None:
        return "requirements", {"requirements.txt": environment.requirements, **environment.included}
    return "python", {}


def means_the_working_folder(environment: Environment) -> bool:
    """Whether something of the working folder gets into it (``-e .``): then other code makes another environment."""
    texts = [environment.requirements or "", *environment.included.values()]
    return any(is_of_this_computer(line) for text in texts for line in lines_of(text))
