"""A stage on this computer, the next one on a machine over SSH: what it needs arrives there, whole.

Here as a tar stream, for want of a usable rsync; by rsync in ``system/aws/test_whole_way``.
"""

from __future__ import annotations

from pathlib import Path

from tests.system.house import House
from tests.system.ssh.server import Sshd


def test_outputs_of_a_stage_travel_to_the_machine_of_the_next(house: House, machine: Sshd, host: str) -> None:
    programs = house.root / "programs"
    programs.mkdir()
    asked = programs / "asked"
    (programs / "rsync").write_text(f"#!/bin/sh\necho $@ >> {asked}; echo 'openrsync: protocol version 29'\n")
    (programs / "rsync").chmod(0o755)
    house.environ["PATH"] = f"{programs}:{house.environ['PATH']}"
    names = ["plain", "with blank", "dee p/er", "empty"]
    make = 'mkdir -p "f/dee p" g; for name in plain "with blank" "dee p/er"; do echo "$name" > "f/$name"; done; : > f/empty; echo big > g/x'
    stages = [
        {"name": "features", "run": make, "outputs": ["f/", "g/x"], "resources": {"cloud": "local"}},
        {
            "name": "train",
            "needs": "features",
            "run": "cat f/plain 'f/with blank' 'f/dee p/er' f/empty g/x > outputs/seen; find f g -type l > outputs/links",
        },
    ]
    job = house.job(None, stages=stages, resources={"cloud": "ssh"}, provider_options={"ssh": {"host": host}})
    run = house.launch(job, provider=None)  # type: ignore[arg-type]
    result = run.wait(timeout_s=120)
    assert result.state == "succeeded", result.reason
    results = Path(result.results_dir)
    assert (results / "outputs/seen").read_text().split() == [*" ".join(names[:3]).split(), "big"]
    assert (results / "outputs/links").read_text() == "", "copies, not links to somewhere at home"
    assert (results / "f/empty").read_bytes() == b""
    first, second = run.status().attempts
    assert (first.instances[0].split("/")[0], second.instances[0].split("/")[0]) == ("local", "ssh")
    (folder,) = machine.folder.glob("**/launch/*/work")
    assert len(list(folder.glob("*/f/**/*"))) == 5
    assert set(asked.read_text().splitlines()) == {"--version"}, "nothing else was asked of it"
