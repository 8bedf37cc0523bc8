"""The options of a launch: what the command line's flags are in Python."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TypedDict

__all__ = ["Options"]


class Options(TypedDict, total=False):
    """Keyword arguments of `launcher.launch`, `launcher.estimate` and `launcher.prepare`; each may be left out or None.

    Those that name a field of the job replace it. Environment variables and other fields are set on the job itself,
    with `Job.with_envs` and `Job.with_overrides`, as ``--env`` and ``--set`` do.
    """

    provider: str | None
    """``resources.cloud``: ``local``, ``fake``, ``ssh``, ``aws``."""
    instance: str | None
    """``resources.instance_type``, in the provider's words: ``g4dn.xlarge``."""
    gpu: str | None
    """``resources.accelerators``: ``T4``, ``A100:2``."""
    region: str | None
    zone: str | None
    host: str | None
    """A machine of one's own, ``user@box[:port]`` or a name of the SSH configuration; the provider is then ``ssh``."""
    spot: bool | None
    """True: cheaper, and may be taken away. None: what the job says, else on demand."""
    max_price: float | None
    """USD per hour: nothing dearer is rented."""
    max_cost: float | None
    """USD over all attempts: the run is saved and stopped before it costs more."""
    max_duration_s: float | None
    """Rented seconds over all attempts."""
    until: datetime | None
    """With a time zone: the run is saved and stopped by then."""
    name: str | None
    """Of the run; unique among live runs."""
    out: Path | None
    """Results come home to a folder of the run's own in here."""
    stage: str | None
    """Of a job with stages: this one alone."""
    from_run: str | None
    """With ``stage``: the run whose outputs it is given, by id, unique prefix or name."""
    ssh_from: str | None
    """The address or network that may log in, where the provider has a firewall: ``203.0.113.7/32``. None: this
    computer's own address, which is followed when it changes."""
    accept_client_deadline: bool | None
    """Rent also where nothing but this computer would end the machine: if it dies, billing goes on."""
    resolve: bool | None
    """False: requirements are not resolved here before a machine is rented."""
    environ: Mapping[str, str] | None
    """Where ``LAUNCH_HOME``, credentials and secrets are read from; the environment of this process by default."""
