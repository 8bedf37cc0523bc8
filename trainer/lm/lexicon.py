"""Which words a graph can say and how: from a dictionary, or from the training data themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from trainer.lm.errors import BadText
from trainer.phonemes import CLASS_NAMES
from trainer.sessions import SPLITS, data_root, find_sessions, split_file
from trainer.synthetic.errors import BadLexicon
from trainer.synthetic.lexicon import read_lexicon
from trainer.words import normalise

__all__ = ["Spoken", "read_dictionary", "read_spoken", "read_texts", "write_dictionary"]

Pronunciation = tuple[str, ...]
SILENCE_CLASS = len(CLASS_NAMES) - 1


def read_dictionary(path: Path) -> dict[str, tuple[Pronunciation, ...]]:
    """A dictionary in CMUdict's form, in lower case, stress removed, the first pronunciation first.

    Raises `BadText`.
    """
    try:
        return dict(read_lexicon(path).pronunciations)
    except BadLexicon as error:
        raise BadText(str(error), hint="the file must look like CMUdict: WORD  P H OW N IY M Z") from error


def write_dictionary(path: Path, pronunciations: Mapping[str, Sequence[Pronunciation]]) -> None:
    """Write ``WORD  P H ON`` and ``WORD(2)  P H ON`` lines."""
    lines = []
    for word, variants in sorted(pronunciations.items()):
        for n, phones in enumerate(variants, start=1):
            lines.append(f"{word.upper()}{f'({n})' if n > 1 else ''}  {' '.join(phones)}\n")
    path.write_text("".join(lines), encoding="utf-8")


def read_texts(paths: Sequence[Path]) -> Iterator[list[str]]:
    """The sentences of text files, one a line, spelled as the scoring spells them. Raises `BadText`."""
    for path in paths:
        try:
            with path.open(encoding="utf-8") as file:
                for line in file:
                    words = normalise(line).split()
                    if words:
                        yield words
        except UnicodeDecodeError as error:
            raise BadText(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
        except OSError as error:
            raise BadText(f"{path} cannot be read: {error.strerror}") from error


class Spoken:
    """What the training trials say: their sentences, and how each word was said, by how often."""

    def __init__(self, trials: Iterable[tuple[str, Sequence[int]]]) -> None:
        self.sentences: list[list[str]] = []
        said: dict[str, Counter[Pronunciation]] = defaultdict(Counter)
        self.num_unmatched = 0
        """Sentences with another number of words than of stretches between silences."""
        for sentence, labels in trials:
            words = normalise(sentence).split()
            self.sentences.append(words)
            stretches = _stretches(labels)
            if len(stretches) != len(words):
                self.num_unmatched += 1
                continue
            for word, phones in zip(words, stretches, strict=True):
                said[word][phones] += 1
        self.pronunciations: dict[str, tuple[Pronunciation, ...]] = {
            word: tuple(phones for phones, _ in counts.most_common()) for word, counts in said.items()
        }


def _stretches(labels: Sequence[int]) -> list[Pronunciation]:
    """Phonemes between silences."""
    found: list[list[str]] = [[]]
    for label in labels:
        if label == SILENCE_CLASS:
            found.append([])
        else:
            found[-1].append(CLASS_NAMES[label])
    return [tuple(phones) for phones in found if phones]


def read_spoken(data_dir: Path, sessions: Sequence[str] = ()) -> tuple[Spoken, bool]:
    """Sentences and labels of the training split alone, without the features; and whether they are synthetic.

    Raises `DataError` or `BadText`.
    """
    import h5py

    root = data_root(data_dir)
    synthetic = False
    trials: list[tuple[str, Sequence[int]]] = []
    for session in find_sessions(root, sessions):
        path = split_file(root, session, SPLITS[0])
        try:
            with h5py.File(path, "r") as file:
                synthetic |= bool(file.attrs.get("synthetic", 0))
                for name in file:
                    group = file[name]
                    length = int(group.attrs["seq_len"])
                    text = group.attrs["sentence_label"]
                    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
                    trials.append((text, np.asarray(group["seq_class_ids"][:length]).tolist()))
        except (OSError, KeyError, RuntimeError) as error:
            raise BadText(
                f"{path}: its sentences cannot be read: {' '.join(str(error).split())[:160]}"
            ) from error
    return Spoken(trials), synthetic
