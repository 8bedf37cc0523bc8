"""``provider_options.gcp``: what a job may choose about its machines of Google Compute Engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Options"]

_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+\d+")
_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_EMAIL = re.compile(r"[a-z0-9._-]+@[a-z0-9.-]+\.gserviceaccount\.com")
_LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``provider_options.gcp``. The defaults suit a new project."""

    project: str | None = None
    """The project's id; else ``GOOGLE_CLOUD_PROJECT``, else what the credentials or gcloud's configuration name."""
    regions: tuple[str, ...] = ()
    """Where offers are looked for when the job names no region; else gcloud's default region, else all."""
    network: str = "default"
    """The VPC network of this project to rent in."""
    subnetwork: str | None = None
    """A subnetwork of it, by name; needed where the network has no automatic ones."""
    address: Literal["public", "private"] = "public"
    """By which address machines are reached. ``private`` needs a way in of your own (a VPN, a jump host in
    ``~/.ssh/config``), and a way out for the machines (Cloud NAT)."""
    ssh_user: str = "ubuntu"
    """The login that is made on the machine."""
    signer: str | None = None
    """For ``gs://``: the e-mail of a service account that you may impersonate and that may use the bucket. Needed where
    you are logged in as a user, who cannot sign addresses for machines."""
    prices: Literal["auto", "table"] = "auto"
    """Live from the Cloud Billing catalog where it can be reached, or only from the table that ships."""

    def __post_init__(self) -> None:
        if self.project is not None and not _PROJECT.fullmatch(self.project):
            raise ValueError(f"project: {self.project!r} is no project id, such as my-project-123456")
        for region in self.regions:
            if not _REGION.fullmatch(region):
                raise ValueError(f"regions: {region!r} is no region, such as us-central1")
        for what, name in (("network", self.network), ("subnetwork", self.subnetwork)):
            if name is not None and not _NAME.fullmatch(name):
                raise ValueError(f"{what}: {name!r} is no name of one")
        if self.signer is not None and not _EMAIL.fullmatch(self.signer):
            raise ValueError(
                f"signer: {self.signer!r} is no service account, such as a@b.iam.gserviceaccount.com"
            )
        if not _LOGIN.fullmatch(self.ssh_user):
            raise ValueError(f"ssh_user: {self.ssh_user!r} is no login name")
