"""This computer's public address, asked of a real HTTP service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from provisioning import Unreachable
from provisioning.address import VARIABLE, as_cidr, my_cidr


@contextmanager
def answering(text: str, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("text", "cidr"), [("203.0.113.7\n", "203.0.113.7/32"), ("2001:DB8::0:7", "2001:db8::7/128")]
)
def test_an_address_becomes_a_network_of_one(text: str, cidr: str) -> None:
    with answering(text) as url:
        assert my_cidr({VARIABLE: url}) == cidr


@pytest.mark.parametrize(
    ("text", "status"), [("<html>log in to this hotel</html>", 200), ("", 200), ("no", 503)]
)
def test_what_is_no_address_is_refused_with_what_helps(text: str, status: int) -> None:
    with answering(text, status) as url, pytest.raises(Unreachable) as refused:
        my_cidr({VARIABLE: url})
    assert VARIABLE in str(refused.value.hint)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "not a url"])
def test_nobody_there(url: str) -> None:
    with pytest.raises(Unreachable, match="does not tell"):
        my_cidr({VARIABLE: url})


def test_networks_are_kept_and_nonsense_refused() -> None:
    assert as_cidr("10.1.2.3/8") == "10.0.0.0/8"
    with pytest.raises(ValueError, match="does not appear"):
        as_cidr("my laptop")
