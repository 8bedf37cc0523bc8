"""Where machines are put, and who may reach them: a subnet of the VPC, and one security group per home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioning.aws.convert import aws_tags, tags_of
from provisioning.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioning.aws.client import Client

__all__ = ["Network", "group_name", "rules_for"]

SSH_PORT = 22


def group_name(home_id: str) -> str:
    """Return the name of a home's security group: one address at a time is let in per home."""
    return f"launch-ssh-{home_id}"[:255]


def rules_for(cidr: str) -> list[dict[str, Any]]:
    """Return the ingress rule that admits a network to port 22, in EC2's form."""
    ranges = {"Ipv6Ranges": [{"CidrIpv6": cidr}]} if ":" in cidr else {"IpRanges": [{"CidrIp": cidr}]}
    return [{"IpProtocol": "tcp", "FromPort": SSH_PORT, "ToPort": SSH_PORT, **ranges}]


def admitted(group: Mapping[str, Any]) -> Iterator[str]:
    """Yield the networks that a group admits to port 22."""
    for rule in group.get("IpPermissions") or ():
        if rule.get("FromPort") == SSH_PORT and rule.get("ToPort") == SSH_PORT:
            yield from (part["CidrIp"] for part in rule.get("IpRanges") or ())
            yield from (part["CidrIpv6"] for part in rule.get("Ipv6Ranges") or ())


class Network:
    """VPCs, subnets and security groups of one account."""

    def __init__(self, client: Client, vpc: str | None, *, ipv6: bool = False) -> None:
        """``ipv6``: only subnets with IPv6 will do."""
        self._client = client
        self._vpc = vpc
        self._ipv6 = ipv6
        self._vpcs: dict[str, dict[str, Any]] = {}

    def vpc_of(self, region: str) -> str:
        """Return the VPC to rent in; `BadOption` where the region has no default one and none was named."""
        return str(self._found(region)["VpcId"])

    def cidr_of(self, region: str) -> str:
        """Return the VPC's own addresses: from where machines are reached that have no public one."""
        return str(self._found(region)["CidrBlock"])

    def _found(self, region: str) -> dict[str, Any]:
        if region not in self._vpcs:
            filters = (
                [{"Name": "vpc-id", "Values": [self._vpc]}]
                if self._vpc
                else [{"Name": "is-default", "Values": ["true"]}]
            )
            found = self._client.call("ec2", region, "describe_vpcs", Filters=filters)["Vpcs"]
            if not found:
                what = f"no VPC {self._vpc}" if self._vpc else "no default VPC"
                raise BadOption(
                    f"aws {region}: {what}",
                    hint=f"`aws ec2 create-default-vpc --region {region}`, or provider_options.aws.vpc",
                )
            self._vpcs[region] = found[0]
        return self._vpcs[region]

    def subnet(self, region: str, zone: str | None) -> str:
        """Return the subnet for a zone (any, for None): a public or default one where there is a choice."""
        filters = [{"Name": "vpc-id", "Values": [self.vpc_of(region)]}]
        if zone:
            filters.append({"Name": "availability-zone", "Values": [zone]})
        found = self._client.pages("ec2", region, "describe_subnets", "Subnets", Filters=filters)
        if found and self._ipv6:
            found = [subnet for subnet in found if subnet.get("Ipv6CidrBlockAssociationSet")]
            if not found:
                raise BadOption(
                    f"aws {region}: no subnet in {zone or region} of VPC {self.vpc_of(region)} has IPv6 addresses",
                    hint="give the VPC and a subnet an IPv6 block in the console, or leave out address: ipv6",
                )
        if not found:
            raise BadOption(
                f"aws {region}: VPC {self.vpc_of(region)} has no subnet in {zone or region}",
                hint="choose another zone, or add a subnet to the VPC",
            )
        best = max(
            found,
            key=lambda subnet: (
                bool(subnet.get("DefaultForAz")),
                bool(subnet.get("MapPublicIpOnLaunch")),
                int(subnet.get("AvailableIpAddressCount", 0)),
            ),
        )
        return str(best["SubnetId"])

    def admit(self, region: str, cidr: str, tags: Mapping[str, str]) -> str:
        """Make the home's security group admit exactly ``cidr`` to port 22; return its id.

        It is made once and used again by every run of the home. The new address is let in before the old one is
        shut out.
        """
        name = group_name(tags["launch-home"])
        group = self._find(region, name) or self._create(region, name, tags)
        self._admit_only(region, group, cidr)
        return str(group["GroupId"])

    def follow(self, region: str, group_id: str, cidr: str) -> bool:
        """Make a group that machines are in admit exactly ``cidr``; return whether it had to be changed.

        Raises:
            BadOption: it is not one of ours.
        """
        found = self._client.call("ec2", region, "describe_security_groups", GroupIds=[group_id])
        group = found["SecurityGroups"][0]
        if "launch-home" not in tags_of(group):
            raise BadOption(
                f"aws {region}: security group {group_id} was not made by launch and is left as it is",
                hint=f"let {cidr} reach port {SSH_PORT} in the console, or remove the group from the machine",
            )
        return self._admit_only(region, group, cidr)

    def _admit_only(self, region: str, group: Mapping[str, Any], cidr: str) -> bool:
        present = set(admitted(group))
        if cidr not in present:
            self._client.attempt(
                "ec2",
                region,
                "authorize_security_group_ingress",
                ("InvalidPermission.Duplicate",),
                GroupId=group["GroupId"],
                IpPermissions=rules_for(cidr),
            )
        for old in present - {cidr}:
            self._client.attempt(
                "ec2",
                region,
                "revoke_security_group_ingress",
                ("InvalidPermission.NotFound",),
                GroupId=group["GroupId"],
                IpPermissions=rules_for(old),
            )
        return present != {cidr}

    def _find(self, region: str, name: str) -> dict[str, Any] | None:
        filters = [
            {"Name": "group-name", "Values": [name]},
            {"Name": "vpc-id", "Values": [self.vpc_of(region)]},
        ]
        found = self._client.pages(
            "ec2", region, "describe_security_groups", "SecurityGroups", Filters=filters
        )
        return found[0] if found else None

    def _create(self, region: str, name: str, tags: Mapping[str, str]) -> dict[str, Any]:
        made = self._client.attempt(
            "ec2",
            region,
            "create_security_group",
            ("InvalidGroup.Duplicate",),
            GroupName=name,
            Description="SSH from one address, for the machines of one home",
            VpcId=self.vpc_of(region),
            TagSpecifications=[{"ResourceType": "security-group", "Tags": aws_tags(tags)}],
        )
        if made is not None:
            return {"GroupId": made["GroupId"]}
        found = self._find(region, name)  # another process of ours was quicker
        if found is None:
            raise BadOption(f"aws {region}: security group {name} exists and cannot be seen")
        return found
