"""A look at a project's folder: programs, environment files, data and its sizes, what the code leaves behind."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from launcher.errors import UsageError
from launcher.job.names import derive_name
from launcher.job.notebook import notebook_problem
from launcher.project.environments import environment_files, python_of
from launcher.project.programs import Program, read_notebook, read_program

__all__ = ["DataFolder", "Project", "survey"]

SKIPPED = frozenset(
    [
        ".git",
        ".hg",
        ".svn",
        "__pycache__",
        "node_modules",
        ".venv",
        "venv",
        "env",
        ".env",
        ".tox",
        ".nox",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".ipynb_checkpoints",
        ".idea",
        ".vscode",
        "wandb",
        "mlruns",
        "site-packages",
        "dist-packages",
        "dist",
        "build",
        ".eggs",
    ]
)
NOT_TRAINING = ("test", "tests", "docs", "setup", "conftest")
DATA_WORDS = ("data", "dataset", "datasets", "input", "inputs", "corpus", "features")
RESULT_WORDS = (
    "results",
    "outputs",
    "output",
    "runs",
    "checkpoints",
    "ckpt",
    "ckpts",
    "logs",
    "models",
    "out",
)
DATA_SUFFIXES = frozenset(
    [
        ".h5",
        ".hdf5",
        ".hdf",
        ".npz",
        ".npy",
        ".pkl",
        ".pickle",
        ".parquet",
        ".feather",
        ".arrow",
        ".csv",
        ".tsv",
        ".tfrecord",
        ".tfrecords",
        ".mat",
        ".lmdb",
        ".zarr",
        ".zip",
        ".tar",
        ".gz",
        ".jsonl",
        ".wav",
        ".flac",
        ".mp3",
        ".mp4",
        ".jpg",
        ".jpeg",
        ".png",
        ".bin",
        ".safetensors",
    ]
)
LARGE_BYTES = 20_000_000
"""A folder of data files from this size on is data that travels by itself, whatever it is called."""
READ_BYTES = 2_000_000
"""A larger source file is no program that somebody has written."""
MOST_READ = 1000
"""Source files, those nearest to the top first: who has more stands in no project, but in a home folder."""
OFFICIAL_CONFIG = "rnn_args.yaml"
OFFICIAL_PROGRAM = "train_model.py"
OFFICIAL_FOLDERS = ("model_training/", "")
"""Where these two lie: seen from the top of the checkout, and from their own folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolder:
    """A folder, or a file at the top, that holds data and no code."""

    path: str
    size_bytes: int
    num_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A folder, by what its files show. Paths are relative to it."""

    root: Path
    programs: tuple[Program, ...] = ()
    """What can be started, the likeliest training program first."""
    shell_scripts: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    """(field of ``environment``, file), the best first."""
    unusable: tuple[tuple[str, str], ...] = ()
    """Files of environments that cannot be used, and why."""
    python: str | None = None
    """The version that it asks for, where a machine's own may not do."""
    modules: tuple[str, ...] = ()
    """What an import finds at its top: modules, and packages."""
    modules_in_src: tuple[str, ...] = ()
    """The same of its folder ``src``."""
    data: tuple[DataFolder, ...] = ()
    """The largest first."""
    results: tuple[str, ...] = ()
    """Folders that look like results of earlier runs."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """Programs that do not parse, and why."""
    official: str | None = None
    """Of a checkout of the Brain-to-Text '25 baseline: the folder of its trainer, ``model_training/``, or empty in there."""

    @property
    def name(self) -> str:
        """A job's name made of the folder's."""
        return derive_name(self.root.name)

    def data_at(self, path: str) -> DataFolder | None:
        """The data at or around a path of the project."""
        clean = os.path.normpath(path)
        for folder in self.data:
            if (
                clean == folder.path
                or clean.startswith(folder.path + "/")
                or folder.path.startswith(clean + "/")
            ):
                return folder
        return None


def survey(root: Path) -> Project:
    """Look at a folder; reads text files up to two megabytes each and executes nothing.

    Raises:
        UsageError: there is no such folder, or it cannot be read.
    """
    root = root.expanduser().absolute()
    try:
        files = list(_files(root))
    except OSError as error:
        raise UsageError(
            f"{root} cannot be looked at: {error.strerror}", hint="name the project's folder"
        ) from None
    if not files:
        raise UsageError(f"{root} holds no files", hint="name the folder of your project: launch init DIR")
    programs, broken = _programs(root, files)
    names = {path for path, _ in files}
    environment, unusable = environment_files(root, names)
    return Project(
        root=root,
        programs=tuple(sorted(programs, key=_rank)),
        shell_scripts=tuple(path for path, _ in files if path.endswith(".sh") and path.count("/") <= 1),
        environment=environment,
        unusable=unusable,
        python=python_of(root, names),
        modules=tuple(_modules(names, "")),
        modules_in_src=tuple(_modules(names, "src/")),
        data=tuple(_data(files)),
        results=tuple(_results(root)),
        unreadable=tuple(broken),
        official=next((folder for folder in OFFICIAL_FOLDERS if _is_official(root / folder)), None),
    )


def _is_official(folder: Path) -> bool:
    return (folder / OFFICIAL_CONFIG).is_file() and (folder / OFFICIAL_PROGRAM).is_file()


def _files(root: Path) -> Iterator[tuple[str, int]]:
    """(path, bytes) of everything that is not a tool's own folder."""
    pending = [""]
    while pending:
        base = pending.pop()
        for entry in sorted(os.scandir(root / base), key=lambda entry: entry.name):
            path = f"{base}{entry.name}"
            if not _can_be_named(entry.name) or _leads_in_circles(entry):
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in SKIPPED:
                    pending.append(path + "/")
            elif entry.is_file():
                yield path, entry.stat().st_size
            elif entry.is_dir() and not root.resolve().is_relative_to(Path(entry.path).resolve()):
                # a link to a folder that does not hold this one: data that lies elsewhere
                yield path, sum(size for _, size in _linked(Path(entry.path)))


def _can_be_named(name: str) -> bool:
    """A job file is UTF-8 text: a name of other bytes cannot stand in it."""
    return not any("\udc80" <= letter <= "\udcff" for letter in name)


def _leads_in_circles(entry: os.DirEntry[str]) -> bool:
    try:
        entry.is_file()
    except OSError as error:
        if entry.is_symlink() and error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG):
            return True
        raise
    return False


def _linked(folder: Path) -> Iterator[tuple[str, int]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(OSError):  # a size is asked for, and nothing of it is ours
                if path.is_file():
                    yield str(path), path.stat().st_size


def _programs(root: Path, files: Iterable[tuple[str, int]]) -> tuple[list[Program], list[tuple[str, str]]]:
    found: list[Program] = []
    broken: list[tuple[str, str]] = []
    sources = [
        path
        for path, size in files
        if path.endswith(".ipynb") or (path.endswith(".py") and size <= READ_BYTES)
    ]
    for path in sorted(sources, key=lambda path: (path.count("/"), path))[:MOST_READ]:
        text = (root / path).read_text(encoding="utf-8", errors="replace")
        program = read_notebook(path, text) if path.endswith(".ipynb") else read_program(path, text)
        if program is None:
            problem = notebook_problem(root / path) if path.endswith(".ipynb") else None
            broken.append((path, problem or "does not parse as Python 3 and was not looked at"))
        elif program.runs_alone and not _is_aside(path):
            found.append(program)
    return found, broken


def _modules(names: Iterable[str], folder: str) -> Iterator[str]:
    """What Python finds in a folder of the project by an import: modules, and folders with modules."""
    below = (name.removeprefix(folder) for name in names if name.startswith(folder) and name.endswith(".py"))
    yield from sorted({name.removesuffix(".py").partition("/")[0] for name in below})


def _is_aside(path: str) -> bool:
    parts = path.lower().removesuffix(".py").split("/")
    return any(part in NOT_TRAINING or part.startswith("test_") for part in parts)


def _rank(program: Program) -> tuple[int, int, str]:
    """The likeliest training program first."""
    stem = program.path.lower().rpartition("/")[2].rpartition(".")[0]
    score = 0
    score += 6 if "train" in stem else 0
    score += 3 if stem in ("main", "run", "fit", "experiment") else 0
    score -= (
        4
        if any(word in stem for word in ("eval", "predict", "infer", "plot", "preprocess", "download"))
        else 0
    )
    score += 3 if program.trains else 0
    score += 2 if program.options else 0
    score += 1 if program.writes else 0
    score -= 1 if program.is_notebook else 0
    return -score, program.path.count("/"), program.path


def _data(files: Iterable[tuple[str, int]]) -> list[DataFolder]:
    """Folders of the first level (two where the first holds code), and single large files, that are data."""
    sizes: dict[str, tuple[int, int]] = {}
    code: set[str] = set()
    for path, size in files:
        top, _, rest = path.partition("/")
        key = (
            top
            if not rest or _is_named_data(top)
            else f"{top}/{rest.partition('/')[0]}"
            if "/" in rest
            else top
        )
        suffix = PurePosixPath(path).suffix.lower()
        if suffix in (".py", ".ipynb", ".sh", ".c", ".cpp", ".cu") and not _is_named_data(top):
            code.add(key)
        if suffix in DATA_SUFFIXES or _is_named_data(top) or (not suffix and size >= LARGE_BYTES):
            total, count = sizes.get(key, (0, 0))
            sizes[key] = (total + size, count + 1)
    found = [
        DataFolder(path=key, size_bytes=total, num_files=count)
        for key, (total, count) in sizes.items()
        if key not in code and not _is_result(key) and (_is_named_data(key) or total >= LARGE_BYTES)
    ]
    return sorted(found, key=lambda folder: -folder.size_bytes)


def _is_named_data(path: str) -> bool:
    return path.rpartition("/")[2].lower() in DATA_WORDS


def _is_result(path: str) -> bool:
    return any(part.lower() in RESULT_WORDS for part in path.split("/"))


def _results(root: Path) -> Iterator[str]:
    for name in RESULT_WORDS:
        if (root / name).is_dir():
            yield name
