"""A connection to Redis that outlives Redis: it waits, says so, and gives up after a deadline."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from trainer.lm.errors import BadOption, ServiceLost, missing_package

__all__ = ["RedisLink", "Say", "parse_address"]

Say = Callable[[str], None]
T = TypeVar("T")
PAUSE_S = 0.25


def parse_address(text: str) -> tuple[str, int]:
    """``host:port``, ``host`` or ``:port``. Raises `BadOption`."""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "6379")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise BadOption(f"{text} is not an address of a Redis server", hint="such as localhost:6379")
    return host or "localhost", int(port)


class RedisLink:
    """The few calls that the protocol needs; the ids of what was read last are kept for each stream.

    Nothing is ever flushed: other users of the same Redis keep what is theirs.
    """

    def __init__(self, address: tuple[str, int], *, patience_s: float, say: Say) -> None:
        try:
            import redis
        except ImportError as error:
            raise missing_package(error, "the Redis protocol") from error
        self._redis = redis
        self._host, self._port = address
        self._patience_s = patience_s
        self._say = say
        # No retries within a call: they are ours, so that they can be told and counted.
        self._client = redis.Redis(
            host=self._host, port=self._port, socket_timeout=5.0, socket_connect_timeout=2.0,
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
        )  # fmt: skip
        self._seen: dict[str, str] = {}
        self.reconnects = 0
        """How often Redis was away and came back, perhaps without what it held."""

    def __str__(self) -> str:
        return f"Redis at {self._host}:{self._port}"

    def persist(self, call: Callable[[Any], T]) -> T:
        """Run `call` with the client, again and again while Redis cannot be reached. Raises `ServiceLost`."""
        deadline = time.monotonic() + self._patience_s
        complained = False
        while True:
            try:
                result = call(self._client)
            except (
                self._redis.ConnectionError,
                self._redis.TimeoutError,
                self._redis.BusyLoadingError,
            ) as error:
                if time.monotonic() > deadline:
                    raise ServiceLost(
                        f"{self} does not answer, after {self._patience_s:g} s: {error}",
                        hint="start it, or look at its address; then the same command again",
                    ) from error
                if not complained:
                    self._say(f"{self} does not answer; waiting up to {self._patience_s:g} s")
                    complained = True
                time.sleep(PAUSE_S)
            except self._redis.RedisError as error:
                raise ServiceLost(f"{self} refused: {error}") from error
            else:
                if complained:
                    self.reconnects += 1
                    self._say(f"{self} answers again")
                return result

    def start_reading(self, streams: Sequence[str]) -> None:
        """Messages of these streams count from now on, by the server's clock."""
        seconds, microseconds = self.persist(lambda client: client.time())
        # Just before this millisecond: an answer within the same one counts, and its id ends in -0.
        before = f"{seconds * 1000 + microseconds // 1000 - 1}-{2**64 - 1}"
        self._seen.update(dict.fromkeys(streams, before))

    def skip(self, streams: Sequence[str]) -> None:
        """Whatever stands in these streams now will not be read."""
        for stream in streams:
            newest = self.persist(lambda client, s=stream: client.xrevrange(s, count=1))  # type: ignore[misc]
            if newest:
                self._seen[stream] = newest[0][0].decode()

    def send(self, stream: str, fields: Mapping[str, Any]) -> str:
        """Add a message; returns its id."""
        return str(self.persist(lambda client: client.xadd(stream, dict(fields))).decode())

    def forget(self, stream: str, message: str) -> None:
        """Delete one message of ours, which may be gone already."""
        self.persist(lambda client: client.xdel(stream, message))

    def delete(self, streams: Sequence[str]) -> None:
        """Delete these streams and nothing else; a Redis that is gone is not waited for."""
        with contextlib.suppress(self._redis.RedisError):
            self._client.delete(*streams)

    def length(self, stream: str) -> int:
        """Messages in a stream."""
        return int(self.persist(lambda client: client.xlen(stream)))

    def newest(self, stream: str) -> dict[str, str]:
        """The fields of the newest message of a stream; empty when there is none."""
        found = self.persist(lambda client: client.xrevrange(stream, count=1))
        return (
            {name.decode(): value.decode("utf-8", "replace") for name, value in found[0][1].items()}
            if found
            else {}
        )

    def text(self, key: str) -> str:
        """A plain key as text; empty when it is not there."""
        found = self.persist(lambda client: client.get(key))
        return found.decode("utf-8", "replace") if found else ""

    def next_of(self, streams: Sequence[str], wait_s: float) -> tuple[str, dict[str, bytes]] | None:
        """The next message of the first of `streams` that has one; None when none comes within `wait_s`."""
        wanted = {stream: self._seen.get(stream, "0-0") for stream in streams}
        block = max(1, round(1000 * wait_s))
        found = self.persist(lambda client: client.xread(wanted, count=1, block=block))
        entries = {name.decode(): messages for name, messages in found} if found else {}
        for stream in streams:
            if stream in entries:
                number, fields = entries[stream][0]
                self._seen[stream] = number.decode()
                return stream, {name.decode(): value for name, value in fields.items()}
        return None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
