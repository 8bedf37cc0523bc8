"""N-gram models with back-off in ARPA's form: read, written, asked for probabilities."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from trainer.lm.errors import BadText

__all__ = ["BEGIN", "END", "UNKNOWN", "NgramModel", "perplexity", "read_arpa", "read_unigrams", "write_arpa"]

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
Ngram = tuple[str, ...]
LN10 = math.log(10)
NEVER = -99.0
"""ARPA's way to write a probability of 0."""


@dataclass(slots=True)
class NgramModel:
    """Natural logarithms of probabilities and back-off weights; words in lower case."""

    probabilities: list[dict[Ngram, float]]
    """One table per order, 1-grams first."""
    backoffs: dict[Ngram, float] = field(default_factory=dict)
    """Weight of a context; absent means 1."""

    @property
    def order(self) -> int:
        """Longest n-grams."""
        return len(self.probabilities)

    def log_probability(self, ngram: Ngram) -> float:
        """ln p(last word | the words before); what is unknown counts as ``<unk>``."""
        word, context = ngram[-1], ngram[:-1][-(self.order - 1) :] if self.order > 1 else ()
        if (word,) not in self.probabilities[0]:
            word = UNKNOWN
        backed_off = 0.0
        while True:
            found = self.probabilities[len(context)].get((*context, word))
            if found is not None:
                return backed_off + found
            if not context:
                return -math.inf
            backed_off += self.backoffs.get(context, 0.0)
            context = context[1:]

    def words(self) -> list[str]:
        """The vocabulary without ``<s>``, ``</s>`` and ``<unk>``, sorted."""
        return sorted(w for (w,) in self.probabilities[0] if w not in (BEGIN, END, UNKNOWN))


def perplexity(model: NgramModel, sentences: Iterable[Sequence[str]]) -> float:
    """exp of the mean -ln p per word, ends of sentences counted; infinite when something has probability 0."""
    total, count = 0.0, 0
    for sentence in sentences:
        words = (BEGIN, *sentence, END)
        known = tuple(w if (w,) in model.probabilities[0] else UNKNOWN for w in words)
        for i in range(1, len(known)):
            total -= model.log_probability(known[max(0, i - model.order + 1) : i + 1])
            count += 1
    if not count:
        return math.nan
    return math.exp(total / count) if total < math.inf else math.inf


def write_arpa(model: NgramModel, out: TextIO) -> None:
    """Write the model; the numbers are base-10 logarithms, as the format wants."""
    out.write("\\data\\\n")
    for n, table in enumerate(model.probabilities, start=1):
        out.write(f"ngram {n}={len(table)}\n")
    for n, table in enumerate(model.probabilities, start=1):
        out.write(f"\n\\{n}-grams:\n")
        for ngram, value in sorted(table.items()):
            line = f"{max(NEVER, value / LN10):.7f}\t{' '.join(ngram)}"
            backoff = model.backoffs.get(ngram)
            out.write(line + (f"\t{backoff / LN10:.7f}\n" if backoff is not None else "\n"))
    out.write("\n\\end\\\n")


def read_arpa(path: Path) -> NgramModel:
    """Read an ARPA file, gzipped or not. Raises `BadText` with the line that is wrong."""
    try:
        with _open(path) as file:
            return _parse(path, enumerate(file, start=1))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadText(f"{path} cannot be read: {error}") from error


def read_unigrams(path: Path) -> dict[str, float]:
    """Only ln p of the single words, without reading the longer n-grams. Raises `BadText`."""
    table: dict[Ngram, float] = {}
    try:
        with _open(path) as file:
            for number, raw in enumerate(file, start=1):
                line = raw.strip()
                if line.startswith("\\2-grams:") or line == "\\end\\":
                    break
                if line and line[0] in "-0123456789":
                    _entry(path, number, line, 1, table, {})
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadText(f"{path} cannot be read: {error}") from error
    if not table:
        raise BadText(f"{path}: is no ARPA file: it has no 1-grams")
    return {word: value for (word,), value in table.items()}


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _parse(path: Path, lines: Iterator[tuple[int, str]]) -> NgramModel:
    expected: list[int] = []
    tables: list[dict[Ngram, float]] = []
    backoffs: dict[Ngram, float] = {}
    section = 0
    for number, raw in lines:
        line = raw.strip()
        if line == "\\end\\":
            break
        if line.startswith("ngram ") and not section:
            expected.append(int(line.partition("=")[2]))
        elif line.endswith("-grams:") and line.startswith("\\"):
            section = int(line[1 : line.index("-")])
            tables.append({})
        elif line and section:
            _entry(path, number, line, section, tables[-1], backoffs)
    else:
        raise BadText(f"{path}: is no ARPA file, or is cut off: it does not end in \\end\\")
    if [len(t) for t in tables] != expected or not tables:
        raise BadText(f"{path}: announces {expected} n-grams and holds {[len(t) for t in tables]}")
    return NgramModel(tables, backoffs)


def _entry(
    path: Path, number: int, line: str, order: int, table: dict[Ngram, float], backoffs: dict[Ngram, float]
) -> None:
    fields = line.split()
    try:
        if len(fields) not in (order + 1, order + 2):
            raise ValueError
        value = float(fields[0])
        backoff = float(fields[order + 1]) if len(fields) == order + 2 else None
    except ValueError:
        raise BadText(f"{path}, line {number}: not an entry of the {order}-grams: {line[:60]!r}") from None
    ngram = tuple(_spelled(word) for word in fields[1 : order + 1])
    table[ngram] = value * LN10 if value > NEVER else -math.inf
    if backoff is not None:
        backoffs[ngram] = backoff * LN10


def _spelled(word: str) -> str:
    return word if word in (BEGIN, END) else word.lower()
