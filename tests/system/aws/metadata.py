"""The metadata service of one machine, as strict as IMDSv2: no token, no answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "token-of-this-machine"


@dataclass
class Metadata:
    """Started with the machine; `notice` is what ``spot/instance-action`` answers."""

    notice: str | None = None
    asked: int = 0
    _server: ThreadingHTTPServer | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> Metadata:
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                wanted = (
                    self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
                )
                self._answer(200, TOKEN) if wanted else self._answer(400, "")

            def do_GET(self) -> None:
                metadata.asked += 1
                if self.headers["X-aws-ec2-metadata-token"] != TOKEN:
                    self._answer(401, "")
                elif self.path == "/latest/meta-data/spot/instance-action" and metadata.notice:
                    self._answer(200, metadata.notice)
                else:
                    self._answer(404, "")

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def serving() -> Iterator[Metadata]:
    metadata = Metadata().start()
    try:
        yield metadata
    finally:
        metadata.stop()
