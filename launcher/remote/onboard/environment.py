"""Makes the Python environment of a stage, once per machine. Argument: the path of ``orders.json``, whose folder holds the
files that it is made of (``requirements.txt``, ``uv.lock`` and ``pyproject.toml``, ``pylock.toml``, ``environment.yml``).

The environment's folder carries the hash of what it is made of in its name. It is built under a lock, and marked when
it is whole; one that was left half-built is built anew. Output is for the log.
Exit codes: 0 it is there, 1 packages could not be installed, 2 the machine lacks what would make it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from .environment_tools import EXIT_LACKING, Failed, command, find_conda, find_python, find_uv, say
from .files import read_json


class Recipe:
    """What ``orders.json`` says, and where its files lie."""

    def __init__(self, orders: Dict[str, Any], files: Path) -> None:
        self.folder = Path(orders["folder"])
        self.files = files
        self.how: str = orders["how"]
        self.python: str = orders["python"]
        self.hashed: bool = orders["hashed"]
        self.added: List[str] = orders["added"]
        self.extras: List[str] = orders["extras"]
        self.groups: List[str] = orders["groups"]
        self.wheel: str = orders["wheel"]
        self.torch: Optional[Dict[str, Any]] = orders["torch"]
        self.why: str = orders["why"]
        self.tools = Path(orders["tools"])
        self.prepared: bool = orders["prepared"]
        self._uv: Optional[str] = None
        self._looked = False

    def own(self, program: str) -> str:
        """A program of the environment."""
        return str(self.folder / "bin" / program)

    def uv(self, needed_for: str = "") -> Optional[str]:
        """The uv to use: the machine's, or one that is fetched where it is needed or the machine is nobody's own."""
        if not self._looked or (needed_for and self._uv is None):
            self._looked = True
            self._uv = find_uv(self.tools, fetch=bool(needed_for) or not self.prepared, needed_for=needed_for)
        return self._uv


def build(recipe: Recipe) -> None:
    """Make the environment unless it is there."""
    folder = recipe.folder
    complete = folder / ".complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if recipe.why:
        say(recipe.why)
    with folder.with_name(folder.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists():
            say("environment %s is here already" % folder.name)
            return
        shutil.rmtree(str(folder), ignore_errors=True)
        say("building environment %s" % folder.name)
        WAYS[recipe.how](recipe)
        if recipe.added:
            install(recipe, *recipe.added)
        if recipe.wheel:
            add_wheel(recipe)
        complete.touch()
        say("environment %s is complete" % folder.name)


def from_python_alone(recipe: Recipe) -> None:
    """An empty environment; uv also fetches the Python that is asked for."""
    uv = recipe.uv()
    python = None if uv else find_python(recipe.python)
    if python is None and uv is None:
        uv = recipe.uv(needed_for="Python %s, which the machine does not have" % recipe.python)
    if uv:
        command(
            [uv, "venv", "--quiet", "--python", recipe.python or sys.executable, str(recipe.folder)],
            EXIT_LACKING,
        )
        return
    command([str(python), "-m", "venv", str(recipe.folder)], EXIT_LACKING)


def from_requirements(recipe: Recipe) -> None:
    """As pip installs a requirements file, torch from the build that was chosen."""
    from_python_alone(recipe)
    build, uv = recipe.torch, recipe.uv()
    if build and uv:
        install(recipe, "--torch-backend", build["backend"], "-r", str(recipe.files / "requirements.txt"))
        return
    if build and build["packages"]:
        # pip prefers the newer version of two indexes: with torch here already it has nothing to prefer.
        install(recipe, "--index-url", build["index"], *build["packages"])
    install(recipe, "-r", str(recipe.files / "requirements.txt"))


def from_pinned(recipe: Recipe) -> None:
    """A lock of pip-tools: what it says and nothing else, by its hashes where it has them."""
    from_python_alone(recipe)
    hashes = ["--require-hashes"] if recipe.hashed else []
    install(recipe, *hashes, "-r", str(recipe.files / "requirements.txt"))


def from_uv_lock(recipe: Recipe) -> None:
    """The lock as it is, without the project itself, which runs from its working folder."""
    uv = recipe.uv(needed_for="uv.lock")
    argv = [str(uv), "sync", "--frozen", "--no-install-project", "--project", str(recipe.files)]
    argv += ["--python", recipe.python] if recipe.python else []
    argv += [word for extra in recipe.extras for word in ("--extra", extra)]
    argv += [word for group in recipe.groups for word in ("--group", group)]
    command(argv, 1, UV_PROJECT_ENVIRONMENT=str(recipe.folder))


def from_pylock(recipe: Recipe) -> None:
    """The standard lock, as it is."""
    uv = str(recipe.uv(needed_for="pylock.toml"))
    from_python_alone(recipe)
    command([uv, "pip", "sync", "--python", recipe.own("python"), str(recipe.files / "pylock.toml")], 1)


def from_conda(recipe: Recipe) -> None:
    """What micromamba, mamba or conda makes of its file."""
    kind, program = find_conda(recipe.tools)
    verb = ["create"] if kind == "micromamba" else ["env", "create"]
    argv = [program, *verb, "--prefix", str(recipe.folder), "--file", str(recipe.files / "environment.yml")]
    # By variables: not every version knows --yes here. Nobody is there to be asked.
    command(argv, 1, CONDA_ALWAYS_YES="true", MAMBA_ALWAYS_YES="true", **conda_root(recipe, kind))


def conda_root(recipe: Recipe, kind: str) -> Dict[str, str]:
    """micromamba keeps its packages where it is told; the others have their own place."""
    if kind != "micromamba" or "MAMBA_ROOT_PREFIX" in os.environ:
        return {}
    return {"MAMBA_ROOT_PREFIX": str(recipe.tools / "micromamba-packages")}


WAYS: Dict[str, Callable[[Recipe], None]] = {
    "python": from_python_alone,
    "requirements": from_requirements,
    "pinned": from_pinned,
    "uv": from_uv_lock,
    "pylock": from_pylock,
    "conda": from_conda,
}


def install(recipe: Recipe, *arguments: str) -> None:
    """``pip install`` into the environment; what is there already and will do stays as it is."""
    uv = recipe.uv()
    if uv:
        command([uv, "pip", "install", "--python", recipe.own("python"), *arguments], 1)
        return
    pip = [recipe.own("python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command([*pip, "--progress-bar", "off", *arguments], 1)


def add_wheel(recipe: Recipe) -> None:
    """A package of ours that is already here, without what it would depend on."""
    if not os.path.exists(recipe.own("python")):
        raise Failed("the environment has no Python: name it in the conda file", 1)
    install(recipe, "--quiet", "--no-deps", "--offline" if recipe.uv() else "--no-index", recipe.wheel)


def main(arguments: List[str]) -> int:
    """See the top of this file."""
    orders = read_json(arguments[0])
    if orders is None:
        say("%s cannot be read" % arguments[0])
        return 1
    try:
        build(Recipe(orders, Path(arguments[0]).parent))
    except Failed as error:
        say(str(error))
        return error.exit_code
    return 0
