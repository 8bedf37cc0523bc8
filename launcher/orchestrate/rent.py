"""Renting a machine for an attempt: never twice, never forgotten.

Every create call is written down with all its parameters before it is made. After a crash at any moment the
record says what may exist: an unanswered try is looked up by its token and, when the provider knows nothing of
it, replayed byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass

from launcher.events import Kind
from launcher.orchestrate.budget import deadlines_now
from launcher.orchestrate.candidates import agreed_usd_per_hour
from launcher.orchestrate.context import RunContext
from launcher.quantities import offer_words
from launcher.records import from_json, to_json
from launcher.remote.ssh.keys import new_host_key, own_public_keys, run_public_key
from launcher.store import AttemptRow, InstanceRow, TryOutcome, TryRow
from provisioning import (
    BadCredentials,
    BadOption,
    CloudError,
    HostKey,
    Instance,
    InstanceSpec,
    MachineInUse,
    MayHaveBeenCreated,
    NoCapacity,
    Offer,
    PermissionDenied,
    PriceRose,
    QuotaExceeded,
    Transient,
)
from provisioning.registry import provider_class

__all__ = ["Refused", "Rented", "Waiting", "find_unanswered", "rent"]

LOOKUPS = 3
"""How often an unanswered try is looked up before anything follows from it: clouds list new instances late."""
SETTLED_AFTER_S = 15.0
"""For how long an unanswered call is looked up before that counts as proof that nothing was made."""
REFUSALS = (NoCapacity, PriceRose, QuotaExceeded, MachineInUse, BadOption, BadCredentials, PermissionDenied)


@dataclass(frozen=True, slots=True)
class Rented:
    """A machine exists and is on record; it may still boot."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nobody knows yet; look again after ``next_look_s``."""

    reason: str
    next_look_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider said no, and nothing of this try exists."""

    error: CloudError


def rent(context: RunContext, attempt: AttemptRow) -> Rented | Waiting | Refused:
    """Bring the attempt one step nearer to a machine; SPENDS MONEY."""
    tries = context.store.tries(context.run_id, attempt.n)
    last = tries[-1] if tries else None
    if last is not None and last.outcome is TryOutcome.ASKED:
        return _settle(context, attempt, last)
    return _create(context, attempt, _write_try(context, attempt, len(tries) + 1))


def find_unanswered(context: RunContext) -> bool:
    """Put on record what unanswered tries have made; False while one of them may still turn up.

    Raises:
        CloudError: the provider cannot be asked.
    """
    settled = True
    for row in context.store.unanswered_tries(context.run_id):
        attempt = next(item for item in context.attempts if item.n == row.attempt)
        instance = _look_up(context, row)
        if instance is not None:
            _record(context, attempt, row, instance)
            continue
        row = context.store.update_try(row, lookups=row.lookups + 1)
        since = context.memory.unanswered_since.setdefault(row.token, context.monotonic())
        if row.lookups >= LOOKUPS and context.monotonic() - since >= SETTLED_AFTER_S:
            context.store.update_try(row, outcome=TryOutcome.NOTHING)
        else:
            settled = False
    return settled


def _write_try(context: RunContext, attempt: AttemptRow, number: int) -> TryRow:
    offer = context.offer_of(attempt)
    spec = _spec(context, attempt, offer, number)
    row = TryRow(
        token=spec.token,
        run_id=context.run_id,
        stage=attempt.stage,
        attempt=attempt.n,
        try_number=number,
        offer=to_json(offer),
        spec=to_json(spec),
        asked_at=context.clock(),
    )
    with context.store.together():
        context.store.put(row)
        context.report(Kind.TRY, f"renting {offer_words(offer)}", token=spec.token, outcome="asked")
    return row


def _spec(context: RunContext, attempt: AttemptRow, offer: Offer, number: int) -> InstanceSpec:
    job, home, plan = context.job_of(attempt), context.home, context.plan
    keys, host_key = _keys(context, offer)
    return InstanceSpec(
        run_id=context.run_id,
        attempt=attempt.n,
        try_number=number,
        home_id=home.home_id,
        owner=home.owner,
        deadline=deadlines_now(context, offer).hard,
        disk_gib=plan.disk_gib,
        when_unattended=context.when_unattended(attempt),
        image_id=job.resources.image_id,
        ssh_public_keys=keys,
        host_key=host_key,
        allowed_cidr=plan.ssh_from,
        max_usd_per_hour=agreed_usd_per_hour(context, attempt, offer),
        labels=dict(job.resources.labels or {}),
    )


def _keys(context: RunContext, offer: Offer) -> tuple[tuple[str, ...], HostKey | None]:
    """Return who may log in, the run's own key first, and the key that the machine has to show."""
    capabilities = provider_class(offer.provider).capabilities
    if capabilities.claimed or not capabilities.bills:
        return (), None  # a machine that is there already has its keys; one of the fake cloud needs none
    own = run_public_key(context.paths.ssh, context.run_id)
    return (own, *own_public_keys(context.environ)), new_host_key()


def _create(context: RunContext, attempt: AttemptRow, row: TryRow) -> Rented | Waiting | Refused:
    offer, spec = from_json(Offer, row.offer), from_json(InstanceSpec, row.spec)
    try:
        instance = context.provider(offer.provider).create(offer, spec)
    except REFUSALS as err:
        return _refused(context, row, err)
    except Transient as err:  # throttled: nothing was rented, and the same try is made again
        return Waiting(f"{offer.provider}: {err}", err.retry_after_s or 5.0)
    except MayHaveBeenCreated as err:
        context.complain("create", f"{err}; looking whether a machine was made", token=row.token)
        return Waiting("no usable answer to the create call", 1.0)
    _record(context, attempt, row, instance)
    return Rented(instance)


def _record(context: RunContext, attempt: AttemptRow, row: TryRow, instance: Instance) -> None:
    """Note the instance before anything else is done with it."""
    ref = str(instance.ref)
    with context.store.together():
        context.add_instance(
            InstanceRow(
                ref=ref,
                run_id=context.run_id,
                stage=attempt.stage,
                attempt=attempt.n,
                token=row.token,
                offer=row.offer,
                state=instance.state.value,
                state_reason=instance.state_reason,
                created_at=instance.created_at or context.clock(),
                seen_at=instance.seen_at,
                ended_at=instance.seen_at if instance.state.is_gone else None,
                deadline=from_json(InstanceSpec, row.spec).deadline,
            )
        )
        context.store.update_try(row, outcome=TryOutcome.CREATED, instance=ref)
        context.report(Kind.INSTANCE, f"{ref} is ours", ref=ref, state=instance.state.value, token=row.token)
    context.is_well("create")


def _refused(context: RunContext, row: TryRow, err: CloudError) -> Refused:
    with context.store.together():
        context.store.update_try(row, outcome=TryOutcome.REFUSED, detail=str(err))
        context.report(
            Kind.TRY, f"not rented: {err}", token=row.token, outcome="refused", error=type(err).__name__
        )
    context.is_well("create")
    return Refused(err)


def _settle(context: RunContext, attempt: AttemptRow, row: TryRow) -> Rented | Waiting | Refused:
    """Find out what became of a try that was never answered; replay it when the provider knows nothing of it."""
    offer, spec = from_json(Offer, row.offer), from_json(InstanceSpec, row.spec)
    try:
        found = _look_up(context, row)
    except Transient as err:
        return Waiting(f"{offer.provider} cannot be asked what it made: {err}", err.retry_after_s or 5.0)
    if found is not None:
        _record(context, attempt, row, found)
        return Rented(found)
    row = context.store.update_try(row, lookups=row.lookups + 1)
    if row.lookups < LOOKUPS:
        return Waiting("looking whether the unanswered create call made a machine", 1.0 * row.lookups)
    if spec.deadline <= context.clock():  # this computer slept: what is made now would end at once
        context.store.update_try(row, outcome=TryOutcome.NOTHING)
        return Waiting("the unanswered create call made nothing", 0.0)
    return _create(context, attempt, row)


def _look_up(context: RunContext, row: TryRow) -> Instance | None:
    """Ask the provider for the machine with a try's token."""
    provider = context.provider(from_json(Offer, row.offer).provider)
    found = [instance for instance in provider.owned(context.run_id) if instance.token == row.token]
    if not found:
        return None
    words = f"{found[0].ref} had been made and is adopted"
    context.report(Kind.TRY, words, token=row.token, outcome="adopted")
    return found[0]
