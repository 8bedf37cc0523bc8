"""``trainer lm build``: from a text and a lexicon to a folder with a decoding graph."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.durable import file_digest, is_alive
from trainer.lm.arpa import NgramModel, perplexity, read_arpa, write_arpa
from trainer.lm.errors import BadOption, BadText
from trainer.lm.graph import build_graph, word_symbols
from trainer.lm.graph_folder import ARPA, DICTIONARY, GRAPH, RECORD, TOKEN_TABLE, WORDS, read_record
from trainer.lm.lexicon import Pronunciation, read_dictionary, read_spoken, read_texts, write_dictionary
from trainer.lm.ngram import estimate
from trainer.lm.symbols import TOKENS, write_symbols
from trainer.sessions import data_root, find_sessions, split_file

__all__ = ["BuildRequest", "build"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRequest:
    """What goes into a graph; at least a text (`data_dir` or `corpora`) or an `arpa`, and a source of words."""

    data_dir: Path | None = None
    """Sentences and pronunciations of the training split are taken from here."""
    sessions: tuple[str, ...] = ()
    corpora: tuple[Path, ...] = ()
    """Text files, one sentence a line."""
    lexicon: Path | None = None
    """A dictionary in CMUdict's form; it goes before what the training data say."""
    arpa: Path | None = None
    """A model made elsewhere, instead of counting."""
    vocabulary: Path | None = None
    """A file with one word a line: these and no others."""
    order: int = 3
    prune: tuple[int, ...] = ()
    min_count: int = 1
    """Words rarer than this in the text are left out."""
    pronunciations: int = 1
    """How many pronunciations of each word are taken, the usual ones first."""
    silence_probability: float = 0.9

    def check(self) -> None:
        """Raises `BadOption`."""
        if not (self.data_dir or self.corpora or self.arpa):
            raise BadOption("nothing to learn from", hint="give --data-dir, --corpus or --arpa")
        if not (self.data_dir or self.lexicon):
            raise BadOption(
                "no pronunciations", hint="give --lexicon, a file in CMUdict's form, or --data-dir"
            )
        for name, good, expected in (
            ("min-count", self.min_count >= 1, "at least 1"),
            ("pronunciations", self.pronunciations >= 1, "at least 1"),
            ("silence-probability", 0 < self.silence_probability < 1, "between 0 and 1"),
        ):
            if not good:
                raise BadOption(f"{name} is {getattr(self, name.replace('-', '_'))}; it must be {expected}")

    def fingerprint(self) -> dict[str, Any]:
        """Everything that shapes the result, files by their content."""
        texts = [file_digest(path) for path in self.corpora]
        files = {name: getattr(self, name) for name in ("lexicon", "arpa", "vocabulary")}
        return {
            **{name: path and file_digest(path) for name, path in files.items()},
            "corpora": texts, "data": self._data_state(), "order": self.order, "prune": list(self.prune),
            "min_count": self.min_count, "pronunciations": self.pronunciations,
            "silence_probability": self.silence_probability,
        }  # fmt: skip

    def _data_state(self) -> list[list[Any]]:
        if self.data_dir is None:
            return []
        root = data_root(self.data_dir)
        files = [split_file(root, session, "train") for session in find_sessions(root, self.sessions)]
        return [[path.parent.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def build(request: BuildRequest, out: Path, *, force: bool = False, say: Callable[[str], None]) -> bool:
    """Build the graph folder `out` as a whole or not at all; False when the same graph was there already.

    Raises `BadOption`, `BadText`, `DataError`, and OSError when the disk refuses.
    """
    request.check()
    _check_files(request)
    fingerprint = request.fingerprint()
    if (out / RECORD).is_file() and read_record(out).get("request") == fingerprint and not force:
        say(f"the same graph is there already: {out}")
        return False
    if out.exists() and any(out.iterdir()) and not force:
        raise BadOption(
            f"{out} holds something else already", hint="choose another --out, or --force to replace it"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    for stale in out.parent.glob(f".{out.name}.*.partial"):
        pid = stale.name.split(".")[-2]
        if not (pid.isdigit() and is_alive(int(pid))):  # of a build that was killed
            shutil.rmtree(stale, ignore_errors=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _write(request, fingerprint, partial, say)
        if out.exists():
            shutil.rmtree(out)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _check_files(request: BuildRequest) -> None:
    for path in (*request.corpora, request.lexicon, request.arpa, request.vocabulary):
        if path is not None and not path.is_file():
            raise BadText(f"there is no file {path}")


def _write(
    request: BuildRequest, fingerprint: dict[str, Any], folder: Path, say: Callable[[str], None]
) -> None:
    sentences: list[list[str]] = []
    known: dict[str, tuple[Pronunciation, ...]] = {}
    record: dict[str, Any] = {"request": fingerprint, "synthetic": False}
    if request.data_dir is not None:
        spoken, record["synthetic"] = read_spoken(request.data_dir, request.sessions)
        sentences += spoken.sentences
        known.update(spoken.pronunciations)
        say(f"{len(spoken.sentences):,} training sentences, {len(known):,} words with their pronunciations")
        if spoken.num_unmatched:
            say(
                f"{spoken.num_unmatched} of them have other word boundaries than their labels: only their text is used"
            )
    if request.lexicon is not None:
        known.update(read_dictionary(request.lexicon))
    sentences += read_texts(request.corpora)
    model = read_arpa(request.arpa) if request.arpa is not None else None
    counts = Counter(word for sentence in sentences for word in sentence)
    wanted = _wanted(request, counts, model)
    words = sorted(word for word in wanted if word in known)
    _report_missing(request, wanted, words, counts, record, say)
    if model is None:
        model = estimate(sentences, order=request.order, vocabulary=words, prune=request.prune)
    chosen = {word: known[word][: request.pronunciations] for word in words}
    _write_folder(model, chosen, words, request, folder, record, say)
    if sentences:
        record |= {"sentences": len(sentences), "corpus_words": sum(counts.values())}
        record["perplexity"] = round(perplexity(model, sentences), 2)
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _wanted(request: BuildRequest, counts: Mapping[str, int], model: NgramModel | None) -> Collection[str]:
    if request.vocabulary is not None:
        text = request.vocabulary.read_text(encoding="utf-8", errors="replace")
        return {line.strip().lower() for line in text.splitlines() if line.strip()}
    if model is not None:
        return set(model.words())
    return {word for word, count in counts.items() if count >= request.min_count}


def _report_missing(
    request: BuildRequest, wanted: Collection[str], words: Sequence[str], counts: Mapping[str, int],
    record: dict[str, Any], say: Callable[[str], None],
) -> None:  # fmt: skip
    """Words without a pronunciation: refused where they were asked for by name, else counted and named."""
    missing = sorted(set(wanted).difference(words), key=lambda word: (-counts.get(word, 0), word))
    if not words:
        raise BadText("not one word of the vocabulary has a pronunciation", hint="give a larger --lexicon")
    if not missing:
        return
    named = ", ".join(missing[:8]) + (", …" if len(missing) > 8 else "")
    if request.vocabulary is not None:
        raise BadText(
            f"{request.vocabulary}: {len(missing)} of its words have no pronunciation: {named}",
            hint="add them to --lexicon, or leave them out",
        )
    record["unpronounceable"] = len(missing)
    say(f"{len(missing):,} words have no pronunciation and cannot be decoded: {named}")


def _write_folder(
    model: NgramModel, chosen: Mapping[str, Sequence[Pronunciation]], words: Sequence[str], request: BuildRequest,
    folder: Path, record: dict[str, Any], say: Callable[[str], None],
) -> None:  # fmt: skip
    with (folder / ARPA).open("w", encoding="utf-8") as out:
        write_arpa(model, out)
    ngrams = [len(table) for table in model.probabilities]
    record["model"] = {"order": model.order, "ngrams": ngrams}
    say(f"{model.order}-gram model: {' + '.join(f'{n:,}' for n in ngrams)} n-grams")
    write_dictionary(folder / DICTIONARY, chosen)
    symbols = word_symbols(words)
    write_symbols(folder / WORDS, symbols)
    write_symbols(folder / TOKEN_TABLE, TOKENS)
    states, arcs = build_graph(
        model, chosen, words, folder / GRAPH, silence_probability=request.silence_probability, say=say
    )
    record |= {"words": len(words), "states": states, "arcs": arcs}
    say(f"TLG: {states:,} states, {arcs:,} arcs")
