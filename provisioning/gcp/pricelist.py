"""The prices of today: the Cloud Billing catalog, which is long, read once a day and kept at home; else the table."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from provisioning.errors import CloudError
from provisioning.files import write_atomically
from provisioning.gcp import prices
from provisioning.gcp.prices import Part
from provisioning.prices import Price

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from provisioning.gcp.client import Client

__all__ = ["PriceList"]

KEPT_FOR = timedelta(days=1)
"""Google changes Spot prices at most once a day."""
ASK_AGAIN_AFTER = timedelta(minutes=10)
"""After a catalog that could not be read."""


class PriceList:
    """What parts of machines cost, by `Part`. Thread-safe."""

    def __init__(self, client: Client, file: Path, clock: Callable[[], datetime], *, live: bool) -> None:
        self._client = client
        self._file = file
        self._clock = clock
        self._live = live
        self._lock = threading.Lock()
        self._known: Mapping[Part, Price] = {}
        self._known_at: datetime | None = None
        self._failed_at: datetime | None = None

    def parts(self) -> Mapping[Part, Price]:
        """Return all known prices: the catalog's where it can be read, and the table's for what is not in it."""
        if not self._live:
            return prices.table()
        with self._lock:
            return {**prices.table(), **self._catalog()}

    def _catalog(self) -> Mapping[Part, Price]:
        now = self._clock()
        if self._known_at is None:
            self._known_at, self._known = self._kept()
        if self._known_at is not None and now - self._known_at < KEPT_FOR:
            return self._known
        if self._failed_at is not None and now - self._failed_at < ASK_AGAIN_AFTER:
            return self._known
        try:
            found = prices.read_skus(self._client.skus(prices.COMPUTE_SERVICE), now)
        except CloudError:
            # Not every account may ask; an old catalog is better than the table, and says its age.
            self._failed_at = now
            return self._known
        self._known, self._known_at = found, now
        with suppress(OSError):
            write_atomically(self._file, json.dumps(_written(found, now)))
        return found

    def _kept(self) -> tuple[datetime | None, Mapping[Part, Price]]:
        try:
            told = json.loads(self._file.read_text(encoding="utf-8"))
            at = datetime.fromisoformat(told["at"]).astimezone(timezone.utc)
            rows = [
                (Part(name, region, bool(spot)), Price(float(usd), at, told["source"]))
                for name, region, spot, usd in told["parts"]
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return None, {}
        return at, dict(rows)


def _written(found: Mapping[Part, Price], at: datetime) -> dict[str, Any]:
    rows = [[part.name, part.region, part.spot, price.usd_per_hour] for part, price in found.items()]
    return {"at": at.isoformat(), "source": "Cloud Billing catalog", "parts": rows}
