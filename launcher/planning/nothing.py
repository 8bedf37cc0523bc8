"""Why there is nothing to rent, and which wish to give up for a machine. Asks no cloud; the advice itself is pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from launcher.errors import NothingToRent
from launcher.job import Job
from launcher.job.resources import Accelerator, Resources
from launcher.planning.prices import ON_THIS_COMPUTER, Miss, clouds_of, wish_words
from launcher.quantities import offer_words, usd_per_hour
from provisioning import CloudError, Offer, ProviderContext, Query
from provisioning.catalog import mismatches, nearest, rank, same_gpu
from provisioning.dated import dated_offers, providers_with_tables
from provisioning.registry import provider as build_provider

__all__ = ["advice", "nothing_to_rent"]

MOST_SUGGESTIONS = 3
MOST_NAMES = 30

_CALLED = {
    "max_hourly_cost": "--max-price",
    "zone": "--zone",
    "region": "--region",
    "use_spot": "the market",
    "instance_type": "--instance",
    "cpus": "cpus",
    "memory": "memory",
    "disk_size": "disk_size",
    "gpu_memory": "gpu_memory",
    "accelerators": "--gpu",
    "cloud": "--provider",
}
"""Fields of `Resources` that exclude machines → what people call them, what is given up most readily first."""


def nothing_to_rent(
    job: Job, misses: Sequence[Miss], *, home: Path, environ: Mapping[str, str], to_launch: bool = False
) -> NothingToRent:
    """Return the error for a job that no asked provider has a machine for: what each said, and what would help.

    ``to_launch``: one is to be rented, which is on demand unless spot is asked for.
    """
    wished = job.resources.alternatives()
    if to_launch:
        wished = tuple(replace(item, use_spot=bool(item.use_spot)) for item in wished)
    words = " or ".join(dict.fromkeys(wish_words(item.query()) or "a machine" for item in wished))
    said = "; ".join(f"{', '.join(names)}: {message}" for message, names in _by_message(misses).items())
    helps = advice(_known(job, home, environ), wished)
    # What providers that nobody named would need is no help where something is.
    told = [] if helps and clouds_of(job) is None else [_hint(miss, misses) for miss in misses if miss.hint]
    return NothingToRent(
        f"nothing to rent: nobody has {words}" + (f" ({said})" if said else ""),
        hint="; or ".join(dict.fromkeys([*helps, *told]))
        or "ask for less, for another place, or for another provider",
    )


def _by_message(misses: Sequence[Miss]) -> dict[str, list[str]]:
    """Several providers often have one reason."""
    found: dict[str, list[str]] = {}
    for miss in misses:
        found.setdefault(miss.message.removeprefix(f"{miss.provider}: "), []).append(miss.provider)
    return found


def _hint(miss: Miss, misses: Sequence[Miss]) -> str:
    return f"{miss.hint}" if len(misses) == 1 else f"{miss.provider}: {miss.hint}"


def advice(known: Sequence[Offer], wished: Sequence[Resources]) -> tuple[str, ...]:
    """Say what is called otherwise, which single wish to give up and what that allows, or else what comes nearest.

    ``known``: machines whatever is wished; where one of them has all that is wished there is nothing to say. Pure.
    """
    lines: list[str] = []
    for wish in wished:
        if any(_fits(offer, wish) for offer in known):
            continue  # no wish is to blame: what the tables know is not to be had now
        misnamed = list(_misnamed(known, wish))
        if misnamed:  # giving up the name allows anything; another provider may know it
            lines += [*misnamed, *_relaxed(known, wish, ("cloud",))]
        else:
            lines += [*_relaxed(known, wish, _CALLED)][:MOST_SUGGESTIONS] or _nearest(known, wish)
    return tuple(dict.fromkeys(lines))


def _misnamed(known: Sequence[Offer], wish: Resources) -> Iterator[str]:
    """Names that no machine of the wished provider has, and the nearest one, or all where they are few."""
    there = [offer for offer in known if wish.cloud in (None, offer.provider)]
    if wish.accelerators is not None:
        wanted = wish.accelerators.name
        if not any(same_gpu(wanted, item.gpu_name, item.gpu_memory_gib) for item in there if item.gpu_name):
            yield from _instead("GPU", wanted, {item.gpu_name for item in there if item.gpu_name})
    if wish.instance_type is not None:
        yield from _instead("instance type", wish.instance_type, {item.instance_type for item in there})


def _instead(what: str, wanted: str, names: set[str]) -> Iterator[str]:
    if wanted in names or not names:
        return
    close = nearest(wanted, names)
    if close is not None:
        yield f"did you mean the {what} {close}?"
    else:
        there = f"; there are {', '.join(sorted(names))}" if len(names) <= MOST_NAMES else ""
        yield f"no price table knows the {what} {wanted}{there}"


def _relaxed(known: Sequence[Offer], wish: Resources, fields: Iterable[str]) -> Iterator[str]:
    """Each wish that alone stands in the way, and the cheapest machine without it."""
    for field in fields:
        if getattr(wish, field) is None or (field == "cloud" and wish.query() == Query()):
            continue
        fitting = [offer for offer in known if _fits(offer, _without(wish, field))]
        if field in ("accelerators", "gpu_memory"):  # who wants a GPU is not helped by a machine without one
            fitting = [offer for offer in fitting if offer.gpu_name is not None]
        if fitting:
            yield _suggestion(field, wish, min(fitting, key=lambda offer: offer.usd_per_hour))


def _without(wish: Resources, field: str) -> Resources:
    """Give up one wish; of several GPUs all but one, of a region its zone too."""
    if field == "accelerators" and wish.accelerators is not None and wish.accelerators.count > 1:
        return replace(wish, accelerators=Accelerator(wish.accelerators.name))
    if field == "region":
        return replace(wish, region=None, zone=None)
    return replace(wish, cloud=None) if field == "cloud" else _cleared(wish, field)


def _cleared(wish: Resources, field: str) -> Resources:
    nothing: dict[str, None] = {field: None}
    return replace(wish, **nothing)


def _suggestion(field: str, wish: Resources, offer: Offer) -> str:
    machine = f"{offer_words(offer)} for {usd_per_hour(offer.usd_per_hour)}"
    if field == "max_hourly_cost":
        return f"--max-price {_above(offer.usd_per_hour)} allows {machine}"
    if field == "use_spot":
        return f"{'--on-demand' if wish.use_spot else '--spot'} allows {machine}"
    if field == "accelerators" and wish.accelerators is not None and wish.accelerators.count > 1:
        return f"--gpu {wish.accelerators.name} allows {machine}"
    return f"without {_CALLED[field]} there is {machine}"


def _nearest(known: Sequence[Offer], wish: Resources) -> list[str]:
    """The machine of the wished provider that fails in the fewest respects, with each of them."""
    there = [offer for offer in known if wish.cloud in (None, offer.provider)]
    reasons = {id(offer): _reasons(offer, wish) for offer in there}
    offer = min(rank(there), key=lambda item: len(reasons[id(item)]), default=None)
    return [f"the nearest is {offer_words(offer)}: {', '.join(reasons[id(offer)])}"] if offer else []


def _fits(offer: Offer, wish: Resources) -> bool:
    return not _reasons(offer, wish)


def _reasons(offer: Offer, wish: Resources) -> tuple[str, ...]:
    reasons = mismatches(offer, wish.query())
    if wish.cloud not in (None, offer.provider):
        reasons = (f"is not of {wish.cloud}", *reasons)
    if not reasons and not wish.accepts(vcpus=offer.vcpus, memory_gib=offer.memory_gib):
        reasons = (f"has {offer.vcpus:g} CPUs and {offer.memory_gib:g} GiB, write + for at least",)
    return reasons


def _above(usd: float) -> str:
    """A limit that people would write and that a price stays below."""
    digits = 2 if usd >= 0.1 else 4
    return f"{usd + 0.499 * 10**-digits:.{digits}f}"


def _known(job: Job, home: Path, environ: Mapping[str, str]) -> list[Offer]:
    """What the dated tables have, and what this computer plays where the job names that."""
    found = [offer for name in providers_with_tables() for offer in dated_offers(name, Query())]
    for name in ON_THIS_COMPUTER.intersection(clouds_of(job) or ()):
        options = job.provider_options.get(name, {})
        try:
            provider = build_provider(name, ProviderContext(home=home, environ=environ, options=options))
            found += provider.offers(Query())
        except CloudError:
            continue  # it has nothing, and has said so
    return found
