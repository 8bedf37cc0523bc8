"""A Redis of our own: on a free port of the loopback, in memory, gone with us."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from types import TracebackType

from trainer.lm.errors import ServiceLost, missing_package

__all__ = ["PrivateRedis"]

START_S = 20.0
ATTEMPTS = 5


class PrivateRedis:
    """Starts ``redis-server`` on entry and ends it on exit. Raises `ServiceLost` when it does not start."""

    def __init__(self, port: int | None = None) -> None:
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._port is not None
        return "127.0.0.1", self._port

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> PrivateRedis:
        program = shutil.which("redis-server")
        if program is None:
            raise ServiceLost(
                "redis-server is not installed", hint="apt-get install redis-server, or name one with --redis"
            )
        self._folder = tempfile.TemporaryDirectory(prefix="trainer-redis-")
        chosen = self._port
        for _ in range(ATTEMPTS):
            # Between choosing a free port and taking it somebody else may: then the server ends, and another is tried.
            self._port = chosen or _free_port()
            self._process = subprocess.Popen(
                [program, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                 "--dir", self._folder.name, "--daemonize", "no"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if self._answers():
                return self
            self._end()
        self.__exit__(None, None, None)
        raise ServiceLost(f"{program} does not start on the loopback")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _answers(self) -> bool:
        """Whether this very process serves the port."""
        try:
            import redis
        except ImportError as error:
            raise missing_package(error, "the Redis protocol") from error
        deadline = time.monotonic() + START_S
        with contextlib.closing(
            redis.Redis(host="127.0.0.1", port=self.address[1], socket_timeout=5.0)
        ) as client:
            while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
                try:
                    return int(client.info("server")["process_id"]) == self.pid
                except redis.RedisError:
                    time.sleep(0.02)
        return False

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
