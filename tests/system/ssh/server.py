"""Real sshd processes on loopback, each with its own host key, home folder, tmux folder and login shell."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
)
MARK = "LAUNCH_TEST_SSHD"

LOGIN = """#!/bin/sh
export HOME={home} TMUX_TMPDIR={tmux} {mark}={id} SHELL={shell}
{exports}
unset TMUX PYTHONPATH VIRTUAL_ENV SHLVL
cd "$HOME" || exit 1
if [ -n "${{SSH_ORIGINAL_COMMAND+set}}" ]; then exec {shell} -c "$SSH_ORIGINAL_COMMAND"; fi
exec {shell}
"""

# With SHLVL the shell of the account that runs the tests passes its own .bashrc over; the machine's is read.
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
ForceCommand {folder}/login
StrictModes no
UsePAM no
PasswordAuthentication {password}
KbdInteractiveAuthentication no
PubkeyAuthentication {public_key}
PermitRootLogin yes
MaxStartups 200
MaxSessions 100
SetEnv SHLVL=2
PrintMotd no
Subsystem sftp {sftp}
LogLevel ERROR
"""


def keygen(path: Path) -> str:
    """Make a key pair; return the public line without its comment."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Sshd:
    """One machine. ``folder`` holds its configuration, ``home`` what a login sees."""

    folder: Path
    home: Path
    shell: str = "/bin/bash"
    banner: str | None = None
    password_only: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    host_key: str = ""
    user: str = ""
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        if not Path(SSHD).exists():
            pytest.fail("sshd is not installed: run `make tools`")
        self.id = uuid.uuid4().hex
        self.folder.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(parents=True, exist_ok=True)
        # The path of a socket has 108 bytes, and those of tests are long.
        self.tmux = Path(tempfile.mkdtemp(prefix="tmux-"))
        self.host_key = keygen(self.folder / "host_key")
        self.client_key = self.folder / "client_key"
        self.authorize(keygen(self.client_key))
        self.user = (
            os.environ.get("USER")
            or subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        )
        self.port = free_port()

    def authorize(self, public_key: str) -> None:
        with (self.folder / "authorized_keys").open("a") as file:
            file.write(public_key + "\n")

    def start(self) -> Sshd:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._write_login()
        config = CONFIG.format(
            port=self.port,
            folder=self.folder,
            sftp=next((path for path in SFTP_SERVERS if Path(path).exists()), "internal-sftp"),
            password="yes" if self.password_only else "no",
            public_key="no" if self.password_only else "yes",
        )
        if self.banner is not None:
            (self.folder / "banner").write_text(self.banner)
            config += f"Banner {self.folder}/banner\n"
        (self.folder / "sshd_config").write_text(config)
        argv = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait_for_port()
        return self

    def _write_login(self) -> None:
        from shlex import quote

        exports = "\n".join(f"export {name}={quote(value)}" for name, value in self.environ.items())
        login = self.folder / "login"
        login.write_text(
            LOGIN.format(
                home=quote(str(self.home)),
                tmux=quote(str(self.tmux)),
                mark=MARK,
                id=self.id,
                shell=self.shell,
                exports=exports,
            )
        )
        login.chmod(0o755)

    def _wait_for_port(self) -> None:
        assert self._process is not None
        give_up_at = time.monotonic() + 10
        while True:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert time.monotonic() < give_up_at
            time.sleep(0.01)

    def cut(self) -> int:
        """kill -9 every session; the machine and what runs on it live on. Return how many were cut."""
        assert self._process is not None
        pids = [pid for pid in descendants(self._process.pid) if _name(pid).startswith("sshd")]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def stop(self) -> None:
        """End the server and its sessions; what was started on the machine lives on."""
        if self._process is None:
            return
        self.cut()
        self._process.kill()
        self._process.wait()
        self._process = None

    def new_host_key(self) -> str:
        """As a machine that was set up anew: another key at the same address."""
        self.stop()
        for name in ("host_key", "host_key.pub"):
            (self.folder / name).unlink()
        self.host_key = keygen(self.folder / "host_key")
        self.start()
        return self.host_key

    def processes(self) -> list[int]:
        """What runs on the machine, by the mark that every login sets."""
        wanted = f"{MARK}={self.id}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
                    if state != b"Z":
                        found.append(int(entry.name))
        return found

    def destroy(self) -> None:
        """As when the power fails: nothing of the machine is left but its files."""
        self.stop()
        give_up_at = time.monotonic() + 10
        while pids := self.processes():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < give_up_at, pids
            time.sleep(0.01)
        shutil.rmtree(self.tmux, ignore_errors=True)

    def ssh_config(self) -> str:
        """A configuration for clients: this machine's key pair, and known hosts of the test's own."""
        return f"Host *\n  IdentityFile {self.client_key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.folder}/known_hosts\n"

    def known_hosts_line(self) -> str:
        return f"[127.0.0.1]:{self.port} {self.host_key}\n"


def names(folder: Path) -> list[str]:
    """What is in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            if entry.name.isdigit():
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found: list[int] = []
    wave = {pid}
    while wave:
        wave = {child for child, parent in parents.items() if parent in wave}
        found += wave
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
