"""What a job on this computer inherits: what describes the computer, and nothing that somebody exported elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.remote.local import LocalShell
from provisioning import LocalAccess


def test_only_what_describes_the_computer_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMEBODYS_TOKEN", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("LAUNCH_RUN_ID", "the-run-around-us")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    shell = LocalShell(LocalAccess(work_root=tmp_path, environ={"LAUNCH_MACHINE": "m-1"}))

    told = shell.run(["env"], environ={"GIVEN": "yes"}).stdout.decode()
    names = {line.split("=", 1)[0] for line in told.splitlines()}

    assert {"PATH", "HOME", "LC_ALL", "https_proxy", "LAUNCH_MACHINE", "GIVEN"} <= names
    assert not {"SOMEBODYS_TOKEN", "AWS_SECRET_ACCESS_KEY", "LAUNCH_RUN_ID"} & names
