"""Files that take their time: what they do is seen, a person and the deadlines are heard, and nothing is moved twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import Kind, Run
from tests.system.house import House, eventually, expected_outcome
from tests.system.ssh.proxy import Proxy
from tests.system.ssh.server import Sshd

SLOW_BYTES_PER_S = 1.5e6
MIB = 1 << 20


@pytest.fixture
def line(machine: Sshd) -> Iterator[Proxy]:
    """The way to the machine, as slow as one wants it."""
    proxy = Proxy(machine.port)
    with (machine.folder / "known_hosts").open("a") as file:
        file.write(f"[127.0.0.1]:{proxy.port} {machine.host_key}\n")
    yield proxy
    proxy.close()


def at(machine: Sshd, line: Proxy) -> str:
    return f"{machine.user}@127.0.0.1:{line.port}"


def moving(run: Run, what: str) -> list[str]:
    """What was said about a transfer while it was under way."""
    return [
        event.message
        for event in run.events()
        if event.kind is Kind.TRANSFER and event.data.get("total_bytes") and event.data["what"] == what
    ]


def said(run: Run, words: str) -> bool:
    return any(words in event.message for event in run.events())


def test_stop_is_heard_while_data_goes_up_and_a_resume_goes_on_from_there(
    house: House, machine: Sshd, line: Proxy
) -> None:
    data = house.root / "set.bin"
    data.write_bytes(os.urandom(24 * MIB))
    line.bytes_per_s = SLOW_BYTES_PER_S
    run = house.launch(
        house.counting(total=3, file_mounts={"data/set.bin": str(data)}),
        provider="ssh",
        host=at(machine, line),
    )
    eventually(lambda: moving(run, "set.bin"), "the transfer to be told of")
    assert "% of 25.2 MB" in moving(run, "set.bin")[0]
    assert "MB/s" in moving(run, "set.bin")[0]
    status = run.status()
    assert status.state == "syncing"
    assert status.reason in moving(run, "set.bin")
    run.stop()
    assert run.wait(timeout_s=120).state == "stopped"
    assert said(run, "what was on its way waits: `launch stop` was called")
    assert not said(run, "set.bin is on the machine")

    line.bytes_per_s = None
    passed = line.passed_bytes
    assert 0 < passed < 20 * MIB
    run.resume()
    assert run.wait(timeout_s=120).state == "succeeded"
    assert house.outcome(run) == expected_outcome(3)
    assert line.passed_bytes < 30 * MIB
    house.audit(run)


def test_outputs_on_their_way_home_are_shown_and_given_up_when_nobody_wants_them(
    house: House, machine: Sshd, line: Proxy
) -> None:
    job = house.job(
        f"head -c {6 * MIB} /dev/urandom > outputs/first.bin; touch outputs/there; "
        f"until [ -e '{house.gate}' ]; do sleep 0.05; done; head -c {24 * MIB} /dev/urandom > outputs/second.bin"
    )
    run = house.launch(job, provider="ssh", host=at(machine, line))
    outputs = machine.home / ".launch" / "launch" / run.id / "outputs"
    eventually((outputs / "there").exists, "the first output")
    line.bytes_per_s = SLOW_BYTES_PER_S
    pulled = house.command("pull", run.id, "--json")
    assert pulled.returncode == 0, pulled.stderr
    assert "outputs: " in pulled.stderr
    assert "% of 6.3 MB" in pulled.stderr

    house.open_gate()
    eventually(lambda: moving(run, "outputs"), "the outputs to be on their way")
    assert run.status().state == "pulling"
    assert run.status().reason.startswith("outputs: ")
    run.down(discard=True)
    result = run.wait(timeout_s=120)
    assert (result.state, result.reason) == ("stopped", "the job finished, and its outputs were not wanted")
    assert said(run, "what was on its way waits: `launch down` was called")
    results = Path(run.status().results_dir) / "outputs"
    assert (results / "first.bin").stat().st_size == 6 * MIB
    assert not (results / "second.bin").exists()
    assert machine.processes() == []


def test_the_job_is_followed_while_its_checkpoint_travels_and_stop_comes_first(
    house: House, machine: Sshd, line: Proxy
) -> None:
    big = "head -c 16000000 /dev/urandom > saved/.big; mv saved/.big saved/big.pt; exec "
    job = house.counting(
        total=100_000, pace_s=0.05, every=100_000, checkpoint={"dir": "saved", "mirror_every": "1s"}
    )
    job = job.with_overrides({"run": big + job.run})
    line.bytes_per_s = SLOW_BYTES_PER_S
    run = house.launch(job, provider="ssh", host=at(machine, line))
    eventually(lambda: moving(run, "checkpoint"), "the checkpoint to be on its way")
    seen_at = run.status().step or 0
    house.until_step(run, seen_at + 60)
    assert not said(run, "checkpoint big.pt is home")
    run.stop()
    eventually(
        lambda: said(run, "what was on its way waits: `launch stop` was called"), "stop to be heard", 90
    )
    line.bytes_per_s = None
    assert run.wait(timeout_s=120).state == "stopped"
    saved = run.status().step or 0
    assert (house.home.run(run.id).mirror / f"step_{saved:06d}.json").exists()
    assert b"".join(run.follow_log()).decode().count("from step 0") == 1
    house.audit(run)
