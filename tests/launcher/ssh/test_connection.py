"""Logging in, being refused, being cut off, and being stalled."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from launcher.errors import MachineRefused, MachineUnreachable
from launcher.remote.ssh.connection import Connection
from launcher.remote.ssh.host_keys import HostKeys
from launcher.remote.ssh.shell import SshShell
from tests.provisioning.machines import eventually
from tests.system.ssh.machines import destination_of, shell_on
from tests.system.ssh.proxy import Proxy
from tests.system.ssh.server import Sshd, free_port, keygen, names


def shell_with_key(machine: Sshd, key: Path, user: str | None = None) -> SshShell:
    destination = replace(destination_of(machine, user=user), identity_files=(key,))
    host_keys = HostKeys(machine.folder / "known_hosts")
    host_keys.pin(destination, [machine.host_key])
    return SshShell(Connection(destination, host_keys, patience_s=5), patience_s=5)


def test_a_key_that_the_machine_does_not_know(machine: Sshd, tmp_path: Path) -> None:
    keygen(tmp_path / "stranger")
    with pytest.raises(MachineRefused, match="refused the login") as refused:
        shell_with_key(machine, tmp_path / "stranger").run(["true"])
    assert str(tmp_path / "stranger") in refused.value.message
    assert "ssh-copy-id" in str(refused.value.hint)


def test_a_user_that_the_machine_does_not_know(machine: Sshd) -> None:
    with pytest.raises(MachineRefused) as refused:
        shell_with_key(machine, machine.client_key, user="nobody-of-this-name").run(["true"])
    assert "is nobody-of-this-name the right user?" in str(refused.value.hint)


def test_a_machine_that_wants_a_password(own_machine: Sshd) -> None:
    own_machine.password_only = True
    own_machine.start()
    with pytest.raises(MachineRefused, match="it offers password"):
        shell_on(own_machine).run(["true"])


def test_a_key_with_a_passphrase(machine: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret words", "-f", str(key)], check=True)
    with pytest.raises(MachineRefused, match="passphrase") as refused:
        shell_with_key(machine, key).run(["true"])
    assert refused.value.hint == f"ssh-add {key}"


def test_nobody_listens(machine: Sshd) -> None:
    began = time.monotonic()
    with pytest.raises(MachineUnreachable, match="does not answer"):
        shell_on(machine, port=free_port(), patience_s=1).run(["true"])
    assert time.monotonic() - began < 5


def test_a_dead_machine_is_waited_for_once_and_not_for_every_question(machine: Sshd) -> None:
    pauses: list[float] = []
    host_keys = HostKeys(machine.folder / "known_hosts")
    destination = destination_of(machine)
    gone = Connection(replace(destination, port=free_port()), host_keys, patience_s=0.5, sleep=pauses.append)
    shell = SshShell(gone, patience_s=0.5, sleep=pauses.append)
    for question in range(3):
        with pytest.raises(MachineUnreachable, match="does not answer"):
            shell.read(PurePosixPath("/etc/hostname"))
        assert bool(pauses) is (question == 0)
        assert gone.gave_up_lately
        pauses.clear()
    gone.destination = destination
    host_keys.pin(destination, [machine.host_key])
    assert shell.run(["echo", "back"]).stdout == b"back\n"
    assert not gone.gave_up_lately
    shell.close()


def test_a_banner_is_no_output(own_machine: Sshd) -> None:
    own_machine.banner = "Authorised use only!\n" * 20
    own_machine.start()
    shell = shell_on(own_machine)
    assert shell.run(["echo", "out"]).stdout == b"out\n"
    shell.close()


def test_a_login_that_runs_nothing(own_machine: Sshd) -> None:
    own_machine.shell = "/bin/false"
    own_machine.start()
    with pytest.raises(MachineUnreachable, match="runs no commands for us") as refused:
        shell_on(own_machine, patience_s=1).run(["true"])
    assert refused.value.left_behind == "nothing was run"


def test_the_agent_logs_in(machine: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        eventually(socket.exists)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(machine.client_key)], check=True)
        destination = replace(destination_of(machine), identity_files=(), use_agent=True)
        host_keys = HostKeys(tmp_path / "known_hosts")
        host_keys.pin(destination, [machine.host_key])
        shell = SshShell(Connection(destination, host_keys))
        assert shell.run(["echo", "in"]).stdout == b"in\n"
        shell.close()
    finally:
        agent.kill()
        agent.wait()


def test_after_a_cut_the_next_command_connects_again(machine: Sshd, shell: SshShell) -> None:
    shell.run(["true"])
    assert machine.cut() > 0
    assert shell.run(["echo", "again"]).stdout == b"again\n"


def test_a_command_that_is_cut_off_is_not_repeated(machine: Sshd, shell: SshShell, tmp_path: Path) -> None:
    count = tmp_path / "count"
    failed: list[MachineUnreachable] = []

    def run() -> None:
        try:
            shell.run(["sh", "-c", 'echo once >> "$1"; exec sleep 600', "sh", str(count)])
        except MachineUnreachable as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    eventually(count.exists)
    machine.cut()
    thread.join(20)
    assert failed
    assert "not known" in str(failed[0].left_behind)
    assert count.read_text() == "once\n"
    for pid in machine.processes():
        os.kill(pid, 9)


def test_what_is_read_and_written_is_repeated_after_a_cut(
    machine: Sshd, tmp_path: Path, proxy: Proxy
) -> None:
    shell = shell_on(machine, port=proxy.port)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(8 << 20))
    far = PurePosixPath(machine.home) / "cut short"
    proxy.cut_after_bytes = 3 << 20
    shell.put(source, far)
    proxy.cut_after_bytes = proxy.passed_bytes + (3 << 20)
    shell.get(far, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    leftovers = [name for name in names(machine.home) if name.endswith(".tmp")]
    assert leftovers == []
    shell.close()


def test_silence_is_noticed(machine: Sshd, proxy: Proxy) -> None:
    shell = shell_on(machine, port=proxy.port, patience_s=1, silence_s=0.5)
    shell.run(["true"])
    began = time.monotonic()
    proxy.stall()
    with pytest.raises(MachineUnreachable):
        shell.run(["sleep", "600"])
    assert time.monotonic() - began < 30
    proxy.flow()
    proxy.cut()
    for pid in machine.processes():
        os.kill(pid, 9)


def test_silence_in_the_middle_of_an_upload_is_noticed(machine: Sshd, proxy: Proxy, tmp_path: Path) -> None:
    shell = shell_on(machine, port=proxy.port, patience_s=1, silence_s=1)
    shell.run(["true"])
    source = tmp_path / "large"
    source.write_bytes(os.urandom(64 << 20))
    before = proxy.passed_bytes
    failed: list[BaseException] = []

    def put() -> None:
        try:
            shell.put(source, PurePosixPath(machine.home) / "large")
        except MachineUnreachable as error:
            failed.append(error)

    thread = threading.Thread(target=put, daemon=True)
    thread.start()
    eventually(lambda: proxy.passed_bytes > before + (8 << 20))
    proxy.stall()
    thread.join(40)
    assert failed
    proxy.flow()
    proxy.cut()
    eventually(lambda: not [name for name in names(machine.home) if name.endswith(".tmp")])
    assert "large" not in names(machine.home)


def test_a_slow_command_is_not_taken_for_silence(machine: Sshd) -> None:
    shell = shell_on(machine, silence_s=0.2)
    assert shell.run(["sh", "-c", "sleep 1; echo done"]).stdout == b"done\n"
    shell.close()


def test_a_terminal_of_ones_own(machine: Sshd, shell: SshShell) -> None:
    argv = shell.with_terminal(["sh", "-c", 'test -n "$1" && echo "it\'s $1"', "sh", "a b"])
    told = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=True, timeout=30)
    assert told.stdout == b"it's a b\n"
