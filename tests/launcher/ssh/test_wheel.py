"""The trainer as it travels: a wheel of this installation, and a command on a machine that has only its own Python."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

from launcher.remote.ssh.shell import SshShell
from launcher.remote.tools import Tools
from launcher.wheel import trainer_wheel


def test_the_same_sources_give_the_same_bytes() -> None:
    once = trainer_wheel()
    trainer_wheel.cache_clear()
    again = trainer_wheel()
    assert once == again
    assert once.digest == again.digest
    names = zipfile.ZipFile(io.BytesIO(once.content)).namelist()
    assert "trainer/contract.py" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_pip_takes_it_without_a_network(tmp_path: Path) -> None:
    wheel = trainer_wheel()
    (tmp_path / wheel.name).write_bytes(wheel.content)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
        "-q",
    ]
    subprocess.run([*pip, str(tmp_path / wheel.name)], check=True)
    code = "import trainer.contract; print(trainer.contract.__file__)"
    told = subprocess.run([str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.startswith(str(tmp_path / "env"))
    assert (tmp_path / "env" / "bin" / "trainer").exists()


def test_it_becomes_a_command_beside_the_machines_python(
    shell: SshShell, tools: Tools, tmp_path: Path
) -> None:
    wheel, folder = trainer_wheel(), tmp_path / "it's unpacked"
    path = PurePosixPath(tmp_path) / wheel.name
    shell.write(path, wheel.content)
    for _ in range(2):
        assert shell.run(tools.argv("trainer", str(folder), str(path))).exit_code == 0
    project = tmp_path / "project"
    project.mkdir()
    (project / "trainer.py").write_text("raise SystemExit('the user\\'s own file of this name')\n")
    told = shell.run([str(folder / "bin" / "trainer"), "--help"], cwd=PurePosixPath(project))
    assert told.exit_code == 0, told.stderr
    assert b"usage: trainer" in told.stdout
