"""Opening a decoder behind Redis, and, where asked for, starting and ending that Redis and its language model."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from trainer.lm.errors import BadOption, ServiceLost
from trainer.lm.redis_decoder import RedisDecoder
from trainer.lm.redis_link import Say, parse_address
from trainer.lm.redis_server import PrivateRedis
from trainer.lm.search import Hypothesis

__all__ = ["open_decoder", "served_arguments"]

PRIVATE = "private"
GRACE_S = 10.0


def open_decoder(
    where: str, command: str | None, *, patience_s: float, say: Say, options: Mapping[str, Any]
) -> OwnedDecoder:
    """A decoder behind the Redis at `where`, or behind a private one; `command` is started first and ended at the end.

    Raises `BadOption` and `ServiceLost`; nothing that was started is left behind.
    """
    if where == PRIVATE and command is None:
        raise _nobody_there()
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(PrivateRedis()).address if where == PRIVATE else parse_address(where)
        more = {} if command is None else {"check": stack.enter_context(_running(command, address))}
        decoder = RedisDecoder(address, patience_s=patience_s, say=say, options=options, **more)
        stack.callback(decoder.close)
        return OwnedDecoder(decoder, stack.pop_all())


def served_arguments(where: str, *, patience_s: float, say: Say) -> dict[str, str]:
    """What the language model behind an address says of itself. Raises `BadOption` and `ServiceLost`."""
    if where == PRIVATE:
        raise _nobody_there()
    with contextlib.closing(RedisDecoder(parse_address(where), patience_s=patience_s, say=say)) as decoder:
        return decoder.arguments()


def _nobody_there() -> BadOption:
    return BadOption(
        "--redis private: nobody would answer there",
        hint="say with --lm-command what to start, such as 'trainer lm serve --graph DIR --redis {host}:{port}'",
    )


class OwnedDecoder:
    """A `SentenceDecoder` that ends what was started for it."""

    max_jobs = 1

    def __init__(self, decoder: RedisDecoder, started: contextlib.ExitStack) -> None:
        self._decoder = decoder
        self._started = started

    def decode(self, logits: np.ndarray[Any, np.dtype[np.float32]]) -> list[Hypothesis]:
        """See `SentenceDecoder`."""
        return self._decoder.decode(logits)

    def close(self) -> None:
        """End the language model, then its Redis."""
        self._started.close()


@contextlib.contextmanager
def _running(command: str, address: tuple[str, int]) -> Iterator[Callable[[], None]]:
    """A process group of its own for as long as it is needed; its words go where ours go.

    Yields what raises `ServiceLost` once it has failed; one that ends with 0 may have left others behind that answer.
    """
    host, port = address
    try:
        argv = [part.replace("{host}", host).replace("{port}", str(port)) for part in shlex.split(command)]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
    except (ValueError, OSError) as error:
        raise BadOption(f"--lm-command cannot be started: {error}") from error

    def check() -> None:
        if code := process.poll():
            raise ServiceLost(
                f"the language model that was started has ended with {code}: {command}",
                hint="what it said stands above; finished sentences are kept, the same command goes on",
            )

    try:
        yield check
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
