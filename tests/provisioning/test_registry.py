"""Names of providers, and what is imported for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from provisioning import BadOption, MissingDependency, ProviderContext, registry

CONTEXT = ProviderContext(home=Path("/nowhere"), environ={})
ROOT = Path(registry.__file__).parent.parent

THIRD_PARTY = """
from provisioning.models import Capabilities, DeadlineKind

class Acme:
    name = "acme"
    capabilities = Capabilities(deadline=DeadlineKind.CLIENT)

    def __init__(self, context):
        self.home = context.home
"""


def python(code: str, *path: Path) -> str:
    """Run code in a fresh interpreter that finds this project, and ``path`` before it."""
    environ = {"PYTHONPATH": ":".join(map(str, (*path, ROOT))), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def third_party(tmp_path: Path) -> Path:
    """Yield a folder as pip would leave it after installing somebody's provider."""
    (tmp_path / "acme_cloud.py").write_text(THIRD_PARTY)
    metadata = tmp_path / "acme_cloud-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-cloud\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[gpu_launch.providers]\nacme = acme_cloud:Acme\nbroken = no_such_sdk:Broken\nlocal = acme_cloud:Acme\n"
    )
    return tmp_path


def test_the_built_in_providers_are_listed() -> None:
    assert {"fake", "local"} <= set(registry.names())
    assert set(registry.built_in_names()) <= set(registry.names())


def test_facts_need_no_context() -> None:
    assert registry.provider_class("local").capabilities.claimed


def test_what_stands_apart_from_a_provider_is_what_it_says_of_itself() -> None:
    apart = [name for name, entry in registry._BUILT_IN.items() if entry.abilities is not None]
    assert {"aws", "gcp", "vast"} <= set(apart)
    for name in apart:
        assert registry.capabilities_of(name, {}) is registry.provider_class(name).capabilities, name


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadOption, match="did you mean 'local'"):
        registry.provider("locla", CONTEXT)


def test_a_missing_sdk_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = registry._BuiltIn("no_such_sdk.provider:Provider", extra="acme")
    monkeypatch.setitem(registry._BUILT_IN, "acme", entry)
    with pytest.raises(MissingDependency, match="no_such_sdk") as missing:
        registry.provider("acme", CONTEXT)
    assert missing.value.hint == "pip install 'gpu-launch[acme]'"


def test_an_installed_package_joins_by_entry_point(third_party: Path) -> None:
    code = """
from pathlib import Path
from provisioning import ProviderContext, registry
print(registry.names())
print(registry.provider("acme", ProviderContext(home=Path("/h"), environ={})).home)
print(registry.provider_class("local").__module__)
"""
    shown = python(code, third_party).splitlines()
    assert "'acme'" in shown[0]
    assert shown[1:] == ["/h", "provisioning.local.provider"]


def test_a_package_that_lacks_its_sdk_is_told_from_one_that_is_unknown(third_party: Path) -> None:
    code = """
from provisioning import MissingDependency, registry
try:
    registry.provider_class("broken")
except MissingDependency as error:
    print(error.message)
"""
    assert python(code, third_party) == "provider broken needs no_such_sdk, which is not installed"


@pytest.mark.parametrize(
    "module",
    ["provisioning", "provisioning.registry", "provisioning.fake.provider", "provisioning.local.provider"],
)
def test_importing_is_light(module: str) -> None:
    heavy = [
        "boto3",
        "google",
        "httpx",
        "torch",
        "rich",
        "paramiko",
        "fabric",
        "tenacity",
        "launcher",
        "trainer",
    ]
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    assert python(code) == "[]"


def test_a_name_imports_its_own_provider_only() -> None:
    code = """
import sys
from provisioning import registry
registry.provider_class("local")
print("provisioning.fake" in sys.modules)
"""
    assert python(code) == "False"
