"""``trainer evaluate`` in words: logits, candidates, rescoring, error rates, and for the test split the submission."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trainer.contract import Exit, JobEnvironment
from trainer.durable import replace_text
from trainer.evaluate import run_config
from trainer.interrupt import Interrupt
from trainer.lm.corpora import Corpora
from trainer.lm.decoders import SentenceDecoder
from trainer.lm.errors import LanguageModelError
from trainer.lm.journal import Journal
from trainer.lm.logits import Member, Utterance, collect, fingerprint_digest
from trainer.lm.report import score, summary, table, unsayable
from trainer.lm.search import Hypothesis
from trainer.metrics import MetricsWriter
from trainer.progress import Console, Speed, duration_words
from trainer.run_folder import locate_data
from trainer.submission import check_format, count_test_trials, submission_name, write_submission

__all__ = ["Rescorer", "WordsRequest", "decode_all", "evaluate_words"]

STATUS_S = 5.0
"""Seconds between lines of progress."""


class Rescorer(Protocol):
    """Gives candidates another order, such as a large language model does."""

    def rescore(self, candidates: list[Hypothesis]) -> list[Hypothesis]:
        """The candidates, and perhaps others, best first. Called by one thread."""


@dataclass(frozen=True, kw_only=True)
class WordsRequest:
    """What to decode, and what with."""

    members: Sequence[Member]
    """One model, or an ensemble."""
    data_dir: Path | None
    split: str
    open_decoder: Callable[[], SentenceDecoder]
    """Opens what decodes; called after everything that is cheaper to check."""
    identity: Mapping[str, Any]
    """All that decides the candidates beside the logits: graph, options, rescoring."""
    known: Callable[[str], bool] | None = None
    """Whether the decoder can produce a word; None when nobody knows."""
    open_rescorer: Callable[[], Rescorer | None] = field(default=lambda: None)
    device: str | None = None
    output_dir: Path | None = None
    """Default: ``words_SPLIT`` in the first member's run folder."""
    limit_batches: int | None = None
    fresh: bool = False
    """Decode again what an earlier evaluation had finished."""


def evaluate_words(request: WordsRequest, console: Console) -> Exit:
    """Decode a split and write everything about it; 75 when SIGTERM came, and the next call goes on from there.

    Raises `ConfigError`, `DataError`, a `CheckpointError` or a `LanguageModelError`; finished sentences are kept.
    """
    run_dir = request.members[0].run_dir
    folder = request.output_dir or run_dir / f"words_{request.split}"
    config = run_config(run_dir, request.device)
    data_dir = locate_data(config, request.data_dir, JobEnvironment.read())
    utterances = collect(
        request.members, data_dir, request.split, device=request.device, cache=folder / "logits.npz", console=console,
        limit_batches=request.limit_batches,
    )  # fmt: skip
    _tell_unsayable(request, utterances, console)
    identity = {**request.identity, "logits": fingerprint_digest(folder / "logits.npz")}
    with Interrupt() as interrupt, Journal(folder, identity, fresh=request.fresh) as journal:
        left = [u for u in utterances if u.id not in journal.finished]
        if len(left) < len(utterances):
            console.say(
                f"{len(utterances) - len(left)} sentences were finished before: going on with {len(left)}"
            )
        if left:
            with contextlib.closing(request.open_decoder()) as decoder:
                decode_all(left, decoder, request.open_rescorer(), journal, interrupt, console)
        if interrupt.requested:
            console.say(
                f"{interrupt.name}: {len(journal.finished)} sentences are kept, the same command goes on"
            )
            return Exit.INTERRUPTED
        journal.finish({u.id: _about(u) for u in utterances})
        _write(request, utterances, journal, data_dir, folder, console)
    return Exit.DONE


def _about(utterance: Utterance) -> dict[str, Any]:
    return {
        "session": utterance.session, "block_num": utterance.block_num, "trial_num": utterance.trial_num,
    }  # fmt: skip


def _tell_unsayable(request: WordsRequest, utterances: Sequence[Utterance], console: Console) -> None:
    if request.known is None:
        return
    words, times, total = unsayable(utterances, request.known)
    if times:
        named = ", ".join(words[:6]) + (", …" if len(words) > 6 else "")
        console.warn(
            f"{times} of {total} reference words are not in the vocabulary and cannot be decoded: {named}"
        )


def decode_all(
    utterances: Sequence[Utterance], decoder: SentenceDecoder, rescorer: Rescorer | None, journal: Journal,
    interrupt: Interrupt, console: Console,
) -> None:  # fmt: skip
    """Decode with as many threads as the decoder allows; every sentence is kept as soon as it is done.

    Longest first, so that no thread is left alone with a long one. An error of one sentence lets the others that
    run finish and is then raised.
    """
    queue = iter(sorted(utterances, key=lambda u: -len(u.logits)))
    speed, started, shown, done = Speed(), time.monotonic(), 0.0, 0
    speed.mark(0)
    with ThreadPoolExecutor(max(1, decoder.max_jobs), thread_name_prefix="decode") as pool:
        running: dict[Future[list[Hypothesis]], Utterance] = {}
        failed: LanguageModelError | None = None
        while True:
            while failed is None and not interrupt.requested and len(running) < 2 * decoder.max_jobs:
                utterance = next(queue, None)
                if utterance is None:
                    break
                running[pool.submit(decoder.decode, utterance.logits)] = utterance
            if not running:
                break
            finished, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                utterance = running.pop(future)
                try:
                    found = future.result()
                except LanguageModelError as error:
                    failed = failed or error
                    continue
                if rescorer is not None and found:
                    found = rescorer.rescore(found)
                journal.add(utterance.id, _about(utterance), found)
                done += 1
                speed.mark(done)
            now = time.monotonic()
            if now - started - shown > STATUS_S:
                shown = now - started
                console.status(_progress(done, len(utterances), speed))
    if failed is not None:
        failed.left_behind = (
            f"{len(journal.finished)} finished sentences in {journal.path}; the same command goes on"
        )
        raise failed
    if done:
        seconds = time.monotonic() - started
        console.say(
            f"{done} sentences in {duration_words(seconds)}: {done / max(seconds, 1e-9):.1f} a second"
        )


def _progress(done: int, total: int, speed: Speed) -> str:
    rate, left = speed.steps_per_s(), speed.seconds_left(done, total)
    pace = f", {rate:.1f} a second" if rate else ""
    return f"{done}/{total} sentences{pace}" + (f", {duration_words(left)} left" if left else "")


def _write(
    request: WordsRequest, utterances: Sequence[Utterance], journal: Journal, data_dir: Path, folder: Path,
    console: Console,
) -> None:  # fmt: skip
    sentences = score(utterances, journal.finished, Corpora(data_dir))
    replace_text(folder / "sentences.csv", table(sentences))
    if request.split != "test":
        rates = summary(sentences)
        replace_text(folder / "summary.json", json.dumps(rates, indent=1) + "\n")
        for line in _rate_lines(rates, request.split):
            console.say(line)
        if request.split == "val":
            MetricsWriter.from_environment().result(val_wer=rates["wer"])
    console.say(f"every sentence: {folder / 'sentences.csv'}, its candidates: {journal.path}")
    if request.split == "test":
        _submit(request, [s.best.text for s in sentences], data_dir, folder, console)


def _rate_lines(rates: Mapping[str, Any], split: str) -> Iterator[str]:
    def line(name: str, group: Mapping[str, Any]) -> str:
        return (
            f"{name:<24} {group['sentences']:>5} sentences   PER {100 * group['per']:6.2f} %   "
            f"WER {100 * group['wer']:6.2f} %"
        )

    for name, group in (*rates["by_session"].items(), *rates["by_corpus"].items()):
        yield line(name, group)
    yield line(f"all of {split}", rates) + f"   best of the candidates {100 * rates['oracle_wer']:.2f} %"


def _submit(
    request: WordsRequest, texts: Sequence[str], data_dir: Path, folder: Path, console: Console
) -> None:
    if request.limit_batches is not None:
        console.say("no submission: --limit-batches leaves sentences out")
        return
    sessions = run_config(request.members[0].run_dir, request.device).dataset.sessions
    expected, synthetic = count_test_trials(data_dir, sessions)
    path = folder / submission_name(synthetic)
    write_submission(path, texts)
    for remark in check_format(path, expected):
        console.warn(remark)
    note = "; made of synthetic data, so nothing to hand in" if synthetic else ""
    console.say(f"submission: {path}, {expected} sentences, in good form{note}")
