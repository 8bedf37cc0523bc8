"""Who may reach the machines: two firewall rules per home, on the network tag that all its machines carry.

A network's own ``default-allow-ssh`` admits the world at priority 65534, so to admit one address is not enough: at 900 that
address is let in, at 901 everybody else is kept out of port 22 of these machines, and nothing of the user's is touched.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from provisioning.errors import BadOption
from provisioning.gcp.convert import HOME, label_value, metadata_of
from provisioning.gcp.errors import GONE, TAKEN, Refusal, error_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioning.gcp.client import Client

__all__ = ["ALLOW_PRIORITY", "DENY_PRIORITY", "Network", "network_tag", "rules"]

ALLOW_PRIORITY, DENY_PRIORITY = 900, 901
_SSH = [{"IPProtocol": "tcp", "ports": ["22"]}]


def network_tag(home_id: str) -> str:
    """Return the network tag of a home's machines."""
    return f"launch-{label_value(home_id).replace('_', '-')}"[:50].rstrip("-")


def rules(tag: str, network: str, cidr: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the two rules that let one address in, and nobody else.

    Raises:
        BadOption: it is an IPv6 address, and these machines have none.
    """
    if ":" in cidr:
        raise BadOption(
            f"gcp: {cidr} is an IPv6 address, and machines here are reached by IPv4",
            hint="--ssh-from with the IPv4 address that you go out by: `curl -4 https://checkip.amazonaws.com`",
        )
    of_network = hashlib.sha256(network.encode()).hexdigest()[:6]
    place = network.rpartition("/")[2]
    common = {
        "network": network,
        "direction": "INGRESS",
        "targetTags": [tag],
        "description": f"made by launch: SSH to its machines in {place}, from one address",
    }
    allow = {
        **common,
        "name": f"{tag}-{of_network}-allow",
        "priority": ALLOW_PRIORITY,
        "sourceRanges": [cidr],
        "allowed": _SSH,
    }
    deny = {
        **common,
        "name": f"{tag}-{of_network}-deny",
        "priority": DENY_PRIORITY,
        "sourceRanges": ["0.0.0.0/0"],
        "denied": _SSH,
    }
    return allow, deny


class Network:
    """The network of one project that machines are put in."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self._is_known = False

    def admit(self, home_id: str, cidr: str) -> str:
        """Let ``cidr``, and nobody else, reach port 22 of a home's machines; return their network tag."""
        tag = network_tag(home_id)
        path = f"projects/{self._client.project}/global/networks/{self._name}"
        wanted = rules(tag, path, cidr)
        self.check()
        for rule in wanted:
            self._make(rule)
        return tag

    def follow(self, machine: Mapping[str, Any], cidr: str) -> bool:
        """Let ``cidr`` in where a machine is, in place of who was; return whether anything had to be changed.

        Raises:
            BadOption: the machine does not carry our network tag.
        """
        network = str(machine["networkInterfaces"][0]["network"])
        path = network[network.index("projects/") :]
        tag = network_tag(metadata_of(machine).get(HOME, ""))
        if tag not in ((machine.get("tags") or {}).get("items") or ()):
            raise BadOption(
                f"gcp: {machine['name']} does not carry the network tag {tag}, and its rules are left as they are",
                hint=f"let {cidr} reach port 22 in the console, or give the machine that tag",
            )
        changed = [self._make(rule) for rule in rules(tag, path, cidr)]
        return any(changed)

    def check(self) -> None:
        """Make sure that the network is there; `BadOption` with the line that makes it."""
        if self._is_known:
            return
        if self._client.attempt("networks.get", GONE, network=self._name) is None:
            raise BadOption(
                f"gcp: project {self._client.project} has no network {self._name!r}",
                hint=f"`gcloud compute networks create {self._name}`, or provider_options.gcp.network",
            )
        self._is_known = True

    def _make(self, rule: Mapping[str, Any]) -> bool:
        """Make a rule, or make it as it should be; return whether anything had to be changed."""
        present = self._client.attempt("firewalls.get", GONE, firewall=rule["name"])
        if present is not None:
            return self._correct(rule, present)
        made = self._client.attempt("firewalls.insert", TAKEN, body=rule)
        failed = self._client.finish(made, "compute.firewalls.create") if made is not None else None
        if made is None or (failed is not None and failed.code in TAKEN):  # another process was quicker
            return self._correct(rule, self._client.call("firewalls.get", firewall=rule["name"]))
        _raise(failed)
        return True

    def _correct(self, rule: Mapping[str, Any], present: Mapping[str, Any]) -> bool:
        if present.get("sourceRanges") == rule["sourceRanges"] and not present.get("disabled"):
            return False
        changes = {"sourceRanges": rule["sourceRanges"], "disabled": False}
        asked = self._client.call("firewalls.patch", firewall=rule["name"], body=changes)
        _raise(self._client.finish(asked, "compute.firewalls.update"))
        return True


def _raise(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise error_for(refusal)
