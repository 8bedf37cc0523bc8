"""Asking providers what they would rent now: for one job, of those that it names or of all that are set up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from launcher.errors import JobFileError
from launcher.job import Job
from launcher.job.problem import nearest
from launcher.job.resources import Resources
from launcher.quantities import gib
from provisioning import (
    BadCredentials,
    BadOption,
    CloudError,
    MissingDependency,
    NoOffer,
    Offer,
    OfferChecking,
    PermissionDenied,
    Provider,
    ProviderContext,
    Query,
    QuotaExceeded,
    Transient,
)
from provisioning.dated import dated_offers, providers_with_tables
from provisioning.registry import names as provider_names
from provisioning.registry import provider as build_provider

__all__ = [
    "ON_THIS_COMPUTER",
    "Market",
    "Miss",
    "ask",
    "ask_everyone",
    "ask_offline",
    "clouds_of",
    "refuse_unknown_providers",
    "what_is_missing",
    "wish_words",
]

ON_THIS_COMPUTER = frozenset({"local", "fake"})
"""Providers whose machines are processes here, so that tmux must be here too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A provider that has nothing to offer for a job, and why."""

    provider: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What the asked providers answered."""

    offers: tuple[Offer, ...]
    """In the order in which providers were asked, of both markets."""
    misses: tuple[Miss, ...]
    lacking: Mapping[str, str] = field(default_factory=dict)
    """Providers whose offers are from dated tables because they could not be asked → what is missing, in a word."""


def refuse_unknown_providers(job: Job) -> None:
    """Raise `JobFileError` for a provider that does not exist, with the nearest one; misspelt options do nothing."""
    named = [("resources.cloud", item.cloud) for item in _every_alternative(job) if item.cloud is not None]
    named += [(f"provider_options.{name}", name) for name in job.provider_options]
    known = provider_names() if named else ()  # which looks through every installed package
    for place, name in named:
        if name in known:
            continue
        close = nearest(name, known)
        guess = f"did you mean {close!r}? " if close else ""
        raise JobFileError(
            f"there is no provider {name!r}", field=place, hint=f"{guess}there are: {', '.join(known)}"
        )


def _every_alternative(job: Job) -> list[Resources]:
    """Every machine that would do for the job, or for one of its stages."""
    asked = [stage.resources or job.resources for stage in job.every_stage]
    return [item for resources in asked for item in resources.alternatives()]


def clouds_of(job: Job) -> tuple[str, ...] | None:
    """Return the providers that the job names, in its order; None when it leaves the choice open."""
    named = [item.cloud for item in _every_alternative(job)]
    if None in named:
        return None
    return tuple(dict.fromkeys(cloud for cloud in named if cloud is not None))


def ask(job: Job, *, home: Path, environ: Mapping[str, str]) -> Market:
    """Ask every provider that the job names, in its order, for what fits it.

    Raises:
        CloudError: a provider does not know us, or what was asked does not exist there.
    """
    offers: list[Offer] = []
    misses: list[Miss] = []
    for wanted in job.resources.alternatives():
        assert wanted.cloud is not None
        found, miss = _ask_one(wanted.cloud, wanted, job, home, environ)
        offers += found
        misses += [miss] if miss else []
    return Market(offers=tuple(offers), misses=tuple(misses))


def ask_everyone(job: Job, *, home: Path, environ: Mapping[str, str], offline: bool = False) -> Market:
    """Ask every provider there is, all at once; for one that cannot be asked its dated table answers.

    A provider that lacks something is a miss that says what. ``offline``: none is asked that would need the network.
    """
    wishes = [
        (cloud, replace(wanted, cloud=cloud))
        for wanted in job.resources.alternatives()
        for cloud in ([wanted.cloud] if wanted.cloud else provider_names())
    ]

    def answer(wish: tuple[str, Resources]) -> _Answer:
        cloud, wanted = wish
        if offline and cloud not in ON_THIS_COMPUTER:
            return _from_table(
                cloud, wanted, Miss(provider=cloud, message="was not asked (--offline)"), "network"
            )
        try:
            found, miss = _ask_one(cloud, wanted, job, home, environ)
        except CloudError as err:
            miss = Miss(provider=cloud, message=err.message, hint=err.hint)
            return _from_table(cloud, wanted, miss, what_is_missing(err))
        return _Answer(found, miss)

    answers = [answer(wish) for wish in wishes] if offline else _at_once(answer, wishes)
    return Market(
        offers=tuple(offer for item in answers for offer in item.offers),
        misses=tuple(dict.fromkeys(item.miss for item in answers if item.miss is not None)),
        lacking={
            cloud: item.lacks
            for (cloud, _), item in zip(wishes, answers, strict=True)
            if item.lacks and item.offers
        },
    )


def _at_once(
    answer: Callable[[tuple[str, Resources]], _Answer], wishes: Sequence[tuple[str, Resources]]
) -> list[_Answer]:
    from concurrent.futures import ThreadPoolExecutor  # where nobody is asked there is nothing to wait for

    with ThreadPoolExecutor(max_workers=len(wishes)) as pool:
        return list(pool.map(answer, wishes))


@dataclass(frozen=True, slots=True)
class _Answer:
    offers: Sequence[Offer]
    miss: Miss | None
    lacks: str = ""


def ask_offline(job: Job, clouds: Sequence[str], *, lacks: str, miss: Miss) -> Market:
    """Return what the dated tables of some providers hold for a job, and say what kept us from asking."""
    offers = [
        offer
        for wanted in job.resources.alternatives()
        for cloud in clouds
        if wanted.cloud in (None, cloud)
        for offer in _from_table(cloud, wanted, miss, lacks).offers
    ]
    return Market(offers=tuple(offers), misses=(miss,), lacking={offer.provider: lacks for offer in offers})


def _from_table(cloud: str, wanted: Resources, miss: Miss, lacks: str) -> _Answer:
    query = replace(wanted.query(), spot=None)
    found = [
        offer
        for offer in dated_offers(cloud, query)
        if wanted.accepts(vcpus=offer.vcpus, memory_gib=offer.memory_gib)
    ]
    if not found and cloud in providers_with_tables():
        miss = replace(miss, message=f"{miss.message}; its dated table has none")
    return _Answer(found, miss, lacks)


def what_is_missing(error: CloudError) -> str:
    """Say in a word or two what it takes before a provider can be asked."""
    for kind, words in _MISSING:
        if isinstance(error, kind):
            return words
    return type(error).__name__


_MISSING: tuple[tuple[type[CloudError], str], ...] = (
    (MissingDependency, "package"),
    (BadCredentials, "credentials"),
    (PermissionDenied, "permission"),
    (QuotaExceeded, "quota"),
    (Transient, "network"),
    (BadOption, "option"),
)


def _ask_one(
    cloud: str, wanted: Resources, job: Job, home: Path, environ: Mapping[str, str]
) -> tuple[Sequence[Offer], Miss | None]:
    context = ProviderContext(home=home, environ=environ, options=job.provider_options.get(cloud, {}))
    provider = build_provider(cloud, context)
    provider.check()
    query = wanted.query()
    query = replace(query, spot=None if cloud not in ON_THIS_COMPUTER else query.spot)
    try:
        found = provider.offers(query)
    except NoOffer as err:
        return (), Miss(provider=cloud, message=err.message, hint=err.hint)
    fitting = [item for item in found if wanted.accepts(vcpus=item.vcpus, memory_gib=item.memory_gib)]
    if fitting:
        return _allowed(provider, fitting, spot=bool(wanted.query().spot)), None
    hint = None
    if cloud == "local" and (query.gpu_name is not None or query.disk_gib is not None):
        hint = "--set resources=null takes this computer as it is"
    return (), Miss(provider=cloud, message=f"has no {wish_words(query) or 'such machine'}", hint=hint)


def _allowed(provider: Provider, offers: Sequence[Offer], *, spot: bool) -> Sequence[Offer]:
    """Leave out what the account may not rent; raise why when that is all of the market that is wanted."""
    if not isinstance(provider, OfferChecking):
        return offers
    kept: list[Offer] = []
    refusals: list[CloudError] = []
    for offer in offers:
        try:
            provider.check_offer(offer)
            kept.append(offer)
        except (QuotaExceeded, BadOption) as err:
            refusals += [err] if offer.spot == spot else []
    if refusals and not any(offer.spot == spot for offer in kept):
        raise refusals[0]
    return kept


def wish_words(query: Query) -> str:
    """Say what was asked for, as a person would; empty where anything would do."""
    place = query.zone or query.region
    parts = [
        query.instance_type,
        f"{query.gpu_count or 1} × {query.gpu_name}" if query.gpu_name else None,
        f"GPU with at least {gib(query.min_gpu_memory_gib)}" if query.min_gpu_memory_gib else None,
        f"at least {query.min_vcpus:g} CPUs" if query.min_vcpus else None,
        f"at least {gib(query.min_memory_gib)} of memory" if query.min_memory_gib else None,
        f"{gib(query.disk_gib)} of disk" if query.disk_gib else None,
        None if query.spot is None else "spot" if query.spot else "on demand",
        f"in {place}" if place else None,
        f"up to ${query.max_usd_per_hour:g}/h" if query.max_usd_per_hour else None,
    ]
    return ", ".join(part for part in parts if part)
