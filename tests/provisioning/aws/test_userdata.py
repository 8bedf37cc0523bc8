"""What the machine is told: read as cloud-init reads it, its scripts run by a real sh."""

from __future__ import annotations

import email
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from provisioning.aws import userdata
from provisioning.models import HostKey
from tests.provisioning.machines import eventually

DEADLINE = datetime(2026, 11, 21, 18, 30, tzinfo=timezone.utc)
HOST = HostKey(private="-----BEGIN-----\nA: b\n'\"\n-----END-----\n", public="ssh-ed25519 AAAAHOST")
TOOLS = ("sh", "mkdir", "mv", "cat", "chmod", "date", "sleep", "nohup", "kill", "touch")


def parts(text: str) -> dict[str, str]:
    message = email.message_from_string(text)
    assert message.is_multipart()
    return {part.get_content_type(): part.get_payload(decode=True).decode() for part in message.get_payload()}  # type: ignore[union-attr]


def test_the_message_has_both_parts_whole() -> None:
    keys = ("ssh-ed25519 AAAA run", "ssh-rsa BBBB me@laptop: #1")
    found = parts(userdata.user_data(keys, HOST, DEADLINE))
    assert list(found) == ["text/cloud-boothook", "text/cloud-config"], "the deadline first"
    assert found["text/cloud-boothook"].startswith("#!/bin/sh\n")
    head, _, config = found["text/cloud-config"].partition("\n")
    assert head == "#cloud-config"
    assert json.loads(config) == {
        "ssh_authorized_keys": list(keys),
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": HOST.private, "ed25519_public": HOST.public},
    }


def test_the_config_is_yaml_too() -> None:
    import yaml

    text = userdata.cloud_config(("ssh-ed25519 AAAA it's: {odd}",), HOST)
    assert yaml.safe_load(text)["ssh_keys"]["ed25519_private"] == HOST.private


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert userdata.user_data(("a",), HOST, DEADLINE) == userdata.user_data(("a",), HOST, DEADLINE)


def test_a_host_key_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="sk-ssh"):
        userdata.cloud_config((), HostKey(private="x", public="sk-ssh-ed25519@openssh.com AAAA"))


def test_another_deadline_changes_nothing_else() -> None:
    text = userdata.user_data(("a",), HOST, DEADLINE)
    later = DEADLINE + timedelta(hours=2)
    assert userdata.with_deadline(text, later) == userdata.user_data(("a",), HOST, later)
    with pytest.raises(ValueError, match="no deadline"):
        userdata.with_deadline("#!/bin/sh\necho hello\n", later)


class Machine:
    """A folder in which a boot hook runs, with nothing on its PATH that could end this computer."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state of launch"
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            if found:
                (self.bin / tool).symlink_to(found)
        for name in ("sync", "poweroff", "shutdown", "systemctl"):
            (self.bin / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "{folder}/ended"\n')
            (self.bin / name).chmod(0o755)
        (self.bin / "systemctl").rename(self.bin / "systemctl-later")
        self.ended = folder / "ended"
        self.pids: set[int] = set()

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-eu", "-c", script, "sh", *arguments],
            env={"PATH": str(self.bin)},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    def boot(self, deadline: datetime) -> None:
        done = self.run(userdata.boot_hook(deadline, folder=str(self.state)))
        assert done.returncode == 0, done.stderr
        self.pids.add(int((self.state / "watch.pid").read_text()))

    def watch(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["/bin/sh", str(self.state / "watch"), "0", "0.05"],
            env={"PATH": str(self.bin)},
            start_new_session=True,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for pid in machine.pids:
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
        for number in (pid, *map(int, children.stdout.split())):
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue


def now() -> datetime:
    return datetime.now(timezone.utc)


def test_a_boot_arms_the_deadline_and_the_next_one_moves_it(machine: Machine) -> None:
    first = now() + timedelta(hours=1)
    machine.boot(first)
    assert int((machine.state / "deadline").read_text()) == int(first.timestamp())
    (before,) = machine.pids
    machine.boot(first + timedelta(hours=1))
    assert int((machine.state / "deadline").read_text()) == int(first.timestamp()) + 3600
    eventually(lambda: not alive(before))
    assert alive(int((machine.state / "watch.pid").read_text())), "one watch at a time"
    assert not machine.ended.exists()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_at_the_deadline_the_machine_powers_off(machine: Machine) -> None:
    machine.boot(now() + timedelta(seconds=1))
    (machine.bin / "systemctl-later").rename(machine.bin / "systemctl")
    watch = machine.watch()
    try:
        eventually(machine.ended.exists)
        eventually(lambda: "systemctl poweroff" in machine.ended.read_text())
    finally:
        os.killpg(watch.pid, signal.SIGKILL)
        watch.wait()
    assert machine.ended.read_text().splitlines()[:2] == ["sync ", "systemctl poweroff"]


def test_a_deadline_that_is_moved_in_time_is_kept(machine: Machine) -> None:
    machine.boot(now() + timedelta(seconds=2))
    watch = machine.watch()
    try:
        (machine.state / "deadline").write_text(str(int(time.time()) + 3600))
        until = time.monotonic() + 3
        eventually(lambda: time.monotonic() > until)
        assert not machine.ended.exists()
    finally:
        os.killpg(watch.pid, signal.SIGKILL)
        watch.wait()


def test_a_watch_that_finds_no_deadline_ends_the_machine(machine: Machine) -> None:
    machine.boot(now() + timedelta(hours=1))
    (machine.state / "deadline").unlink()
    watch = machine.watch()
    try:
        eventually(machine.ended.exists)
    finally:
        os.killpg(watch.pid, signal.SIGKILL)
        watch.wait()


def test_ending_now_falls_back_until_something_works(machine: Machine) -> None:
    machine.boot(now() + timedelta(hours=1))
    machine.run(f"'{machine.state}/end'")
    assert machine.ended.read_text().splitlines() == ["sync ", "shutdown -P now"]


def test_with_systemd_a_unit_is_installed_and_started(machine: Machine, tmp_path: Path) -> None:
    """The unit's folder is the system's own, so the lines are read here and systemd's tools record what they are told."""
    text = userdata.boot_hook(DEADLINE)
    unit = text.partition("<<UNIT\n")[2].partition("\nUNIT\n")[0]
    assert "ExecStart=$folder/watch" in unit
    assert "Restart=always" in unit
    assert "systemctl enable launch-deadline.service" in text
    assert "systemctl restart --no-block launch-deadline.service" in text


def test_the_scripts_are_valid_in_a_plain_posix_shell() -> None:
    for shell in ("dash", "bash", "busybox"):
        if found := shutil.which(shell):
            argv = [found, *(["sh"] if shell == "busybox" else []), "-n"]
            subprocess.run(argv, input=userdata.boot_hook(DEADLINE).encode(), check=True)
