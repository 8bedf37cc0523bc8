"""Amounts and offers as people read them, wherever a sentence holds one: money, time, bytes, speeds. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioning import Offer

__all__ = ["bit_rate", "duration", "gib", "offer_words", "size", "usd", "usd_per_hour"]

_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB")


def usd(amount: float) -> str:
    """Write an amount of US dollars: ``$0``, ``$0.004``, ``$1.20``, ``$1,234``."""
    if amount == 0:
        return "$0"
    if abs(amount) < 0.001:
        return "<$0.001"
    if abs(amount) < 0.095:
        return f"${amount:.3f}"
    return f"${amount:,.2f}" if abs(amount) < 1000 else f"${amount:,.0f}"


def usd_per_hour(amount: float) -> str:
    """Write a price: ``$0.526/h``."""
    return f"{usd(amount)}/h" if amount == 0 or amount >= 10 or amount < 0.001 else f"${amount:.3f}/h"


def duration(seconds: float) -> str:
    """Write a length of time with its two leading units: ``8 s``, ``4 min 10 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    for unit, unit_s, lower, lower_s in (
        ("d", 86_400, "h", 3_600),
        ("h", 3_600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= unit_s:
            large, small = whole // unit_s, whole % unit_s // lower_s
            return f"{large:,} {unit} {small} {lower}" if small else f"{large:,} {unit}"
    raise AssertionError("unreachable: every duration of a minute or more has a unit")


def size(num_bytes: float) -> str:
    """Write a number of bytes in decimal units: ``17 B``, ``4.1 kB``, ``1.25 GB``."""
    value = float(num_bytes)
    for unit in _SIZE_UNITS:
        if value < 999.5 or unit == _SIZE_UNITS[-1]:
            break
        value /= 1000
    if unit == "B":
        return f"{value:.0f} B"
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"


def gib(amount: float) -> str:
    """Write binary gigabytes as offers count them, never with an exponent: ``16 GiB``, ``23.5 GiB``, ``4,656.6 GiB``."""
    return f"{amount:,.1f}".removesuffix(".0") + " GiB"


def bit_rate(bytes_per_s: float) -> str:
    """Write the speed of a link in bits: ``20 Mbit/s``, ``4 Gbit/s``."""
    mbit_per_s = 8 * bytes_per_s / 1e6
    return f"{mbit_per_s / 1000:.3g} Gbit/s" if mbit_per_s >= 999.5 else f"{mbit_per_s:.3g} Mbit/s"


def offer_words(offer: Offer) -> str:
    """Name an offer in one short phrase: ``aws g4dn.xlarge (T4) us-east-1a spot``."""
    gpu = f" ({offer.gpu_count} × {offer.gpu_name})" if offer.gpu_count > 1 else f" ({offer.gpu_name})"
    place = offer.zone or offer.region
    return f"{offer.provider} {offer.instance_type}{gpu if offer.gpu_name else ''} {place}{' spot' if offer.spot else ''}"


def code_words(code: Mapping[str, Any]) -> str:
    """Say which commit code is (`launcher.snapshot.origin.Origin`): ``3f8a303b21 (main), changed since``; empty without git."""
    if not code.get("commit"):
        return ""
    branch = f" ({code['branch']})" if code.get("branch") else ""
    is_changed = bool(code.get("diff_bytes") or code.get("new_files"))
    return f"{code['commit'][:10]}{branch}{', changed since' if is_changed else ''}"
