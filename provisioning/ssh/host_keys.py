"""Where the key that a host must show comes from: the user's known_hosts, or a fingerprint that the user gave."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning import files
from provisioning.errors import BadCredentials, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioning.ssh.client import Client

__all__ = ["HostKeySource", "fingerprint"]

KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512")
"""A host shows one key of those that it has; each kind is asked for."""


def fingerprint(key: str) -> str:
    """``SHA256:…`` of a public key line, as ``ssh-keygen -l`` prints it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class HostKeySource:
    """The keys of one host. A fingerprint wins over known_hosts, and is remembered for the whole home."""

    def __init__(self, client: Client, folder: Path, given: str | None) -> None:
        self._client = client
        self._folder = folder
        self._given = given.rstrip("=") if given else None
        self._keys: tuple[str, ...] = ()

    def expected(self) -> tuple[str, ...]:
        """Public keys, one of which the host must show.

        Raises:
            BadCredentials: none is known, or the host has no key of the fingerprint; both fingerprints are named.
            Unreachable: it was asked which keys it has, and did not answer; with the words of ssh.
        """
        if not self._keys:
            self._keys = self._by_fingerprint() if self._given else self._known()
        return self._keys

    def file(self) -> Path:
        """A known_hosts file with these keys and no others, for ssh."""
        login = self._client.login
        text = "".join(f"{login.known_as} {key}\n" for key in self.expected())
        path = self._folder / f"{_file_name(str(login))}.known_hosts"
        if not path.exists() or path.read_text(encoding="ascii") != text:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write_atomically(path, text)
        return path

    def shown(self) -> str | None:
        """The fingerprint of a key that the host shows now, without logging in; None when it shows none."""
        with suppress(Unreachable):
            return next((fingerprint(key) for key in self._all_shown()), None)
        return None

    def _all_shown(self) -> Iterator[str]:
        """The keys that the host shows, one of each kind; `Unreachable` as soon as it does not answer."""
        for kind in KEY_TYPES:
            keys, words = self._ask(kind)
            # A host without a key of this kind did answer.
            if not keys and "no matching host key type" not in words:
                raise self._client.transport_error(words)
            yield from keys

    def _known(self) -> tuple[str, ...]:
        login = self._client.login
        found: dict[str, None] = {}
        revoked: set[str] = set()
        for file in (*login.known_hosts, self._pins()):
            if not file.is_file():
                continue
            told = self._client.execute(["ssh-keygen", "-F", login.known_as, "-f", str(file)])
            for line in told.stdout.decode(errors="replace").splitlines():
                fields = line.split()
                if line.startswith("@revoked") and len(fields) >= 4:
                    revoked.add(" ".join(fields[2:4]))
                elif len(fields) >= 3 and not line.startswith(("#", "@")):
                    found[" ".join(fields[1:3])] = None
        keys = tuple(key for key in found if key not in revoked)
        if not keys:
            shown = next(map(fingerprint, self._all_shown()), None)
            words = f"; it shows {shown}" if shown else ""
            raise BadCredentials(
                f"the host key of {login} is not known{words}; nothing was sent to it",
                hint=f"compare that with the machine's own and connect once with ssh, or give it as "
                f"provider_options.ssh.host_key (--set provider_options.ssh.host_key={shown or 'SHA256:…'})",
            )
        return keys

    def _by_fingerprint(self) -> tuple[str, ...]:
        login = self._client.login
        seen = []
        for key in self._all_shown():
            if fingerprint(key) == self._given:
                files.write_atomically(self._pins(), f"{login.known_as} {key}\n")
                return (key,)
            seen.append(fingerprint(key))
        shown = ", ".join(dict.fromkeys(seen)) or "of a kind that is not known here"
        raise BadCredentials(
            f"{login} shows the host key {shown}; expected {self._given}; nothing was sent to it",
            hint="compare with the machine's own: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        )

    def _pins(self) -> Path:
        return self._folder / f"{_file_name(str(self._client.login))}.pinned"

    def _ask(self, kind: str) -> tuple[list[str], str]:
        """Connect as far as the key exchange, through whatever jumps lead there; no login is tried.

        Return the keys, and what ssh said.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "known_hosts"
            login = self._client.login
            argv = [
                *self._client.ssh(file),
                *("-o", f"HostKeyAlgorithms={kind}", "-o", "PreferredAuthentications=none"),
                *("-o", "PubkeyAuthentication=no", "--", login.alias, "true"),
            ]
            argv[argv.index("StrictHostKeyChecking=yes")] = "StrictHostKeyChecking=accept-new"
            # At the level of errors alone ssh does not say that a host has no key of this kind.
            argv[argv.index("LogLevel=ERROR")] = "LogLevel=INFO"
            words = self._client.execute(argv).stderr.decode(errors="replace").strip()
            lines = file.read_text(encoding="ascii").splitlines() if file.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(login.known_as + " ")], words


def _file_name(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
