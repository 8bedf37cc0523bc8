"""What a job really ran with: packages, Python, GPU and driver, code and data. Beside its logs, as
``environment-<attempt>.json``.

``record RUN.json`` writes it, in the job's environment, when that is ready. It never fails a job: what cannot be found out
is null. The digests of the data are added by the watchdog while the job runs (`digest_data`): they take as long as reading it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .files import read_json, read_text, replace_file, sha256_of, utc

SCHEMA = 1
TIMEOUT_S = 20.0
"""The job waits for this, paid for."""
MOST_LISTED = 200
"""A folder with more files has its files counted and digested, and not listed."""
LISTING = r"""
import json, os, platform, re, sys
packages, direct, torch = {}, {}, None
for folder in sys.path:
    try:
        names = os.listdir(folder or ".")
    except OSError:
        continue
    for name in names:
        if name.endswith(".dist-info"):
            label, _, version = name[:-len(".dist-info")].rpartition("-")
            label = re.sub(r"[-_.]+", "-", label).lower()
            if label and label not in packages:
                packages[label] = version
                try:
                    with open(os.path.join(folder, name, "direct_url.json")) as file:
                        direct[label] = json.load(file).get("url", "").rpartition("@")[2]
                except (OSError, ValueError):
                    pass
    if torch is None and "torch" in names:
        try:
            with open(os.path.join(folder, "torch", "version.py")) as file:
                found = dict(re.findall(r"(?m)^(__version__|cuda|hip)\b[^=\n]*= *['\"]([^'\"]*)", file.read()))
            torch = {"version": found.get("__version__"), "cuda": found.get("cuda"), "rocm": found.get("hip")}
        except OSError:
            pass
python = {"version": platform.python_version(), "implementation": platform.python_implementation(), "executable": sys.executable}
print(json.dumps({"python": python, "packages": dict(sorted(packages.items())), "direct": direct, "torch": torch}))
"""
GPU_NAMES = ("name", "memory_mib", "driver", "compute_capability", "uuid")
GPU_FIELDS = ("name", "memory.total", "driver_version", "compute_cap", "uuid")


def main(arguments: List[str]) -> int:
    """See the top of this file."""
    orders = read_json(arguments[0])
    try:
        document = describe(orders)
        replace_file(orders["record"]["out"], json.dumps(document, indent=1).encode("ascii"))
        if orders["path_prefix"]:  # the job brought something; of the machine's own it says nothing
            sys.stdout.write("[launch] %s\n" % in_words(document))
    except Exception as error:  # whatever it is: a job is not ended for its record
        sys.stdout.write("[launch] the environment could not be recorded: %r\n" % error)
    return 0


def describe(orders: Dict[str, Any]) -> Dict[str, Any]:
    """The document, with the data still to be read."""
    told = orders["record"]
    seen = ask_python()
    return {
        "schema": SCHEMA,
        "run_id": orders["run_id"],
        "stage": orders["stage"],
        "attempt": orders["attempt"],
        "start": orders["start"],
        "recorded_at": utc(),
        "environment": {
            **told["environment"],
            "folder": os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX"),
        },
        **seen,
        "conda": conda_packages(os.environ.get("CONDA_PREFIX")),
        "machine": machine(),
        "code": told["code"],
        "data": None if told["data"] else [],
    }


def ask_python() -> Dict[str, Any]:
    """What the Python that comes first in PATH says of itself; all null where there is none."""
    for name in ("python3", "python"):
        if shutil.which(name):
            told = output_of([name, "-c", LISTING])
            try:
                found: Dict[str, Any] = json.loads(told)
            except ValueError:
                continue
            return found
    return {"python": None, "packages": None, "direct": None, "torch": None}


def conda_packages(prefix: Optional[str]) -> Optional[Dict[str, str]]:
    """name -> version and build, of a conda environment."""
    try:
        names = sorted(os.listdir(os.path.join(prefix, "conda-meta"))) if prefix else []
    except OSError:
        return None
    parts = [name[: -len(".json")].rsplit("-", 2) for name in names if name.endswith(".json")]
    return {part[0]: "=".join(part[1:]) for part in parts if len(part) == 3} if prefix else None


def machine() -> Dict[str, Any]:
    """System, processor, memory, and NVIDIA's GPUs with their driver."""
    rows = [
        [part.strip() for part in line.split(",")]
        for line in output_of(
            ["nvidia-smi", "--query-gpu=" + ",".join(GPU_FIELDS), "--format=csv,noheader,nounits"]
        ).splitlines()
    ]
    gpus = [
        {name: row[at] for at, name in enumerate(GPU_NAMES)} for row in rows if len(row) == len(GPU_NAMES)
    ]
    cuda = re.search(r"CUDA Version: *([0-9.]+)", output_of(["nvidia-smi"])) if gpus else None
    release = dict(re.findall(r'(?m)^(\w+)="?([^"\n]*)', read_text("/etc/os-release")))
    processor = re.search(r"(?m)^model name\s*: *(.*)$", read_text("/proc/cpuinfo"))
    memory = re.search(r"MemTotal: *(\d+)", read_text("/proc/meminfo"))
    return {
        "os": release.get("PRETTY_NAME") or platform.platform(),
        "kernel": "%s %s" % (platform.system(), platform.release()),
        "processor": processor.group(1) if processor else platform.machine(),
        "cpus": os.cpu_count(),
        "memory_gib": round(int(memory.group(1)) / (1 << 20), 1) if memory else None,
        "gpus": gpus,
        "driver": gpus[0]["driver"] if gpus else None,
        "cuda_of_driver": cuda.group(1) if cuda else None,
    }


def output_of(argv: List[str]) -> str:
    """What a command prints; empty when it does not run or fails."""
    try:
        told = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.decode(errors="replace") if told.returncode == 0 else ""


def in_words(document: Dict[str, Any]) -> str:
    """One line for the log."""
    python, torch, here = document["python"], document["torch"], document["machine"]
    parts = [
        "Python %s with %d packages" % (python["version"], len(document["packages"]))
        if python
        else "no Python"
    ]
    if torch:
        parts.append("torch %s" % torch["version"])
    if here["gpus"]:
        parts.append("%s, driver %s" % (here["gpus"][0]["name"], here["driver"]))
    return "runs with %s" % ", ".join(parts)


# The data. In a thread of the watchdog, beside the job.


class Cache:
    """Digests that were computed before, by path, size and time: 20 GB are not read at every start."""

    def __init__(self, path: str) -> None:
        self._path = path
        known = read_json(path)
        self._known: Dict[str, Any] = known if isinstance(known, dict) else {}
        self._used: Dict[str, Any] = {}

    def digest(self, path: str) -> Tuple[str, int]:
        """(SHA-256, bytes) of a file."""
        info = os.stat(path)
        mark = [info.st_size, info.st_mtime_ns, info.st_ino]
        known = self._known.get(path)
        digest = known[1] if known and known[0] == mark else sha256_of(path)
        self._used[path] = [mark, digest]
        return digest, info.st_size

    def save(self) -> None:
        """Keep what was computed."""
        with contextlib.suppress(OSError):
            replace_file(self._path, json.dumps({**self._known, **self._used}).encode("ascii"), mode=0o600)


def digest_data(orders: Dict[str, Any]) -> None:
    """Add the digests of the data to the document."""
    told = orders["record"]
    cache = Cache(told["cache"])
    found = [digest_one(orders["paths"]["workdir"], one, cache) for one in told["data"]]
    cache.save()
    document = read_json(told["out"])
    if document is not None:
        document["data"] = found
        replace_file(told["out"], json.dumps(document, indent=1).encode("ascii"))


def digest_one(workdir: str, told: Dict[str, str], cache: Cache) -> Dict[str, Any]:
    """Files, bytes and digest of one mount. The digest of a folder is that of the lines that sha256sum would write, sorted."""
    path = os.path.realpath(os.path.join(workdir, told["target"]))
    about: Dict[str, Any] = dict(told)
    try:
        if os.path.isdir(path):
            files = [(name, cache.digest(full)) for name, full in sorted(files_below(path))]
            lines = "".join("%s  %s\n" % (digest, name) for name, (digest, _) in files)
            about.update(sha256=hashlib.sha256(os.fsencode(lines)).hexdigest())
            if len(files) <= MOST_LISTED:
                about.update(listing={name: digest for name, (digest, _) in files})
        else:
            files = [(os.path.basename(path), cache.digest(path))]
            about.update(sha256=files[0][1][0])
        about.update(files=len(files), bytes=sum(size for _, (_, size) in files))
    except OSError as error:
        about.update(sha256=None, problem=str(error))
    return about


def files_below(folder: str) -> Iterator[Tuple[str, str]]:
    """(path relative to the folder, path) of everything that can be read below it."""
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            full = os.path.join(parent, name)
            if os.path.isfile(full):
                yield os.path.relpath(full, folder), full
