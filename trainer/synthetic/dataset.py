"""Write a whole data set, or nothing."""

from __future__ import annotations

import csv
import json
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.synthetic.errors import BadSpec
from trainer.synthetic.folder import (
    DESCRIPTION,
    RECORD,
    move_into_place,
    partial_folder,
    present_record,
    refuse_small_disk,
    refuse_taken,
    remove_stale,
    writable,
)
from trainer.synthetic.layout import GENERATOR, data_file, write_trials
from trainer.synthetic.neural import N_FEATURES
from trainer.synthetic.sentences import corpus_of, sentences, words_of
from trainer.synthetic.spec import SPLITS, Split, SyntheticSpec
from trainer.synthetic.speech import expected_bins
from trainer.synthetic.trial import Trial, block_of, generate_trial, lexicon_for, planned_sentences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Report", "expected_bytes", "write_dataset"]

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
    lexicon.require(word for text in texts for word in words_of(text))
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
    with writable(out) as root:
        remove_stale(root)
        present = present_record(root)
        if present is not None and {key: present.get(key) for key in identity} == identity:
            return _report(root, present, written=False)
        refuse_taken(root, present, force)
        refuse_small_disk(root, expected_bytes(spec))
        vocabulary = {word for text in planned_sentences(spec) for word in words_of(text)}
        lexicon_for(spec).require(vocabulary)
        with partial_folder(root) as partial:
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
            move_into_place(partial, root, replace=force)
        return _report(root, record, written=True)


def _report(root: Path, record: dict[str, Any], *, written: bool) -> Report:
    counts = {key: int(record[key]) for key in ("files", "trials", "bins", "bytes", "words")}
    return Report(root=root, written=written, **counts)


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
