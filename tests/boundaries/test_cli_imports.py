"""The command answers fast because it imports what it uses, when it uses it: held with the rest forbidden."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEVER_FOR_HELP = (
    "rich",
    "yaml",
    "paramiko",
    "fabric",
    "cryptography",
    "httpx",
    "tenacity",
    "sqlite3",
    "torch",
    "numpy",
    "boto3",
    "google",
    "trainer",
    "provisioning",
)
NEVER_AT_ALL = ("torch", "numpy", "h5py", "boto3", "google")

CODE = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} must not be imported here")
sys.meta_path.insert(0, Wall())
from launcher.cli import main
sys.exit(main({args!r}))
"""


def run_with_a_wall(args: list[str], blocked: tuple[str, ...], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE.format(blocked=set(blocked), args=args)],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "LAUNCH_HOME": str(cwd / "home"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["estimate", "--help"], ["ls", "--help"], ["logs", "--help"]]
)
def test_help_needs_next_to_nothing(args: list[str], tmp_path: Path) -> None:
    done = run_with_a_wall(args, NEVER_FOR_HELP, tmp_path)
    assert done.returncode == 0, done.stderr


def test_wrong_usage_is_said_without_rich(tmp_path: Path) -> None:
    done = run_with_a_wall(["--max-cost", "x"], tuple(set(NEVER_FOR_HELP) - {"provisioning"}), tmp_path)
    assert done.returncode == 2, done.stderr


@pytest.mark.parametrize("args", [["ls", "--json"], ["ls"]])
def test_no_command_needs_torch_or_a_cloud_sdk(args: list[str], tmp_path: Path) -> None:
    done = run_with_a_wall(args, NEVER_AT_ALL, tmp_path)
    assert done.returncode == 0, done.stderr


def test_json_is_written_without_rich(tmp_path: Path) -> None:
    done = run_with_a_wall(["ls", "--json"], ("rich", "paramiko", "fabric", "httpx", "torch"), tmp_path)
    assert done.returncode == 0, done.stderr


RECORD_ALONE = (
    "launcher.orchestrate",
    "launcher.runners",
    "launcher.run",
    "launcher.job",
    "launcher.planning.plan",
    "yaml",
)
NO_ESTIMATE_NEEDS = (
    "launcher.runners.base",
    "launcher.policy.stages",
    "provisioning.aws.client",
    "provisioning.gcp.client",
    "provisioning.vast.client",
    "concurrent.futures",
    "importlib.metadata",
    "statistics",
)


@pytest.mark.parametrize(
    ("args", "heavy"),
    [(["ls"], RECORD_ALONE), (["estimate", "--offline", "--", "true"], NO_ESTIMATE_NEEDS)],
    ids=["ls", "estimate"],
)
def test_what_is_slow_to_import_and_not_needed_is_not_imported(
    args: list[str], heavy: tuple[str, ...], tmp_path: Path
) -> None:
    code = (
        f"import sys; from launcher.cli import main; assert main({args!r}) == 0\n"
        f"print(*(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "LAUNCH_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip()
