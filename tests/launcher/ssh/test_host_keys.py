"""A machine has to show the key that is expected of it, before it is told anything."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from launcher.errors import HostKeyRefused
from launcher.remote.ssh.connection import Connection
from launcher.remote.ssh.host_keys import HostKeys, fingerprint
from launcher.remote.ssh.openssh import ssh
from launcher.remote.ssh.shell import SshShell
from tests.system.ssh.machines import destination_of, shell_on
from tests.system.ssh.server import Sshd, keygen


def openssh(machine: Sshd, known_hosts: Path) -> subprocess.CompletedProcess[bytes]:
    destination = destination_of(machine)
    argv = [*ssh(destination, known_hosts), "--", destination.alias, "echo in"]
    return subprocess.run(argv, capture_output=True, check=False, timeout=30)


def test_the_same_file_serves_both_and_both_let_the_right_key_in(machine: Sshd, tmp_path: Path) -> None:
    known_hosts = tmp_path / "it's known" / "hosts"
    shell = shell_on(machine, known_hosts=known_hosts)
    assert shell.run(["echo", "in"]).stdout == b"in\n"
    assert openssh(machine, known_hosts).stdout == b"in\n"
    assert stat.S_IMODE(known_hosts.stat().st_mode) == 0o600
    assert known_hosts.read_text() == f"[127.0.0.1]:{machine.port} {machine.host_key}\n"
    shell.close()


def test_both_refuse_the_same_wrong_key_and_nothing_runs(machine: Sshd, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other")
    destination, host_keys = destination_of(machine), HostKeys(tmp_path / "known_hosts")
    host_keys.pin(destination, [other])
    shell = SshShell(Connection(destination, host_keys))
    with pytest.raises(HostKeyRefused) as refused:
        shell.write(PurePosixPath(machine.home) / "secret", b"s3cret")
    assert fingerprint(machine.host_key) in refused.value.message
    assert fingerprint(other) in refused.value.message
    assert "set up anew" in str(refused.value.hint)
    assert refused.value.left_behind == "nothing was sent"
    ended = openssh(machine, host_keys.path)
    assert ended.returncode == 255
    assert ended.stdout == b""
    assert not (machine.home / "secret").exists()


def test_a_key_that_nobody_named_is_refused(machine: Sshd, tmp_path: Path) -> None:
    shell = SshShell(Connection(destination_of(machine), HostKeys(tmp_path / "nothing")))
    with pytest.raises(HostKeyRefused, match="expected none"):
        shell.run(["true"])
    assert openssh(machine, tmp_path / "nothing").returncode == 255


def test_a_key_that_changes_between_two_connections(own_machine: Sshd) -> None:
    own_machine.start()
    shell = shell_on(own_machine)
    shell.run(["true"])
    own_machine.new_host_key()
    with pytest.raises(HostKeyRefused):
        shell.run(["true"])


def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    key = keygen(tmp_path / "key")
    told = subprocess.run(
        ["ssh-keygen", "-lf", str(tmp_path / "key.pub")], capture_output=True, text=True, check=True
    )
    assert fingerprint(key) == told.stdout.split()[1]


def test_only_public_keys_can_be_pinned(machine: Sshd, tmp_path: Path) -> None:
    host_keys = HostKeys(tmp_path / "known_hosts")
    for wrong in ("ssh-ed25519", "hello world", "-----BEGIN OPENSSH PRIVATE KEY-----"):
        with pytest.raises(ValueError, match=r"."):
            host_keys.pin(destination_of(machine), [wrong])
    assert not host_keys.path.exists()


def test_pinning_one_machine_leaves_the_others(machine: Sshd, tmp_path: Path) -> None:
    host_keys = HostKeys(tmp_path / "known_hosts")
    one, two = destination_of(machine, port=1), destination_of(machine, port=2)
    first, second = keygen(tmp_path / "first"), keygen(tmp_path / "second")
    host_keys.pin(one, [first])
    host_keys.pin(two, [second])
    host_keys.pin(one, [second, first])
    assert host_keys.of(one) == [second, first]
    assert host_keys.of(two) == [second]
