"""Write a whole data set, or nothing.

Everything is written into a hidden folder inside the output folder and moved into place by two renames,
``synthetic.json`` first and the data last, so that data that are there are whole. A run that was killed leaves only
its hidden folder, which the next run removes.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import shutil
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.synthetic.errors import BadSpec, CannotWrite, FolderTaken
from trainer.synthetic.layout import DATA_FOLDER, GENERATOR, data_file, is_synthetic, write_trials
from trainer.synthetic.neural import N_FEATURES
from trainer.synthetic.sentences import corpus_of, sentences, words_of
from trainer.synthetic.spec import SPLITS, Split, SyntheticSpec
from trainer.synthetic.speech import expected_bins
from trainer.synthetic.trial import Trial, block_of, generate_trial, lexicon_for, planned_sentences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DESCRIPTION", "RECORD", "Report", "expected_bytes", "write_dataset"]

RECORD = "synthetic.json"
DESCRIPTION = "t15_copyTaskData_description.csv"
"""Block by block, which corpus was spoken: the official evaluation looks every trial up in it."""

_PARTIAL = ".synthetic-partial-"
_SPARE = 1.15
"""Room asked of the disk, beside the expected size."""
_SAMPLED_TRIALS = 200
_TRIAL_OVERHEAD_BYTES = 6_000


@dataclass(frozen=True, slots=True)
class Report:
    """What a data set holds."""

    root: Path
    written: bool
    """False when the same data set was already there."""
    files: int
    trials: int
    bins: int
    bytes: int
    words: int
    """Different words in the sentences."""

    @property
    def hours(self) -> float:
        """Length of the signal."""
        return self.bins * 0.02 / 3600


def expected_bytes(spec: SyntheticSpec) -> int:
    """Forecast of the size on disk, within about 5 % for more than a hundred trials; quick for any size."""
    sample = spec.changed(
        sessions=min(spec.sessions, 4),
        **{split: min(spec.trials(split), _SAMPLED_TRIALS) for split in SPLITS},
    )
    lexicon, texts = lexicon_for(sample), planned_sentences(sample)
    bins = sum(expected_bins(text, lexicon, sample) for text in texts) / len(texts)
    return round(spec.all_trials() * (bins * N_FEATURES * 4 + _TRIAL_OVERHEAD_BYTES))


def write_dataset(
    out: Path,
    spec: SyntheticSpec,
    *,
    force: bool = False,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Write a data set under `out`, which is created; does nothing when the same one is already there.

    `force` replaces another synthetic data set; what this package did not make is never removed. `workers` threads
    generate trials, and change nothing but the time it takes. `on_progress` gets (trials done, trials in all).

    Raises `BadSpec`, `BadLexicon`, `FolderTaken`, `CannotWrite`; after any of them `out` is as it was before.
    """
    out = out.expanduser()
    if workers < 1:
        raise BadSpec(f"workers is {workers}; it must be at least 1", hint="change --workers")
    identity = {"generator": GENERATOR, "spec": spec.parameters(), "lexicon_sha256": lexicon_for(spec).sha256}
    with _writable(out) as root:
        _remove_stale(root)
        present = _present(root)
        if present is not None and {key: present.get(key) for key in identity} == identity:
            return _report(root, present, written=False)
        _refuse_taken(root, present, force)
        _refuse_small_disk(root, expected_bytes(spec))
        vocabulary = {word for text in planned_sentences(spec) for word in words_of(text)}
        lexicon_for(spec).require(vocabulary)
        with _partial_folder(root) as partial:
            counts = _write_files(partial, spec, workers, on_progress)
            record = {
                "synthetic": True,
                **identity,
                "sessions": spec.session_names(),
                **counts,
                "words": len(vocabulary),
            }
            (partial / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
            _write_description(partial / DESCRIPTION, spec)
            _move_into_place(partial, root, replace=force)
        return _report(root, record, written=True)


# Reading what is there


def _present(root: Path) -> dict[str, Any] | None:
    """The record of the synthetic data set in `root`, or None when there is no whole one."""
    if not (root / DATA_FOLDER).is_dir():
        return None
    try:
        record = json.loads((root / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("synthetic") is True else None


def _report(root: Path, record: dict[str, Any], *, written: bool) -> Report:
    counts = {key: int(record[key]) for key in ("files", "trials", "bins", "bytes", "words")}
    return Report(root=root, written=written, **counts)


def _refuse_taken(root: Path, present: dict[str, Any] | None, force: bool) -> None:
    foreign = [p for p in sorted((root / DATA_FOLDER).glob("*/*.hdf5")) if not _marked(p)]
    if foreign:
        raise FolderTaken(
            f"{root} holds data that were not synthesized, such as {foreign[0].relative_to(root)}",
            hint="choose another --out; data that are not synthetic are never replaced",
        )
    if force:
        return
    if present is not None:
        raise FolderTaken(
            f"{root} holds a synthetic data set with other parameters (see {RECORD})",
            hint="choose another --out, or replace it with --force",
        )
    own = {RECORD, DESCRIPTION}
    others = sorted(p.name for p in root.iterdir() if p.name not in own and not p.name.startswith(_PARTIAL))
    if others:
        raise FolderTaken(
            f"{root} is not empty: it holds {', '.join(others[:3])}{', …' if len(others) > 3 else ''}",
            hint="choose another --out, or add the data set beside these files with --force",
        )


def _marked(path: Path) -> bool:
    try:
        return is_synthetic(path)
    except OSError:
        return False


def _refuse_small_disk(root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if free < needed * _SPARE:
        raise CannotWrite(
            f"the data set needs about {needed / 1e9:.2f} GB and {root} has {free / 1e9:.2f} GB free",
            hint="choose a smaller --size or another disk",
        )


# Writing


@contextlib.contextmanager
def _writable(out: Path) -> Iterator[Path]:
    """Create `out`, turn failures of the file system into ours, and remove `out` again if it is left empty."""
    created: list[Path] = []
    try:
        created += [p for p in (out, *out.parents) if not p.exists()]
        out.mkdir(parents=True, exist_ok=True)
        yield out.resolve()
    except (FileExistsError, NotADirectoryError) as error:
        raise CannotWrite(f"{out} is not a folder", hint="choose another --out") from error
    except OSError as error:
        what = error.strerror or str(error)
        raise CannotWrite(f"cannot write {error.filename or out}: {what}", hint="check --out") from error
    finally:
        for folder in created:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock on a folder, which ends with this process; raises BlockingIOError if not to wait for it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _partial_folder(root: Path) -> Iterator[Path]:
    """A folder for what is not whole yet, locked while its writer lives and removed when it ends."""
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=root))
    with _locked(partial, wait=True):
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _remove_stale(root: Path) -> None:
    """Remove what killed runs left; a folder whose writer lives is locked and stays."""
    for partial in root.glob(f"{_PARTIAL}*"):
        # Gone meanwhile, or in use: either way it is not ours to remove.
        with contextlib.suppress(FileNotFoundError, BlockingIOError), _locked(partial, wait=False):
            shutil.rmtree(partial, ignore_errors=True)


def _generate(
    spec: SyntheticSpec, session: int, split: Split, workers: int, pool: ThreadPoolExecutor
) -> Iterator[Trial]:
    """Trials in order, generated a few ahead so that memory stays small whatever the size of the set."""
    ahead: deque[Any] = deque()
    for trial in range(spec.trials(split)):
        ahead.append(pool.submit(generate_trial, spec, session, trial, split))
        if len(ahead) > 2 * workers:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _write_files(
    root: Path, spec: SyntheticSpec, workers: int, on_progress: Callable[[int, int], None] | None
) -> dict[str, int]:
    total = spec.all_trials()
    counts = {"files": 0, "trials": 0, "bins": 0, "bytes": 0}

    def counted(trials: Iterator[Trial]) -> Iterator[Trial]:
        for trial in trials:
            yield trial
            counts["trials"] += 1
            counts["bins"] += len(trial.features)
            if on_progress is not None:
                on_progress(counts["trials"], total)

    with ThreadPoolExecutor(workers) as pool:
        for session, name in enumerate(spec.session_names()):
            for split in (split for split in SPLITS if spec.trials(split)):
                trials = counted(_generate(spec, session, split, workers, pool))
                counts["bytes"] += write_trials(data_file(root, name, split), trials, spec.seed)
                counts["files"] += 1
    return counts


def _write_description(path: Path, spec: SyntheticSpec) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["Date", "Post-implant day", "Block number", "Number of sentences", "Corpus", "Split"])
        for session, name in enumerate(spec.session_names()):
            date = "-".join(name.split(".")[1:])
            for split in SPLITS:
                blocks: dict[int, tuple[str, int]] = {}
                for trial in range(len(sentences(spec, session, split))):
                    block = block_of(spec, split, trial)
                    blocks[block] = corpus_of(trial), blocks.get(block, ("", 0))[1] + 1
                for block, (corpus, n) in blocks.items():
                    table.writerow(
                        [date, session + 1, block, n, corpus, "Train" if split == "train" else "Val/Test"]
                    )


def _move_into_place(partial: Path, root: Path, *, replace: bool) -> None:
    """Old data away, new record, new data: at every moment the data that are there are whole and described."""
    data = root / DATA_FOLDER
    with _locked(root, wait=True):
        if data.exists() and not replace:
            raise FolderTaken(
                f"another process wrote {data} in the meantime", hint="look at it, or choose another --out"
            )
        if data.exists():
            data.rename(partial / "replaced")
        (partial / DESCRIPTION).replace(root / DESCRIPTION)
        (partial / RECORD).replace(root / RECORD)
        (partial / DATA_FOLDER).rename(data)
