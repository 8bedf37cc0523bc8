"""What Compute Engine can do, apart from the code that does it: an estimate from dated tables needs no more."""

from __future__ import annotations

from provisioning.models import Capabilities, DeadlineKind

__all__ = ["CAPABILITIES"]

CAPABILITIES = Capabilities(
    deadline=DeadlineKind.CLOUD, park=True, firewall=True, live_prices=True, stop_start=True
)
