"""Sentences as the competition scores them: one spelling for both sides, and edits counted in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["WordErrors", "normalise", "word_edits", "word_error_rate", "word_errors"]

_FOREIGN = re.compile(r"[^a-zA-Z\- ']")


def normalise(sentence: str) -> str:
    """A sentence as the official scoring compares it: lower case, letters, inner hyphens and apostrophes.

    The order matters and is the official one: other characters vanish (they do not become blanks), a hyphen
    before a blank vanishes, then double hyphens, then a blank before an apostrophe; blanks are squeezed last.
    """
    kept = _FOREIGN.sub("", sentence).replace("- ", " ").replace("--", "").replace(" '", "'")
    return " ".join(kept.lower().split())


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Edits against the reference, in words; sums over sentences with ``+``."""

    edits: int = 0
    words: int = 0
    """Words of the reference."""

    @property
    def rate(self) -> float:
        """Word error rate: edits over reference words, in [0, ∞); 0 without a reference."""
        return self.edits / self.words if self.words else 0.0

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(self.edits + other.edits, self.words + other.words)


def word_errors(decoded: str, reference: str) -> WordErrors:
    """Levenshtein distance of one sentence, both sides normalised."""
    truth = normalise(reference).split()
    return WordErrors(word_edits(normalise(decoded).split(), truth), len(truth))


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Rate over (decoded, reference) pairs: all edits over all reference words."""
    return sum((word_errors(decoded, reference) for decoded, reference in pairs), WordErrors()).rate


def word_edits(decoded: Sequence[str], truth: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions of whole words."""
    row = list(range(len(truth) + 1))
    for i, word in enumerate(decoded, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(truth, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]
