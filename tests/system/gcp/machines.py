"""Bridges Compute Engine's API on loopback to real machines: each rented one is an sshd that honours its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.provisioning.gcp.cloud import GceCloud
from tests.system.cloud_machines import CloudMachines
from tests.system.gcp.metadata import Metadata


class Machines(CloudMachines[Metadata]):
    """Starts and kills machines as Compute Engine rents, stops, starts and ends them."""

    def __init__(self, cloud: GceCloud, folder: Path) -> None:
        super().__init__(folder)
        cloud.on_start = self.start
        cloud.on_end = self.end

    def start(self, machine: dict[str, Any]) -> str:
        """Boot as the guest agent does: the login keys of the metadata, and a host key that is told, not given."""
        told = {item["key"]: item["value"] for item in machine["metadata"]["items"]}
        assert told["enable-oslogin"] == "FALSE"
        metadata = Metadata()
        metadata.start()
        sshd = self.boot(
            machine["disks"][0]["source"].rpartition("/")[2],
            machine["networkInterfaces"][0]["accessConfigs"][0]["natIP"],
            metadata,
            environ={"GCE_METADATA_HOST": metadata.host},
            login_keys=[line.partition(":")[2] for line in told["ssh-keys"].splitlines()],
        )
        return sshd.host_key.split()[1]

    def end(self, machine: dict[str, Any]) -> None:
        """Power gone; the files of the machine are its disk's."""
        if machine["disks"]:
            self.power_off(machine["disks"][0]["source"].rpartition("/")[2])
