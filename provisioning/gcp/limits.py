"""What a project may rent, asked before anything is: quotas of the project and of its regions, and its network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioning.errors import PermissionDenied, Transient
from provisioning.gcp.quotas import refuse_over_quota

if TYPE_CHECKING:
    from provisioning.gcp.client import Client
    from provisioning.gcp.hardware import Hardware
    from provisioning.gcp.network import Network

__all__ = ["Limits"]


class Limits:
    """Kept as long as the provider lives: all offers of a market are looked at in one go."""

    def __init__(self, client: Client, network: Network) -> None:
        self._client = client
        self._network = network
        self._quotas: dict[str, list[dict[str, Any]]] = {}

    def check(self, hardware: Hardware, region: str, *, spot: bool) -> None:
        """See `provisioning.provider.OfferChecking.check_offer`."""
        try:
            self._network.check()
            if hardware.accelerator is None:
                return
            of_project, of_region = self._of("projects.get"), self._of("regions.get", region=region)
        except (PermissionDenied, Transient):
            return  # renting tells
        refuse_over_quota(hardware, region, spot=spot, of_project=of_project, of_region=of_region)

    def _of(self, call: str, **place: Any) -> list[dict[str, Any]]:
        key = f"{call} {place}"
        if key not in self._quotas:
            self._quotas[key] = list(self._client.call(call, **place).get("quotas") or ())
        return self._quotas[key]
