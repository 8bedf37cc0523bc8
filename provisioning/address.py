"""Under which address this computer reaches the internet: who firewalls shall let in.

``LAUNCH_ADDRESS_URL`` names the service that is asked: any URL that answers with nothing but the caller's address.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from provisioning.errors import BadOption, Unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioning.models import InstanceSpec

__all__ = ["DEFAULT_URL", "VARIABLE", "admitted_cidr", "as_cidr", "my_cidr"]

VARIABLE = "LAUNCH_ADDRESS_URL"
DEFAULT_URL = "https://checkip.amazonaws.com"
DEFAULT_URL_IPV6 = "https://api6.ipify.org"
"""Answers over IPv6 alone, so that it tells the address that an IPv6 machine will see."""
TIMEOUT_S = 10.0
HINT = f"say who may log in, --ssh-from ADDRESS/32, or set {VARIABLE} to a service that tells your address"


def my_cidr(environ: Mapping[str, str], *, ipv6: bool = False) -> str:
    """Ask for this computer's public address and return it as a network of one: ``203.0.113.7/32``.

    Raises:
        Unreachable: no answer, or one that is no address; with ``ipv6``, none of that kind.
    """
    import httpx  # a slow import that only this call needs

    url = environ.get(VARIABLE) or (DEFAULT_URL_IPV6 if ipv6 else DEFAULT_URL)
    try:
        answer = httpx.get(url, timeout=TIMEOUT_S, follow_redirects=True)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(f"{url} does not tell this computer's address: {error}", hint=HINT) from error
    try:
        cidr = as_cidr(answer.text.strip())
    except ValueError:
        raise Unreachable(f"{url} answered {answer.text[:80]!r}, which is no address", hint=HINT) from None
    if ipv6 and ":" not in cidr:
        raise Unreachable(f"{url} says {cidr}; the machine is reached by IPv6 alone", hint=HINT)
    return cidr


def admitted_cidr(environ: Mapping[str, str], spec: InstanceSpec, provider: str) -> str:
    """Return who may log in to a machine: whom its spec names, else this computer.

    Raises:
        BadOption: what it names is no address; the message begins with the ``provider``.
        Unreachable: it names nobody, and this computer's address is not known.
    """
    if spec.allowed_cidr is None:
        return my_cidr(environ)
    try:
        return as_cidr(spec.allowed_cidr)
    except ValueError as error:
        raise BadOption(
            f"{provider}: allowed address: {error}", hint="give an address or a network: 203.0.113.7/32"
        ) from None


def as_cidr(text: str) -> str:
    """Return an address or a network in its shortest CIDR form; `ValueError` for anything else."""
    return str(ipaddress.ip_network(text, strict=False))
