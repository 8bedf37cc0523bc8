"""Whole runs on a machine over SSH: real sshd, tmux and rsync, with the network cut under them."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from launcher import Job
from launcher.remote.ssh.host_keys import fingerprint
from provisioning import BadCredentials, MachineInUse, Query, Unreachable
from provisioning.models import utc_now
from provisioning.provider import ProviderContext
from provisioning.registry import provider
from tests.contract.provider import spec_for
from tests.system.house import House, eventually, expected_outcome
from tests.system.ssh.server import Sshd, free_port, keygen, names
from tests.system.test_circumstances import small_disk


def live_claims(machine: Sshd) -> list[str]:
    return names(machine.home / ".launch" / "claims" / "live")


def own_words(log: bytes) -> list[str]:
    return [line for line in log.decode().splitlines() if not line.startswith("[launch]")]


def shown_on_a_terminal(argv: list[str], house: House, wanted: bytes) -> bytes:
    """What a person sees who runs this command, up to what is wanted."""
    ours, theirs = pty.openpty()
    environ = {**house.environ, "TERM": "xterm"}
    with subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        while wanted not in shown and select.select([ours], [], [], 20)[0]:
            with contextlib.suppress(OSError):
                shown += os.read(ours, 4096)
        process.kill()
    os.close(ours)
    return shown


def test_a_job_runs_there_and_everything_is_home(house: House, machine: Sshd, host: str) -> None:
    data = house.root / "my data's"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "x").write_text("from home")
    job = house.counting(
        total=6, file_mounts={"data/set": str(data)}, secrets={"TOKEN": None}
    ).with_overrides({"setup": 'cat data/set/sub/x; command -v trainer; test -n "$TOKEN"'})
    house.environ["TOKEN"] = "s3cret-of-this-test"
    run = house.launch(job, provider="ssh", host=host)
    result = run.wait(timeout_s=90)

    assert (result.state, result.exit_code) == ("succeeded", 0), run.status().reason
    assert house.outcome(run) == expected_outcome(6)
    house.audit(run)
    words = own_words(b"".join(run.follow_log()))
    assert words[0].startswith("from home")
    assert words[-2:] == ["from step 0", "counted"]
    assert live_claims(machine) == []
    assert machine.processes() == []
    told = subprocess.run(
        ["grep", "-rl", "s3cret-of-this-test", str(machine.home)], capture_output=True, check=False
    )
    assert told.stdout == b""


def test_cuts_lose_no_step_and_no_line_of_output(house: House, machine: Sshd, host: str) -> None:
    job = house.job("for i in $(seq 1 80); do echo line $i; sleep 0.03; done; echo x > outputs/done")
    run = house.launch(job, provider="ssh", host=host)
    house.until(run, "running", "succeeded")
    over = threading.Event()

    def cut() -> None:
        while not over.wait(0.4):
            machine.cut()

    cutting = threading.Thread(target=cut)
    cutting.start()
    house.until(run, "pulling", "succeeded", "failed")
    over.set()
    cutting.join()
    assert run.wait(timeout_s=90).state == "succeeded"
    assert own_words(b"".join(run.follow_log())) == [f"line {number}" for number in range(1, 81)]
    house.audit(run)
    assert len(house.store.attempts(run.id)) == 1


def test_a_machine_that_is_away_for_a_while_is_not_given_up(house: House, machine: Sshd, host: str) -> None:
    run = house.launch(house.counting(total=40, pace_s=0.05), provider="ssh", host=host)
    house.until_step(run, 3)
    machine.stop()
    eventually(
        lambda: any("not answer" in event.message for event in run.events()) or not run.status().is_live,
        "it to be missed",
        90,
    )
    machine.start()
    assert run.wait(timeout_s=90).state == "succeeded"
    assert house.outcome(run) == expected_outcome(40)
    assert len(house.store.attempts(run.id)) == 1


def test_stop_and_resume_go_on_from_the_same_step(house: House, machine: Sshd, host: str) -> None:
    run = house.launch(house.counting(total=60, pace_s=0.1), provider="ssh", host=host)
    house.until_step(run, 5)
    run.stop()
    assert run.wait(timeout_s=90).state == "stopped"
    assert machine.processes() == []
    stopped_at = run.status().step or 0
    run.resume()
    assert run.wait(timeout_s=90).state == "succeeded"
    assert house.outcome(run) == expected_outcome(60)
    assert f"from step {stopped_at}" in b"".join(run.follow_log()).decode()


def test_looking_inside_while_it_runs(house: House, machine: Sshd, host: str) -> None:
    run = house.launch(house.counting(total=600, pace_s=0.05), provider="ssh", host=host)
    house.until_step(run, 3)
    told = run.execute(["sh", "-c", "echo $LAUNCH_RUN_ID; echo out > outputs/early.txt; exit 3"])
    assert (told.exit_code, told.stdout.decode().strip()) == (3, run.id)
    pulled = run.pull(house.root / "pulled")
    assert [file.path.name for file in pulled.files if file.path.name == "early.txt"] == ["early.txt"]
    argv = run.attach_argv()
    assert argv[0] == "ssh"
    assert b"from step 0" in shown_on_a_terminal(argv, house, b"from step 0")
    run.down(discard=True)
    run.wait(timeout_s=60)
    assert machine.processes() == []


def test_another_host_key_ends_it_before_anything_is_sent(house: House, machine: Sshd, host: str) -> None:
    other = keygen(house.root / "other")
    (machine.folder / "known_hosts").write_text(f"[127.0.0.1]:{machine.port} {other}\n")
    with pytest.raises(BadCredentials) as refused:
        house.launch(house.counting(), provider="ssh", host=host)
    assert fingerprint(other) in refused.value.message
    assert fingerprint(machine.host_key) in refused.value.message
    assert "nothing was sent" in refused.value.message
    assert names(machine.home) == []


def test_a_host_that_nobody_has_met_needs_its_fingerprint(house: House, machine: Sshd, host: str) -> None:
    (machine.folder / "known_hosts").unlink()
    with pytest.raises(BadCredentials, match="is not known") as refused:
        house.launch(house.counting(), provider="ssh", host=host)
    shown = fingerprint(machine.host_key)
    assert shown in refused.value.message
    assert shown in str(refused.value.hint)
    wrong = fingerprint(keygen(house.root / "other"))
    with pytest.raises(BadCredentials, match="expected") as refused:
        house.launch(_with_key(house, wrong), provider="ssh", host=host)
    assert {wrong, shown} <= set(refused.value.message.replace(";", "").replace(",", "").split())
    assert names(machine.home) == []
    run = house.launch(_with_key(house, shown), provider="ssh", host=host)
    assert run.wait(timeout_s=90).state == "succeeded"


def _with_key(house: House, key: str) -> Job:
    return house.counting(total=3, provider_options={"ssh": {"host_key": key}})


def test_refusals_say_what_to_do(house: House, machine: Sshd, tmp_path: Path) -> None:
    for port in (_known_port(machine), free_port()):
        with pytest.raises(Unreachable, match=r"does not answer: .*Connection refused"):
            house.launch(house.counting(), provider="ssh", host=f"127.0.0.1:{port}")
    wrong_keys = [tmp_path / f"key{n}" for n in range(7)]
    with (machine.folder / "config").open("a") as config:
        config.writelines(f"  IdentityFile {key}\n" for key in wrong_keys if keygen(key))
    with pytest.raises(BadCredentials, match="offered several keys") as refused:
        house.launch(house.counting(), provider="ssh", host=f"{machine.user}x@127.0.0.1:{machine.port}")
    assert "IdentitiesOnly" in str(refused.value.hint)
    (machine.folder / "config").write_text(machine.ssh_config())
    (machine.folder / "authorized_keys").write_text("")
    with pytest.raises(BadCredentials, match="refused the login") as refused:
        house.launch(house.counting(), provider="ssh", host=f"{machine.user}@127.0.0.1:{machine.port}")
    assert "ssh-copy-id" in str(refused.value.hint)
    told = house.command("--host", f"{machine.user}@127.0.0.1:{machine.port}", "--yes", "--", "true")
    assert told.returncode == 3
    assert "ssh-copy-id" in told.stderr


def test_a_host_without_room_ends_the_run_in_words(
    house: House, machine: Sshd, host: str, tmp_path: Path
) -> None:
    """It is the same machine every time, and stays as full as it is: it is not tried again."""
    with small_disk(tmp_path / "small disk", "1m") as disk:
        with contextlib.suppress(OSError):
            (disk / "filler").write_bytes(bytes(2 << 20))
        job = house.job("true").with_overrides({"provider_options.ssh.work_root": str(disk)})
        run = house.launch(job, provider="ssh", host=host)
        result = run.wait(timeout_s=120)
    assert result.state == "failed"
    assert result.reason.startswith("there is no room left on the machine")
    assert len(run.status().attempts) == 1
    assert live_claims(machine) == []


def _known_port(machine: Sshd) -> int:
    port = free_port()
    with (machine.folder / "known_hosts").open("a") as file:
        file.write(f"[127.0.0.1]:{port} {machine.host_key}\n")
    return port


def test_two_homes_share_a_host_and_end_only_their_own(
    house: House, machine: Sshd, host: str, tmp_path: Path
) -> None:
    options = {"host": host}
    one = provider("ssh", ProviderContext(home=tmp_path / "one", environ=house.environ, options=options))
    two = provider("ssh", ProviderContext(home=tmp_path / "two", environ=house.environ, options=options))
    offer = one.offers(Query())[0]
    ours = one.create(offer, spec_for("same-0001", home_id="home-1"))
    theirs = two.create(offer, spec_for("same-0001", home_id="home-2"))
    assert ours.ref != theirs.ref
    sleepers = [
        subprocess.Popen(["sleep", "600"], env={**os.environ, "LAUNCH_MACHINE": instance.ref.id})
        for instance in (ours, theirs)
    ]
    try:
        one.terminate(ours.ref)
        assert sleepers[0].wait(timeout=10) == -9
        assert sleepers[1].poll() is None
        assert not two.get(theirs.ref).state.is_gone
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
    two.terminate(theirs.ref)


def test_a_gpu_is_held_against_everybody_else(house: House, machine: Sshd, host: str, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nvidia-smi").write_text('#!/bin/sh\necho "0, GPU-aaaa, NVIDIA RTX 4090, 24564"\n')
    (tools / "nvidia-smi").chmod(0o755)
    machine.environ = {"PATH": f"{tools}:{os.environ['PATH']}"}
    machine.stop()
    machine.start()
    context = ProviderContext(home=tmp_path / "one", environ=house.environ, options={"host": host})
    here = provider("ssh", context)
    (offer,) = here.offers(Query(gpu_name="RTX 4090"))
    held = here.create(offer, spec_for("first-0001"))
    assert held.access is not None
    assert held.access.environ["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa"
    with pytest.raises(MachineInUse, match="first-0001"):
        here.create(offer, spec_for("other-0001"))
    beside = here.create(here.offers(Query(gpu_count=0))[0], spec_for("cpu-0001"))
    assert beside.access is not None
    assert beside.access.environ["CUDA_VISIBLE_DEVICES"] == ""
    here.terminate(held.ref)
    assert here.create(offer, spec_for("other-0001")).state is not None
    for instance in here.owned():
        here.terminate(instance.ref)


def test_a_deadline_that_passed_frees_the_host(
    house: House, machine: Sshd, host: str, tmp_path: Path
) -> None:
    context = ProviderContext(home=tmp_path / "one", environ=house.environ, options={"host": host})
    here = provider("ssh", context)
    spec = replace(spec_for(), deadline=utc_now())
    ref = here.create(here.offers(Query())[0], spec).ref
    assert here.get(ref).state.is_gone
    assert here.owned() == []


def test_a_host_of_ones_own_with_a_broken_gpu_ends_the_run_in_words(
    house: House, machine: Sshd, host: str, tmp_path: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nvidia-smi").write_text('#!/bin/sh\n[ "$1" = -L ] && exit 255\nexit 0\n')
    (tools / "nvidia-smi").chmod(0o755)
    machine.environ = {"PATH": f"{tools}:{os.environ['PATH']}"}
    machine.stop()
    machine.start()
    run = house.launch(house.counting(), provider="ssh", host=host)
    result = run.wait(timeout_s=90)
    assert (result.state, result.reason_code) == ("failed", "machine_fault")
    assert result.reason.startswith("the GPU's driver does not answer")
    assert live_claims(machine) == []
