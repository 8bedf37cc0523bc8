"""The fake cloud's state on disk, shared safely by any number of processes."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provisioning import files, processes
from provisioning.errors import CloudError
from provisioning.fake.machine import Effect, Machine, due

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

__all__ = ["Cloud", "World"]

_SCHEMA = 1


@dataclass(slots=True)
class Cloud:
    """What the cloud knows while somebody holds its lock; changes are stored when it is let go."""

    machines: dict[str, Machine] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    """How often a call was counted for a fault."""

    def by_token(self, token: str) -> Machine | None:
        """Return the machine that a try has made; None when it made none."""
        return next((machine for machine in self.machines.values() if machine.token == token), None)

    def dump(self) -> str:
        """Write it as JSON."""
        machines = {name: machine.to_json() for name, machine in self.machines.items()}
        return json.dumps({"schema": _SCHEMA, "machines": machines, "calls": self.calls})

    @classmethod
    def load(cls, text: str) -> Cloud:
        """Read what `dump` wrote; `ValueError`, `KeyError` or `TypeError` for anything else."""
        plain: dict[str, Any] = json.loads(text)
        if plain["schema"] != _SCHEMA:
            raise ValueError(f"schema {plain['schema']} is not {_SCHEMA}")
        machines = {name: Machine.from_json(fields) for name, fields in plain["machines"].items()}
        return cls(machines, dict(plain["calls"]))


class World:
    """The folder ``<home>/fake``: the cloud's state, and its machines."""

    def __init__(self, home: Path, clock: Callable[[], datetime]) -> None:
        self._root = home / "fake"
        self._clock = clock

    @property
    def exists(self) -> bool:
        """Whether anybody ever looked here; False again once the folder was deleted."""
        return self._lock_path.exists()

    @property
    def _lock_path(self) -> Path:
        return self._root / "lock"

    @property
    def _state_path(self) -> Path:
        return self._root / "cloud.json"

    def machine_folder(self, machine_id: str) -> Path:
        """Return the disk of a machine."""
        return self._root / "machines" / machine_id

    def power_path(self, machine_id: str) -> Path:
        """Return the file that is there while a machine is on: whoever would start something on it looks there."""
        return self._root / "power" / machine_id

    def power_on(self, machine_id: str) -> None:
        """Give a machine its disk, and switch it on."""
        self.machine_folder(machine_id).mkdir(parents=True, exist_ok=True)
        files.write_atomically(self.power_path(machine_id), "")

    def notice_path(self, machine_id: str) -> Path:
        """Return the file whose existence tells a machine that it will be taken away."""
        return self._root / "notices" / machine_id

    @contextmanager
    def open(self) -> Iterator[Cloud]:
        """Hold the cloud alone; what is due happens first, and again at the end.

        Everything is stored at the end, also when the body raises: a fault that struck has been counted.
        An effect (a kill, a wiped disk) precedes the record of it, so that a crash between them repeats it.
        """
        with files.os_errors(f"using the fake cloud in {self._root}"), files.lock(self._lock_path):
            cloud = self._load()
            before = dict(cloud.machines), dict(cloud.calls)
            try:
                self._settle(cloud)
                yield cloud
            finally:
                self._settle(cloud)
                if (cloud.machines, cloud.calls) != before:
                    files.write_atomically(self._state_path, cloud.dump())

    def apply(self, machine: Machine, effect: Effect) -> None:
        """Do to folder and processes what a transition asks for."""
        if effect is Effect.ANNOUNCE:
            ends_at = machine.evicted_at or self._clock()
            text = json.dumps({"action": "terminate", "time": ends_at.isoformat()})
            files.write_atomically(self.notice_path(machine.id), text)
        if effect in (Effect.POWER_OFF, Effect.WIPE):
            self.power_path(machine.id).unlink(missing_ok=True)  # first: nothing starts behind the last look
            processes.end_all(machine.id)
            self.notice_path(machine.id).unlink(missing_ok=True)
        if effect is Effect.WIPE:
            _delete(self.machine_folder(machine.id))

    def _settle(self, cloud: Cloud) -> None:
        for name in cloud.machines:
            while step := due(cloud.machines[name], self._clock()):
                self.apply(*step)
                cloud.machines[name] = step[0]

    def _load(self) -> Cloud:
        try:
            return Cloud.load(self._state_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Cloud()
        except (ValueError, KeyError, TypeError) as error:
            raise CloudError(
                f"{self._state_path} is damaged: {error}",
                left_behind="perhaps processes of fake machines on this computer",
                hint=f"end them, then delete {self._root}: nothing in it costs money",
            ) from error


def _delete(folder: Path) -> None:
    """Delete a machine's disk, also where the job left folders that it made read-only."""
    if not folder.exists():
        return
    try:
        shutil.rmtree(folder)
    except PermissionError:
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder)
