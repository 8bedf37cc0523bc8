"""Bridges EC2's API on loopback to real machines: each rented one is an sshd that honours its user-data."""

from __future__ import annotations

import base64
import email
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.provisioning.aws.cloud import Ec2Cloud
from tests.system.aws.metadata import Metadata
from tests.system.ssh.server import Sshd


@dataclass
class Rented:
    """One machine that exists."""

    sshd: Sshd
    metadata: Metadata


@dataclass
class Machines:
    """Starts and kills machines as the cloud rents and ends them; ``config`` tells ssh where their addresses are."""

    cloud: Ec2Cloud
    folder: Path
    rented: dict[str, Rented] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = self.folder / "ssh_config"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self._addresses: dict[str, int] = {}
        self._write_config()
        self.cloud.on_start = self.start
        self.cloud.on_end = self.end

    def start(self, machine: Any) -> None:
        """Boot: the host key and the login keys are those of the user-data, and nobody else's."""
        metadata = Metadata().start()
        folder = self.folder / machine.id
        sshd = Sshd(folder, folder / "home", environ={"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url})
        config = cloud_config(base64.b64decode(str(machine.user_data)).decode())
        (folder / "authorized_keys").write_text("".join(f"{key}\n" for key in config["ssh_authorized_keys"]))
        (folder / "host_key").write_text(config["ssh_keys"]["ed25519_private"])
        (folder / "host_key.pub").write_text(config["ssh_keys"]["ed25519_public"] + "\n")
        sshd.host_key = config["ssh_keys"]["ed25519_public"]
        self._addresses[machine.public_ip] = sshd.port
        self._write_config()
        self.rented[machine.id] = Rented(sshd.start(), metadata)

    def end(self, machine: Any) -> None:
        """Power gone: no process of the machine is left."""
        if found := self.rented.pop(machine.id, None):
            found.sshd.destroy()
            found.metadata.stop()

    def end_all(self) -> None:
        for found in self.rented.values():
            found.sshd.destroy()
            found.metadata.stop()
        self.rented.clear()

    def _write_config(self) -> None:
        lines = [
            f"Host {address}\n  HostName 127.0.0.1\n  Port {port}\n"
            for address, port in self._addresses.items()
        ]
        beside = self.config.with_suffix(".new")
        beside.write_text("".join(lines))
        beside.replace(self.config)


def cloud_config(text: str) -> dict[str, Any]:
    """The cloud-config part of user-data."""
    for part in email.message_from_string(text).walk():
        if part.get_content_type() == "text/cloud-config":
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found: dict[str, Any] = json.loads(payload.decode().partition("\n")[2])
            return found
    raise AssertionError("no cloud-config in the user-data")
