"""Choosing among offers: pure functions over the records of `provisioning.models`.

No cloud is asked here. What one provider calls "NVIDIA A100-SXM4-80GB", another "A100 SXM4" and a person
"a100-80gb" is one GPU; `parse_gpu` says which, and everything that compares names goes through it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from provisioning.models import Offer, Query

__all__ = ["GpuName", "matches", "mismatches", "nearest", "parse_gpu", "rank", "same_gpu", "select"]

_MEMORY_TOLERANCE = 0.12
"""Drivers report a little less than the label says, and some tables call GB what is GiB (10^9 / 2^30 = 0.93)."""

_MAKERS = {"NVIDIA", "TESLA", "GEFORCE", "QUADRO", "AMD", "INSTINCT", "RADEON", "GPU", "GENERATION"}
_FORMS = re.compile(r"(SXM|PCIE|NVL|OAM)\d*")
_MEMORY = re.compile(r"(\d+)\s*GI?B")
_GLUED = re.compile(r"(RTX|GTX)(?=\d)|(?<=\d)(?=(?:TI|SUPER|ADA|LAPTOP)\b)")
_BARE_RTX = re.compile(r"[2345]0[5-9]0")


@dataclass(frozen=True, slots=True)
class GpuName:
    """A GPU's name taken apart; what a name does not say is None."""

    model: str
    """``T4``, ``RTX 4090``, ``A100``: upper case, no maker, single spaces."""
    memory_gib: float | None = None
    form: str | None = None
    """``SXM``, ``PCIE``, ``NVL`` or ``OAM``, without its generation."""

    def __str__(self) -> str:
        memory = f"{self.memory_gib:.0f}GB" if self.memory_gib else None
        return " ".join(part for part in (self.model, self.form, memory) if part)


@lru_cache(maxsize=1024)  # a ranking reads the same few names thousands of times
def parse_gpu(name: str) -> GpuName:
    """Take a GPU's name apart, however it is spelt: ``rtx4090`` and ``NVIDIA GeForce RTX 4090`` are equal."""
    text = re.sub(r"[\s_\-/]+", " ", name.upper()).strip()
    memory = _MEMORY.search(text)
    text = _GLUED.sub(lambda glue: f"{glue[0]} ", _MEMORY.sub(" ", text))
    words = [word for word in text.split() if word not in _MAKERS and not word.startswith("HBM")]
    forms = [match[1] for word in words if (match := _FORMS.fullmatch(word))]
    words = [word for word in words if not _FORMS.fullmatch(word)]
    if words and _BARE_RTX.fullmatch(words[0]):
        words.insert(0, "RTX")
    if len(words) > 1 and words[0] == "RTX" and re.fullmatch(r"A\d+", words[1]):
        words = words[1:]
    if not forms and words == ["H100"] and "HBM3" in text:
        forms = ["SXM"]  # the driver's name for it; the other forms say PCIe or NVL
    return GpuName(" ".join(words), float(memory[1]) if memory else None, forms[0] if forms else None)


def same_gpu(wanted: str, offered: str, offered_memory_gib: float = 0.0) -> bool:
    """Whether ``offered`` is what ``wanted`` names; what ``wanted`` leaves open (memory, form) may be anything.

    ``offered_memory_gib`` (of one GPU, 0 when unknown) decides where the offered name has no memory in it.
    A form that the offer does not state is given the benefit of the doubt.
    """
    want, have = parse_gpu(wanted), parse_gpu(offered)
    memory_gib = offered_memory_gib or have.memory_gib or 0.0
    if want.model != have.model:
        return False
    if want.form and have.form and want.form != have.form:
        return False
    return want.memory_gib is None or abs(memory_gib - want.memory_gib) <= want.memory_gib * _MEMORY_TOLERANCE


def matches(offer: Offer, query: Query) -> bool:
    """Whether an offer has everything that is asked for. More than was asked for matches too."""
    return next(_mismatches(offer, query), None) is None


def mismatches(offer: Offer, query: Query) -> tuple[str, ...]:
    """Why an offer does not match, one clause per reason for people to read; empty when it does."""
    return tuple(_mismatches(offer, query))


def _mismatches(offer: Offer, query: Query) -> Iterator[str]:
    yield from _wrong_choices(offer, query)
    yield from _too_small(offer, query)
    limit = query.max_usd_per_hour
    if limit is not None and offer.usd_per_hour > limit:
        yield f"${offer.usd_per_hour:.4g}/h is above ${limit:.4g}/h"


def _wrong_choices(offer: Offer, query: Query) -> Iterator[str]:
    named = (
        ("instance type", offer.instance_type, query.instance_type),
        ("region", offer.region, query.region),
        ("zone", offer.zone, query.zone),
    )
    for what, have, want in named:
        if want is not None and have != want:
            yield f"{what} is {have}, not {want}"
    if query.spot is not None and offer.spot != query.spot:
        yield "is spot" if offer.spot else "is not spot"
    if query.gpu_name is not None:
        if offer.gpu_name is None:
            yield f"has no GPU, {query.gpu_name} is wanted"
        elif not same_gpu(query.gpu_name, offer.gpu_name, offer.gpu_memory_gib):
            yield f"GPU is {offer.gpu_name} with {offer.gpu_memory_gib:g} GiB, not {query.gpu_name}"


def _too_small(offer: Offer, query: Query) -> Iterator[str]:
    floors = (
        ("GPUs", offer.gpu_count, query.gpu_count),
        ("GiB of GPU memory", offer.gpu_memory_gib, query.min_gpu_memory_gib),
        ("CPU cores", offer.vcpus, query.min_vcpus),
        ("GiB of memory", offer.memory_gib, query.min_memory_gib),
        ("GiB of disk", offer.disk_gib, query.disk_gib),
    )
    for what, have, want in floors:
        if have is not None and want is not None and have < want:
            yield f"{_plain(have)} {what}, {_plain(want)} wanted"


def _plain(amount: float) -> str:
    """Write an amount without an exponent and with at most two decimals."""
    return f"{amount:,.2f}".rstrip("0").rstrip(".")


def rank(offers: Iterable[Offer]) -> list[Offer]:
    """Sort cheapest first. Equal prices fall into one fixed order, so that two runs choose alike."""
    return sorted(offers, key=_order)


def _order(offer: Offer) -> tuple[float, str, str, str, str, bool, str]:
    return (
        offer.usd_per_hour,
        offer.provider,
        offer.location,
        offer.zone or "",
        offer.instance_type,
        offer.spot,
        offer.offer_id or "",
    )


def select(offers: Iterable[Offer], query: Query) -> list[Offer]:
    """Return the offers that match, cheapest first."""
    return rank(offer for offer in offers if matches(offer, query))


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice that was probably meant, or None when nothing is close."""
    from difflib import get_close_matches  # a slow import that only a mistake needs

    by_key = {_spelling(choice): choice for choice in choices}
    close = get_close_matches(_spelling(name), by_key, n=1, cutoff=0.6)
    return by_key[close[0]] if close else None


def _spelling(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name.lower())
