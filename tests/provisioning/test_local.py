"""This computer as a machine: claims, GPUs, notices, and whose processes end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from provisioning import (
    CloudError,
    Instance,
    InstanceState,
    LocalAccess,
    MachineInUse,
    ProviderContext,
    Query,
)
from provisioning.local.provider import LocalProvider
from provisioning.models import utc_now
from provisioning.processes import running
from tests.provisioning.machines import Clock, eventually, job, spec
from tests.provisioning.test_hardware import TWO_T4, tool

NO_TOOLS = {"PATH": "/nowhere"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def local(tmp_path: Path) -> Callable[..., LocalProvider]:
    """Return a builder of the provider over one home."""

    def build(
        environ: dict[str, str] = NO_TOOLS, clock: Callable[[], Any] = utc_now, **options: Any
    ) -> LocalProvider:
        home = tmp_path / "launch home"
        return LocalProvider(ProviderContext(home=home, environ=environ, clock=clock, options=options))

    return build


def claim(
    provider: LocalProvider, run_id: str = "demo-abcd", query: Query | None = None, **more: Any
) -> Instance:
    (offer,) = provider.offers(query or Query())
    return provider.create(offer, spec(run_id, **more))


def environ_of(instance: Instance) -> dict[str, str]:
    assert isinstance(instance.access, LocalAccess)
    return dict(instance.access.environ)


def test_the_offer_is_this_computer_for_nothing(local: Any) -> None:
    (offer,) = local().offers(Query())
    assert (offer.instance_type, offer.usd_per_hour, offer.price_source) == ("this-computer", 0.0, "free")
    assert 0 < offer.vcpus <= (os.cpu_count() or 1)
    assert (offer.disk_gib or 0) > 0


def test_a_relative_home_is_the_same_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    instance = claim(LocalProvider(ProviderContext(home=Path("home"), environ=NO_TOOLS)))
    monkeypatch.chdir("/")
    provider = LocalProvider(ProviderContext(home=tmp_path / "home", environ=NO_TOOLS))
    assert provider.get(instance.ref).access == instance.access


def test_looking_at_offers_writes_nothing(local: Any, tmp_path: Path) -> None:
    local().offers(Query())
    assert list(tmp_path.iterdir()) == []


def test_releasing_ends_the_runs_processes_and_only_those(local: Any) -> None:
    provider = local()
    mine, other = claim(provider, "mine-0001"), claim(provider, "other-0001")
    with job(mine, "sleep 611 & sleep 612") as ours, job(other, "sleep 613") as theirs:
        eventually(lambda: len(running(mine.ref.id)) >= 2)
        provider.terminate(mine.ref)
        assert ours.wait(timeout=5) == -9
        assert running(mine.ref.id) == []
        assert theirs.poll() is None
    assert provider.get(mine.ref).state_reason == "released"
    assert [instance.ref for instance in provider.owned()] == [other.ref]


def test_releasing_keeps_the_files(local: Any) -> None:
    provider = local()
    instance = claim(provider)
    assert isinstance(instance.access, LocalAccess)
    folder = instance.access.work_root / "launch" / "demo-abcd"
    folder.mkdir(parents=True)
    (folder / "model.pt").write_bytes(b"weights")
    provider.terminate(instance.ref)
    assert (folder / "model.pt").read_bytes() == b"weights"


def test_two_homes_with_the_same_run_id_are_two_machines(tmp_path: Path) -> None:
    def at(home: str) -> LocalProvider:
        return LocalProvider(ProviderContext(home=tmp_path / home, environ=NO_TOOLS))

    ann, bob = claim(at("ann")), claim(at("bob"))
    assert ann.ref != bob.ref
    with job(ann) as ours, job(bob) as theirs:
        eventually(lambda: running(ann.ref.id) and running(bob.ref.id))
        at("ann").terminate(ann.ref)
        assert ours.wait(timeout=5) == -9
        assert theirs.poll() is None


def test_a_claim_outlives_the_death_of_its_maker(local: Any, tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
sys.path[:0] = [{str(ROOT)!r}]
from tests.provisioning.machines import spec
from pathlib import Path
from provisioning import ProviderContext, Query
from provisioning.local.provider import LocalProvider
provider = LocalProvider(ProviderContext(home=Path({str(tmp_path / "launch home")!r}), environ={NO_TOOLS!r}))
provider.create(provider.offers(Query())[0], spec())
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    (found,) = local().owned("demo-abcd")
    assert found.state is InstanceState.RUNNING
    local().terminate(found.ref)
    assert local().owned() == []


def test_a_damaged_claim_is_named_not_ignored(local: Any, tmp_path: Path) -> None:
    provider = local()
    instance = claim(provider)
    file = tmp_path / "launch home" / "local" / "claims" / f"{instance.ref.id}.json"
    file.write_text("{half")
    with pytest.raises(CloudError, match=instance.ref.id) as damaged:
        provider.owned()
    assert damaged.value.left_behind


def test_a_home_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    provider = LocalProvider(ProviderContext(home=tmp_path / "file", environ=NO_TOOLS))
    with pytest.raises(CloudError, match=r"using .*file") as refused:
        provider.check()
    assert "LAUNCH_HOME" in (refused.value.hint or "")


# GPUs


@pytest.fixture
def two_gpus(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a computer whose driver reports two T4."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return tool(folder, "nvidia-smi", f"cat <<'END'\n{TWO_T4}END")


def test_gpus_are_offered_and_matched_by_name(local: Any, two_gpus: dict[str, str]) -> None:
    provider = local(two_gpus)
    (offer,) = provider.offers(Query(gpu_name="t4"))
    assert (offer.gpu_name, offer.gpu_count, offer.gpu_memory_gib) == ("Tesla T4", 2, 15.0)
    assert provider.offers(Query(gpu_name="A100")) == []
    (one,) = provider.offers(Query(gpu_name="T4", gpu_count=1))
    assert one.gpu_count == 1
    assert provider.offers(Query(gpu_count=3)) == []


def test_a_gpu_belongs_to_one_run(local: Any, two_gpus: dict[str, str]) -> None:
    provider = local(two_gpus)
    first = claim(provider, "first-0001")
    with pytest.raises(MachineInUse, match="first-0001") as held:
        claim(provider, "second-0001")
    assert "launch down first-0001" in (held.value.hint or "")
    provider.terminate(first.ref)
    claim(provider, "second-0001")


def test_two_runs_with_a_gpu_each_get_different_ones(local: Any, two_gpus: dict[str, str]) -> None:
    provider = local(two_gpus)
    one_gpu = Query(gpu_count=1)
    first, second = claim(provider, "first-0001", one_gpu), claim(provider, "second-0001", one_gpu)
    assert environ_of(first)["CUDA_VISIBLE_DEVICES"] == "GPU-5f3e9c1a-0b9c-7c0f-3b7e-1d2c3b4a5f60"
    assert environ_of(second)["CUDA_VISIBLE_DEVICES"] == "GPU-8a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
    with pytest.raises(MachineInUse):
        claim(provider, "third-0001", one_gpu)


def test_sharing_is_allowed_when_asked_for(local: Any, two_gpus: dict[str, str]) -> None:
    first = claim(local(two_gpus), "first-0001")
    second = claim(local(two_gpus, share_gpu=True), "second-0001")
    assert environ_of(first)["CUDA_VISIBLE_DEVICES"] == environ_of(second)["CUDA_VISIBLE_DEVICES"]


def test_runs_without_a_gpu_lie_side_by_side_and_see_none(local: Any, two_gpus: dict[str, str]) -> None:
    provider = local(two_gpus)
    claim(provider, "gpu-0001")
    for run_id in ("cpu-0001", "cpu-0002"):
        assert environ_of(claim(provider, run_id, Query(gpu_count=0)))["CUDA_VISIBLE_DEVICES"] == ""


def test_without_gpus_nothing_is_hidden(local: Any) -> None:
    assert set(environ_of(claim(local()))) == {"LAUNCH_MACHINE"}


def test_one_gpu_is_never_given_to_two_at_the_same_moment(local: Any, two_gpus: dict[str, str]) -> None:
    def try_to_claim(number: int) -> bool:
        try:
            claim(local(two_gpus), f"race-{number:04}")
        except MachineInUse:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_claim, range(8))) == 1


# Ends


def test_a_passed_deadline_frees_what_nobody_uses(local: Any) -> None:
    clock = Clock()
    provider = local(clock=clock)
    instance = claim(provider, deadline=clock.now + timedelta(hours=1))
    clock.forward(3599)
    assert provider.get(instance.ref).state is InstanceState.RUNNING
    clock.forward(2)
    gone = provider.get(instance.ref)
    assert (gone.state, gone.state_reason) == (InstanceState.TERMINATED, "deadline")


def test_a_passed_deadline_is_left_to_the_machine_while_it_works(local: Any) -> None:
    clock = Clock()
    provider = local(clock=clock)
    instance = claim(provider, deadline=clock.now + timedelta(hours=1))
    with job(instance):
        eventually(lambda: running(instance.ref.id))
        clock.forward(4000)
        assert provider.get(instance.ref).state is InstanceState.RUNNING
        provider.terminate(instance.ref)


def notice_file(provider: LocalProvider, instance: Instance) -> Path:
    return Path(unquote(urlparse(provider.notice(instance).url).path))


def test_an_interruption_is_announced_and_then_ends_the_machine(local: Any) -> None:
    clock = Clock()
    provider = local(clock=clock)
    instance = claim(provider, deadline=clock.now + timedelta(hours=1))
    assert not notice_file(provider, instance).exists()
    with job(instance) as running_job:
        provider.interrupt(instance.ref, notice_s=30)
        assert json.loads(notice_file(provider, instance).read_text())["action"] == "terminate"
        clock.forward(29)
        assert provider.get(instance.ref).state is InstanceState.RUNNING
        clock.forward(1)
        gone = provider.get(instance.ref)
        assert (gone.state, gone.state_reason) == (InstanceState.TERMINATED, "interrupted after a notice")
        assert running_job.wait(timeout=5) == -9


def test_an_interruption_without_notice_ends_the_machine_at_once(local: Any) -> None:
    provider = local()
    instance = claim(provider)
    with job(instance) as running_job:
        provider.interrupt(instance.ref, notice_s=0)
        assert running_job.wait(timeout=5) == -9
    assert provider.get(instance.ref).state.is_gone


def test_a_notice_written_by_hand_is_only_a_notice(local: Any) -> None:
    provider = local()
    instance = claim(provider)
    notice_file(provider, instance).write_text("go away\n")
    assert provider.get(instance.ref).state is InstanceState.RUNNING
    provider.terminate(instance.ref)
    assert not notice_file(provider, instance).exists()


def test_the_machine_can_end_itself_and_its_parent(local: Any, tmp_path: Path) -> None:
    provider = local()
    instance = claim(provider)
    command = json.dumps(provider.self_destroy(instance).argv)
    watchdog = f"import subprocess, time\nsubprocess.Popen({command})\ntime.sleep(600)"
    script = f"exec {sys.executable} -c '{watchdog}'"
    with job(instance, script) as running_job:
        assert running_job.wait(timeout=5) == -9
    assert eventually(lambda: provider.get(instance.ref).state.is_gone)
