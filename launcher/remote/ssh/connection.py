"""One SSH connection that is there when it is needed: opened, watched, and opened again after a cut."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from launcher.errors import MachineNotReady, MachineRefused, MachineUnreachable
from launcher.remote.ssh.host_keys import not_ready, refusal
from launcher.remote.ssh.proxy_command import ProxyProcess
from provisioning import HostKeyOrigin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import paramiko

    from launcher.remote.ssh.config import Destination
    from launcher.remote.ssh.host_keys import HostKeys

__all__ = ["Connection", "is_alive"]

CONNECT_TIMEOUT_S = 10.0
"""Of one attempt: TCP, banner, and login each."""
KEEP_ALIVE_S = 15.0
"""A packet so often keeps firewalls and NAT tables from forgetting the connection."""
LATELY_S = 30.0
"""Somebody who looks at a dead machine asks it several things; waiting for each would hide for minutes that it is dead."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0


class Connection:
    """Connects on demand. Several threads may use it; channels of one connection do not disturb each other."""

    def __init__(
        self,
        destination: Destination,
        host_keys: HostKeys,
        *,
        origin: HostKeyOrigin = HostKeyOrigin.TOLD,
        announce: Callable[[str], None] | None = None,
        patience_s: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``origin``: how ``host_keys`` come to know this machine's.

        ``announce``: told of a key that is accepted at first contact, before the login; without it none is.
        ``patience_s``: for how long a machine that does not answer is tried again.
        """
        self.destination = destination
        self.host_keys = host_keys
        self._origin = origin
        self._announce = announce
        self._patience_s = patience_s
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._gave_up_at: float | None = None

    @property
    def gave_up_lately(self) -> bool:
        """A whole patience was spent in vain a moment ago; until the machine answers, each use tries once."""
        return self._gave_up_at is not None and self._clock() - self._gave_up_at < LATELY_S

    def channel(self) -> paramiko.Channel:
        """Open a session, over a new connection when the old one is dead.

        Raises:
            MachineUnreachable: no connection within the patience.
            MachineNotReady: at once; it takes minutes to boot.
            MachineRefused, HostKeyRefused: it will not change by trying again.
        """
        from paramiko import SSHException

        patience_s = 0.0 if self.gave_up_lately else self._patience_s
        give_up_at = self._clock() + patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                channel = self._transport().open_session(timeout=CONNECT_TIMEOUT_S)
                self._gave_up_at = None
                return channel
            except (MachineRefused, MachineNotReady):
                self.close()
                raise
            except (MachineUnreachable, SSHException, EOFError, OSError) as error:
                self.close()
                if self._clock() + pause_s >= give_up_at:
                    self._gave_up_at = self._clock()
                    raise _unreachable(self.destination, error, self._patience_s) from error
            self._sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def close(self) -> None:
        """Let go of the connection; the next use opens another."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _transport(self) -> paramiko.Transport:
        with self._lock:
            if self._opened is not None and not self._opened.is_active():
                self._opened.close()
                self._opened = None
            if self._opened is None:
                self._opened = self._open()
            return self._opened.transport

    def _open(self) -> _Opened:
        expected = self.host_keys.of(self.destination)
        is_new = self._origin is HostKeyOrigin.INJECTED and not self.host_keys.has_shown(self.destination)
        try:
            opened = _open(self.destination, expected, self._take_unknown)
        except _AnotherKey as another:
            error = not_ready if is_new else refusal
            raise error(self.destination, expected, another.shown) from another
        if is_new:
            self.host_keys.note_shown(self.destination)
        return opened

    def _take_unknown(self, key: str) -> None:
        """What to do about the key of a machine of which none is known."""
        if self._origin is not HostKeyOrigin.FIRST_CONTACT or self._announce is None:
            raise refusal(self.destination, [], key)
        self.host_keys.meet(self.destination, key, self._announce)


class _AnotherKey(Exception):
    """The machine shows a key that is none of those expected."""

    def __init__(self, shown: str) -> None:
        super().__init__(shown)
        self.shown = shown


class _Opened:
    """A connection with all that it holds open here."""

    def __init__(self, client: Any, proxy: ProxyProcess | None) -> None:
        self._client = client
        """A `fabric.Connection`; it has no types."""
        self._proxy = proxy

    @property
    def transport(self) -> paramiko.Transport:
        transport: paramiko.Transport = self._client.transport
        return transport

    def is_active(self) -> bool:
        return self._client.transport is not None and self._client.transport.is_active()

    def close(self) -> None:
        with contextlib.suppress(Exception):  # a connection that is dead may fail in any way
            self._client.close()
        if self._proxy is not None:
            self._proxy.end()


def is_alive(transport: paramiko.Transport, within_s: float) -> bool:
    """Ask the other side for an answer; a network that swallows everything gives none."""
    # The request has no time limit of its own; it ends with the transport, which the caller closes.
    asking = threading.Thread(
        target=transport.global_request, args=("keepalive@openssh.com", None, True), daemon=True
    )
    asking.start()
    asking.join(within_s)
    return not asking.is_alive() and transport.is_active()


def _open(destination: Destination, expected: Sequence[str], take_unknown: Callable[[str], None]) -> _Opened:
    """Connect, compare the host key, log in. Nothing of ours is sent before the key is the right one.

    ``take_unknown`` is called with the key that is shown where none is expected, and raises unless it will do.
    """
    import paramiko
    from fabric import Config
    from fabric import Connection as FabricConnection

    proxy = None if destination.proxy_command is None else ProxyProcess(destination.proxy_command)
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # it prints tracebacks of what is handled here
    connection = FabricConnection(
        destination.host,
        user=destination.user,
        port=destination.port,
        # OpenSSH has read the configuration already; Fabric's own files and variables are not for us.
        config=Config(lazy=True, overrides={"load_ssh_configs": False}),
        connect_timeout=CONNECT_TIMEOUT_S,
        connect_kwargs={
            "key_filename": [str(path) for path in destination.identity_files],
            "allow_agent": destination.use_agent,
            "look_for_keys": False,
            "banner_timeout": CONNECT_TIMEOUT_S,
            "auth_timeout": CONNECT_TIMEOUT_S,
            "sock": None if proxy is None else proxy.socket,
        },
    )
    client = connection.client
    client.set_missing_host_key_policy(_policy(take_unknown))
    for key in expected:
        kind, _, blob = key.partition(" ")
        entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{destination.address} {kind} {blob}")
        if entry is not None and entry.key is not None:
            client.get_host_keys().add(destination.address, kind, entry.key)
    opened = _Opened(connection, proxy)
    try:
        connection.open()
    except BaseException as error:
        complaint = "" if proxy is None else proxy.complaint()
        opened.close()
        raise _in_words(destination, error, complaint) from error
    opened.transport.set_keepalive(KEEP_ALIVE_S)
    _give_up_on_silence(opened.transport)
    return opened


def _policy(take_unknown: Callable[[str], None]) -> Any:
    import paramiko

    class Policy(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
            take_unknown(f"{key.get_name()} {key.get_base64()}")

    return Policy()


def _in_words(destination: Destination, error: BaseException, complaint: str) -> BaseException:
    """The error of a connection attempt as one of ours; what is no such error stays what it is.

    ``complaint``: what the command that the connection goes through has said.
    """
    import paramiko

    if isinstance(error, paramiko.BadHostKeyException):
        return _AnotherKey(f"{error.key.get_name()} {error.key.get_base64()}")
    if isinstance(error, paramiko.PasswordRequiredException):
        return MachineRefused(
            f"the private key for {destination} is protected by a passphrase",
            hint=f"ssh-add {' '.join(map(str, destination.identity_files))}",
        )
    if isinstance(error, paramiko.BadAuthenticationType):
        return MachineRefused(
            f"{destination} accepts no key of ours; it offers {', '.join(error.allowed_types)}",
            hint=f"ssh-copy-id -p {destination.port} {destination.user}@{destination.host}",
        )
    if isinstance(error, paramiko.AuthenticationException):
        tried = ", ".join(map(str, destination.identity_files)) or "no key file"
        agent = " and the agent's keys" if destination.use_agent else ""
        return MachineRefused(
            f"{destination} refused the login (tried {tried}{agent})",
            hint=f"is {destination.user} the right user? ssh-copy-id -p {destination.port} "
            f"{destination.user}@{destination.host} puts your key there",
        )
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return MachineRefused(f"{destination} speaks no SSH that is still considered safe: {error}")
    if isinstance(error, (paramiko.SSHException, EOFError, OSError)):
        through = f" (through `{destination.proxy_command}`: {complaint})" if complaint else ""
        return MachineUnreachable(f"{destination} does not answer: {_reason(error)}{through}")
    return error


def _reason(error: BaseException) -> str:
    """Short words: paramiko wraps the causes of several addresses."""
    if isinstance(error, EOFError):
        return "the connection was closed"
    if isinstance(error, TimeoutError):
        return f"nothing within {CONNECT_TIMEOUT_S:g} s"
    if isinstance(error, socket.gaierror):
        return f"its name is not known ({error.strerror})"
    return str(error) or type(error).__name__


def _unreachable(destination: Destination, error: BaseException, patience_s: float) -> MachineUnreachable:
    if isinstance(error, MachineUnreachable):
        return error
    return MachineUnreachable(f"{destination} does not answer within {patience_s:g} s: {_reason(error)}")


def _give_up_on_silence(transport: paramiko.Transport) -> None:
    """Where the system can, end a TCP connection whose packets are no longer confirmed."""
    limit_ms = int(3 * KEEP_ALIVE_S * 1000)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and isinstance(transport.sock, socket.socket):
        with contextlib.suppress(OSError):
            transport.sock.setsockopt(socket.IPPROTO_TCP, option, limit_ms)
