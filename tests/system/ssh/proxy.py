"""A TCP proxy that behaves like a bad network: it stalls, cuts, or is slow."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress


class Proxy:
    """Passes bytes between its own port and ``target`` on loopback until it is told otherwise."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self.bytes_per_s: float | None = None
        self.passed_bytes = 0
        self.cut_after_bytes: int | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Swallow everything from now on, in silence: connections stay open and nothing arrives."""
        self._flowing.clear()

    def flow(self) -> None:
        """Pass bytes again."""
        self._flowing.set()

    def cut(self) -> None:
        """Break every connection; new ones are accepted."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Break every connection, and every new one too."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """Accept new connections again."""
        self._refusing = False

    def close(self) -> None:
        self._refusing = True
        self._flowing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._flowing.wait()
                if self.bytes_per_s is not None:
                    time.sleep(len(data) / self.bytes_per_s)
                sink.sendall(data)
                self.passed_bytes += len(data)
                if self.cut_after_bytes is not None and self.passed_bytes >= self.cut_after_bytes:
                    self.cut_after_bytes = None
                    self.cut()
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
