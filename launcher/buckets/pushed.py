"""What a machine has pushed to a bucket at its end, as a `Runner` that answers like the machine would.

The parcel is brought home once, verified, and unpacked as the run folder that it was; from then on everything is read
there by the same code that reads a machine on this computer.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.buckets.parcels import part_links
from launcher.errors import FetchError, MachineUnreachable
from launcher.events import keep_going, unreported
from launcher.remote.layout import Start
from launcher.remote.onboard import download, parcel
from launcher.runners.base import (
    Area,
    Bucket,
    FetchReport,
    Handle,
    LogChunk,
    MakeWay,
    Mount,
    Progress,
    RunnerCapabilities,
    Signal,
    Submission,
    replace_all,
)
from launcher.runners.machines import MachineRunner
from provisioning import LocalAccess
from trainer.contract import Cause

if TYPE_CHECKING:
    from launcher.events import Listen, Report
    from provisioning.storage import ObjectStore, Place

__all__ = ["Pushed", "PushedRunner"]

LASTS = timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A complete parcel of outputs."""

    store: ObjectStore
    place: Place
    head: dict[str, Any]
    folder: Path
    """Where it is unpacked at home."""


class PushedRunner:
    """Reads what was pushed. Nothing can be started or ended here: the machine is gone."""

    capabilities = RunnerCapabilities(live_pull=True, shell=False, deadline=True)

    def __init__(self, pushed: Pushed) -> None:
        self._pushed = pushed
        self._is_here = False
        self._runner = MachineRunner.local(LocalAccess(work_root=pushed.folder))

    def submit(self, submission: Submission, *, report: Report, listen: Listen = keep_going) -> Handle:
        """The machine is gone."""
        raise MachineUnreachable("the machine has ended; its outputs are in the bucket")

    def poll(self, handle: Handle) -> Progress:
        """Return the last word of the watchdog."""
        return self._runner.poll(self._here(handle))

    def signal(self, handle: Handle, signal: Signal, *, cause: Cause = Cause.STOP) -> None:
        """There is nobody any more who could be asked to leave."""

    def renew(self, handle: Handle, mounts: Sequence[Mount], bucket: Bucket | None) -> None:
        """There is nobody any more who reads or writes."""

    def logs(self, handle: Handle, offset: int, *, limit: int = 1 << 20) -> LogChunk:
        """Return output from a byte offset on."""
        return self._runner.logs(self._here(handle), offset, limit=limit)

    def fetch(
        self,
        handle: Handle,
        patterns: Sequence[str],
        dest: Path,
        *,
        area: Area = Area.WORK,
        report: Report = unreported,
        listen: Listen = keep_going,
        make_way: MakeWay = replace_all,
    ) -> FetchReport:
        """Bring files to where they belong; see `launcher.runners.base.Runner.fetch`."""
        here = self._here(handle)
        return self._runner.fetch(
            here, patterns, dest, area=area, report=report, listen=listen, make_way=make_way
        )

    def end(self, handle: Handle) -> None:
        """Delete what was unpacked here; the bucket keeps its own."""
        shutil.rmtree(self._pushed.folder, ignore_errors=True)
        self._is_here = False

    def _here(self, handle: Handle) -> Handle:
        """The same start, in the folder at home; brings the parcel there first."""
        here = replace(handle, data={**handle.data, "work_root": str(self._pushed.folder), "pushes": False})
        if not self._is_here:
            self._bring(Path(Start.of_handle(here).folder.root))
            self._is_here = True
        return here

    def _bring(self, folder: Path) -> None:
        pushed = self._pushed
        shutil.rmtree(pushed.folder, ignore_errors=True)
        links = part_links(pushed.store, pushed.place, pushed.head, lasts=LASTS)

        def get(number: int, path: str) -> None:
            told = {"url": links[number].url, "headers": dict(links[number].headers)}
            download.fetch(lambda: told, Path(path), say=lambda words: None)

        try:
            parcel.unpack(pushed.head, get, str(folder))
        except (parcel.Failed, download.Failed) as err:
            shutil.rmtree(pushed.folder, ignore_errors=True)
            raise FetchError(
                f"what the machine pushed to {pushed.place} cannot be brought home: {err}",
                left_behind=f"{pushed.place}: `cat 0* | tar x` unpacks its parts",
                hint="`launch pull` tries again",
            ) from err
