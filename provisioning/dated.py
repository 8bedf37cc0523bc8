"""What providers would rent by the dated tables that ship with the product: no account, no network, no SDK.

For estimates before there is an account, and never for renting: typical machines at list prices, each with its date.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING

from provisioning.catalog import select

if TYPE_CHECKING:
    from provisioning.models import Offer, Query

__all__ = ["dated_offers", "providers_with_tables"]

_TABLES = MappingProxyType({name: f"provisioning.{name}.dated" for name in ("aws", "gcp", "vast")})
"""Provider → the module whose ``offers()`` yields what its tables hold."""


def providers_with_tables() -> tuple[str, ...]:
    """Return the providers that have dated tables."""
    return tuple(name for name, module in _TABLES.items() if _exists(module))


def dated_offers(name: str, query: Query) -> list[Offer]:
    """Return what a provider's dated tables hold and the query wants, cheapest first; empty where it has none."""
    if name not in providers_with_tables():
        return []
    return select(import_module(_TABLES[name]).offers(), query)


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
