"""The metadata service of one machine, as strict as IMDSv2: no token, no answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.system.cloud_machines import MetadataService

TOKEN = "token-of-this-machine"


class Metadata(MetadataService):
    """Started with the machine; `notice` is what ``spot/instance-action`` answers, `rebalance` what the recommendation does."""

    def __init__(self) -> None:
        super().__init__()
        self.notice: str | None = None
        self.rebalance: str | None = None
        self.asked = 0

    def answer(self, verb: str, path: str, headers: Mapping[str, Any]) -> tuple[int, str]:
        if verb == "PUT":
            wanted = path == "/latest/api/token" and headers["X-aws-ec2-metadata-token-ttl-seconds"]
            return (200, TOKEN) if wanted else (400, "")
        self.asked += 1
        if headers["X-aws-ec2-metadata-token"] != TOKEN:
            return 401, ""
        if path == "/latest/meta-data/spot/instance-action" and self.notice:
            return 200, self.notice
        if path == "/latest/meta-data/events/recommendations/rebalance" and self.rebalance:
            return 200, self.rebalance
        return 404, ""
