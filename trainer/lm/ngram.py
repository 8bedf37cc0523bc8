"""Counting n-grams and smoothing them: interpolated Kneser-Ney with three discounts per order.

Nothing that pip installs estimates an n-gram model. This is meant for texts of up to some million words (about a
minute a million); larger models come from KenLM's lmplz or SRILM as an ARPA file. Chen and Goodman, "An empirical
study of smoothing techniques for language modeling" (1998), section 3, is the source of the formulas.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

from trainer.lm.arpa import BEGIN, END, UNKNOWN, Ngram, NgramModel
from trainer.lm.errors import BadOption, BadText

__all__ = ["count_ngrams", "estimate"]


def count_ngrams(
    sentences: Iterable[Sequence[str]], order: int, vocabulary: Collection[str]
) -> list[Counter[Ngram]]:
    """How often each n-gram of orders 1 to `order` occurs, with ``<s>`` and ``</s>``; other words are ``<unk>``."""
    counts: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    known = frozenset(vocabulary)
    for sentence in sentences:
        words = (BEGIN, *(w if w in known else UNKNOWN for w in sentence), END)
        for n in range(1, order + 1):
            counts[n - 1].update(zip(*(words[k:] for k in range(n)), strict=False))
    counts[0].pop((BEGIN,), None)
    return counts


def estimate(
    sentences: Iterable[Sequence[str]], *, order: int, vocabulary: Collection[str], prune: Sequence[int] = ()
) -> NgramModel:
    """A model in which every context's probabilities over `vocabulary`, ``</s>`` and ``<unk>`` sum to 1.

    ``prune[k]`` leaves out the (k+1)-grams that occur at most so often; the last entry goes for all higher orders, and
    1-grams are never left out. Raises `BadOption` or, without a single known word, `BadText`.
    """
    if not 1 <= order <= 6:
        raise BadOption(f"order is {order}; it must lie between 1 and 6")
    limits = [0, *(tuple(prune)[1:] or (0,))]
    limits += [limits[-1]] * (order - len(limits))
    if any(limit < 0 for limit in limits) or sorted(limits) != limits:
        raise BadOption(
            f"prune is {list(prune)}; expected counts that do not fall from one order to the next"
        )
    raw = count_ngrams(sentences, order, vocabulary)
    if not any(word in vocabulary for (word,) in raw[0]):
        raise BadText("the text holds not a single word of the vocabulary")
    probabilities = _interpolated(raw, vocabulary)
    _prune(probabilities, raw, limits)
    model = NgramModel(probabilities)
    _set_backoffs(model)
    probabilities[0][(BEGIN,)] = -math.inf
    return model


def _adjusted(raw: list[Counter[Ngram]]) -> list[Counter[Ngram]]:
    """Kneser-Ney counts: below the highest order, how many different words come before; raw after ``<s>``."""
    adjusted: list[Counter[Ngram]] = []
    for n in range(len(raw) - 1):
        extensions: Counter[Ngram] = Counter(longer[1:] for longer in raw[n + 1])
        for ngram, count in raw[n].items():
            if ngram[0] == BEGIN:
                extensions[ngram] = count
        adjusted.append(extensions)
    return [*adjusted, raw[-1]]


def _discounts(counts: Counter[Ngram]) -> tuple[float, float, float]:
    """What is taken off counts of 1, 2 and more; a customary choice where the text is too small to tell."""
    n = Counter(count for count in counts.values() if count <= 4)
    if all(n[k] for k in (1, 2, 3, 4)):
        y = n[1] / (n[1] + 2 * n[2])
        found = tuple(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
        if all(0 < d < k for k, d in enumerate(found, start=1)):
            return found[0], found[1], found[2]
    return 0.5, 1.0, 1.5


def _interpolated(raw: list[Counter[Ngram]], vocabulary: Collection[str]) -> list[dict[Ngram, float]]:
    """ln p of all n-grams seen, of all orders, lower orders mixed in."""
    uniform = 1.0 / (len(set(vocabulary)) + 2)  # with </s> and <unk>
    tables: list[dict[Ngram, float]] = []
    lower: dict[Ngram, float] = {}
    for n, counts in enumerate(_adjusted(raw)):
        discounts = _discounts(counts)
        totals: dict[Ngram, float] = defaultdict(float)
        taken: dict[Ngram, float] = defaultdict(float)
        for ngram, count in counts.items():
            totals[ngram[:-1]] += count
            taken[ngram[:-1]] += discounts[min(count, 3) - 1]
        table: dict[Ngram, float] = {}
        words = {(w,) for w in (*vocabulary, END, UNKNOWN)} if n == 0 else ()
        for ngram in (*counts, *(w for w in words if w not in counts)):
            context, count = ngram[:-1], counts[ngram]
            rest = lower[ngram[1:]] if n else uniform
            kept = count - discounts[min(count, 3) - 1] if count else 0.0
            table[ngram] = (kept + taken[context] * rest) / totals[context]
        tables.append({ngram: math.log(p) for ngram, p in table.items()})
        lower = table
    return tables


def _prune(tables: list[dict[Ngram, float]], raw: list[Counter[Ngram]], limits: Sequence[int]) -> None:
    """Leave out rare n-grams, highest order first; what a longer one that stays needs as context or suffix stays."""
    needed: set[Ngram] = set()
    for n in range(len(tables) - 1, 0, -1):
        table = tables[n]
        for ngram in [g for g in table if raw[n][g] <= limits[n] and g not in needed]:
            del table[ngram]
        needed = {g[:-1] for g in table} | {g[1:] for g in table}


def _set_backoffs(model: NgramModel) -> None:
    """The weight of each context that makes its probabilities sum to 1, from the lowest order up."""
    for n in range(1, model.order):
        seen: dict[Ngram, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for ngram, value in model.probabilities[n].items():
            sums = seen[ngram[:-1]]
            sums[0] += math.exp(value)
            sums[1] += math.exp(model.log_probability(ngram[1:]))
        for context, (higher, lower) in seen.items():
            left, below = 1.0 - higher, 1.0 - lower
            # All words seen: rounding alone decides what is left, and nobody will ever back off.
            model.backoffs[context] = (
                math.log(left / below) if left > 1e-12 and below > 1e-12 else math.log(1e-12)
            )
