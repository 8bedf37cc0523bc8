"""Renting a machine for an attempt, and ending it: never twice, never forgotten.

Every create call is written down with all its parameters before it is made. After a crash at any moment the
record says what may exist: an unanswered try is looked up by its token and, when the provider knows nothing of
it, replayed byte for byte. An instance counts as ended only when the provider has said so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from launcher.events import Kind
from launcher.orchestrate.context import RunContext
from launcher.records import from_json, to_json
from launcher.states import Reason
from launcher.status import offer_words
from launcher.store import AttemptRow, InstanceRow, TryOutcome, TryRow
from provisioning import (
    BadCredentials,
    BadOption,
    CloudError,
    Instance,
    InstanceRef,
    InstanceSpec,
    InstanceState,
    MachineInUse,
    MayHaveBeenCreated,
    MayStillBeRunning,
    NoCapacity,
    Offer,
    PermissionDenied,
    PriceRose,
    QuotaExceeded,
    Throttled,
    Transient,
)

__all__ = ["Refusal", "Rented", "Waiting", "acquire", "end_instances", "look"]

LOOKUPS_BEFORE_REPLAY = 3
"""How often an unanswered try is looked up before it is replayed: clouds list new instances late."""
REFUSALS = (NoCapacity, PriceRose, QuotaExceeded, MachineInUse, BadOption, BadCredentials, PermissionDenied)


@dataclass(frozen=True, slots=True)
class Rented:
    """The machine is there and can be reached."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not yet; look again after ``next_look_s``."""

    reason: str
    next_look_s: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """The provider said no and nothing of this try exists; ``elsewhere`` says whether another place may work."""

    error: CloudError
    elsewhere: bool
    code: Reason


def acquire(context: RunContext, attempt: AttemptRow, spec_of: SpecSource) -> Rented | Waiting | Refusal:
    """Bring the attempt one step nearer to a reachable machine; SPENDS MONEY."""
    offer = context.offer_of(attempt)
    tries = context.store.tries(context.run_id, attempt.n)
    last = tries[-1] if tries else None
    if last is not None and last.outcome is TryOutcome.CREATED:
        return _await_access(context, attempt, last)
    if last is None or last.outcome is TryOutcome.REFUSED:
        last = _write_try(context, attempt, offer, spec_of(offer, attempt.n, len(tries) + 1))
        return _create(context, attempt, last)
    return _settle(context, attempt, last)


class SpecSource:
    """Builds the parameters of a create call from the run's record."""

    def __init__(self, context: RunContext, deadline: datetime, *, max_usd_per_hour: float | None) -> None:
        self._context = context
        self._deadline = deadline
        self._max_usd_per_hour = max_usd_per_hour

    def __call__(self, offer: Offer, attempt: int, try_number: int) -> InstanceSpec:
        """Return the spec of one try; pure but for the record it was built from."""
        job, home = self._context.job, self._context.home
        return InstanceSpec(
            run_id=self._context.run_id,
            attempt=attempt,
            try_number=try_number,
            home_id=home.home_id,
            owner=home.owner,
            deadline=self._deadline,
            disk_gib=self._context.plan.disk_gib,
            when_unattended=self._context.plan.when_unattended,
            image_id=job.resources.image_id,
            max_usd_per_hour=max(offer.usd_per_hour, self._max_usd_per_hour or 0.0),
            labels=dict(job.resources.labels or {}),
        )


def look(context: RunContext, row: InstanceRow) -> Instance:
    """Ask the provider for its word on an instance and note it; `Transient` when it cannot be asked."""
    ref = InstanceRef.parse(row.ref)
    instance = context.provider(ref.provider).get(ref)
    _note(context, row, instance)
    return instance


def end_instances(context: RunContext, *, attempt: int | None = None) -> bool:
    """End what the run has rented, and say whether the provider has confirmed the end of all of it.

    Asks again at every call until it has: terminating what is gone is success.
    """
    _adopt_unanswered(context)
    all_gone = True
    for row in context.store.instances(context.run_id):
        if row.ended_at is not None or attempt not in (None, row.attempt):
            continue
        ref = InstanceRef.parse(row.ref)
        try:
            context.provider(ref.provider).terminate(ref)
            gone = look(context, row).state.is_gone
        except Transient as err:
            context.report(Kind.WARNING, f"{ref} could not be asked to end: {err}", ref=row.ref)
            gone = False
        except MayStillBeRunning as err:
            context.report(Kind.WARNING, f"{err}; {err.left_behind}", ref=row.ref)
            gone = False
        all_gone = all_gone and gone
    return all_gone


def _write_try(context: RunContext, attempt: AttemptRow, offer: Offer, spec: InstanceSpec) -> TryRow:
    row = TryRow(
        token=spec.token,
        run_id=context.run_id,
        stage=attempt.stage,
        attempt=attempt.n,
        try_number=spec.try_number,
        offer=to_json(offer),
        spec=to_json(spec),
        asked_at=context.clock(),
    )
    context.store.put(row)
    context.report(Kind.TRY, f"renting {offer_words(offer)}", token=spec.token, outcome="asked")
    return row


def _create(context: RunContext, attempt: AttemptRow, row: TryRow) -> Rented | Waiting | Refusal:
    offer, spec = from_json(Offer, row.offer), from_json(InstanceSpec, row.spec)
    provider = context.provider(offer.provider)
    try:
        instance = provider.create(offer, spec)
    except REFUSALS as err:
        return _refused(context, row, err)
    except Throttled as err:
        return Waiting(f"{offer.provider} asked for fewer calls", err.retry_after_s or 5.0)
    except (MayHaveBeenCreated, Transient) as err:
        context.report(Kind.WARNING, f"{err}; looking whether a machine was made", token=row.token)
        return Waiting("no usable answer to the create call", min(30.0, 2.0 ** int(row.detail or 0)))
    return _created(context, attempt, row, instance)


def _created(
    context: RunContext, attempt: AttemptRow, row: TryRow, instance: Instance
) -> Rented | Waiting | Refusal:
    """Note the instance before anything else is done with it."""
    found = InstanceRow(
        ref=str(instance.ref),
        run_id=context.run_id,
        stage=attempt.stage,
        attempt=attempt.n,
        token=row.token,
        offer=row.offer,
        state=instance.state.value,
        state_reason=instance.state_reason,
        created_at=instance.created_at or context.clock(),
        seen_at=instance.seen_at,
    )
    context.store.put(found)
    context.store.answer_try(row.token, TryOutcome.CREATED, instance=str(instance.ref))
    context.report(
        Kind.INSTANCE, f"{instance.ref} is ours", ref=str(instance.ref), state=instance.state.value
    )
    return _reachable(context, found, instance)


def _refused(context: RunContext, row: TryRow, err: CloudError) -> Refusal:
    context.store.answer_try(row.token, TryOutcome.REFUSED, detail=str(err))
    context.report(
        Kind.TRY, f"not rented: {err}", token=row.token, outcome="refused", error=type(err).__name__
    )
    nowhere = isinstance(err, (BadCredentials, PermissionDenied, BadOption))
    code = Reason.CREDENTIALS if isinstance(err, (BadCredentials, PermissionDenied)) else Reason.NO_CAPACITY
    return Refusal(err, elsewhere=not nowhere, code=code)


def _settle(context: RunContext, attempt: AttemptRow, row: TryRow) -> Rented | Waiting | Refusal:
    """Find out what became of a try that was never answered; replay it when the provider knows nothing of it."""
    offer = from_json(Offer, row.offer)
    try:
        known = [
            instance
            for instance in context.provider(offer.provider).owned(context.run_id)
            if instance.token == row.token
        ]
    except Transient as err:
        return Waiting(f"{offer.provider} cannot be asked what it made: {err}", err.retry_after_s or 5.0)
    if known:
        context.report(
            Kind.TRY, f"{known[0].ref} had been made and is adopted", token=row.token, outcome="adopted"
        )
        return _created(context, attempt, row, known[0])
    lookups = int(row.detail or 0) + 1
    if lookups < LOOKUPS_BEFORE_REPLAY:
        context.store.answer_try(row.token, TryOutcome.ASKED, detail=str(lookups))
        return Waiting("looking whether the unanswered create call made a machine", 1.0 * lookups)
    return _create(context, attempt, row)


def _adopt_unanswered(context: RunContext) -> None:
    """Put on record what unanswered tries have made, so that it is ended with the rest.

    A try that the provider knows nothing of stays unanswered: `gc` looks for it by its tag.
    """
    for row in context.store.tries(context.run_id):
        if row.outcome is not TryOutcome.ASKED:
            continue
        attempts = [item for item in context.store.attempts(context.run_id) if item.n == row.attempt]
        provider = context.provider(from_json(Offer, row.offer).provider)
        for instance in provider.owned(context.run_id):
            if instance.token == row.token:
                _created(context, attempts[0], row, instance)


def _await_access(context: RunContext, attempt: AttemptRow, row: TryRow) -> Rented | Waiting | Refusal:
    (found,) = [item for item in context.store.instances(context.run_id) if item.token == row.token]
    try:
        instance = look(context, found)
    except Transient as err:
        return Waiting(f"the provider cannot be asked: {err}", err.retry_after_s or 5.0)
    if instance.state in (InstanceState.TERMINATED, InstanceState.STOPPED, InstanceState.STOPPING):
        lost = NoCapacity(
            f"{instance.ref} ended before it came up: {instance.state_reason or instance.state.value}"
        )
        return Refusal(lost, elsewhere=True, code=Reason.INSTANCE_LOST)
    return _reachable(context, found, instance)


def _reachable(context: RunContext, row: InstanceRow, instance: Instance) -> Rented | Waiting | Refusal:
    if instance.state is InstanceState.RUNNING and instance.access is not None:
        return Rented(instance)
    waited = context.clock() - row.created_at
    limit = timedelta(seconds=BOOT_DEADLINE_S)
    if waited > limit:
        late = NoCapacity(f"{instance.ref} did not come up within {BOOT_DEADLINE_S / 60:.0f} minutes")
        return Refusal(late, elsewhere=True, code=Reason.NO_BOOT)
    return Waiting(
        f"{instance.ref} is {instance.state.value}", 0.5 if waited < timedelta(seconds=20) else 3.0
    )


BOOT_DEADLINE_S = 600.0


def _note(context: RunContext, row: InstanceRow, instance: Instance) -> None:
    """Write the provider's word down, and say so when it changed."""
    ended = row.ended_at or (context.clock() if instance.state.is_gone else None)
    if instance.state.value != row.state:
        words = f"{row.ref} is {instance.state.value}"
        if instance.state_reason:
            words += f": {instance.state_reason}"
        context.report(
            Kind.INSTANCE, words, ref=row.ref, state=instance.state.value, reason=instance.state_reason
        )
    context.store.put(
        InstanceRow(
            ref=row.ref,
            run_id=row.run_id,
            stage=row.stage,
            attempt=row.attempt,
            token=row.token,
            offer=row.offer,
            state=instance.state.value,
            state_reason=instance.state_reason,
            created_at=row.created_at,
            seen_at=instance.seen_at,
            ended_at=ended,
        )
    )
