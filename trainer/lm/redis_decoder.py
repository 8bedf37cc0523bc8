"""Decoding by a language-model process behind Redis, the official one or ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trainer.lm import protocol
from trainer.lm.errors import ServiceLost
from trainer.lm.redis_link import RedisLink, Say
from trainer.lm.scores import graph_log_probs, to_graph_order
from trainer.lm.search import Hypothesis

__all__ = ["RedisDecoder"]

ANSWERS = (protocol.RESET_DONE, protocol.OUTPUT_PARTIAL, protocol.OUTPUT_FINAL, protocol.UPDATED)


def _unknown() -> None:
    """Whether a process of somebody else still runs, only its answers tell."""


class RedisDecoder:
    """A `SentenceDecoder`, one sentence at a time, as the protocol wants it.

    When Redis goes away in the middle of a sentence it is waited for, and the sentence is begun again from its reset.
    """

    max_jobs = 1

    def __init__(
        self,
        address: tuple[str, int],
        *,
        patience_s: float,
        say: Say,
        options: Mapping[str, Any] | None = None,
        check: Callable[[], None] = _unknown,
    ) -> None:
        """Connect and wait for the language model. Raises `ServiceLost` when none is there after `patience_s`.

        `check` is called while it is waited for, and raises what ends the waiting at once.
        """
        self._patience_s = patience_s
        self._check = check
        self._say = say
        self._link = RedisLink(address, patience_s=patience_s, say=say)
        self._link.start_reading(ANSWERS)
        try:
            self._wait_for_model()
            if options:
                self._link.send(protocol.UPDATE, {name: str(value) for name, value in options.items()})
                self._answer(protocol.UPDATED)
        except BaseException:
            self.close()
            raise

    def decode(self, logits: np.ndarray[Any, np.dtype[np.float32]]) -> list[Hypothesis]:
        """See `SentenceDecoder`. Raises `ServiceLost` and `BadLogits`."""
        if not len(logits):
            return []
        graph_log_probs(logits, 1.0)  # raises for what the other side could only answer with nonsense
        rows = to_graph_order(logits)
        while True:
            before = self._link.reconnects
            try:
                return self._decode_once(rows, before)
            except _ComeBack:
                self._say("the sentence is sent again")

    def arguments(self) -> dict[str, str]:
        """The options that the language model says it works with."""
        return self._link.newest(protocol.ARGUMENTS)

    def close(self) -> None:
        """Close the connection; the streams stay, the language model reads them."""
        self._link.close()

    def _decode_once(self, rows: np.ndarray[Any, Any], before: int) -> list[Hypothesis]:
        self._link.send(protocol.RESET, {"done": 0})
        self._answer(protocol.RESET_DONE, before)
        # What an earlier, broken try was still answered is older than this reset.
        self._link.skip([protocol.OUTPUT_PARTIAL, protocol.OUTPUT_FINAL])
        sent = self._link.send(protocol.INPUT, {"logits": protocol.encode_logits(rows)})
        self._answer(protocol.OUTPUT_PARTIAL, before)
        self._link.forget(protocol.INPUT, sent)
        self._link.send(protocol.FINALIZE, {"done": 0})
        fields = self._answer(protocol.OUTPUT_FINAL, before)
        found = protocol.decode_scoring(fields.get("scoring", b"").decode("utf-8", "replace"))
        if found:
            return found
        best = fields.get("lm_response_final", b"").decode("utf-8", "replace").strip()
        return [Hypothesis(text=best, acoustic=0.0, ngram=0.0)] if best else []

    def _answer(self, stream: str, reconnects: int | None = None) -> dict[str, bytes]:
        """The next message of a stream. Raises `ServiceLost` after the deadline."""
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            if reconnects is not None and self._link.reconnects > reconnects:
                raise _ComeBack
            found = self._link.next_of([stream], wait_s=1.0)
            if found is not None:
                return found[1]
            self._check()
        raise ServiceLost(
            f"no answer on {stream} from the language model at {self._link} within {self._patience_s:g} s",
            hint="look whether it runs; finished sentences are kept, the same command goes on",
        )

    def _wait_for_model(self) -> None:
        """The language model says its options whenever it finds none said: that is how it shows that it is there."""
        deadline = time.monotonic() + self._patience_s
        while not self._link.length(protocol.ARGUMENTS):
            self._check()
            if time.monotonic() > deadline:
                raise ServiceLost(
                    f"no language model has shown up at {self._link} within {self._patience_s:g} s",
                    hint="start it first: trainer lm serve --graph DIR --redis HOST:PORT, or the official one",
                )
            time.sleep(0.1)


class _ComeBack(Exception):
    """Redis was away meanwhile and may have forgotten the sentence."""
