"""Provider names, and the code behind each, which is imported when it is asked for and not before.

Packages of other people join through the entry point group ``gpu_launch.providers``, whose entries have the
same form: ``name = package.module:Class``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from provisioning.errors import CloudError, MissingDependency
from provisioning.options import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

    from provisioning.models import Capabilities
    from provisioning.provider import Provider, ProviderClass, ProviderContext

__all__ = ["ENTRY_POINTS", "built_in_names", "capabilities_of", "names", "provider", "provider_class"]

ENTRY_POINTS = "gpu_launch.providers"


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    target: str
    """``module:Class``."""
    extra: str | None = None
    """The extra of this distribution that installs what the module needs."""
    abilities: str | None = None
    """``module:CONSTANT`` of its capabilities, where they stand apart from all that the class needs."""


_BUILT_IN = {
    "aws": _BuiltIn(
        "provisioning.aws.provider:AwsProvider",
        extra="aws",
        abilities="provisioning.aws.abilities:CAPABILITIES",
    ),
    "fake": _BuiltIn("provisioning.fake.provider:FakeProvider"),
    "gcp": _BuiltIn(
        "provisioning.gcp.provider:GcpProvider",
        extra="gcp",
        abilities="provisioning.gcp.abilities:CAPABILITIES",
    ),
    "local": _BuiltIn("provisioning.local.provider:LocalProvider"),
    "ssh": _BuiltIn("provisioning.ssh.provider:SshProvider"),
    "vast": _BuiltIn(
        "provisioning.vast.provider:VastProvider", abilities="provisioning.vast.abilities:CAPABILITIES"
    ),
}


def names() -> tuple[str, ...]:
    """Return the name of every provider that is installed, sorted; imports none of them."""
    return tuple(sorted({*_BUILT_IN, *_foreign()}))


def built_in_names() -> tuple[str, ...]:
    """Return the names of the providers of this distribution, sorted."""
    return tuple(sorted(_BUILT_IN))


def provider(name: str, context: ProviderContext) -> Provider:
    """Build the provider ``name``; makes no call to its cloud.

    Raises:
        BadOption: no provider has this name (the nearest one is named), or it refuses ``context.options``.
        MissingDependency: its SDK is not installed; the hint is the command that installs it.
    """
    return provider_class(name)(context)


def provider_class(name: str) -> ProviderClass:
    """Return the class behind ``name``, for its ``capabilities``; raises as `provider` does."""
    built_in = _BUILT_IN.get(name)
    if built_in:
        return _load(name, built_in.target, built_in.extra)
    foreign = _foreign()
    if name not in foreign:
        raise did_you_mean("provider", name, {*_BUILT_IN, *foreign})
    return _load(name, foreign[name].value, None)


def capabilities_of(name: str, options: Mapping[str, Any]) -> Capabilities:
    """Return what a provider can do with the options that a job has for it; raises as `provider` does.

    Most can do the same whatever the options are: those declare ``capabilities`` alone. One that cannot has a class
    method ``capabilities_with(options)`` too.
    """
    built_in = _BUILT_IN.get(name)
    if built_in and built_in.abilities and not options:
        module_name, _, constant = built_in.abilities.partition(":")
        return cast("Capabilities", getattr(import_module(module_name), constant))
    found = provider_class(name)
    vary = getattr(found, "capabilities_with", None)
    return found.capabilities if vary is None else cast("Capabilities", vary(options))


def _foreign() -> dict[str, EntryPoint]:
    if not _may_have_foreign():
        return {}
    from importlib.metadata import entry_points  # slow, and slower the more packages there are

    return {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in _BUILT_IN}


def _may_have_foreign() -> bool:
    """Whether anything that is installed may name the group: its metadata, read as text, answers in a tenth of the time."""
    needle = ENTRY_POINTS.encode()
    for folder in map(Path, dict.fromkeys(sys.path)):
        if folder.is_file() or any(folder.glob("*.egg")):
            return True  # only the library can look into an archive
        for kind in ("dist-info", "egg-info"):
            if any(needle in found.read_bytes() for found in folder.glob(f"*.{kind}/entry_points.txt")):
                return True
    return False


def _load(name: str, target: str, extra: str | None) -> ProviderClass:
    module_name, _, class_name = target.partition(":")
    package = f"gpu-launch[{extra}]" if extra else None
    try:
        return cast("ProviderClass", getattr(import_module(module_name), class_name))
    except ModuleNotFoundError as error:
        missing = error.name or "a module"
        raise MissingDependency(
            f"provider {name} needs {missing}, which is not installed",
            hint=f"pip install '{package}'" if package else f"install the package that provides {missing}",
        ) from error
    except (ImportError, AttributeError) as error:
        raise CloudError(f"provider {name} cannot be loaded from {target}: {error}") from error
