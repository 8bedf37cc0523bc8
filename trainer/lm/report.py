"""What an evaluation in words tells: error rates overall, by session and by corpus, and a CSV of every sentence."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.lm.corpora import Corpora
from trainer.lm.logits import Utterance
from trainer.lm.search import Hypothesis
from trainer.words import WordErrors, normalise, word_errors

__all__ = ["Sentence", "score", "summary", "table", "unsayable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """One decoded trial and its errors; without labels both counts are empty."""

    utterance: Utterance
    corpus: str
    best: Hypothesis
    words: WordErrors
    phonemes: WordErrors
    oracle: WordErrors
    """Errors of the candidate that comes closest to the truth: what rescoring could reach."""


def score(
    utterances: Sequence[Utterance], found: Mapping[int, list[Hypothesis]], corpora: Corpora
) -> list[Sentence]:
    """Count the errors of every sentence; no candidate counts as saying nothing."""
    nothing = Hypothesis(text="", acoustic=0.0, ngram=0.0)
    sentences = []
    for utterance in utterances:
        candidates = found.get(utterance.id) or [nothing]
        errors = [word_errors(c.text, utterance.sentence) for c in candidates] if utterance.sentence else []
        labels = len(utterance.labels)
        sentences.append(
            Sentence(
                utterance=utterance, corpus=corpora.of(utterance.session, utterance.block_num), best=candidates[0],
                words=errors[0] if errors else WordErrors(),
                phonemes=WordErrors(utterance.phoneme_edits, labels) if labels else WordErrors(),
                oracle=min(errors, key=lambda e: e.edits) if errors else WordErrors(),
            )
        )  # fmt: skip
    return sentences


def _total(sentences: Sequence[Sentence]) -> dict[str, Any]:
    words = sum((s.words for s in sentences), WordErrors())
    phonemes = sum((s.phonemes for s in sentences), WordErrors())
    oracle = sum((s.oracle for s in sentences), WordErrors())
    return {
        "sentences": len(sentences), "words": words.words, "wer": round(words.rate, 6),
        "per": round(phonemes.rate, 6), "oracle_wer": round(oracle.rate, 6),
    }  # fmt: skip


def _grouped(sentences: Sequence[Sentence], key: Callable[[Sentence], str]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Sentence]] = {}
    for sentence in sentences:
        groups.setdefault(key(sentence), []).append(sentence)
    return {name: _total(group) for name, group in groups.items()}


def summary(sentences: Sequence[Sentence]) -> dict[str, Any]:
    """Rates overall, by session in configured order, and by corpus where that is known."""
    by_corpus = _grouped([s for s in sentences if s.corpus], lambda s: s.corpus)
    return {
        **_total(sentences),
        "by_session": _grouped(sentences, lambda s: s.utterance.session),
        "by_corpus": dict(sorted(by_corpus.items())),
    }


def unsayable(utterances: Sequence[Utterance], known: Callable[[str], bool]) -> tuple[list[str], int, int]:
    """Reference words that the decoder cannot produce: (which, how often, among how many)."""
    words = [word for u in utterances for word in normalise(u.sentence).split()]
    missing = [word for word in words if not known(word)]
    return sorted(set(missing)), len(missing), len(words)


COLUMNS = (
    "id", "session", "block_num", "trial_num", "corpus", "reference", "decoded", "edits", "words", "wer",
    "phoneme_edits", "phonemes", "acoustic", "ngram", "llm", "total",
)  # fmt: skip


def table(sentences: Sequence[Sentence]) -> str:
    """CSV with one line per sentence."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for s in sentences:
        u, best = s.utterance, s.best
        writer.writerow(
            (
                u.id, u.session, u.block_num, u.trial_num, s.corpus, u.sentence, best.text, s.words.edits, s.words.words,
                f"{s.words.rate:.6f}", s.phonemes.edits, s.phonemes.words, f"{best.acoustic:.4f}", f"{best.ngram:.4f}",
                f"{best.llm:.4f}", f"{best.total:.4f}",
            )
        )  # fmt: skip
    return out.getvalue()
