"""The object stores that a job uses, each built once, with the options that the job has for its cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from provisioning import ProviderContext
from provisioning.models import utc_now
from provisioning.storage import ObjectStore, provider_of, store_for

__all__ = ["Stores"]


@dataclass
class Stores:
    """Builds stores when they are first asked for; building makes no call."""

    home: Path
    environ: Mapping[str, str]
    options: Mapping[str, Mapping[str, Any]]
    """``provider_options`` of the job."""
    clock: Callable[[], datetime] = utc_now
    _stores: dict[str, ObjectStore] = field(default_factory=dict)

    def of(self, scheme: str) -> ObjectStore:
        """Return the store behind a scheme.

        Raises:
            CloudError: there is none, or its SDK is not installed.
        """
        if scheme not in self._stores:
            context = ProviderContext(
                home=self.home,
                environ=self.environ,
                options=self.options.get(provider_of(scheme), {}),
                clock=self.clock,
            )
            self._stores[scheme] = store_for(scheme, context)
        return self._stores[scheme]
