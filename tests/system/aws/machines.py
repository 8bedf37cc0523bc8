"""Bridges EC2's API on loopback to real machines: each rented one is an sshd that honours its user-data."""

from __future__ import annotations

import base64
import email
import json
from pathlib import Path
from typing import Any

from tests.provisioning.aws.cloud import Ec2Cloud
from tests.system.aws.metadata import Metadata
from tests.system.cloud_machines import CloudMachines


class Machines(CloudMachines[Metadata]):
    """Starts and kills machines as EC2 rents and ends them."""

    def __init__(self, cloud: Ec2Cloud, folder: Path) -> None:
        super().__init__(folder)
        cloud.on_start = self.start
        cloud.on_end = self.end

    def start(self, machine: Any) -> None:
        """Boot: the host key and the login keys are those of the user-data, and nobody else's."""
        metadata = Metadata()
        metadata.start()
        config = cloud_config(base64.b64decode(str(machine.user_data)).decode())
        self.boot(
            machine.id,
            machine.public_ip,
            metadata,
            environ={"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url},
            login_keys=config["ssh_authorized_keys"],
            host_key=(config["ssh_keys"]["ed25519_private"], config["ssh_keys"]["ed25519_public"]),
        )

    def end(self, machine: Any) -> None:
        """Power gone."""
        self.power_off(machine.id)


def cloud_config(text: str) -> dict[str, Any]:
    """The cloud-config part of user-data."""
    for part in email.message_from_string(text).walk():
        if part.get_content_type() == "text/cloud-config":
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found: dict[str, Any] = json.loads(payload.decode().partition("\n")[2])
            return found
    raise AssertionError("no cloud-config in the user-data")
