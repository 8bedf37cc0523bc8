"""The fake cloud as its users see it: over real files and real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from provisioning import (
    BadCredentials,
    BadOption,
    CloudError,
    Instance,
    InstanceState,
    LocalAccess,
    NoCapacity,
    Offer,
    PriceRose,
    ProviderContext,
    Query,
    Throttled,
    Unreachable,
    WhenUnattended,
)
from provisioning.fake.provider import FakeProvider
from provisioning.models import utc_now
from provisioning.processes import module_command, running
from tests.provisioning.machines import Clock, eventually, job, spec

Build = Callable[..., FakeProvider]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Build]:
    """Yield a builder of the provider over one cloud; what still lives in it ends with the test."""

    def build(clock: Callable[[], Any] = utc_now, **options: Any) -> FakeProvider:
        home = tmp_path / "launch home"
        return FakeProvider(ProviderContext(home=home, environ={}, clock=clock, options=options))

    yield build
    for instance in build().owned():
        build().terminate(instance.ref)


def t4(provider: FakeProvider, **query: Any) -> Offer:
    return provider.offers(Query(instance_type="t4.1x", **query))[0]


def rent(provider: FakeProvider, run_id: str = "demo-abcd", attempt: int = 1, **more: Any) -> Instance:
    """Rent a machine and look at it once, so that it runs if it boots in no time."""
    return provider.get(provider.create(t4(provider), spec(run_id, attempt, **more)).ref)


def work_root(instance: Instance) -> Path:
    assert isinstance(instance.access, LocalAccess)
    return instance.access.work_root


def console(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = module_command("provisioning.fake", *arguments, "--home", str(tmp_path / "launch home"))
    return subprocess.run(command.argv, cwd="/", capture_output=True, text=True, timeout=60)


# Machines


def test_a_machine_boots(fake: Build) -> None:
    clock = Clock()
    provider = fake(clock, boot_s=40)
    ref = provider.create(t4(provider), spec(deadline=clock.now + timedelta(hours=1))).ref
    clock.forward(39)
    assert (provider.get(ref).state, provider.get(ref).access) == (InstanceState.PENDING, None)
    clock.forward(1)
    assert provider.get(ref).state is InstanceState.RUNNING
    assert work_root(provider.get(ref)).is_dir()


def test_termination_ends_processes_and_disk_and_nothing_else(fake: Build) -> None:
    provider = fake()
    mine, other = rent(provider), rent(provider, "other-0001")
    (work_root(mine) / "weights").write_text("lost with the machine")
    (work_root(mine) / "frozen").mkdir(mode=0o500)
    with job(mine, "sleep 621 & sleep 622") as ours, job(other, "sleep 623") as theirs:
        eventually(lambda: len(running(mine.ref.id)) >= 2)
        provider.terminate(mine.ref)
        assert ours.wait(timeout=5) == -9
        assert theirs.poll() is None
        assert not work_root(mine).exists()
        assert work_root(other).exists()


def test_what_a_link_on_its_disk_points_to_is_safe(fake: Build, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set.hdf5").write_text("twenty gigabytes")
    instance = rent(fake())
    (work_root(instance) / "data").symlink_to(tmp_path / "data")
    fake().terminate(instance.ref)
    assert (tmp_path / "data" / "set.hdf5").exists()


def test_a_parked_machine_keeps_its_disk_and_comes_back(fake: Build) -> None:
    provider = fake()
    instance = rent(provider)
    (work_root(instance) / "weights").write_text("kept")
    with job(instance) as running_job:
        provider.park(instance.ref)
        assert running_job.wait(timeout=5) == -9
    assert provider.get(instance.ref).state is InstanceState.STOPPED
    assert [parked.ref for parked in provider.owned()] == [instance.ref]
    deadline = utc_now() + timedelta(hours=2)
    provider.unpark(instance.ref, deadline)
    again = provider.get(instance.ref)
    assert (again.state, again.deadline) == (InstanceState.RUNNING, deadline)
    assert (work_root(again) / "weights").read_text() == "kept"


def test_the_deadline_holds_whenever_somebody_looks(fake: Build) -> None:
    clock = Clock()
    provider = fake(clock)
    ref = provider.create(t4(provider), spec(deadline=clock.now + timedelta(hours=1))).ref
    clock.forward(3600)
    gone = provider.get(ref)
    assert (gone.state, gone.state_reason) == (InstanceState.TERMINATED, "deadline")
    assert provider.owned() == []


def test_its_own_deadline_parks_what_was_rented_so(fake: Build, tmp_path: Path) -> None:
    provider = fake()
    instance = rent(provider, when_unattended=WhenUnattended.PARK)
    with job(instance) as running_job:
        destroy = provider.self_destroy(instance)
        subprocess.run(destroy.argv, cwd="/", check=True, timeout=60)
        assert running_job.wait(timeout=5) == -9
    assert provider.get(instance.ref).state is InstanceState.STOPPED
    assert work_root(instance).exists()


def test_slow_termination_is_stopping_meanwhile(fake: Build) -> None:
    clock = Clock()
    provider = fake(clock, terminate_s=30)
    ref = provider.create(t4(provider), spec(deadline=clock.now + timedelta(hours=1))).ref
    provider.terminate(ref)
    assert provider.get(ref).state is InstanceState.STOPPING
    assert len(provider.owned()) == 1
    clock.forward(30)
    assert provider.get(ref).state is InstanceState.TERMINATED


def test_a_new_machine_may_not_be_listed_yet(fake: Build) -> None:
    clock = Clock()
    provider = fake(clock, visible_after_s=3)
    wanted = spec(deadline=clock.now + timedelta(hours=1))
    ref = provider.create(t4(provider), wanted).ref
    assert provider.owned() == []
    with pytest.raises(Unreachable):
        provider.get(ref)
    assert provider.create(t4(provider), wanted).ref == ref
    clock.forward(3)
    assert [instance.ref for instance in provider.owned()] == [ref]


# Interruptions


def notice_file(provider: FakeProvider, instance: Instance) -> Path:
    return Path(unquote(urlparse(provider.notice(instance).url).path))


def test_a_scripted_interruption_happens_although_nobody_calls(fake: Build) -> None:
    provider = fake(interruptions=[{"attempt": 1, "after_s": 0.2, "notice_s": 1.0}])
    instance = rent(provider)
    with job(instance) as running_job:
        notice = eventually(lambda: notice_file(provider, instance).exists())
        assert notice
        assert running_job.poll() is None
        assert running_job.wait(timeout=30) == -9
    assert eventually(lambda: not work_root(instance).exists())
    gone = provider.get(instance.ref)
    assert (gone.state, gone.state_reason) == (InstanceState.TERMINATED, "reclaimed by the spot market")
    assert not notice_file(provider, instance).exists()


def test_only_the_scripted_attempt_is_interrupted(fake: Build) -> None:
    clock = Clock()
    provider = fake(clock, interruptions=[{"attempt": 1, "after_s": 5}])
    day = clock.now + timedelta(days=1)
    first = rent(provider, attempt=1, deadline=day)
    second = rent(provider, attempt=2, deadline=day)
    clock.forward(5)
    assert provider.get(first.ref).state.is_gone
    assert provider.get(second.ref).state is InstanceState.RUNNING


def test_an_interruption_can_be_sent_by_hand(fake: Build, tmp_path: Path) -> None:
    provider = fake()
    announced, sudden = rent(provider, "announced-0001"), rent(provider, "sudden-0001")
    with job(announced) as one, job(sudden) as other:
        assert console(tmp_path, "interrupt", sudden.ref.id).returncode == 0
        assert other.wait(timeout=5) == -9
        provider.interrupt(announced.ref, notice_s=1.0)
        assert notice_file(provider, announced).exists()
        assert one.poll() is None
        assert one.wait(timeout=30) == -9


def test_a_follower_ends_with_its_machine(fake: Build) -> None:
    provider = fake(interruptions=[{"after_s": 3600}])
    instance = rent(provider)

    def followers() -> list[str]:
        listing = subprocess.run(["ps", "axww", "-o", "command="], capture_output=True, text=True, check=True)
        return [line for line in listing.stdout.splitlines() if f"follow {instance.ref.id}" in line]

    assert eventually(followers)
    provider.terminate(instance.ref)
    eventually(lambda: not followers())


# Prices, room, faults


def test_prices_can_be_scripted(fake: Build) -> None:
    provider = fake(
        prices=[{"instance_type": "t4.1x", "zone": "us-east-a", "spot": True, "usd_per_hour": 0.01}]
    )
    cheapest = t4(provider)
    assert (cheapest.zone, cheapest.spot, cheapest.usd_per_hour) == ("us-east-a", True, 0.01)
    assert t4(provider, zone="us-east-b").usd_per_hour > 0.01


def test_a_price_that_rose_rents_nothing(fake: Build) -> None:
    quoted = t4(fake())
    dearer = fake(prices=[{"instance_type": "t4.1x", "usd_per_hour": 9.0}])
    with pytest.raises(PriceRose) as rose:
        dearer.create(quoted, spec())
    assert (rose.value.quoted_usd_per_hour, rose.value.asked_usd_per_hour) == (quoted.usd_per_hour, 9.0)
    assert dearer.owned() == []


def test_a_price_that_rose_within_the_limit_is_paid(fake: Build) -> None:
    quoted = t4(fake())
    dearer = fake(prices=[{"instance_type": "t4.1x", "usd_per_hour": 9.0}])
    assert dearer.create(quoted, spec(max_usd_per_hour=9.0)).usd_per_hour == 9.0


def test_a_place_can_be_full(fake: Build) -> None:
    provider = fake(capacity=[{"machines": 1, "instance_type": "t4.1x", "zone": "us-east-a"}])
    here, there = t4(provider, zone="us-east-a"), t4(provider, zone="us-east-c")
    first = provider.create(here, spec("first-0001")).ref
    with pytest.raises(NoCapacity, match="us-east-a"):
        provider.create(here, spec("second-0001"))
    provider.create(there, spec("second-0001", try_number=2))
    provider.terminate(first)
    provider.create(here, spec("third-0001"))


def test_a_parked_machine_may_find_its_place_taken(fake: Build) -> None:
    provider = fake(capacity=[{"machines": 1}])
    parked = rent(provider, "parked-0001")
    provider.park(parked.ref)
    rent(provider, "taker-0001")
    with pytest.raises(NoCapacity):
        provider.unpark(parked.ref, utc_now() + timedelta(hours=1))
    assert provider.get(parked.ref).state is InstanceState.STOPPED


def test_a_fault_strikes_when_and_as_often_as_scripted(fake: Build) -> None:
    fault = {"call": "get", "kind": "throttled", "nth": 2, "times": 2, "retry_after_s": 4}
    provider = fake(faults=[fault])
    ref = provider.create(t4(provider), spec()).ref
    provider.get(ref)
    for _ in range(2):
        with pytest.raises(Throttled) as throttled:
            provider.get(ref)
        assert throttled.value.retry_after_s == 4
    provider.get(ref)


def test_faults_are_counted_across_processes_and_per_run(fake: Build) -> None:
    faults = [{"call": "create", "kind": "no_capacity", "times": 2}]
    for number in (1, 2):
        with pytest.raises(NoCapacity):
            fake(faults=faults).create(t4(fake()), spec("one-0001", try_number=number))
    fake(faults=faults).create(t4(fake()), spec("one-0001", try_number=3))
    with pytest.raises(NoCapacity):
        fake(faults=faults).create(t4(fake()), spec("two-0001"))


def test_a_fault_can_be_bound_to_a_zone(fake: Build) -> None:
    provider = fake(faults=[{"call": "create", "kind": "no_capacity", "zone": "us-east-a", "times": 99}])
    with pytest.raises(NoCapacity):
        provider.create(t4(provider, zone="us-east-a"), spec())
    provider.create(t4(provider, zone="us-east-b"), spec(try_number=2))


def test_an_ignored_termination_shows_only_when_read_back(fake: Build) -> None:
    instance = rent(fake())
    fake(faults=[{"call": "terminate", "kind": "ignored"}]).terminate(instance.ref)
    assert fake().get(instance.ref).state is InstanceState.RUNNING


def test_expired_credentials_say_so(fake: Build) -> None:
    with pytest.raises(BadCredentials):
        fake(faults=[{"call": "owned", "kind": "credentials"}]).owned()


@pytest.mark.parametrize(
    "options",
    [
        {"faults": [{"call": "get", "kind": "quota"}]},
        {"faults": [{"call": "get", "kind": "ignored"}]},
        {"faults": [{"call": "get", "kind": "throttled", "zone": "us-east-a"}]},
        {"faults": [{"call": "get", "kind": "throttled", "nth": 0}]},
        {"interruptions": [{"after_s": -1}]},
        {"prices": [{"instance_type": "t4.1x", "usd_per_hour": -1}]},
        {"boot_s": -1},
    ],
)
def test_a_script_that_makes_no_sense_is_refused(fake: Build, options: dict[str, Any]) -> None:
    with pytest.raises(BadOption, match=r"provider_options\.fake"):
        fake(**options)


def test_a_token_used_with_other_parameters_is_refused(fake: Build) -> None:
    provider = fake()
    wanted = spec()
    provider.create(t4(provider), wanted)
    with pytest.raises(BadOption, match="demo-abcd-1-1 was used before"):
        provider.create(t4(provider), replace(wanted, deadline=wanted.deadline + timedelta(hours=1)))


# Its state


def test_many_processes_and_threads_share_one_cloud(fake: Build) -> None:
    def rent_and_end(number: int) -> str:
        provider = fake()
        instance = rent(provider, f"many-{number % 8:04}", attempt=number // 8 + 1)
        if number % 2:
            provider.terminate(instance.ref)
        return str(instance.ref)

    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(rent_and_end, range(32)))
    assert len(set(refs)) == 32
    assert {str(instance.ref) for instance in fake().owned()} == set(refs[::2])


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.02, 0.05])
def test_killing_a_caller_at_any_moment_leaves_a_whole_cloud(
    fake: Build, tmp_path: Path, moment: float
) -> None:
    code = f"""
import sys
sys.path[:0] = [{str(Path(__file__).resolve().parents[2])!r}]
from pathlib import Path
from provisioning import ProviderContext, Query
from provisioning.fake.provider import FakeProvider
from tests.provisioning.machines import spec
provider = FakeProvider(ProviderContext(home=Path({str(tmp_path / "launch home")!r}), environ={{}}))
offer = provider.offers(Query())[0]
print("go", flush=True)
for number in range(1, 1000):
    provider.terminate(provider.create(offer, spec(try_number=number)).ref)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as caller:
        assert caller.stdout
        assert caller.stdout.readline() == b"go\n"
        with pytest.raises(subprocess.TimeoutExpired):
            caller.wait(timeout=0.05 + moment)
        os.kill(caller.pid, signal.SIGKILL)
    left = fake().owned()
    assert len(left) <= 1
    for instance in left:
        fake().terminate(instance.ref)
    assert fake().owned() == []


def test_a_damaged_state_is_named_not_overwritten(fake: Build, tmp_path: Path) -> None:
    provider = fake()
    rent(provider)
    state = tmp_path / "launch home" / "fake" / "cloud.json"
    whole = state.read_text()
    state.write_text("{half")
    with pytest.raises(CloudError, match=r"cloud\.json is damaged"):
        provider.owned()
    assert state.read_text() == "{half"
    state.write_text(whole)


# Its console


def test_the_console_lists_what_everything_would_have_cost(fake: Build, tmp_path: Path) -> None:
    instance = rent(fake())
    fake().terminate(instance.ref)
    listed = console(tmp_path, "ls", "--json")
    (bill,) = json.loads(listed.stdout)["machines"]
    assert (bill["ref"], bill["state"], bill["token"]) == (str(instance.ref), "terminated", "demo-abcd-1-1")
    assert bill["usd"] > 0
    assert str(instance.ref) in console(tmp_path, "ls").stdout


def test_the_console_ends_a_machine(fake: Build, tmp_path: Path) -> None:
    instance = rent(fake())
    assert console(tmp_path, "terminate", str(instance.ref)).returncode == 0
    assert fake().get(instance.ref).state.is_gone


def test_a_tick_does_what_is_due(fake: Build, tmp_path: Path) -> None:
    provider = fake()
    instance = rent(provider, deadline=utc_now() + timedelta(seconds=1.5))
    with job(instance) as running_job:
        eventually(lambda: utc_now() > (instance.deadline or utc_now()))
        assert console(tmp_path, "tick").returncode == 0
        assert running_job.wait(timeout=5) == -9


def test_the_console_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "launch home").write_text("a file")
    failed = console(tmp_path, "ls")
    assert failed.returncode == 1
    assert "launch home" in failed.stderr
    assert "Traceback" not in failed.stderr
