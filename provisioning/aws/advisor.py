"""How often spot machines are taken back: Amazon's Spot Advisor, read from its public feed once a day and kept on file.

``LAUNCH_SPOT_ADVISOR_URL`` names another address of the feed. Where AWS itself is redirected (``AWS_ENDPOINT_URL``) and
the feed is not, nobody is asked: the dated table that ships with the product answers.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from provisioning.aws.hardware import CPU_TYPES, GPU_FAMILIES, family_of
from provisioning.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["DEFAULT_URL", "VARIABLE", "Advisor"]

VARIABLE = "LAUNCH_SPOT_ADVISOR_URL"
DEFAULT_URL = "https://spot-bid-advisor.s3.amazonaws.com/spot-advisor-data.json"
FRESH_FOR = timedelta(days=1)
TIMEOUT_S = 8.0
BUCKETS = ("<5", "5-10", "10-15", "15-20", ">20")
"""By the feed's index: percent of the capacity that was reclaimed over the last month."""


class Advisor:
    """The feed, as far as it is about machines that we offer."""

    def __init__(self, file: Path, environ: Mapping[str, str], clock: Callable[[], datetime]) -> None:
        self._file = file
        redirected = any(name.startswith("AWS_ENDPOINT_URL") and value for name, value in environ.items())
        self._url = environ.get(VARIABLE) or (None if redirected else DEFAULT_URL)
        self._clock = clock
        self._known: dict[str, Any] | None = None
        self._has_asked = False

    def bucket(self, instance_type: str, region: str) -> tuple[str, str] | None:
        """Return a bucket and the day on which it was read; None where the feed says nothing or cannot be had."""
        known = self._read()
        index = known["rates"].get(region, {}).get(instance_type) if known else None
        return None if index is None or known is None else (BUCKETS[index], known["fetched_at"][:10])

    def _read(self) -> dict[str, Any] | None:
        if self._known is None:
            with suppress(OSError, ValueError, KeyError, TypeError):
                told = json.loads(self._file.read_text(encoding="utf-8"))
                self._known = {"fetched_at": str(told["fetched_at"]), "rates": dict(told["rates"])}
        if not self._has_asked and self._url is not None and not self._is_fresh():
            self._has_asked = True
            with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
                rates = _ours(self._fetch(self._url))
                self._known = {"fetched_at": self._clock().isoformat(), "rates": rates}
                write_atomically(self._file, json.dumps(self._known))
        return self._known

    def _is_fresh(self) -> bool:
        if self._known is None:
            return False
        with suppress(ValueError):
            return self._clock() - datetime.fromisoformat(self._known["fetched_at"]) < FRESH_FOR
        return False

    def _fetch(self, url: str) -> dict[str, Any]:
        import httpx  # a slow import that only this call needs

        try:
            answer = httpx.get(url, timeout=TIMEOUT_S, follow_redirects=True)
            answer.raise_for_status()
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OSError(str(error)) from error
        return told


def _ours(feed: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Region → type → index of its bucket, of Linux machines that we offer; `ValueError` for another kind of feed."""
    found: dict[str, dict[str, int]] = {}
    for region, systems in feed["spot_advisor"].items():
        rates = {
            name: int(told["r"])
            for name, told in systems.get("Linux", {}).items()
            if family_of(name) in GPU_FAMILIES or name in CPU_TYPES
        }
        if any(not 0 <= index < len(BUCKETS) for index in rates.values()):
            raise ValueError(f"the feed has buckets that are not known: {rates}")
        found[region] = rates
    return found
