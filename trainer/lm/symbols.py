"""Labels of a decoding graph: which number is which phoneme or word.

The model's classes are blank, 39 phonemes, silence; a graph's inputs are blank, silence, 39 phonemes, counted from 1
because 0 is epsilon. Mixing the two orders up gives fluent nonsense and no error, so the change is made in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from trainer.lm.errors import BadGraph
from trainer.phonemes import CLASS_NAMES

__all__ = [
    "BLANK_COLUMN",
    "BLANK_LABEL",
    "EPSILON",
    "GRAPH_ORDER",
    "NUM_COLUMNS",
    "PHONE_LABELS",
    "SILENCE_LABEL",
    "TOKENS",
    "Words",
    "read_symbols",
    "write_symbols",
]

NUM_COLUMNS = len(CLASS_NAMES)
GRAPH_ORDER = (0, NUM_COLUMNS - 1, *range(1, NUM_COLUMNS - 1))
"""Column k of a graph's scores is column ``GRAPH_ORDER[k]`` of the logits; its input label is k + 1."""
BLANK_COLUMN = 0
EPSILON = 0
BLANK_LABEL = 1
SILENCE_LABEL = 2
TOKENS = ("<eps>", "<blk>", "SIL", *CLASS_NAMES[1:-1])
"""Names of the input labels, 0 to 41."""
PHONE_LABELS: Mapping[str, int] = {name: TOKENS.index(name) for name in CLASS_NAMES[1:-1]}

SPECIAL = ("<eps>", "#0", "<s>", "</s>")


class Words:
    """The words of a graph's output labels, in lower case as sentences are spelled."""

    def __init__(self, table: Mapping[int, str]) -> None:
        self._by_label = {label: word.lower() for label, word in table.items()}
        special = set(SPECIAL)
        self._labels = {
            w: label for label, w in sorted(self._by_label.items(), reverse=True) if w not in special
        }

    def __len__(self) -> int:
        return len(self._labels)

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._labels

    def label(self, word: str) -> int | None:
        """The label of a word in any case; None when the graph cannot produce it."""
        return self._labels.get(word.lower())

    def sentence(self, labels: Iterable[int]) -> str:
        """Words joined by blanks. Raises `BadGraph` for a label without a word."""
        try:
            return " ".join(self._by_label[label] for label in labels)
        except KeyError as error:
            raise BadGraph(
                f"the graph has output label {error}, and words.txt no word for it",
                hint="words.txt and TLG.fst must come from the same build",
            ) from error


def read_symbols(path: Path) -> dict[int, str]:
    """A symbol table, one ``SYMBOL id`` a line, split at the last blank. Raises `BadGraph`."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise BadGraph(f"{path} cannot be read: {error.strerror}") from error
    table: dict[int, str] = {}
    for number, line in enumerate(lines, start=1):
        symbol, _, label = line.rpartition(" ")
        if not label.isdigit() or not symbol.strip():
            raise BadGraph(f"{path}, line {number}: expected SYMBOL id, found {line[:60]!r}")
        if int(label) in table:
            raise BadGraph(f"{path}, line {number}: label {label} is taken by {table[int(label)]!r}")
        table[int(label)] = symbol.strip()
    if table.get(EPSILON) != "<eps>":
        raise BadGraph(f"{path}: label 0 must be <eps>, found {table.get(EPSILON)!r}")
    return table


def write_symbols(path: Path, symbols: Iterable[str]) -> None:
    """Write a table whose labels count from 0."""
    path.write_text("".join(f"{s} {i}\n" for i, s in enumerate(symbols)), encoding="utf-8")
