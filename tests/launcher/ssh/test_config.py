"""~/.ssh/config as OpenSSH reads it, and ways to a machine that lead through it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from launcher.errors import MachineError, MachineUnreachable
from launcher.remote.ssh.config import Destination, resolve
from launcher.remote.ssh.connection import Connection
from launcher.remote.ssh.host_keys import HostKeys
from launcher.remote.ssh.shell import SshShell
from provisioning import SshAccess
from tests.system.ssh.server import Sshd


def environ_with(config: Path, text: str) -> dict[str, str]:
    config.write_text(text)
    return {**os.environ, "LAUNCH_SSH_CONFIG": str(config)}


def resolved(environ: Mapping[str, str], host: str, port: int = 22, user: str = "ann") -> Destination:
    return resolve(SshAccess(host=host, user=user, port=port), environ=environ)


def test_aliases_and_identities_mean_what_they_mean_to_ssh(tmp_path: Path) -> None:
    key = tmp_path / "my key"
    key.touch()
    (tmp_path / "more").write_text(
        f'Host box\n  HostName 10.0.0.7\n  IdentityFile "{key}"\n  IdentitiesOnly yes\n'
    )
    environ = environ_with(tmp_path / "config", f"Include {tmp_path}/more\nHost *\n  User nobody\n")
    found = resolved(environ, "box", port=2222)
    assert (found.alias, found.host, found.port, found.user) == ("box", "10.0.0.7", 2222, "ann")
    assert found.identity_files == (key,)
    assert not found.use_agent
    assert found.known_as == "[10.0.0.7]:2222"
    assert resolved(environ, "box").known_as == "10.0.0.7"


def test_jumps_are_left_to_openssh(tmp_path: Path) -> None:
    environ = environ_with(tmp_path / "a config", "Host inner\n  ProxyJump one,me@two:2200\n")
    command = resolved(environ, "inner", port=2222).proxy_command
    assert command is not None
    assert shlex.split(command) == [
        *("ssh", "-F", str(tmp_path / "a config"), "-o", "BatchMode=yes"),
        *("-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3", "-J", "one", "-p", "2200"),
        *("-W", "[inner]:2222", "--", "me@two"),
    ]


def test_a_proxy_command_gets_its_words(tmp_path: Path) -> None:
    environ = environ_with(tmp_path / "config", "Host inner\n  HostName 10.1.1.1\n  ProxyCommand nc %h %p\n")
    assert resolved(environ, "inner", port=23).proxy_command == "nc 10.1.1.1 23"


def test_a_broken_configuration_is_said(tmp_path: Path) -> None:
    environ = environ_with(tmp_path / "config", "Host box\n  Prot 22\n")
    with pytest.raises(MachineError, match=r"(?i)prot") as raised:
        resolved(environ, "box")
    assert "ssh -G" in str(raised.value.hint)


def test_through_a_real_jump_host(machine: Sshd, own_machine: Sshd, tmp_path: Path) -> None:
    jump = own_machine.start()
    (jump.folder / "known_hosts").write_text(jump.known_hosts_line())
    environ = environ_with(
        tmp_path / "config",
        f"Host jump\n  HostName 127.0.0.1\n  Port {jump.port}\n  User {jump.user}\n  IdentityFile {jump.client_key}\n"
        f"  UserKnownHostsFile {jump.folder}/known_hosts\nHost 127.0.0.1\n  ProxyJump jump\n",
    )
    access = SshAccess(host="127.0.0.1", user=machine.user, port=machine.port)
    destination = resolve(access, environ=environ, identity=machine.client_key)
    host_keys = HostKeys(tmp_path / "pinned")
    host_keys.pin(destination, [machine.host_key])
    shell = SshShell(Connection(destination, host_keys))
    assert shell.run(["sh", "-c", "echo $HOME"]).stdout.decode().strip() == str(machine.home)
    assert len(children_with(f":{machine.port}")) == 1
    shell.close()
    assert not children_with(f":{machine.port}")


@pytest.mark.parametrize(
    ("command", "complaint"),
    [("no-such-program-here %h", "not found"), ("sh -c 'echo no way through >&2'", "no way through")],
)
def test_a_proxy_command_that_fails_is_quoted(
    machine: Sshd, tmp_path: Path, command: str, complaint: str
) -> None:
    environ = environ_with(tmp_path / "config", f"Host 127.0.0.1\n  ProxyCommand {command}\n")
    access = SshAccess(host="127.0.0.1", user=machine.user, port=machine.port)
    destination = resolve(access, environ=environ, identity=machine.client_key)
    shell = SshShell(Connection(destination, HostKeys(tmp_path / "pinned"), patience_s=0.5), patience_s=0.5)
    with pytest.raises(MachineUnreachable, match=complaint):
        shell.run(["true"])


def children_with(words: str) -> list[int]:
    """Processes that this one has started and not yet seen the end of."""
    mine = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [int(pid) for listed in mine for pid in listed.read_text().split()]
    return [pid for pid in pids if words.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]
