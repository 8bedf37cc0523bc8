"""What `launch doctor` finds on computers that lack this and that."""

from __future__ import annotations

import os
from pathlib import Path

from launcher.doctor import findings
from launcher.planning.preflight import Finding, Level


def found(environ: dict[str, str]) -> dict[str, list[Finding]]:
    by_check: dict[str, list[Finding]] = {}
    for one in findings(environ):
        by_check.setdefault(one.check, []).append(one)
    return by_check


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LAUNCH_HOME": str(tmp_path / "home"), **more}


def test_a_computer_that_has_everything(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    for name in ("id_ed25519", "id_ed25519.pub"):
        (tmp_path / ".ssh" / name).touch(mode=0o600)
    told = found(environ(tmp_path))
    assert {one.level for name in ("system", "tools", "ssh", "home") for one in told[name]} == {Level.OK}
    assert "1 private key in ~/.ssh" in told["ssh"][0].message
    assert told["provider local"][0].level is Level.OK


def test_a_computer_that_has_nothing_gets_a_line_for_each(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    told = found(environ(tmp_path, PATH=str(tmp_path / "bin")))
    missing = [one for one in told["tools"] if one.level is not Level.OK]
    assert [one.message.split()[0] for one in missing] == ["tmux", "git", "ssh", "ssh-keygen"]
    assert [one.level for one in missing] == [Level.WARNING, Level.WARNING, Level.ERROR, Level.ERROR]
    assert all(one.fix for one in (*missing, *told["rsync"], *told["ssh"]))


def test_an_old_rsync_and_an_open_key(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    for name in ("id_rsa", "id_rsa.pub"):
        (tmp_path / ".ssh" / name).touch(mode=0o644)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "rsync").write_text("#!/bin/sh\necho 'openrsync: protocol version 29'\n")
    (tmp_path / "bin" / "rsync").chmod(0o755)
    told = found(environ(tmp_path, PATH=f"{tmp_path}/bin:{os.environ['PATH']}"))
    assert "openrsync" in told["rsync"][0].message
    assert f"chmod 600 {tmp_path}/.ssh/id_rsa" in [one.fix for one in told["ssh"]]


def test_a_configuration_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host x\n  Prot 22\n")
    told = found(environ(tmp_path, LAUNCH_SSH_CONFIG=str(tmp_path / "config")))
    assert "has an error" in told["ssh"][0].message
    told = found(environ(tmp_path, LAUNCH_SSH_CONFIG=str(tmp_path / "none")))
    assert told["ssh"][0].fix == "unset LAUNCH_SSH_CONFIG"


def test_a_home_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = found(environ(tmp_path, LAUNCH_HOME=str(tmp_path / "file" / "home")))
    assert told["home"][0].level is Level.ERROR
    assert told["home"][0].fix == "set LAUNCH_HOME to a folder that you can write to"
