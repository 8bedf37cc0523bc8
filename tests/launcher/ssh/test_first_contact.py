"""Machines whose host key nobody could tell: accepted once and in words, or waited for while it is being injected."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from launcher.connect import runner_for
from launcher.errors import HostKeyRefused, MachineNotReady, MachineRefused
from launcher.events import Kind
from launcher.remote.ssh.host_keys import fingerprint
from launcher.runners.base import Handle, Submission
from launcher.runners.machines import MachineRunner
from provisioning import Instance, InstanceRef, InstanceState, SshAccess
from provisioning.models import utc_now
from tests.system.ssh.server import Sshd, keygen, names

PROVIDER = """
from provisioning.models import Capabilities, DeadlineKind, HostKeyOrigin

class Market:
    name = "market"
    capabilities = Capabilities(deadline=DeadlineKind.BOOT, host_keys=HostKeyOrigin.FIRST_CONTACT)
"""


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A provider, installed as a package of its own, whose machines have host keys that nobody can tell."""
    folder = tmp_path / "packages"
    metadata = folder / "market_cloud-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "market_cloud.py").write_text(PROVIDER)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: market-cloud\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[gpu_launch.providers]\nmarket = market_cloud:Market\n")
    monkeypatch.syspath_prepend(folder)
    return "market"


class Meeting:
    """What one run knows of one machine, and what it was told."""

    def __init__(self, machine: Sshd, folder: Path, provider: str, key: str | None = None) -> None:
        self.machine = machine
        self.provider = provider
        self.key = key
        self.ssh_folder = folder / "ssh"
        self.told: list[tuple[Kind, str, dict[str, Any]]] = []
        (machine.folder / "config").write_text(machine.ssh_config())
        self.environ = {**os.environ, "LAUNCH_SSH_CONFIG": str(machine.folder / "config")}

    def runner(self, instance_id: str = "17", *, announced: bool = True) -> MachineRunner:
        access = SshAccess(
            host="127.0.0.1",
            port=self.machine.port,
            user=self.machine.user,
            host_keys=(self.key,) if self.key else (),
            work_root=str(self.machine.home),
        )
        instance = Instance(
            ref=InstanceRef(self.provider, "here", instance_id),
            state=InstanceState.RUNNING,
            seen_at=utc_now(),
            run_id="run-0001",
            token="run-0001-1-1",
            access=access,
        )
        return runner_for(
            instance,
            ssh_folder=self.ssh_folder,
            environ=self.environ,
            report=self._report if announced else None,
        )

    def _report(self, kind: Kind, message: str, **data: Any) -> None:
        assert names(self.machine.home) == [], "something was sent before"
        self.told.append((kind, message, data))

    def openssh(self, runner: MachineRunner) -> subprocess.CompletedProcess[str]:
        """Log in as rsync and ``launch ssh`` do."""
        where = {"work_root": "/w", "workdir_name": "w", "checkpoint_dir": "c"}
        handle = Handle(runner="machines", run_id="r", attempt=1, stage="run", start=1, data=where)
        argv = runner.attach_command(handle)
        argv = [*argv[: argv.index("-t")], "--", "127.0.0.1", "echo in"]
        return subprocess.run(argv, env=self.environ, capture_output=True, text=True, check=False, timeout=60)


def says_hello(runner: MachineRunner, machine: Sshd) -> bool:
    return runner._shell.run(["echo", "hello"]).stdout == b"hello\n"


def test_the_first_key_is_announced_and_pinned_for_both_and_no_other_is_let_in_after_it(
    own_machine: Sshd, tmp_path: Path, market: str
) -> None:
    own_machine.start()
    meeting = Meeting(own_machine, tmp_path, market)
    runner = meeting.runner()
    first = fingerprint(own_machine.host_key)
    ((kind, message, data),) = meeting.told
    assert kind is Kind.INSTANCE
    assert message.startswith(f"market/here/17 shows the host key {first} at first contact")
    assert data == {"ref": "market/here/17", "host_key": first}
    assert (meeting.ssh_folder / "known_hosts").read_text() == f"market-here-17 {own_machine.host_key}\n"
    assert says_hello(runner, own_machine)
    assert meeting.openssh(runner).stdout == "in\n"

    own_machine.new_host_key()
    with pytest.raises(HostKeyRefused) as refused:
        runner._shell.write(PurePosixPath(own_machine.home) / "data", b"data")
    assert {first, fingerprint(own_machine.host_key)} <= set(refused.value.message.replace(";", "").split())
    ended = meeting.openssh(runner)
    assert (ended.returncode, ended.stdout) == (255, "")
    assert "Host key verification failed" in ended.stderr
    assert names(own_machine.home) == []
    assert len(meeting.told) == 1
    runner.close()


def test_an_address_that_passes_to_another_machine_is_another_first_contact(
    own_machine: Sshd, tmp_path: Path, market: str
) -> None:
    own_machine.start()
    meeting = Meeting(own_machine, tmp_path, market)
    meeting.runner("17").close()
    own_machine.new_host_key()
    another = meeting.runner("18")
    assert [data["ref"] for _, _, data in meeting.told] == ["market/here/17", "market/here/18"]
    assert meeting.openssh(another).stdout == "in\n"
    another.close()


def test_nobody_to_tell_means_no_acceptance(machine: Sshd, tmp_path: Path, market: str) -> None:
    meeting = Meeting(machine, tmp_path, market)
    with pytest.raises(HostKeyRefused, match="expected none"):
        meeting.runner(announced=False)
    assert not (meeting.ssh_folder / "known_hosts").exists()


def test_a_key_that_the_provider_can_tell_after_all_is_the_only_one(
    machine: Sshd, tmp_path: Path, market: str
) -> None:
    with pytest.raises(HostKeyRefused):
        Meeting(machine, tmp_path, market, keygen(tmp_path / "other")).runner()


def test_no_secret_goes_to_a_machine_that_may_be_any(machine: Sshd, tmp_path: Path, market: str) -> None:
    meeting = Meeting(machine, tmp_path, market)
    runner = meeting.runner()
    submission = Submission(
        run_id="run-0001",
        attempt=1,
        stage="run",
        start=1,
        workdir_name="w",
        snapshot=tmp_path / "none",
        run="true",
        secrets={"TOKEN": "s3cret"},
    )
    with pytest.raises(MachineRefused, match="the job has secrets: TOKEN") as refused:
        runner.submit(submission, report=meeting._report)
    assert refused.value.left_behind == "nothing was sent"
    assert names(machine.home) == []
    runner.close()


def test_an_injected_key_is_waited_for_until_it_was_seen_and_then_insisted_on(
    own_machine: Sshd, tmp_path: Path
) -> None:
    images_own = own_machine.host_key
    made_at_home = keygen(tmp_path / "injected")
    own_machine.start()
    meeting = Meeting(own_machine, tmp_path, "aws", made_at_home)
    with pytest.raises(MachineNotReady, match="is not ready") as early:
        meeting.runner()
    assert early.value.left_behind == "nothing was sent"
    assert {fingerprint(images_own), f"({fingerprint(made_at_home)})"} <= set(
        early.value.message.replace(",", "").split()
    )

    own_machine.stop()
    (tmp_path / "injected").replace(own_machine.folder / "host_key")
    own_machine.start()
    runner = meeting.runner()
    assert says_hello(runner, own_machine)
    assert meeting.openssh(runner).stdout == "in\n"

    own_machine.new_host_key()
    with pytest.raises(HostKeyRefused):
        runner._shell.run(["true"])
    assert meeting.told == []
    assert names(own_machine.home) == []
    runner.close()
