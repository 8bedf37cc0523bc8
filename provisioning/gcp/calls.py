"""Which calls of the Compute API are made, how the SDK spells them, and which permission each needs. Data."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["CALLS", "Call", "role_of"]

READ_TIMEOUT_S = 20.0
WAIT_TIMEOUT_S = 150.0
"""``operations.wait`` answers within two minutes, ended or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One method of the API."""

    client: str
    """The SDK's class."""
    method: str
    request: str
    """The SDK's class of the request."""
    permission: str
    body: str | None = None
    """The field of the request that carries the body, and …"""
    resource: str | None = None
    """… the SDK's class of it."""
    timeout_s: float = READ_TIMEOUT_S


CALLS = MappingProxyType(
    {
        "projects.get": Call(
            client="ProjectsClient",
            method="get",
            request="GetProjectRequest",
            permission="compute.projects.get",
        ),
        "regions.get": Call(
            client="RegionsClient",
            method="get",
            request="GetRegionRequest",
            permission="compute.regions.get",
        ),
        "regions.list": Call(
            client="RegionsClient",
            method="list",
            request="ListRegionsRequest",
            permission="compute.regions.list",
        ),
        "machineTypes.aggregatedList": Call(
            client="MachineTypesClient",
            method="aggregated_list",
            request="AggregatedListMachineTypesRequest",
            permission="compute.machineTypes.list",
        ),
        "acceleratorTypes.aggregatedList": Call(
            client="AcceleratorTypesClient",
            method="aggregated_list",
            request="AggregatedListAcceleratorTypesRequest",
            permission="compute.acceleratorTypes.list",
        ),
        "images.list": Call(
            client="ImagesClient",
            method="list",
            request="ListImagesRequest",
            permission="compute.images.list",
        ),
        "images.get": Call(
            client="ImagesClient", method="get", request="GetImageRequest", permission="compute.images.get"
        ),
        "images.getFromFamily": Call(
            client="ImagesClient",
            method="get_from_family",
            request="GetFromFamilyImageRequest",
            permission="compute.images.getFromFamily",
        ),
        "networks.get": Call(
            client="NetworksClient",
            method="get",
            request="GetNetworkRequest",
            permission="compute.networks.get",
        ),
        "firewalls.get": Call(
            client="FirewallsClient",
            method="get",
            request="GetFirewallRequest",
            permission="compute.firewalls.get",
        ),
        "firewalls.insert": Call(
            client="FirewallsClient",
            method="insert_unary",
            request="InsertFirewallRequest",
            permission="compute.firewalls.create",
            body="firewall_resource",
            resource="Firewall",
        ),
        "firewalls.patch": Call(
            client="FirewallsClient",
            method="patch_unary",
            request="PatchFirewallRequest",
            permission="compute.firewalls.update",
            body="firewall_resource",
            resource="Firewall",
        ),
        "globalOperations.wait": Call(
            client="GlobalOperationsClient",
            method="wait",
            request="WaitGlobalOperationRequest",
            permission="compute.globalOperations.get",
            timeout_s=WAIT_TIMEOUT_S,
        ),
        "zoneOperations.wait": Call(
            client="ZoneOperationsClient",
            method="wait",
            request="WaitZoneOperationRequest",
            permission="compute.zoneOperations.get",
            timeout_s=WAIT_TIMEOUT_S,
        ),
        "zoneOperations.list": Call(
            client="ZoneOperationsClient",
            method="list",
            request="ListZoneOperationsRequest",
            permission="compute.zoneOperations.list",
        ),
        "instances.insert": Call(
            client="InstancesClient",
            method="insert_unary",
            request="InsertInstanceRequest",
            permission="compute.instances.create",
            body="instance_resource",
            resource="Instance",
            timeout_s=60.0,
        ),
        "instances.get": Call(
            client="InstancesClient",
            method="get",
            request="GetInstanceRequest",
            permission="compute.instances.get",
        ),
        "instances.aggregatedList": Call(
            client="InstancesClient",
            method="aggregated_list",
            request="AggregatedListInstancesRequest",
            permission="compute.instances.list",
        ),
        "instances.delete": Call(
            client="InstancesClient",
            method="delete_unary",
            request="DeleteInstanceRequest",
            permission="compute.instances.delete",
        ),
        "instances.stop": Call(
            client="InstancesClient",
            method="stop_unary",
            request="StopInstanceRequest",
            permission="compute.instances.stop",
        ),
        "instances.start": Call(
            client="InstancesClient",
            method="start_unary",
            request="StartInstanceRequest",
            permission="compute.instances.start",
        ),
        "instances.setScheduling": Call(
            client="InstancesClient",
            method="set_scheduling_unary",
            request="SetSchedulingInstanceRequest",
            permission="compute.instances.setScheduling",
            body="scheduling_resource",
            resource="Scheduling",
        ),
        "instances.setDiskAutoDelete": Call(
            client="InstancesClient",
            method="set_disk_auto_delete_unary",
            request="SetDiskAutoDeleteInstanceRequest",
            permission="compute.instances.setDiskAutoDelete",
        ),
        "instances.attachDisk": Call(
            client="InstancesClient",
            method="attach_disk_unary",
            request="AttachDiskInstanceRequest",
            permission="compute.instances.attachDisk",
            body="attached_disk_resource",
            resource="AttachedDisk",
        ),
        "instances.detachDisk": Call(
            client="InstancesClient",
            method="detach_disk_unary",
            request="DetachDiskInstanceRequest",
            permission="compute.instances.detachDisk",
        ),
        "instances.getGuestAttributes": Call(
            client="InstancesClient",
            method="get_guest_attributes",
            request="GetGuestAttributesInstanceRequest",
            permission="compute.instances.getGuestAttributes",
        ),
        "disks.get": Call(
            client="DisksClient", method="get", request="GetDiskRequest", permission="compute.disks.get"
        ),
        "disks.aggregatedList": Call(
            client="DisksClient",
            method="aggregated_list",
            request="AggregatedListDisksRequest",
            permission="compute.disks.list",
        ),
        "disks.delete": Call(
            client="DisksClient",
            method="delete_unary",
            request="DeleteDiskRequest",
            permission="compute.disks.delete",
        ),
    }
)
"""By the name that Google's reference gives the method."""


def role_of(permission: str) -> str:
    """Return the predefined role that carries a permission, of those that the documentation asks for."""
    for prefix, role in _ROLES:
        if permission.startswith(prefix):
            return role
    return "roles/compute.instanceAdmin.v1"


_ROLES = (
    ("compute.firewalls.", "roles/compute.securityAdmin"),
    ("compute.networks.updatePolicy", "roles/compute.securityAdmin"),
    ("storage.", "roles/storage.objectUser"),
    ("iam.", "roles/iam.serviceAccountTokenCreator"),
    ("cloudbilling.", "roles/serviceusage.serviceUsageConsumer"),
)
