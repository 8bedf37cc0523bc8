"""The metadata service of one machine of Google's: without its header, no answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.system.cloud_machines import MetadataService

INSTANCE = "/computeMetadata/v1/instance"


class Metadata(MetadataService):
    """Started with the machine."""

    def __init__(self) -> None:
        super().__init__()
        self.preempted = False
        self.maintenance_event = "NONE"
        self.asked = 0

    def answer(self, verb: str, path: str, headers: Mapping[str, Any]) -> tuple[int, str]:
        self.asked += 1
        if verb != "GET" or headers["Metadata-Flavor"] != "Google":
            return 403, "Missing Metadata-Flavor:Google header."
        known = {
            f"{INSTANCE}/preempted": "TRUE" if self.preempted else "FALSE",
            f"{INSTANCE}/maintenance-event": self.maintenance_event,
        }
        return (200, known[path]) if path in known else (404, "")
