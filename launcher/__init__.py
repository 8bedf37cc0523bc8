"""Train on rented GPUs: price the whole run, rent, sync, train in tmux, survive interruptions, bring results home.

>>> from launcher import Job, estimate, launch
>>> job = Job.from_yaml("launch.yaml")
>>> print(estimate(job, provider="fake", gpu="T4")[0].usd.likely)
>>> run = launch(job, provider="local")          # spends nothing on this computer
>>> run.wait(on_event=lambda event: print(event.message))
>>> run.result().files

Nothing here prints, prompts or exits. Every error is a `LaunchError` or a `provisioning.CloudError`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.api import adopt, attach, estimate, launch, watch
    from launcher.errors import (
        CredentialsMissing,
        DependencyMissing,
        HomeError,
        JobFileError,
        LaunchError,
        MachineError,
        MachineUnreachable,
        NameTaken,
        NothingToRent,
        OverBudget,
        RunFailed,
        RunNotFound,
        SmokeFailed,
        UsageError,
        WrongState,
    )
    from launcher.events import Event, Kind
    from launcher.forecast.estimates import Estimate
    from launcher.job import Job
    from launcher.listing import list_runs
    from launcher.planning.options import Options
    from launcher.planning.plan import Plan
    from launcher.planning.preparation import Prepared, prepare
    from launcher.run import Run, RunResult
    from launcher.side_by_side import SideBySide, compare_runs
    from launcher.smoke import WithSmoke, launch_after_smoke, prepare_with_smoke
    from launcher.status import Status

_HOMES = {
    "launcher.api": ("adopt", "attach", "estimate", "launch", "watch"),
    "launcher.errors": (
        "CredentialsMissing",
        "DependencyMissing",
        "HomeError",
        "JobFileError",
        "LaunchError",
        "MachineError",
        "MachineUnreachable",
        "NameTaken",
        "NothingToRent",
        "OverBudget",
        "RunFailed",
        "RunNotFound",
        "SmokeFailed",
        "UsageError",
        "WrongState",
    ),
    "launcher.forecast.estimates": ("Estimate",),
    "launcher.events": ("Event", "Kind"),
    "launcher.job": ("Job",),
    "launcher.listing": ("list_runs",),
    "launcher.planning.options": ("Options",),
    "launcher.planning.plan": ("Plan",),
    "launcher.planning.preparation": ("Prepared", "prepare"),
    "launcher.run": ("Run", "RunResult"),
    "launcher.side_by_side": ("SideBySide", "compare_runs"),
    "launcher.smoke": ("WithSmoke", "launch_after_smoke", "prepare_with_smoke"),
    "launcher.status": ("Status",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "CredentialsMissing",
    "DependencyMissing",
    "Estimate",
    "Event",
    "HomeError",
    "Job",
    "JobFileError",
    "Kind",
    "LaunchError",
    "MachineError",
    "MachineUnreachable",
    "NameTaken",
    "NothingToRent",
    "Options",
    "OverBudget",
    "Plan",
    "Prepared",
    "Run",
    "RunFailed",
    "RunNotFound",
    "RunResult",
    "SideBySide",
    "SmokeFailed",
    "Status",
    "UsageError",
    "WithSmoke",
    "WrongState",
    "adopt",
    "attach",
    "compare_runs",
    "estimate",
    "launch",
    "launch_after_smoke",
    "list_runs",
    "prepare",
    "prepare_with_smoke",
    "watch",
]


def __getattr__(name: str) -> Any:
    """Import a public name on use: ``import launcher`` costs next to nothing."""
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'launcher' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
