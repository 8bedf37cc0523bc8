"""Keys that are made at home before a machine is rented: the run's own to log in with, and one for each machine to show."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from launcher.errors import DependencyMissing
from provisioning import HostKey

__all__ = ["RUN_KEY", "new_host_key", "own_public_keys", "run_public_key"]

RUN_KEY = "id_ed25519"
_OWN = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")
KEYGEN_TIMEOUT_S = 30.0


def run_public_key(folder: Path, run_id: str) -> str:
    """Return the public key of a run, made when it is first asked for; ``folder`` holds both halves (0700).

    Raises:
        DependencyMissing: ``ssh-keygen`` is not installed.
    """
    path = folder / RUN_KEY
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private, public = _new_pair(f"launch {run_id}")
        path.with_suffix(".pub").write_text(f"{public}\n", encoding="ascii")
        beside = folder / f".{RUN_KEY}.{os.getpid()}.tmp"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(private)
        beside.replace(path)  # last: a key that is there is whole, and its public half lies beside it
    return path.with_suffix(".pub").read_text(encoding="ascii").strip()


def new_host_key() -> HostKey:
    """Return a new host key for one machine; `DependencyMissing` as above."""
    private, public = _new_pair("")
    return HostKey(private=private, public=" ".join(public.split()[:2]))


def own_public_keys(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the user's own public keys, so that a machine can be reached when this computer is lost."""
    home = environ.get("HOME")
    paths = (Path(home) / ".ssh" / name for name in _OWN) if home else ()
    found = (_first_line(path) for path in paths)
    return tuple(key for key in found if key)


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return lines[0].strip() if lines and lines[0].startswith(("ssh-", "ecdsa-")) else ""


def _new_pair(comment: str) -> tuple[str, str]:
    """Return a private and a public key, from files that are gone afterwards."""
    keygen = shutil.which("ssh-keygen")
    if keygen is None:
        raise DependencyMissing("ssh-keygen is not installed", hint="install the OpenSSH client")
    with tempfile.TemporaryDirectory(prefix="launch-keys-") as folder:  # 0700
        path = Path(folder) / "key"
        argv = [keygen, "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, timeout=KEYGEN_TIMEOUT_S)
        return path.read_text(encoding="ascii"), path.with_suffix(".pub").read_text(encoding="ascii").strip()
