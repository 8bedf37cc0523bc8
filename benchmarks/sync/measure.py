"""How fast code and data travel, against raw rsync and scp over the same sshd.

    python benchmarks/sync/measure.py --out benchmarks/sync/$(date +%F).json

Starts an sshd on loopback and makes 1 GiB in one file and 5 000 files of 20 kB. Each way sends both to an empty
folder and sends them again with nothing changed. Ours has its connection open, as a run has; what the others need
for connecting is theirs. The ways take turns within each round and each round begins with another one: who comes first
finds an empty disk queue. Each way is compared with raw rsync of the same round, and the middle round counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from launcher.remote.ssh.openssh import ssh
from launcher.remote.ssh.rsync import Rsync, local_rsync
from launcher.remote.ssh.shell import SshShell
from launcher.remote.ssh.streaming import Streaming
from launcher.remote.tools import Tools
from tests.system.ssh.machines import shell_on
from tests.system.ssh.server import Sshd

TARGET_FACTOR, TARGET_MORE_S = 1.15, 0.3
MIB = 1 << 20

Send = Callable[[Path, Path], Any]


def make_data(folder: Path, large_mib: int, small_files: int) -> dict[str, Path]:
    large, small = folder / "one large file", folder / "many small files"
    large.mkdir()
    with (large / "data.h5").open("wb") as file:
        for _ in range(large_mib):
            file.write(os.urandom(MIB))
    for number in range(small_files):
        path = small / f"{number // 100:03d}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(20_000))
    return {"large": large, "small": small}


def ways(machine: Sshd, shell: SshShell) -> dict[str, Send]:
    destination, known_hosts = shell.connection.destination, shell.connection.host_keys.path
    command = ssh(destination, known_hosts)
    rsync = local_rsync()
    assert rsync is not None
    tools = Tools(shell, "python3", PurePosixPath(machine.home) / "tools")
    tools.install()
    shell.run(["true"])

    def raw_rsync(source: Path, target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        argv = [rsync, "-a", "-e", shlex.join(command), f"{source}/", f"{destination.alias}:{target}/"]
        subprocess.run(argv, check=True)

    def raw_scp(source: Path, target: Path) -> None:
        options = [word if word != "-p" else "-P" for word in command[1:]]
        login = options.index("-l")
        user = options[login + 1]
        del options[login : login + 2]
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(
            ["scp", "-q", "-r", *options, str(source), f"{user}@{destination.alias}:{target}"], check=True
        )

    return {
        "rsync -a": raw_rsync,
        "scp -r": raw_scp,
        "launch (rsync)": lambda source, target: Rsync(rsync, shell).send(
            source, PurePosixPath(target), _quiet
        ),
        "launch (tar stream)": lambda source, target: Streaming(shell, tools).send(
            source, PurePosixPath(target), _quiet
        ),
    }


def _quiet(_: int) -> None:
    pass


def measure(
    machine: Sshd, shell: SshShell, data: dict[str, Path], rounds: int
) -> dict[str, dict[str, list[float]]]:
    seconds: dict[str, dict[str, list[float]]] = {}
    for round_number in range(rounds):
        for what, source in data.items():
            turns = list(ways(machine, shell).items())
            first = round_number % len(turns)
            for name, send in (*turns[first:], *turns[:first]):
                target = machine.home / f"target-{round_number}-{what}-{name.replace(' ', '_')}"
                for case in (what, f"{what}, nothing changed"):
                    began = time.perf_counter()
                    send(source, target)
                    took = time.perf_counter() - began
                    seconds.setdefault(case, {}).setdefault(name, []).append(took)
                    print(f"round {round_number + 1}  {case:<24} {name:<20} {took:7.2f} s", flush=True)
                shutil.rmtree(target)
    return seconds


def report(seconds: dict[str, dict[str, list[float]]]) -> list[dict[str, Any]]:
    rows = []
    for case, by_way in seconds.items():
        excess_s = [
            ours - (TARGET_FACTOR * raw + TARGET_MORE_S)
            for ours, raw in zip(by_way["launch (rsync)"], by_way["rsync -a"], strict=True)
        ]
        middle = {name: statistics.median(times) for name, times in by_way.items()}
        rows.append(
            {
                "case": case,
                "median_s": middle,
                "over_target_s": excess_s,
                "within": statistics.median(excess_s) <= 0,
            }
        )
    return rows


def machine_facts() -> dict[str, Any]:
    rsync = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=True).stdout
    openssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    return {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "load_average": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "rsync": rsync.splitlines()[0],
        "openssh": openssh.strip(),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--large-mib", type=int, default=1024)
    parser.add_argument("--small-files", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=4)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder), told.large_mib, told.small_files)
        machine = Sshd(Path(folder) / "machine", Path(folder) / "home").start()
        shell = shell_on(machine)
        try:
            facts = machine_facts()
            seconds = measure(machine, shell, data, told.rounds)
        finally:
            shell.close()
            machine.destroy()
    rows = report(seconds)
    sizes = {"large_mib": told.large_mib, "small_files": told.small_files, "rounds": told.rounds}
    told.out.write_text(
        json.dumps({"machine": facts, "sizes": sizes, "seconds": seconds, "judged": rows}, indent=1)
    )
    for row in rows:
        words = ", ".join(f"{name} {value:.2f} s" for name, value in row["median_s"].items())
        over = ", ".join(f"{value:+.2f}" for value in row["over_target_s"])
        print(f"{row['case']}: {words}; over target by {over} s: {'within' if row['within'] else 'MISSED'}")


if __name__ == "__main__":
    main()
