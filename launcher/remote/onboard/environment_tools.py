"""What makes environments: uv, conda, Pythons. Found on the machine, or fetched to a folder of ours."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Dict, List, Optional, Tuple

EXIT_LACKING = 2
UV_VERSION = "0.13.9"
"""The one that is fetched; from the index that the machine's pip uses."""
UV_AT_LEAST = (0, 7)
"""An older one on the machine does not know every lock and every build of torch that there is."""
UV_PLACES = ("~/.local/bin/uv", "~/.cargo/bin/uv")
PIP_LIMITS = ["--timeout", "15", "--retries", "1"]
CONDAS = ("micromamba", "mamba", "conda")
CONDA_PLACES = (
    "/opt/conda",
    "/opt/miniconda3",
    "/opt/miniforge3",
    "/opt/mamba",
    "~/miniforge3",
    "~/mambaforge",
    "~/miniconda3",
    "~/anaconda3",
)
MICROMAMBA = "https://github.com/mamba-org/micromamba-releases/releases/download/2.9.0-0/micromamba-linux-"
MICROMAMBA_BUILDS = {
    "x86_64": ("64", "366cd9cd8be14df1ab8ed50352a82111082a36686b2d389fdb79a92c3fafb3e3"),
    "aarch64": ("aarch64", "9f93b974adcb4d166996af969b6cd371287d1a3e52733704727884d9b74cb7a7"),
}
"""Machine -> suffix and SHA-256 of release 2.9.0-0, a single static program (11 to 22 MB)."""
FETCH_TIMEOUT_S = 60.0


class Failed(Exception):
    """With words for the log and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def say(text: str) -> None:
    """A line for the log, at once."""
    sys.stdout.write("[launch] %s\n" % text)
    sys.stdout.flush()


def as_pip_is_told() -> Dict[str, str]:
    """uv reads no variables of pip: an index that is given to the one is given to the other."""
    pairs = (("PIP_INDEX_URL", "UV_INDEX_URL"), ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"))
    chosen = any(name.startswith("UV_") and "INDEX" in name for name in os.environ)
    return {} if chosen else {theirs: os.environ[ours] for ours, theirs in pairs if os.environ.get(ours)}


def command(argv: List[str], exit_code: int, **variables: str) -> None:
    """Run it with its output in the log."""
    ended = subprocess.run(
        argv, stdin=subprocess.DEVNULL, env={**os.environ, **as_pip_is_told(), **variables}, check=False
    )
    if ended.returncode:
        words = " ".join(word for word in argv[:4] if not word.startswith(("-", "/")))
        name = os.path.basename(argv[0])
        raise Failed("%s %s ended with exit code %d" % (name, words, ended.returncode), exit_code)


def find_uv(tools: Path, fetch: bool, needed_for: str = "") -> Optional[str]:
    """The machine's uv, or one that was or is fetched; None where pip has to do.

    ``needed_for``: what cannot be had without it; then its lack is an error.
    """
    own = tools / ("uv-%s" % UV_VERSION) / "bin" / "uv"
    for place in [shutil.which("uv"), *map(os.path.expanduser, UV_PLACES), str(own)]:
        if place and uv_version(place) >= UV_AT_LEAST:
            return place
    if not fetch:
        return None
    problem = fetch_uv(own)
    if problem is None:
        return str(own)
    if needed_for:
        raise Failed(
            "%s needs uv, which is not on the machine and could not be fetched: %s" % (needed_for, problem),
            EXIT_LACKING,
        )
    say("uv could not be fetched (%s): pip is used" % problem)
    return None


def uv_version(program: str) -> Tuple[int, ...]:
    """``(0, 13)``; empty when it does not run."""
    words = output_of([program, "--version"]).split()
    numbers = words[1].split(".")[:2] if len(words) > 1 else []
    return tuple(int(number) for number in numbers if number.isdigit())


def fetch_uv(own: Path) -> Optional[str]:
    """Install uv into a folder of its own with the machine's pip; returns why it could not be, or None."""
    folder = own.parents[1]
    beside = folder.with_name(".%s.%d" % (folder.name, os.getpid()))
    say("fetching uv %s" % UV_VERSION)
    argv = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
        "--no-deps",
    ]
    argv += [*PIP_LIMITS, "--target", str(beside), "uv==%s" % UV_VERSION]
    try:
        ended = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if ended.returncode == 0:
            put_in_place(beside, folder, own)
            return None
        said = ended.stdout.decode(errors="replace").strip().splitlines()
        return said[-1] if said else "pip ended with exit code %d" % ended.returncode
    except OSError as error:
        return str(error)
    finally:
        shutil.rmtree(str(beside), ignore_errors=True)


def put_in_place(beside: Path, folder: Path, own: Path) -> None:
    """Rename what was fetched, unless somebody beside us was faster."""
    try:
        os.rename(str(beside), str(folder))
    except OSError:
        if uv_version(str(own)) < UV_AT_LEAST:  # what is there is broken
            shutil.rmtree(str(folder), ignore_errors=True)
            os.rename(str(beside), str(folder))


def find_python(version: str) -> Optional[str]:
    """The interpreter of that version, or any when none is asked for; None when the machine has no such one."""
    names = ["python%s" % version, "python3", "python"] if version else ["python3", "python"]
    for name in names:
        program = shutil.which(name)
        if program and version_of(program).startswith(version + "." if version else ""):
            return program
    return None


def version_of(program: str) -> str:
    """``3.11.7.``; empty when it does not run."""
    return output_of([program, "-I", "-c", "import sys; print('%d.%d.%d.' % sys.version_info[:3])"])


def output_of(argv: List[str]) -> str:
    """What a short command prints; empty when it does not run."""
    try:
        told = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return ""
    return told.stdout.decode(errors="replace").strip()


def find_conda(tools: Path) -> Tuple[str, str]:
    """(kind, program) of what makes conda environments; micromamba is fetched where there is nothing."""
    for kind in CONDAS:
        for place in [
            shutil.which(kind),
            *(os.path.expanduser("%s/bin/%s" % (root, kind)) for root in CONDA_PLACES),
        ]:
            if place and os.access(place, os.X_OK):
                return kind, place
    own = tools / "micromamba-2.9.0-0"
    if not own.exists():
        fetch_micromamba(own)
    return "micromamba", str(own)


def fetch_micromamba(own: Path) -> None:
    """Fetch the pinned release; what is not byte for byte that is thrown away."""
    build = MICROMAMBA_BUILDS.get(platform.machine()) if sys.platform == "linux" else None
    lacking = "the machine has no micromamba, mamba or conda"
    if build is None:
        raise Failed(
            "%s, and none is fetched for %s %s" % (lacking, sys.platform, platform.machine()), EXIT_LACKING
        )
    suffix, sha256 = build
    say("fetching micromamba 2.9.0")
    problem = fetch_program(MICROMAMBA + suffix, sha256, own)
    if problem is not None:
        raise Failed("%s, and micromamba could not be fetched: %s" % (lacking, problem), EXIT_LACKING)


def fetch_program(url: str, sha256: str, path: Path) -> Optional[str]:
    """Fetch one program whose digest is known; returns why there is none, or None. It appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(".%s.%d" % (path.name, os.getpid()))
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer, beside.open("wb") as file:
            for block in iter(lambda: answer.read(1 << 20), b""):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != sha256:
            return "%s gave something else: SHA-256 %s instead of %s" % (url, digest.hexdigest(), sha256)
        beside.chmod(0o755)
        os.rename(str(beside), str(path))
        return None
    except (OSError, urllib.error.URLError, ValueError) as error:
        return "%s: %s" % (url, error)
    finally:
        if beside.exists():
            beside.unlink()
