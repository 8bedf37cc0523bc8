"""A host asked through OpenSSH, one command at a time, with its key pinned and nothing of the user's put at risk.

Everything that is asked for arrives as a constant command line and a standard input, so that login shells which
quote otherwise than ``sh`` do no harm.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.errors import BadCredentials, BadOption, CloudError, MissingDependency, Unreachable
from provisioning.ssh import facts
from provisioning.ssh.host_keys import HostKeySource, fingerprint
from provisioning.ssh.onboard import ANSWER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioning.ssh.facts import HostFacts
    from provisioning.ssh.options import Host

__all__ = ["Client", "Login"]

CONFIG_VARIABLE = "LAUNCH_SSH_CONFIG"
CONNECT_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 60.0
TRANSPORT_FAILED = 255
"""What ssh itself ends with when it did not get as far as the command."""
NOT_FOUND = 127
PERMISSION_DENIED = re.compile(r"permission denied \(([^)]*)\)", re.IGNORECASE)
"""With the ways to log in that the host offers."""

LOGIN_LINE = "exec sh -s"
PYTHON_LINE = (
    "exec sh -c 'exec python3 -I -S -c \"import sys; SOURCE = sys.stdin.buffer.read({}); exec(SOURCE)\"'"
)


@dataclass(frozen=True, slots=True)
class Login:
    """A host as OpenSSH's configuration has it."""

    alias: str
    host: str
    port: int
    user: str
    known_as: str
    """The name under which known_hosts files have it."""
    known_hosts: tuple[Path, ...]

    def __str__(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{name}" + (f":{self.port}" if self.port != 22 else "")


class Client:
    """One host. Holds no connection; every call makes one, in about a third of a second on a near network."""

    def __init__(
        self, host: Host, environ: Mapping[str, str], keys_folder: Path, host_key: str | None
    ) -> None:
        """``keys_folder``: where pinned keys are kept. ``host_key``: the fingerprint that the user gave."""
        self._environ = dict(environ)
        self.login = self._resolve(host)
        self._keys = HostKeySource(self, keys_folder, host_key)

    def host_keys(self) -> tuple[str, ...]:
        """The public keys that the host may show; `BadCredentials` when nothing is known of it."""
        return self._keys.expected()

    def facts(self, folder: str | None) -> HostFacts:
        """Ask what the host has; ``folder`` is where runs will lie."""
        finished = self._run(LOGIN_LINE, facts.script(folder).encode(errors="surrogateescape"))
        found = facts.parse("\n" + finished.stdout.decode(errors="replace"))
        if found is None:
            words = _words(finished) or f"exit code {finished.returncode}"
            raise CloudError(
                f"{self.login} does not tell what it has: {words}", hint=f"try: ssh {self.login.alias} uname"
            )
        return found

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Have the host do something about its claims; see `provisioning.ssh.onboard`."""
        program = resources.files("provisioning.ssh").joinpath("onboard.py").read_bytes()
        line = PYTHON_LINE.format(len(program))
        finished = self._run(line, program + json.dumps(request).encode("ascii"))
        _, marker, text = finished.stdout.decode(errors="replace").rpartition(ANSWER)
        if not marker:
            raise self._no_answer(finished)
        told: dict[str, Any] = json.loads(text)
        if "error" in told:
            raise CloudError(
                f"{self.login}: {told['error']}",
                hint="make room or repair the folder, or name another work_root",
            )
        return told

    def _no_answer(self, finished: subprocess.CompletedProcess[bytes]) -> CloudError:
        if finished.returncode == NOT_FOUND:
            return MissingDependency(
                f"python3 is not installed on {self.login}", hint="install Python 3.8 or later there"
            )
        words = _words(finished) or f"exit code {finished.returncode}"
        return CloudError(f"{self.login} did not do what it was asked: {words}")

    def _run(self, line: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        known_hosts = self._keys.file()
        argv = [*self.ssh(known_hosts), "--", self.login.alias, line]
        finished = self.execute(argv, stdin)
        if finished.returncode == TRANSPORT_FAILED:
            raise self.transport_error(finished.stderr.decode(errors="replace").strip())
        return finished

    def ssh(self, known_hosts: Path) -> list[str]:
        """The command line of ssh up to the host, with every option that safety needs."""
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": _quoted(known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": self.login.known_as,
            "UpdateHostKeys": "no",
            "CheckHostIP": "no",
            "ControlMaster": "no",
            "ControlPath": "none",
            "ConnectTimeout": str(CONNECT_TIMEOUT_S),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "PermitLocalCommand": "no",
            "RemoteCommand": "none",
            "RequestTTY": "no",
            "LogLevel": "ERROR",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", *self._config(), *words, "-p", str(self.login.port), "-l", self.login.user]

    def execute(self, argv: Sequence[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a program of OpenSSH here; `MissingDependency` when it is not installed."""
        try:
            return subprocess.run(
                list(argv),
                input=stdin,
                capture_output=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
                env={**self._environ, "LC_ALL": "C"},
            )
        except FileNotFoundError:
            raise MissingDependency(
                f"{argv[0]} is not installed here",
                hint="install the OpenSSH client: apt-get install openssh-client",
            ) from None
        except subprocess.TimeoutExpired:
            whom = argv[argv.index("--") + 1] if "--" in argv else argv[0]
            raise Unreachable(
                f"no answer from {whom} within {COMMAND_TIMEOUT_S:g} s", hint=f"try: ssh {whom} true"
            ) from None

    def _config(self) -> list[str]:
        named = self._environ.get(CONFIG_VARIABLE)
        return ["-F", str(Path(named).expanduser().absolute())] if named else []

    def _resolve(self, host: Host) -> Login:
        port = ["-p", str(host.port)] if host.port else []
        user = ["-l", host.user] if host.user else []
        told = self.execute(["ssh", "-G", *self._config(), *port, *user, "--", host.name])
        if told.returncode != 0:
            raise BadOption(
                f"ssh cannot make sense of the host {host}: {_words(told)}", hint="look at ~/.ssh/config"
            )
        settings: dict[str, str] = {}
        for line in told.stdout.decode(errors="surrogateescape").splitlines():
            name, _, value = line.partition(" ")
            settings.setdefault(name.lower(), value)
        name, number = settings.get("hostname", host.name), int(settings.get("port", "22"))
        plain = name if number == 22 else f"[{name}]:{number}"
        alias = settings.get("hostkeyalias", "none")
        files = shlex.split(settings.get("userknownhostsfile", "")) + shlex.split(
            settings.get("globalknownhostsfile", "")
        )
        home = Path(self._environ.get("HOME", "~")).expanduser()
        return Login(
            alias=host.name,
            host=name,
            port=number,
            user=settings["user"],
            known_as=plain if alias == "none" else alias,
            known_hosts=tuple(_below(home, file) for file in files if file != "none"),
        )

    def transport_error(self, words: str) -> CloudError:
        """What ssh said, as one of our errors."""
        login = self.login
        shown = words.partition("key sent by the remote host is")[2].split()
        if "host key" in words.lower():
            expected = ", ".join(fingerprint(key) for key in self._keys.expected())
            seen = shown[0].rstrip(".") if shown else self._keys.shown() or "another one"
            return BadCredentials(
                f"{login} shows the host key {seen}; expected {expected}; nothing was sent to it",
                hint="either the machine was set up anew, or another machine answers at its address. If the new key is "
                f"right: ssh-keygen -R '{login.known_as}', then connect once with ssh {login.alias}",
            )
        if "too many authentication failures" in words.lower():
            return BadCredentials(
                f"{login} ended the login: it was offered several keys, and accepted none of them",
                hint=f"is {login.user} the right user? Name the key for this host in ~/.ssh/config: "
                "IdentityFile, and IdentitiesOnly yes",
            )
        if "permission denied" in words.lower():
            offered = PERMISSION_DENIED.search(words)
            if offered and "publickey" not in offered[1]:
                return BadCredentials(
                    f"{login} accepts no key, only {offered[1]}; nobody is there to type a password",
                    hint="allow public keys on the host (PubkeyAuthentication yes), then: "
                    f"ssh-copy-id -p {login.port} {login.user}@{login.host}",
                )
            return BadCredentials(
                f"{login} refused the login",
                hint=f"is {login.user} the right user? "
                f"ssh-copy-id -p {login.port} {login.user}@{login.host} puts your key there",
            )
        last = words.splitlines()[-1] if words else "the connection was closed"
        return Unreachable(
            f"{login} does not answer: {last}", hint=f"try: ssh -p {login.port} {login.user}@{login.alias}"
        )


def _words(finished: subprocess.CompletedProcess[bytes]) -> str:
    lines = finished.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _quoted(path: Path) -> str:
    """Options of ssh are split at blanks, also when they come as one word."""
    return '"' + str(path).replace("%", "%%") + '"'


def _below(home: Path, file: str) -> Path:
    return home / file[2:] if file.startswith("~/") else Path(file)
