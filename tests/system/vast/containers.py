"""Bridges Vast's API on loopback to real containers: each is an sshd that runs its ``onstart`` at every start.

What would lie in the container's own file system lies in a folder of the test: the paths in the script are changed for
that, and nothing else. Before the script has run, sshd shows the key of its image.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioning.vast.onstart import FOLDER
from tests.provisioning.vast.cloud import VastCloud
from tests.system.ssh.server import MARK, Sshd

NOISE = '[ -e ~/.no_auto_tmux ] || echo "Welcome to vast.ai: you are in tmux now"\n'
"""What a login prints on Vast unless it is told not to."""
NVIDIA_SMI = '#!/bin/sh\necho "GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-test)"\n'


@dataclass
class Containers:
    """Starts and kills containers as the cloud rents, stops, restarts and ends them."""

    cloud: VastCloud
    folder: Path
    running: dict[int, Sshd] = field(default_factory=dict)
    without_driver: set[int] = field(default_factory=set)
    """Machines whose host has lost its GPU driver."""
    starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cloud.on_start = self.start
        self.cloud.on_end = self.end

    def start(self, row: dict[str, Any]) -> None:
        """Start a container on the disk that it has, at a port of its own, and run its ``onstart``."""
        folder = self.folder / str(row["id"])
        home, tools = folder / "home", folder / "bin"
        for path in (home / ".ssh", tools):
            path.mkdir(parents=True, exist_ok=True)
        (home / ".bashrc").write_text(NOISE)
        if row["machine_id"] not in self.without_driver:
            _tool(tools / "nvidia-smi", NVIDIA_SMI)
        for name in ("pkill", "killall"):  # nothing of the script may reach beyond the container
            _tool(tools / name, "#!/bin/sh\nexit 1\n")
        environ = {
            "CONTAINER_ID": str(row["id"]),
            "CONTAINER_API_KEY": str(row["_key"]),
            "VAST_URL": self.cloud.url,
            "PATH": f"{tools}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }
        for name in ("host_key", "host_key.pub", "client_key", "client_key.pub", "authorized_keys"):
            (folder / name).unlink(missing_ok=True)
        sshd = Sshd(folder, home, environ=environ)
        (folder / "authorized_keys").unlink()
        (folder / "authorized_keys").symlink_to(home / ".ssh" / "authorized_keys")
        sshd.start()
        assert sshd._process is not None
        (folder / "sshd.pid").write_text(f"{sshd._process.pid}\n")
        self.running[row["id"]] = sshd
        self.starts.append(row["id"])
        row["public_ipaddr"] = "127.0.0.1\n"
        row["ports"] = {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(sshd.port)}]}
        row["ssh_host"], row["ssh_port"] = "127.0.0.1", sshd.port
        with (folder / "onstart.err").open("ab") as words:
            subprocess.run(
                ["sh", "-c", inside(str(row["onstart"]), folder)],
                env={**environ, "HOME": str(home), MARK: sshd.id},
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                check=True,
            )

    def end(self, row: dict[str, Any]) -> None:
        """No process of the container is left; its disk is the cloud's business."""
        if sshd := self.running.pop(row["id"], None):
            sshd.destroy()

    def end_all(self) -> None:
        for sshd in self.running.values():
            sshd.destroy()
        self.running.clear()

    def home_of(self, instance_id: int | str) -> Path:
        return self.folder / str(instance_id) / "home"

    def launch_folder(self, instance_id: int | str) -> Path:
        """What is ``/var/lib/launch`` in the container."""
        return self.folder / str(instance_id) / "launch"


def inside(script: str, folder: Path) -> str:
    """The script, with the container's paths in a folder of the test."""
    for theirs, ours in (
        (FOLDER, folder / "launch"),
        ("/etc/ssh/ssh_host_ed25519_key", folder / "host_key"),
        ("/etc/ssh", folder),
        ("/run/sshd.pid", folder / "sshd.pid"),
    ):
        script = script.replace(theirs, str(ours))
    return script


def _tool(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
