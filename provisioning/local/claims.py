"""Claims on this computer: one file per try in ``<home>/local/claims``, and in ``released`` once it has ended.

A file is complete as soon as it exists and outlives every process of ours, so a claim is only ever ended on
purpose: `Claims.release` ends the processes that carry its mark, and nothing else.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from provisioning import files, processes
from provisioning.claims import Claim, claim_id
from provisioning.errors import CloudError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from provisioning.models import InstanceSpec

__all__ = ["Claims"]


def dump(claim: Claim) -> str:
    """Write a claim as JSON."""
    return json.dumps(asdict(claim), indent=1, default=datetime.isoformat)


def load(text: str) -> Claim:
    """Read what `dump` wrote; `ValueError`, `KeyError` or `TypeError` for anything else."""
    fields = json.loads(text)
    times = {
        name: datetime.fromisoformat(fields[name]) if fields[name] else None
        for name in ("created_at", "deadline", "released_at")
    }
    return Claim(**{**fields, **times, "gpus": tuple(fields["gpus"])})


class Claims:
    """The claims of one home. Whoever decides on what it reads holds `lock` meanwhile."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._live = home / "local" / "claims"
        self._released = home / "local" / "released"

    def id_for(self, spec: InstanceSpec) -> str:
        """Return the id of the claim for a token: the same again for the same token, another in another home.

        The id also marks the processes, and those of two homes live on one computer.
        """
        return claim_id(spec.token, str(self._home.resolve()))

    def lock(self) -> AbstractContextManager[None]:
        """Hold the claims of this home against every other process."""
        return files.lock(self._home / "local" / "lock")

    def live(self) -> list[Claim]:
        """Return all that have not been released, oldest first."""
        if not self._live.is_dir():
            return []
        found = (self._read(path) for path in self._live.glob("*.json"))
        return sorted((claim for claim in found if claim), key=lambda claim: (claim.created_at, claim.id))

    def find(self, claim_id: str) -> Claim | None:
        """Return one claim, live or released; None for an id that never was."""
        name = f"{claim_id}.json"
        return self._read(self._live / name) or self._read(self._released / name)

    def write(self, claim: Claim) -> None:
        """Store a live claim."""
        files.write_atomically(self._live / f"{claim.id}.json", dump(claim))

    def release(self, claim: Claim, *, now: datetime, reason: str) -> Claim:
        """End the claim's processes, then the claim; what is interrupted in between is simply done again."""
        processes.end_all(claim.id)
        ended = replace(claim, released_at=now, reason=reason)
        files.write_atomically(self._released / f"{claim.id}.json", dump(ended))
        (self._live / f"{claim.id}.json").unlink(missing_ok=True)
        self.notice_path(claim.id).unlink(missing_ok=True)
        return ended

    def notice_path(self, claim_id: str) -> Path:
        """Return the file whose existence tells the machine that it will be taken away."""
        return self._live / f"{claim_id}.notice"

    def announce(self, claim: Claim, *, now: datetime, notice_s: float) -> None:
        """Write the notice, with the time of the end in it."""
        ends_at = now + timedelta(seconds=notice_s)
        text = json.dumps({"action": "terminate", "time": ends_at.isoformat()})
        files.write_atomically(self.notice_path(claim.id), text)

    def announced_end(self, claim: Claim) -> datetime | None:
        """Return the time in the notice; None without a notice, or when it names no time (written by hand)."""
        try:
            return datetime.fromisoformat(json.loads(self.notice_path(claim.id).read_text("utf-8"))["time"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @staticmethod
    def _read(path: Path) -> Claim | None:
        try:
            return load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise CloudError(
                f"{path} is not a claim: {error}",
                left_behind="perhaps a run on this computer",
                hint=f"end its processes by hand, then delete {path}",
            ) from error
