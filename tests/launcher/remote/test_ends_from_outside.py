"""Notices, deadlines, and the guard that outlives the watchdog."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from launcher.runners.base import Signal
from provisioning import Command, HttpRequest, NoticeProbe
from tests.launcher.remote.jobs import Machine, wait_until
from trainer.contract import Cause


def in_s(seconds: float) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


class Metadata(ThreadingHTTPServer):
    """A metadata service that wants a token, and a cloud that takes a request to destroy the machine."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.notice: bytes | None = None
        self.asked = 0
        self.destroyed: list[str] = []
        self.refusals = 2

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:
        self._answer(200, b"token-1" if self.headers["X-Ttl"] == "60" else b"?")

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.headers["X-Token"] != "token-1":
            self._answer(401, b"")
        elif self.server.notice is None:
            self._answer(404, b"")
        else:
            self._answer(200, self.server.notice)

    def do_DELETE(self) -> None:
        self.server.refusals -= 1
        if self.server.refusals >= 0:
            self._answer(503, b"")
        else:
            self.server.destroyed.append(self.headers["Authorization"])
            self._answer(202, b"")

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not on the test's terminal."""


@contextmanager
def serving() -> Iterator[Metadata]:
    with Metadata() as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()


def test_a_notice_in_a_file_is_a_chance_to_save(machine: Machine, tmp_path: Path) -> None:
    notice = tmp_path / "a notice"
    notice.write_text("  \n")
    handle = machine.submit("python3 job.py", notice=NoticeProbe(url=notice.as_uri(), interval_s=0.05))
    machine.said(handle, "ready")
    notice.write_text("terminate at noon")
    progress = machine.ended(handle)
    assert (progress.exit_code, progress.cause) == (75, Cause.NOTICE)
    assert "terminate at noon" in progress.reason


def test_a_notice_that_was_there_before_ends_setup_too(machine: Machine, tmp_path: Path) -> None:
    notice = tmp_path / "notice"
    notice.write_text("now")
    handle = machine.submit(
        "echo never",
        setup="sleep 600",
        notice=NoticeProbe(url=notice.as_uri(), interval_s=0.05),
    )
    progress = machine.ended(handle)
    assert progress.cause is Cause.NOTICE
    assert "never" not in machine.log(handle)


def test_a_notice_from_a_metadata_service_with_tokens(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving() as service:
        probe = NoticeProbe(
            url=service.url + "/spot/instance-action",
            match=r'"action"\s*:\s*"(stop|terminate)"',
            token_request=HttpRequest(method="PUT", url=service.url + "/token", headers={"X-Ttl": "60"}),
            token_header="X-Token",
            interval_s=0.05,
        )
        handle = machine.submit("python3 job.py", notice=probe)
        machine.said(handle, "ready")
        service.notice = b'{"action": "hibernate"}'
        asked = service.asked
        wait_until(lambda: service.asked > asked + 1, "two more looks")
        assert machine.runner.poll(handle).cause is Cause.NONE
        service.notice = b'{"action": "terminate", "time": "2030-01-01T00:00:00Z"}'
        progress = machine.ended(handle)
    assert (progress.exit_code, progress.cause) == (75, Cause.NOTICE)
    machine.said(handle, "about to be taken away: action terminate, time 2030-01-01T00:00:00Z")


def test_a_silent_metadata_service_holds_nothing_up(machine: Machine) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        handle = machine.submit("python3 job.py", notice=NoticeProbe(url=url, interval_s=0.05))
        machine.said(handle, "ready")
        machine.runner.signal(handle, Signal.SAVE)
        assert machine.ended(handle).exit_code == 75


def test_the_first_cause_counts(machine: Machine, tmp_path: Path) -> None:
    program = """
import signal, sys, time
def leave(*_):
    print("saving", flush=True)
    time.sleep(0.5)
    sys.exit(75)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
while True:
    time.sleep(60)
"""
    notice = tmp_path / "notice"
    handle = machine.submit(
        "python3 job.py", {"job.py": program}, notice=NoticeProbe(url=notice.as_uri(), interval_s=0.05)
    )
    machine.said(handle, "ready")
    notice.write_text("now")
    machine.said(handle, "saving")
    machine.runner.signal(handle, Signal.SAVE)
    progress = machine.ended(handle)
    assert progress.cause is Cause.NOTICE
    assert machine.log(handle).count("saving") == 1


def test_the_soft_deadline_is_a_chance_to_save(machine: Machine) -> None:
    # A shell is ready to hear within milliseconds, however busy the computer is.
    run = "trap 'echo saving; exit 75' TERM; while true; do sleep 0.05; done"
    handle = machine.submit(run, soft_deadline=in_s(3.0))
    progress = machine.ended(handle)
    assert (progress.exit_code, progress.cause) == (75, Cause.DEADLINE)
    assert "saving" in machine.log(handle)


def test_the_hard_deadline_is_not(machine: Machine, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    program = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)"
    handle = machine.submit(
        "python3 job.py",
        {"job.py": program},
        hard_deadline=in_s(1.0),
        self_destroy=Command(argv=("touch", str(gone))),
    )
    progress = machine.ended(handle)
    assert (progress.exit_code, progress.cause) == (137, Cause.DEADLINE)
    wait_until(gone.exists, "the end of the machine")


def test_the_machine_is_destroyed_also_when_the_watchdog_is_dead(machine: Machine) -> None:
    with serving() as service:
        service.refusals = 0
        destroy = HttpRequest(method="DELETE", url=service.url + "/me", headers={"Authorization": "key"})
        run = "echo ready; while true; do sleep 0.05; done"
        handle = machine.submit(run, hard_deadline=in_s(4.0), self_destroy=destroy)
        machine.said(handle, "ready")
        os.kill(machine.pid(handle), signal.SIGKILL)
        wait_until(lambda: service.destroyed == ["key"], "the end of the machine")


def test_the_guard_outlives_the_run_and_ends_with_its_file(machine: Machine) -> None:
    handle = machine.submit("true", hard_deadline=in_s(3600), self_destroy=Command(argv=("true",)))
    machine.ended(handle)
    machine.runner.end(handle)
    deadline = Path(machine.paths(handle).folder.control / "deadline.json")
    assert deadline.stat().st_mode & 0o777 == 0o600
    assert guards(machine), "the guard keeps watching while the machine exists"

    again = machine.submit("true", start=2, hard_deadline=in_s(7200), self_destroy=Command(argv=("true",)))
    machine.ended(again)
    assert len(guards(machine)) == 1
    deadline.unlink()
    wait_until(lambda: not guards(machine), "the end of the guard")


def guards(machine: Machine) -> list[int]:
    return [pid for pid in machine.processes() if b"\0guard\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
