"""A machine that is really this computer and goes off: nothing of it can be reached, and nothing starts behind its end."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest

from launcher.errors import MachineUnreachable
from launcher.remote.local import LocalShell
from provisioning import Instance, LocalAccess, ProviderContext, Query
from provisioning.fake.provider import FakeProvider
from provisioning.models import utc_now
from provisioning.processes import running
from tests.provisioning.machines import eventually, spec


@pytest.fixture
def fake(tmp_path: Path) -> FakeProvider:
    return FakeProvider(ProviderContext(home=tmp_path / "home", environ={}, options={"boot_s": 0}))


def rented(fake: FakeProvider) -> tuple[Instance, LocalShell]:
    made = fake.create(fake.offers(Query(instance_type="t4.1x"))[0], spec())
    instance = fake.get(made.ref)
    assert isinstance(instance.access, LocalAccess)
    return instance, LocalShell(instance.access)


def test_what_is_off_cannot_be_reached_until_it_is_on_again(fake: FakeProvider, tmp_path: Path) -> None:
    instance, shell = rented(fake)
    assert isinstance(instance.access, LocalAccess)
    far = PurePosixPath(instance.access.work_root / "file")
    shell.write(far, b"kept")
    fake.park(instance.ref)
    (tmp_path / "near").write_text("new")
    for attempt in (
        lambda: shell.run(["true"]),
        lambda: shell.read(far),
        lambda: shell.read_some([far]),
        lambda: shell.write(far, b"late"),
        lambda: shell.put(tmp_path / "near", far),
        lambda: shell.get(far, tmp_path / "near"),
    ):
        with pytest.raises(MachineUnreachable, match="is off"):
            attempt()
    fake.unpark(instance.ref, utc_now() + timedelta(hours=1))
    assert shell.read(far) == b"kept"
    fake.terminate(instance.ref)


def test_nothing_that_is_started_meanwhile_stays(fake: FakeProvider) -> None:
    instance, shell = rented(fake)
    seen_off = []

    def start_again_and_again() -> None:
        try:
            while True:
                shell.run(["sleep", "100"], timeout_s=120)
        except MachineUnreachable as err:
            seen_off.append(err)

    starters = [threading.Thread(target=start_again_and_again) for _ in range(4)]
    for starter in starters:
        starter.start()
    eventually(lambda: len(running(instance.ref.id)) == len(starters))
    fake.terminate(instance.ref)
    for starter in starters:
        starter.join(timeout=60)
    assert len(seen_off) == len(starters)
    assert running(instance.ref.id) == []
