"""What carries our tags and is owned by no live run: found at every provider, judged, and ended when asked to.

The provider's listing is the truth about what exists, the record about what it is for; the record may be lost. `judge`
is the decision and pure: it would rather ask once too often than end a machine that somebody needs.
"""

from __future__ import annotations

import contextlib
import enum
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from launcher.connect import runner_for
from launcher.errors import LaunchError, RunNotFound, WrongState
from launcher.forecast.money import burn_usd_per_hour
from launcher.home import Home
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.export import EventExport
from launcher.orchestrate.machines import look
from launcher.policy.states import RunState
from launcher.records import from_json
from launcher.runners.base import Handle
from launcher.store import AttemptRow, InstanceRow, Store, TryOutcome
from launcher.supervise import ensure_supervisor
from provisioning import (
    CloudError,
    Instance,
    InstanceState,
    LocalAccess,
    MayStillBeRunning,
    Offer,
    Provider,
    ProviderContext,
)
from provisioning.models import utc_now
from provisioning.registry import names
from provisioning.registry import provider as build_provider

__all__ = ["Collector", "Evidence", "Judgement", "Leftover", "Survey", "judge"]

FRESH_S = 300.0
"""A job that gave a sign of life since then is taken to be at work."""
CONFIRM_S = 300.0
LOOK_EVERY_S = 0.5


class Judgement(str, enum.Enum):
    """What may be done about a machine."""

    END = "end"
    """Ours, and nobody needs it."""
    ASK = "ask"
    """Ours as far as one can tell, and something may be lost with it: a person has to say."""
    LEAVE = "leave"
    """A live run's, or somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about a machine beside the provider's word on it."""

    home_id: str
    """Of this home."""
    owner: str
    """The person at this computer, as tags name them."""
    run_state: RunState | None
    """Of the run that it was rented for; None where the record knows no such run."""
    is_expected: bool = False
    """The record has it, or waits for what its create call made."""
    outputs_missing: bool | None = None
    """A job was started on it and its outputs never came home; None where nobody knows."""
    was_kept: bool = False
    """Its run ended with the wish that the disk stays."""
    silent_s: float | None = None
    """Since its job's last sign of life; None where none was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One machine that was found, what may be done about it, and why."""

    instance: Instance
    judgement: Judgement
    why: str
    usd_per_hour: float | None
    """What it costs now; None where that is not known."""
    provider: Provider = field(repr=False, compare=False)
    row: InstanceRow | None = None
    """What the record has of it."""

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``launch gc --json`` has for each."""
        found = self.instance
        return {
            "ref": str(found.ref),
            "run_id": found.run_id,
            "owner": found.owner,
            "home_id": found.home_id,
            "instance_type": found.instance_type,
            "state": found.state.value,
            "usd_per_hour": self.usd_per_hour,
            "judgement": self.judgement.value,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All that was found, and who could not be asked."""

    leftovers: tuple[Leftover, ...]
    not_asked: Mapping[str, str]
    """Provider → why it could not say what there is."""


def judge(instance: Instance, evidence: Evidence) -> tuple[Judgement, str]:
    """Return what may be done about a machine that carries our tags, and why."""
    is_this_home = instance.home_id is not None and instance.home_id == evidence.home_id
    is_this_person = instance.owner is not None and instance.owner == evidence.owner
    if not is_this_home and not is_this_person:
        return Judgement.LEAVE, f"it belongs to {instance.owner or 'somebody else'}"
    live = evidence.run_state is not None and evidence.run_state.is_live
    if live and evidence.is_expected:  # one that was taken over carries the tag of another home
        return Judgement.LEAVE, f"its run is live ({evidence.run_state.value if evidence.run_state else ''})"
    if evidence.silent_s is not None and evidence.silent_s < FRESH_S:
        return Judgement.ASK, f"its job gave a sign of life {evidence.silent_s:.0f} s ago"
    if not is_this_home:
        words = f"it was rented by you from another home ({instance.home_id}); if that one is lost, nobody follows it"
        return Judgement.ASK, words
    if evidence.run_state is None:
        words = "the record of this home does not know its run, and so not whether its outputs are home"
        return Judgement.ASK, words
    if evidence.outputs_missing is not False:
        return Judgement.ASK, "outputs on it never came home"
    if evidence.was_kept or instance.state is InstanceState.STOPPED:
        return Judgement.ASK, "its disk was kept when its run ended; its outputs are home"
    if live:
        return Judgement.END, "its run goes on without it, and nothing was started on it"
    return (
        Judgement.END,
        f"its run has ended ({evidence.run_state.value}), and nothing on it is missing at home",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Finds and ends leftovers, for one home."""

    home: Home
    store: Store
    environ: Mapping[str, str]
    clock: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def open(cls, environ: Mapping[str, str] | None = None) -> Collector:
        """Open it for the home that ``LAUNCH_HOME`` names, and make sure that its live runs are followed.

        Raises:
            HomeError, StoreError: the home, or the record in it, cannot be used.
        """
        env = dict(os.environ) if environ is None else environ
        home = Home.open(env)
        store = Store(home.database)
        if store.live_intents():
            ensure_supervisor(home, env)
        return cls(home=home, store=store, environ=env)

    def survey(self) -> Survey:
        """Ask every provider what carries our tags, and judge it. Ends nothing; what is gone is noted in the record."""
        found: dict[str, Leftover] = {}
        not_asked: dict[str, str] = {}
        for name in names():
            for options in self._options_for(name):
                context = ProviderContext(
                    home=self.home.root, environ=self.environ, options=options, clock=self.clock
                )
                try:
                    provider = build_provider(name, context)
                    listed = provider.owned()
                except CloudError as err:
                    not_asked[name] = str(err)
                    continue
                for instance in listed:
                    ref = str(instance.ref)
                    if ref not in found and not instance.state.is_gone:
                        found[ref] = self._judged(provider, instance)
        for row in self.store.instances():
            if row.ref not in found:
                self._note_if_gone(row)
        in_order = sorted(found.values(), key=lambda item: (item.judgement.value, str(item.instance.ref)))
        return Survey(leftovers=tuple(in_order), not_asked=not_asked)

    def end(self, leftover: Leftover) -> None:
        """End one machine for good, with all that is on it, and return when the provider has confirmed it.

        Raises:
            WrongState: it is to be left alone, or there is more to ask about it than there was; it was not touched.
            MayStillBeRunning: not confirmed within five minutes.
            CloudError: the provider refuses, or could not be asked.
        """
        from provisioning import retry  # tenacity: only where something is ended

        ref, provider = leftover.instance.ref, leftover.provider
        instance = retry.call(lambda: provider.get(ref), retry.READ)
        if not instance.state.is_gone:
            self._require_unchanged(leftover, self._judged(provider, instance))
            retry.call(lambda: provider.terminate(ref), retry.END)
        give_up_at = self.monotonic() + CONFIRM_S
        while not retry.call(lambda: provider.get(ref), retry.READ).state.is_gone:
            if self.monotonic() >= give_up_at:
                raise MayStillBeRunning(f"the end of {ref} was not confirmed", ref=ref)
            self.sleep(LOOK_EVERY_S)
        if leftover.row is not None:
            self._note_if_gone(leftover.row)

    @staticmethod
    def _require_unchanged(before: Leftover, now: Leftover) -> None:
        """Between a question and its answer a run may have been resumed, or a job begun."""
        if now.judgement is Judgement.LEAVE or (
            now.judgement is Judgement.ASK and before.judgement is Judgement.END
        ):
            raise WrongState(
                f"{now.instance.ref} is not ended: {now.why}",
                left_behind="it is as it was",
                hint="`launch gc` shows how it stands",
            )

    def _options_for(self, name: str) -> list[Mapping[str, Any]]:
        """Return the options under which a provider is asked: none, and those of runs that have something there."""
        found: list[Mapping[str, Any]] = [{}]
        for row in self.store.instances():
            if row.ref.startswith(f"{name}/"):
                fields = self.store.run(row.run_id).job.get("fields", {})
                options = fields.get("provider_options", {}).get(name, {})
                if options not in found:
                    found.append(options)
        return found

    def _judged(self, provider: Provider, instance: Instance) -> Leftover:
        """Judge a machine by the record as it is now: it is read after the provider was asked, never before."""
        run_id, ref = instance.run_id or "", str(instance.ref)
        row = next((item for item in self.store.instances(run_id) if item.ref == ref), None)
        judgement, why = judge(instance, self._evidence(instance, row))
        return Leftover(
            instance=instance,
            judgement=judgement,
            why=why,
            usd_per_hour=self._usd_per_hour(instance, row),
            provider=provider,
            row=row,
        )

    def _usd_per_hour(self, instance: Instance, row: InstanceRow | None) -> float | None:
        running = instance.state is not InstanceState.STOPPED
        if row is None:
            return instance.usd_per_hour if running else None
        disk_gib = float(self.store.run(row.run_id).plan.get("disk_gib") or 0.0)
        return burn_usd_per_hour(from_json(Offer, row.offer), disk_gib=disk_gib, running=running)

    def _evidence(self, instance: Instance, row: InstanceRow | None) -> Evidence:
        home, run_id = self.home, instance.run_id or ""
        try:
            run = self.store.run(run_id)
        except RunNotFound:
            silent_s = self._seconds_since(self._told_inside(instance) or _written_on(instance))
            return Evidence(home_id=home.home_id, owner=home.owner, run_state=None, silent_s=silent_s)
        attempt = None
        if row is not None:
            on_it = [item for item in self.store.attempts(run_id) if item.n == row.attempt]
            attempt = on_it[-1] if on_it else None  # of several stages, the last
        awaited = {item.token for item in self.store.tries(run_id) if item.outcome is TryOutcome.ASKED}
        return Evidence(
            home_id=home.home_id,
            owner=home.owner,
            run_state=RunState(run.state),
            was_kept=bool(run.verdict and run.verdict.get("keep_disk")),
            is_expected=row is not None or instance.token in awaited,
            outputs_missing=attempt is not None and attempt.handle is not None and not attempt.fetched,
            silent_s=self._seconds_since(self._heartbeat(instance, attempt)),
        )

    def _heartbeat(self, instance: Instance, attempt: AttemptRow | None) -> datetime | None:
        """Ask the machine when its job gave the last sign of life; None when it has ended, or does not answer."""
        if attempt is None or attempt.handle is None or instance.state is not InstanceState.RUNNING:
            return None
        try:
            ssh_folder = self.home.run(attempt.run_id).ssh
            runner = runner_for(instance, ssh_folder=ssh_folder, environ=self.environ)
            progress = runner.poll(from_json(Handle, attempt.handle))
        except LaunchError:
            return None
        return progress.heartbeat if progress.alive else None

    def _told_inside(self, instance: Instance) -> datetime | None:
        """Log in with the user's own key and ask the job of a run that nobody knows for its last sign of life."""
        if instance.run_id is None or instance.state is not InstanceState.RUNNING or instance.access is None:
            return None
        with tempfile.TemporaryDirectory(prefix="launch-gc-") as folder:  # 0700; nothing is learnt for good
            try:
                runner = runner_for(
                    instance, ssh_folder=Path(folder), environ=self.environ, report=lambda *_, **__: None
                )
                with contextlib.closing(runner):
                    left = runner.left_by(instance.run_id)
                    progress = None if left is None else runner.poll(left.handle)
            except LaunchError:
                return None
        return progress.heartbeat if progress is not None and progress.alive else None

    def _seconds_since(self, moment: datetime | None) -> float | None:
        return None if moment is None else max(0.0, (self.clock() - moment).total_seconds())

    def _note_if_gone(self, row: InstanceRow) -> None:
        """Ask about a machine of the record that is not listed, and write down when it is gone."""
        context = RunContext(self.home, self.store, row.run_id, self.environ)
        if context.state.is_live:
            return  # its supervisor sees to it
        with contextlib.suppress(CloudError, OSError):  # it stays on record, and is asked about the next time
            look(context, row)
            EventExport(self.store, row.run_id, context.paths.events).catch_up()


def _written_on(instance: Instance) -> datetime | None:
    """Return when the job of a run that nobody knows last told its state; only where its files can be seen from here."""
    if not isinstance(instance.access, LocalAccess) or instance.run_id is None:
        return None
    control = instance.access.work_root / "launch" / instance.run_id / "control"
    times = []
    for path in control.glob("*/*/status.json"):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return datetime.fromtimestamp(max(times), timezone.utc) if times else None
