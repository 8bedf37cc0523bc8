"""``trainer lm serve``: the language-model process of the official protocol, with our search inside."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from trainer.lm import protocol
from trainer.lm.decoders import hypotheses
from trainer.lm.errors import BadLogits, BadOption
from trainer.lm.evaluate import Rescorer
from trainer.lm.graph_folder import DecodingGraph
from trainer.lm.options import DecoderOptions
from trainer.lm.redis_link import RedisLink, Say
from trainer.lm.scores import graph_log_probs
from trainer.lm.search import Search

__all__ = ["LanguageModelService"]

IN_ORDER = (protocol.RESET, protocol.FINALIZE, protocol.UPDATE, protocol.INPUT)
"""What is looked at first, as in the official process: one message a turn."""
FIXED = {
    "ctc_blank_skip_threshold": "1.0", "length_penalty": "0.0", "rescore": "0", "alpha": "0.0", "do_opt": "0",
    "top_candidates_to_augment": "0", "score_penalty_percent": "0.0",
}  # fmt: skip
"""Options of the official process that are told and cannot be changed here."""


class LanguageModelService:
    """Answers one client after the other over one Redis. A bad chunk or option costs a warning, never the service."""

    def __init__(
        self,
        link: RedisLink,
        graph: DecodingGraph,
        options: DecoderOptions,
        *,
        say: Say,
        rescorer: Rescorer | None = None,
    ) -> None:
        self._link = link
        self._graph = graph
        self._options = options
        self._say = say
        self._rescorer = rescorer
        self._search = Search(graph.arcs, options)
        self._answers: dict[str, Callable[[dict[str, bytes]], None]] = {
            protocol.RESET: self._reset, protocol.FINALIZE: self._finalize, protocol.UPDATE: self._update,
            protocol.INPUT: self._input,
        }  # fmt: skip

    def run(self, wanted: Callable[[], bool]) -> None:
        """Serve while `wanted`. Raises `ServiceLost` when Redis stays away longer than the link's patience."""
        self._link.start_reading(IN_ORDER)
        while wanted():
            if not self._link.length(protocol.ARGUMENTS):
                self._tell_options()
            found = self._link.next_of(IN_ORDER, wait_s=0.2)
            if found is not None:
                stream, fields = found
                self._answers[stream](fields)

    def _reset(self, fields: dict[str, bytes]) -> None:
        self._search.reset(self._options)
        self._link.send(protocol.RESET_DONE, {"done": 1})

    def _input(self, fields: dict[str, bytes]) -> None:
        """Exactly one partial per chunk, or the client would wait for ever."""
        try:
            logits = protocol.decode_logits(fields.get("logits", b""))
            self._search.advance(graph_log_probs(logits, self._options.blank_penalty, in_graph_order=True))
        except BadLogits as error:
            self._say(f"a chunk was left out: {error}")
        text = self._graph.words.sentence(self._search.partial())
        self._link.send(protocol.OUTPUT_PARTIAL, {"lm_response_partial": text})

    def _finalize(self, fields: dict[str, bytes]) -> None:
        started = time.monotonic()
        found = hypotheses(self._search.finish(), self._graph, self._options)
        if self._rescorer is not None and found:
            found = self._rescorer.rescore(found)
        best = found[0].text if found else ""
        answer = {
            "lm_response_final": best, "scoring": protocol.encode_scoring(found),
            "context_str": self._link.text(protocol.CONTEXT_KEY),
        }  # fmt: skip
        self._link.send(protocol.OUTPUT_FINAL, answer)
        self._link.send(protocol.FINALIZED, {"done": 1})
        self._say(
            f"{self._search.num_frames} frames, {time.monotonic() - started:.2f} s for {len(found)} candidates: {best}"
        )

    def _update(self, fields: dict[str, bytes]) -> None:
        for name, raw in fields.items():
            value = raw.decode("utf-8", "replace")
            if name in FIXED:
                if value != FIXED[name]:
                    self._say(f"option {name}={value} has no effect here")
                continue
            try:
                self._options = self._options.changed({name: value})
            except BadOption as error:
                self._say(f"option left as it was: {error}")
        self._tell_options()
        self._link.send(protocol.UPDATED, {"done": 1})

    def _tell_options(self) -> None:
        told: dict[str, Any] = dataclasses.asdict(self._options)
        told.pop("beam_delta")
        arguments = {"lm_path": str(self._graph.folder), **told, **FIXED}
        self._link.send(protocol.ARGUMENTS, {name: str(value) for name, value in arguments.items()})
