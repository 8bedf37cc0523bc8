"""Fetching on the machine, against a server whose addresses end and whose objects change."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from launcher.remote.onboard import download
from tests.launcher.remote.jobs import wait_until

CONTENT = bytes(range(256)) * 40


class Server:
    """Answers a name with `CONTENT` as long as the address has the newest signature."""

    def __init__(self) -> None:
        server = self
        self.signature = "1"
        self.etag = '"one"'
        self.refused = 0
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, signature = self.path.partition("?signature=")
                server.asked.append(path)
                begin = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
                if signature != server.signature:
                    server.refused += 1
                    self._answer(403, b"")
                elif self.headers["If-Match"] != server.etag:
                    self._answer(412, b"")
                else:
                    self._answer(206 if begin else 200, CONTENT[begin:])

            def _answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def told(
        self, name: str, *, lasts: timedelta = timedelta(hours=1), signature: str = ""
    ) -> dict[str, Any]:
        return {
            "name": name,
            "url": f"{self.url}/{name}?signature={signature or self.signature}",
            "headers": {},
            "size_bytes": len(CONTENT),
            "etag": self.etag,
            "expires_at": (datetime.now(timezone.utc) + lasts).isoformat(),
        }


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def write(path: Path, files: list[dict[str, Any]], **more: Any) -> Path:
    folder = path.parent / "data" / "0"
    entry = {"url": "s3://mine/x", "folder": str(folder), "link": str(path.parent / "here"), "sha256": None}
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"downloads": [{**entry, "files": files, "is_folder": True, **more}]}))
    beside.replace(path)
    return path


def test_an_address_that_has_ended_is_waited_for_and_read_again(server: Server, tmp_path: Path) -> None:
    old = [server.told(name, lasts=timedelta(seconds=-1)) for name in ("a", "b/c")]
    listing = write(tmp_path / "list.json", old)
    server.signature = "2"
    codes: list[int] = []
    fetching = threading.Thread(target=lambda: codes.append(download.main([str(listing)])))
    fetching.start()
    wait_until(lambda: server.refused >= 2, "both to be refused")
    write(listing, [server.told(name) for name in ("a", "b/c")])
    fetching.join(60)
    assert codes == [0]
    assert (tmp_path / "here/a").read_bytes() == (tmp_path / "here/b/c").read_bytes() == CONTENT


def test_a_refusal_before_the_end_is_final(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = write(tmp_path / "list.json", [server.told("a", signature="of-somebody-else")])
    assert download.main([str(listing)]) == 1
    said = capsys.readouterr().out
    assert "answers 403" in said
    assert "somebody" not in said, "what is signed is not logged"


def test_pieces_of_two_objects_are_never_put_together(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = write(tmp_path / "list.json", [server.told("a")])
    part = tmp_path / "data/0/a.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:500])
    server.etag = '"two"'
    assert download.main([str(listing)]) == 1
    assert "replaced by another" in capsys.readouterr().out
    write(listing, [server.told("a")])
    assert download.main([str(listing)]) == 0
    assert (tmp_path / "here/a").read_bytes() == CONTENT


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    listing = write(tmp_path / "list.json", [server.told("a"), server.told("b")])
    there = tmp_path / "data/0/b"
    there.parent.mkdir(parents=True)
    there.write_bytes(CONTENT)
    (tmp_path / "data/0/a.part").write_bytes(CONTENT[:500])
    assert download.main([str(listing)]) == 0
    assert server.asked == ["/a"]
    assert (tmp_path / "here/a").read_bytes() == CONTENT
    assert download.main([str(listing)]) == 0
    assert server.asked == ["/a"], "what is complete is marked"


def test_a_name_that_would_leave_the_folder_is_refused(server: Server, tmp_path: Path) -> None:
    listing = write(tmp_path / "list.json", [server.told("../outside")])
    assert download.main([str(listing)]) == 1
    assert not server.asked
    assert not (tmp_path / "data/outside").exists()
