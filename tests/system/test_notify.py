"""People hear of what they asked to hear of: by a command at home, and by a webhook."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.system.house import House, eventually


class Listener(HTTPServer):
    """A webhook on loopback that fails once at each occasion before it listens, at the last one too."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[dict[str, Any]] = []
        self.failed: set[str] = set()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Listener)
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if document["occasion"] not in server.failed:
            server.failed.add(document["occasion"])
            self.send_response(503)
        else:
            server.heard.append(document)
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def webhook() -> Iterator[Listener]:
    listener = Listener()
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    yield listener
    listener.shutdown()
    thread.join()
    listener.server_close()


def test_interrupted_recovered_finished(house: House, webhook: Listener) -> None:
    told = house.root / "told.txt"
    notify = {
        "command": f'echo "$LAUNCH_OCCASION $LAUNCH_NAME" >> {told}; cat >> {house.root}/told.json',
        "webhook": f"http://127.0.0.1:{webhook.server_port}/hook",
    }
    run = house.launch(house.counting(gate=3, notify=notify), provider="fake")
    house.until_step(run, 3)
    run.interrupt(notice_s=45)
    eventually(lambda: len(run.status().attempts) == 2 and run.status().state == "running", "the recovery")
    house.open_gate()
    assert run.wait(timeout_s=60).state == "succeeded"
    eventually(lambda: len(webhook.heard) == 3, "the last call")
    assert sorted(told.read_text().splitlines()) == ["finished job", "interrupted job", "recovered job"]
    assert sorted(document["occasion"] for document in webhook.heard) == [
        "finished",
        "interrupted",
        "recovered",
    ]
    finished = next(document for document in webhook.heard if document["occasion"] == "finished")
    assert (finished["state"], finished["run_id"]) == ("succeeded", run.id)
    house.audit(run)


def test_only_what_was_asked_for_and_a_failure_is_said(house: House) -> None:
    notify = {"command": "echo no such program >&2; exit 3", "on": "finished"}
    run = house.launch(house.job("true", notify=notify))
    assert run.wait(timeout_s=60).state == "succeeded"
    log = house.home.supervisor_log
    eventually(lambda: "nobody was told (finished)" in log.read_text(), "the complaint")
    assert log.read_text().count("nobody was told") == 1
    assert "exit 3: no such program" in log.read_text()
