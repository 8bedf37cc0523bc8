"""docs/adding-a-provider.md names what exists, and its class is a provider that can be built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import provisioning
from provisioning import BadOption, ProviderContext, registry

ROOT = Path(provisioning.__file__).parent.parent
RECIPE = (ROOT / "docs" / "adding-a-provider.md").read_text(encoding="utf-8")

IMPORTS = """
from dataclasses import dataclass
from typing import ClassVar
from provisioning import Capabilities, DeadlineKind, ProviderContext
from provisioning.options import read_options
"""


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", RECIPE, re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if containing in block)
    return str(found)


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:provisioning|tests)/[\w/.]+)`", RECIPE)) - {"tests/live/"})
)
def test_every_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`([A-Z]\w+)`", RECIPE)) - {"TERMINATED"} - {"CHANGELOG"})
)
def test_every_name_is_public(name: str) -> None:
    assert name in provisioning.__all__


def test_the_skeleton_builds_and_checks_its_options() -> None:
    space: dict[str, object] = {}
    exec(IMPORTS + block("python", "class AcmeProvider"), space)
    acme = space["AcmeProvider"]
    assert callable(acme)
    acme(ProviderContext(home=ROOT, environ={}, options={"min_reliability": 0.98}))
    with pytest.raises(BadOption, match=r"provider_options\.acme\.min_reliabilty.*min_reliability"):
        acme(ProviderContext(home=ROOT, environ={}, options={"min_reliabilty": 0.98}))


def test_the_registry_line_is_of_the_registrys_form() -> None:
    space: dict[str, object] = {"_BuiltIn": registry._BuiltIn}
    exec(block("python", "_BUILT_IN"), space)
    assert registry.ENTRY_POINTS in block("toml", "entry-points")
