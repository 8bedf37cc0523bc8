"""``trainer lm tune``: the weights that make the fewest word errors on validation, kept with the model."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.contract import Exit
from trainer.durable import replace_text
from trainer.errors import DataError
from trainer.interrupt import Interrupt
from trainer.lm.decoders import GraphDecoder, rank
from trainer.lm.errors import BadOption
from trainer.lm.graph_folder import DecodingGraph
from trainer.lm.logits import Utterance, fingerprint_digest
from trainer.lm.options import DecoderOptions
from trainer.lm.rescore import CausalScorer, RescoringOptions, recombined, tidied
from trainer.lm.search import Hypothesis
from trainer.progress import Console
from trainer.words import WordErrors, word_errors

__all__ = ["TuningGrid", "best_of", "identity_of", "kept_options", "sample", "tune", "tuning_record"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningGrid:
    """The values that are tried, all with all. Raises `BadOption` when one of the lists is empty."""

    acoustic_scales: tuple[float, ...] = (0.2, 0.325, 0.5, 0.8)
    blank_penalties: tuple[float, ...] = (9.0, 90.0, 300.0)
    alphas: tuple[float, ...] = (0.0,)
    """Only with a large language model; they cost nothing, its scores stay the same."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name):
                raise BadOption(f"{field.name.replace('_', ' ')}: not a single value to try")

    def decodings(self) -> Iterator[tuple[float, float]]:
        """(acoustic scale, blank penalty) of each pass over the sentences."""
        return itertools.product(self.acoustic_scales, self.blank_penalties)


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of the grid."""

    acoustic_scale: float
    blank_penalty: float
    alpha: float
    wer: float


def sample(utterances: Sequence[Utterance], most: int) -> list[Utterance]:
    """At most so many, spread evenly over all sessions, always the same. Raises `BadOption` and `DataError`."""
    if most < 1:
        raise BadOption(f"--sentences must be at least 1, found {most}")
    spoken = [u for u in utterances if u.sentence]
    if not spoken:
        raise DataError("no sentence says what was meant: nothing to tune on")
    chosen = np.unique(np.linspace(0, len(spoken) - 1, min(most, len(spoken))).round().astype(int))
    return [spoken[i] for i in chosen]


def best_of(trials: Sequence[Trial], usual: DecoderOptions) -> Trial:
    """Fewest errors; of equals the one closest to the usual weights."""

    def distance(trial: Trial) -> float:
        scale = math.log(trial.acoustic_scale / usual.acoustic_scale)
        return abs(scale) + abs(math.log(trial.blank_penalty / usual.blank_penalty))

    return min(trials, key=lambda t: (t.wer, distance(t), t.alpha))


def tune(
    utterances: Sequence[Utterance], graph: DecodingGraph, options: DecoderOptions, grid: TuningGrid, *, jobs: int,
    scorer: CausalScorer | None, rescoring: RescoringOptions, record: Path, identity: dict[str, Any], console: Console,
) -> Exit:  # fmt: skip
    """Try the grid and write the best weights to `record`; points tried before for the same `identity` are kept.

    Raises a `LanguageModelError`. SIGTERM ends it after the point in progress, with 75.
    """
    trials = _tried(record, identity)
    llm_scores: dict[str, float] = {}
    points = list(grid.decodings())
    with Interrupt() as interrupt, ThreadPoolExecutor(jobs, thread_name_prefix="decode") as pool:
        for number, (scale, penalty) in enumerate(points, start=1):
            alphas = [a for a in grid.alphas if not _is_tried(trials, scale, penalty, a)]
            if not alphas:
                continue
            if interrupt.requested:
                console.say(f"{interrupt.name}: {len(trials)} points are kept, the same command goes on")
                return Exit.INTERRUPTED
            point = options.changed({"acoustic_scale": scale, "blank_penalty": penalty})
            decoder = GraphDecoder(graph, point, jobs=jobs)
            lists = list(pool.map(lambda u, d=decoder: d.decode(u.logits), utterances))
            if scorer is not None:
                lists = [_scored(found, scorer, rescoring, llm_scores) for found in lists]
            for alpha in alphas:
                wer = _wer(utterances, [rank(found, scale, alpha) for found in lists])
                trials.append(Trial(scale, penalty, alpha, wer))
            _save(record, identity, trials, options)
            shown = min((t for t in trials[-len(alphas) :]), key=lambda t: t.wer)
            console.status(
                f"{number}/{len(points)}: acoustic scale {scale:g}, blank penalty {penalty:g}"
                + (f", alpha {shown.alpha:g}" if scorer is not None else "")
                + f": WER {100 * shown.wer:.2f} %"
            )
    wanted = [t for t in trials if (t.acoustic_scale, t.blank_penalty) in points and t.alpha in grid.alphas]
    _save(record, identity, wanted, options)
    best = best_of(wanted, options)
    console.say(
        f"best: --acoustic-scale {best.acoustic_scale:g} --blank-penalty {best.blank_penalty:g}"
        + (f" --alpha {best.alpha:g}" if scorer is not None else "")
        + f", WER {100 * best.wer:.2f} % on {len(utterances)} sentences; trainer evaluate takes it from {record}"
    )
    if len(grid.acoustic_scales) > 2 and best.acoustic_scale in (
        min(grid.acoustic_scales),
        max(grid.acoustic_scales),
    ):
        console.say("that acoustic scale lies at the edge of what was tried: --acoustic-scales tries others")
    return Exit.DONE


def identity_of(
    logits: Path,
    graph: DecodingGraph,
    llm: str | None,
    utterances: Sequence[Utterance],
    options: DecoderOptions,
) -> dict[str, Any]:
    """All that decides the error rate of a point of the grid, but the point."""
    fixed = dataclasses.asdict(options)
    del fixed["acoustic_scale"], fixed["blank_penalty"]
    return {
        "graph": graph.digest, "llm": llm, "logits": fingerprint_digest(logits), "options": fixed,
        "sentences": [u.id for u in utterances],
    }  # fmt: skip


def _scored(
    found: list[Hypothesis], scorer: CausalScorer, options: RescoringOptions, known: dict[str, float]
) -> list[Hypothesis]:
    """Candidates with the large model's scores; a sentence that was scored before is not scored again."""
    more = recombined(found, options.recombine_top, options.score_penalty)
    new = [text for text in dict.fromkeys(tidied(h.text) for h in more) if text not in known]
    scores = scorer.scores(new, context=options.context, length_penalty=options.length_penalty)
    known.update(zip(new, scores, strict=True))
    return [Hypothesis(h.text, h.acoustic, h.ngram, known[tidied(h.text)]) for h in more]


def _wer(utterances: Sequence[Utterance], lists: Sequence[list[Hypothesis]]) -> float:
    errors = (word_errors(c[0].text if c else "", u.sentence) for u, c in zip(utterances, lists, strict=True))
    return sum(errors, WordErrors()).rate


def _is_tried(trials: Sequence[Trial], scale: float, penalty: float, alpha: float) -> bool:
    return any((t.acoustic_scale, t.blank_penalty, t.alpha) == (scale, penalty, alpha) for t in trials)


def _save(record: Path, identity: dict[str, Any], trials: Sequence[Trial], usual: DecoderOptions) -> None:
    best = best_of(trials, usual)
    content = {
        "identity": identity, "best": dataclasses.asdict(best), "trials": [dataclasses.asdict(t) for t in trials]
    }  # fmt: skip
    replace_text(record, json.dumps(content, indent=1) + "\n")


def _read(record: Path) -> dict[str, Any]:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _tried(record: Path, identity: dict[str, Any]) -> list[Trial]:
    found = _read(record)
    if found.get("identity") != json.loads(json.dumps(identity)):
        return []
    return [Trial(**trial) for trial in found.get("trials", [])]


def kept_options(
    run_dir: Path, graph_digest: str, llm: str | None, say: Callable[[str], None]
) -> dict[str, float]:
    """Weights that were tuned for this model, this graph and this large model; empty without."""
    record = tuning_record(run_dir)
    found = _read(record)
    identity, best = found.get("identity", {}), found.get("best", {})
    if not best or identity.get("graph") != graph_digest or identity.get("llm") != llm:
        return {}
    kept = {name: float(best[name]) for name in ("acoustic_scale", "blank_penalty")}
    if llm is not None:
        kept["alpha"] = float(best["alpha"])
    say(f"tuned: {', '.join(f'{name} {value:g}' for name, value in kept.items())} ({record})")
    return kept


def tuning_record(run_dir: Path) -> Path:
    """Where the result is kept with the model."""
    return run_dir / "checkpoint" / "lm_options.json"
