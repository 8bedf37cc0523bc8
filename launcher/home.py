"""``LAUNCH_HOME``: where the record of all runs lives, and where each thing in it lies.

Everything here is private to the user (0700): it holds keys, and while a run lives its secrets.
"""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import HomeError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Home", "RunPaths"]


@dataclass(frozen=True, slots=True)
class RunPaths:
    """What lies in ``<home>/runs/<run_id>``."""

    root: Path

    @property
    def ssh(self) -> Path:
        """Keys and known hosts of this run alone (0700)."""
        return self.root / "ssh"

    @property
    def secrets(self) -> Path:
        """``KEY=value`` lines (0600), deleted when the run ends."""
        return self.root / "secrets.env"

    @property
    def snapshot(self) -> Path:
        """The code as it was at launch."""
        return self.root / "snapshot.tar.gz"

    @property
    def source_diff(self) -> Path:
        """In what the code differed at launch from the commit that it stood at; absent where it did not."""
        return self.root / "source.diff"

    @property
    def mirror(self) -> Path:
        """Checkpoints that came home while the run was going on."""
        return self.root / "mirror"

    @property
    def log(self) -> Path:
        """The job's output of all attempts, in order, as far as it is home."""
        return self.root / "output.log"

    @property
    def machine_logs(self) -> Path:
        """``metrics.jsonl``, ``system.csv`` and log segments as fetched from the machines."""
        return self.root / "logs"

    @property
    def events(self) -> Path:
        """Export of the run's events, one JSON line each; the database is the truth."""
        return self.root / "events.jsonl"

    @property
    def pull_lock(self) -> Path:
        """Held while outputs are fetched, so that two fetches do not write the same files."""
        return self.root / "pull.lock"


@dataclass(frozen=True, slots=True)
class Home:
    """One ``LAUNCH_HOME``."""

    root: Path
    home_id: str
    """Made once; every rented thing is tagged with it."""
    owner: str
    """``user@host``, for people and for `gc` when the home is lost."""

    @property
    def database(self) -> Path:
        """The truth about all runs."""
        return self.root / "launch.db"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the one supervisor of this home, for as long as it lives."""
        return self.root / "supervisor.lock"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor has to say that belongs to no run."""
        return self.root / "supervisor.log"

    def run(self, run_id: str) -> RunPaths:
        """Return the paths of one run; nothing is made."""
        return RunPaths(self.root / "runs" / run_id)

    @classmethod
    def open(cls, environ: Mapping[str, str] | None = None) -> Home:
        """Open the home that ``LAUNCH_HOME`` names (default: the platform's user state folder), making it first.

        Raises:
            HomeError: it cannot be made, written, or is somebody else's.
        """
        env = os.environ if environ is None else environ
        root = _root(env)
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            (root / "runs").mkdir(mode=0o700, exist_ok=True)
            home_id = _home_id(root)
        except OSError as err:
            raise HomeError(
                f"LAUNCH_HOME {root} cannot be used: {err.strerror or err}",
                hint="set LAUNCH_HOME to a folder that you can write to",
            ) from err
        if not os.access(root, os.W_OK | os.X_OK):
            raise HomeError(
                f"LAUNCH_HOME {root} is not writable",
                hint="set LAUNCH_HOME to a folder that you can write to",
            )
        return cls(root, home_id, f"{_user(env)}@{os.uname().nodename}")


def _root(env: Mapping[str, str]) -> Path:
    named = env.get("LAUNCH_HOME")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs  # imported on use: most calls name their home or never need one

    return Path(platformdirs.user_state_dir("launch", appauthor=False))


def _user(env: Mapping[str, str]) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return env.get("USER") or f"uid{os.getuid()}"


def _home_id(root: Path) -> str:
    """Read the home's id, making it once; two processes that race agree on one."""
    path = root / "home-id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        import secrets  # once in the life of a home

        beside = root / f".home-id.{os.getpid()}.{secrets.token_hex(4)}"
        beside.write_text(secrets.token_hex(8) + "\n")
        try:
            os.link(beside, path)
        except FileExistsError:
            beside.unlink()
            return path.read_text().strip()
        beside.unlink()
        return path.read_text().strip()
