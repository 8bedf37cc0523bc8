"""Putting candidates into another order with a causal language model, by the official formula.

``total = acoustic_scale × acoustic + (1 - alpha) × ngram + alpha × llm``, where llm is the sum of ln p(token | all before)
over the tokens of a candidate, the tokenizer's beginning-of-text counted as context only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import OutOfMemory
from trainer.lm.decoders import rank
from trainer.lm.errors import BadOption, LanguageModelError, missing_package
from trainer.lm.memory import available_bytes, gib
from trainer.lm.search import Hypothesis

__all__ = ["CausalScorer", "LlmRescorer", "RescoringOptions", "recombined", "tidied"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RescoringOptions:
    """How much the language model counts. Raises `BadOption`."""

    acoustic_scale: float = 0.325
    alpha: float = 0.55
    """0 is the n-gram model alone, 1 the large one alone."""
    length_penalty: float = 0.0
    """Taken off for every token."""
    recombine_top: int = 20
    """Among so many of the best, words are exchanged to make more candidates; 0 makes none."""
    score_penalty: float = 0.01
    """Share of its size by which the score of an exchanged sentence is worse than its parents' mean."""
    context: str = ""
    """Text that comes before every candidate and is not scored."""

    def __post_init__(self) -> None:
        for name, good, expected in (
            ("alpha", 0 <= self.alpha <= 1, "between 0 and 1"),
            ("length_penalty", math.isfinite(self.length_penalty), "a number"),
            ("recombine_top", self.recombine_top >= 0, "at least 0"),
            ("score_penalty", 0 <= self.score_penalty < 1, "between 0 and 1"),
        ):
            if not good:
                raise BadOption(f"{name} is {getattr(self, name)}; it must be {expected}")


def recombined(candidates: Sequence[Hypothesis], top: int, penalty: float) -> list[Hypothesis]:
    """The candidates and what exchanging one differing word between any two of the `top` best of equal length gives.

    `candidates` are sorted, best first. New sentences get the mean of their parents' scores, lowered.
    """
    known = {h.text: h for h in candidates}
    for one, other in itertools.combinations(candidates[:top], 2):
        a, b = one.text.split(), other.text.split()
        if len(a) != len(b):
            continue
        scores = [
            _worse((x + y) / 2, penalty)
            for x, y in ((one.acoustic, other.acoustic), (one.ngram, other.ngram))
        ]
        for i in range(len(a)):
            if a[i] == b[i]:
                continue
            for base, word in ((a, b[i]), (b, a[i])):
                text = " ".join((*base[:i], word, *base[i + 1 :]))
                known.setdefault(text, Hypothesis(text, *scores))
    return list(known.values())


def _worse(score: float, penalty: float) -> float:
    return score - penalty * abs(score)


def tidied(text: str) -> str:
    """A candidate as the language model reads it: ``>`` removed, no blank before a comma, full stop or question mark."""
    for sign in (",", ".", "?"):
        text = text.replace(f" {sign}", sign)
    return text.replace(">", "").strip()


class CausalScorer:
    """ln p of sentences under a causal language model of transformers."""

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int = 64) -> None:
        if batch_size < 1:
            raise BadOption(f"the batch size is {batch_size}; it must be at least 1")
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._tokenizer.padding_side = "right"
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self.batch_size = batch_size
        """Sentences at once; halved for good whenever the memory does not hold them."""

    @classmethod
    def load(cls, name: str, *, device: str = "auto", batch_size: int = 64) -> CausalScorer:
        """A model from a local folder or, by its name, from a hub; 16-bit on a GPU, 32-bit on a CPU.

        Raises `LanguageModelError` when it cannot be had or would not fit the memory.
        """
        try:
            import torch
            import transformers

            from trainer.memory import is_out_of_memory
        except ImportError as error:
            raise missing_package(error, "rescoring") from error
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        _check_memory(Path(name), device)
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(name)
            dtype = torch.float32 if device == "cpu" else torch.float16
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = " ".join(str(error).split())[:200]
            raise LanguageModelError(
                f"the language model {name} cannot be loaded: {reason}",
                hint="name a folder that save_pretrained wrote, or a model of the hub such as facebook/opt-1.3b",
            ) from error
        try:
            return cls(model.to(device), tokenizer, batch_size=batch_size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(f"{name} does not fit the memory of {device}") from error

    def scores(self, texts: Sequence[str], *, context: str = "", length_penalty: float = 0.0) -> list[float]:
        """One number per text, higher is more likely. Raises `OutOfMemory` when not even one sentence fits."""
        from trainer.memory import is_out_of_memory, release_cached

        prefix = f"{context.strip()} " if context.strip() else ""
        skipped = len(self._tokenizer(prefix.strip())["input_ids"]) if prefix else 1
        found: list[float] = []
        while len(found) < len(texts):
            batch = [prefix + text for text in texts[len(found) : len(found) + self.batch_size]]
            try:
                found += self._batch(batch, skipped, length_penalty)
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.batch_size == 1:
                    raise OutOfMemory(
                        "the memory does not hold one sentence beside the language model",
                        hint="take a smaller model",
                    ) from error
            # Not in the except clause: there the traceback still holds the tensors of the failed pass.
            self.batch_size //= 2
            release_cached(next(self._model.parameters()).device)
        return found

    def _batch(self, texts: list[str], skipped: int, length_penalty: float) -> list[float]:
        import torch

        device = next(self._model.parameters()).device
        tokens = self._tokenizer(texts, return_tensors="pt", padding=True)
        ids, mask = tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        with torch.inference_mode():
            logits = self._model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
            # Not a whole table of log-probabilities: the vocabulary is large.
            chosen = logits.gather(2, ids[:, 1:, None]).squeeze(2) - logits.logsumexp(2)
        counted = mask[:, 1:].clone()
        counted[:, : skipped - 1] = 0
        sums = (chosen * counted).sum(1) - length_penalty * mask.sum(1)
        return [float(value) for value in sums.cpu()]


def _check_memory(folder: Path, device: str) -> None:
    """Refuse a local model that the memory of a CPU cannot hold, before it is read."""
    if device != "cpu" or not folder.is_dir():
        return
    stored = sum(
        path.stat().st_size for path in (*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin"))
    )
    free = available_bytes()
    if stored > free:
        raise LanguageModelError(
            f"{folder} holds {gib(stored)} of weights, and {gib(free)} of memory are free",
            hint="take a smaller model, or a GPU",
        )


class LlmRescorer:
    """A `Rescorer`: more candidates by exchanging words, each scored, all sorted again."""

    def __init__(self, scorer: CausalScorer, options: RescoringOptions) -> None:
        self._scorer = scorer
        self._options = options

    def rescore(self, candidates: list[Hypothesis]) -> list[Hypothesis]:
        """See `trainer.lm.evaluate.Rescorer`."""
        options = self._options
        more = recombined(candidates, options.recombine_top, options.score_penalty)
        llm = self._scorer.scores(
            [tidied(h.text) for h in more], context=options.context, length_penalty=options.length_penalty
        )
        scored = [
            Hypothesis(text=h.text, acoustic=h.acoustic, ngram=h.ngram, llm=score)
            for h, score in zip(more, llm, strict=True)
        ]
        return rank(scored, options.acoustic_scale, options.alpha)
