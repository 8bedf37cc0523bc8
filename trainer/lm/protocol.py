"""The Redis protocol of the official language-model process: streams, fields, and what stands in them.

A sentence: `RESET` and its answer; then chunks of logits, each answered by a partial; then `FINALIZE` and the final
answer. The order is kept by waiting: each turn the language model looks at reset, finalize and update before input, so
a finalize that is sent early is served before the chunk. All values are text, the logits' excepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trainer.lm.errors import BadLogits
from trainer.lm.search import Hypothesis
from trainer.lm.symbols import NUM_COLUMNS

__all__ = [
    "ARGUMENTS",
    "CONTEXT_KEY",
    "FINALIZE",
    "FINALIZED",
    "INPUT",
    "OUTPUT_FINAL",
    "OUTPUT_PARTIAL",
    "RESET",
    "RESET_DONE",
    "STREAMS",
    "UPDATE",
    "UPDATED",
    "decode_logits",
    "decode_scoring",
    "encode_logits",
    "encode_scoring",
]

RESET, RESET_DONE = "remote_lm_reset", "remote_lm_done_resetting"
INPUT, OUTPUT_PARTIAL = "remote_lm_input", "remote_lm_output_partial"
FINALIZE, OUTPUT_FINAL, FINALIZED = (
    "remote_lm_finalize",
    "remote_lm_output_final",
    "remote_lm_done_finalizing",
)
UPDATE, UPDATED = "remote_lm_update_params", "remote_lm_done_updating_params"
ARGUMENTS = "remote_lm_args"
STREAMS = (
    RESET, RESET_DONE, INPUT, OUTPUT_PARTIAL, FINALIZE, OUTPUT_FINAL, FINALIZED, UPDATE, UPDATED, ARGUMENTS,
)  # fmt: skip
CONTEXT_KEY = "contextual_decoding_current_context"
"""A plain key: text that goes before every candidate when a large language model scores it."""

Logits = np.ndarray[Any, np.dtype[np.float32]]


def encode_logits(logits: np.ndarray[Any, Any]) -> bytes:
    """(T, 41) logits in graph order, row by row, as 32-bit little-endian floats."""
    return np.ascontiguousarray(logits, dtype="<f4").tobytes()


def decode_logits(raw: bytes) -> Logits:
    """The inverse. Raises `BadLogits` when the bytes are not whole rows."""
    row = 4 * NUM_COLUMNS
    if len(raw) % row:
        raise BadLogits(f"a chunk of {len(raw)} bytes is not a whole number of rows of {row}")
    return np.frombuffer(raw, dtype="<f4").reshape(-1, NUM_COLUMNS).astype(np.float32)


def encode_scoring(candidates: Iterable[Hypothesis]) -> str:
    """Five fields of each candidate, all joined by ``;``: sentence, acoustic, n-gram, LLM, total.

    A sentence that contains a semicolon would be read as several by the official client: it is left out.
    """
    fields: list[str] = []
    for h in candidates:
        if ";" not in h.text:
            fields += [h.text, *(f"{value:.6f}" for value in (h.acoustic, h.ngram, h.llm, h.total))]
    return ";".join(fields)


def decode_scoring(text: str) -> list[Hypothesis]:
    """The inverse, best first, equal sentences once. Read from the right, so that sentences may contain semicolons.

    What cannot be read at the left end is left out.
    """
    tokens = text.split(";") if text else []
    found: dict[str, Hypothesis] = {}
    end = len(tokens)
    while end >= 5:
        scores = _numbers(tokens[end - 4 : end])
        if scores is None:
            break
        begin = end - 5
        while begin > 0 and (begin < 5 or _numbers(tokens[begin - 4 : begin]) is None):
            begin -= 1
        sentence = ";".join(tokens[begin : end - 4]).strip()
        hypothesis = Hypothesis(sentence, *scores)
        if sentence not in found or hypothesis.total > found[sentence].total:
            found[sentence] = hypothesis
        end = begin
    return sorted(found.values(), key=lambda h: (-h.total, h.text))


def _numbers(tokens: list[str]) -> tuple[float, float, float, float] | None:
    try:
        a, b, c, d = (float(token) for token in tokens)
    except ValueError:
        return None
    return a, b, c, d
