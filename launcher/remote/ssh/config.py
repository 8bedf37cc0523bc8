"""Whom an address means: ``~/.ssh/config`` as OpenSSH itself reads it.

``ssh -G`` prints the settings for a host without connecting. So aliases, ``Include``, ``Match``, jumps and
identities mean here exactly what they mean to ``ssh`` in the user's terminal.
"""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import DependencyMissing, MachineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioning import SshAccess

__all__ = ["CONFIG_VARIABLE", "Destination", "config_file", "parse", "resolve"]

CONFIG_VARIABLE = "LAUNCH_SSH_CONFIG"
SSH_PORT = 22
RESOLVE_TIMEOUT_S = 20.0
"""``Match exec`` in a configuration may run a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One host with all that it takes to log in there."""

    alias: str
    """As it was asked for; what OpenSSH is told, so that its own settings for the host apply."""
    host: str
    """The name or address that is connected to, or that the jump host connects to."""
    port: int
    user: str
    identity_files: tuple[Path, ...] = ()
    """Private keys that exist, in the order in which they are tried."""
    use_agent: bool = True
    proxy_command: str | None = None
    """A command whose input and output are the connection; None for a plain TCP connection."""
    config: Path | None = None
    """The configuration file that replaces ``~/.ssh/config``."""
    name: str | None = None
    """The machine's own, for known_hosts files, where its address says nothing about which machine it is."""

    @property
    def address(self) -> str:
        """``[host]:port``, and the host alone at port 22."""
        return self.host if self.port == SSH_PORT else f"[{self.host}]:{self.port}"

    @property
    def known_as(self) -> str:
        """The host's name in known_hosts files."""
        return self.name or self.address

    def __str__(self) -> str:
        where = self.host if self.port == SSH_PORT else f"{self.host}:{self.port}"
        return f"{self.user}@{where}"


def config_file(environ: Mapping[str, str]) -> Path | None:
    """The file that ``LAUNCH_SSH_CONFIG`` names in place of ``~/.ssh/config``."""
    named = environ.get(CONFIG_VARIABLE)
    return Path(named).expanduser().absolute() if named else None


def resolve(access: SshAccess, *, environ: Mapping[str, str], identity: Path | None = None) -> Destination:
    """Ask OpenSSH what it would do for this machine; connects to nothing.

    ``identity``: a private key made for this machine; then no other is tried.

    Raises:
        DependencyMissing: there is no ``ssh`` here.
        MachineError: the configuration has an error, or the host's name cannot be one.
    """
    config = config_file(environ)
    file = ["-F", str(config)] if config is not None else []
    port = ["-p", str(access.port)] if access.port != SSH_PORT else []  # else the configuration's own counts
    argv = ["ssh", "-G", *file, *port, "-l", access.user, "--", access.host]
    try:
        told = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=RESOLVE_TIMEOUT_S,
            check=False,
            env=dict(environ),
        )
    except FileNotFoundError:
        raise DependencyMissing(
            "ssh is not installed here", hint="install the OpenSSH client: apt-get install openssh-client"
        ) from None
    except subprocess.TimeoutExpired:
        raise MachineError(
            f"ssh took more than {RESOLVE_TIMEOUT_S:g} s to read its configuration for {access.host}",
            hint="look for a slow `Match exec` in ~/.ssh/config",
        ) from None
    if told.returncode != 0:
        raise MachineError(
            f"ssh refuses its configuration for {access.host}: {told.stderr.strip() or 'no reason given'}",
            hint=f"try: {shlex.join(argv)}",
        )
    return parse(told.stdout, alias=access.host, config=config, identity=identity)


def parse(output: str, *, alias: str, config: Path | None, identity: Path | None) -> Destination:
    """Read what ``ssh -G`` printed."""
    settings: dict[str, list[str]] = {}
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        settings.setdefault(name.lower(), []).append(value)

    def one(name: str) -> str:
        value = settings.get(name, [""])[0]
        return "" if value.lower() == "none" else value

    host, port, user = one("hostname") or alias, int(one("port") or SSH_PORT), one("user")
    files = [identity] if identity is not None else _existing(settings.get("identityfile", []))
    only_these = identity is not None or one("identitiesonly") == "yes"
    return Destination(
        alias=alias,
        host=host,
        port=port,
        user=user,
        identity_files=tuple(files),
        use_agent=not only_these,
        proxy_command=_proxy_command(one("proxyjump"), one("proxycommand"), host, port, user, alias, config),
        config=config,
    )


def _existing(names: Iterable[str]) -> list[Path]:
    """OpenSSH lists its default names too, whether there is such a file or not."""
    paths = [Path(name).expanduser() for name in names]
    return [path for path in dict.fromkeys(paths) if path.is_file()]


def _proxy_command(
    jump: str, command: str, host: str, port: int, user: str, alias: str, config: Path | None
) -> str | None:
    """The connection through a jump host is left to OpenSSH: its keys, its known hosts, its own jumps."""
    if jump:
        *before, last = jump.split(",")
        argv = ["ssh", *(["-F", str(config)] if config is not None else [])]
        argv += ["-o", "BatchMode=yes", "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"]
        argv += ["-J", ",".join(before)] if before else []
        name, separator, number = last.rpartition(":")
        if separator and number.isdigit():
            argv, last = [*argv, "-p", number], name
        return shlex.join([*argv, "-W", f"[{host}]:{port}", "--", last])
    if not command:
        return None
    for token, value in (("%h", host), ("%p", str(port)), ("%r", user), ("%n", alias), ("%%", "%")):
        command = command.replace(token, value)
    return command
