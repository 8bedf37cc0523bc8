"""Secrets: given to the program, kept nowhere else, gone with the run, and asked for again when it is resumed."""

from __future__ import annotations

import subprocess

import pytest

from launcher import JobFileError, attach
from launcher.home import Home
from tests.system.house import House, eventually

SECRET = "s3kr1t-that-nobody-may-see"
SHOW_AND_WAIT = """
python3 - <<'PY'
import hashlib, os, signal, sys, time
print("digest", hashlib.sha256(os.environ["TOKEN"].encode()).hexdigest()[:12], flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
if not os.environ.get("AGAIN"):
    time.sleep(60)
PY
"""


def test_a_resumed_run_gets_its_secret_from_the_environment_again(house: House) -> None:
    house.environ["TOKEN"] = SECRET
    run = house.launch(house.job(SHOW_AND_WAIT, secrets={"TOKEN": None}))
    eventually(lambda: b"digest" in b"".join([run.read_log().data]), "the first word of the program")
    assert _files_that_hold(house, SECRET) == []
    assert SECRET not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    run.stop()
    run.wait(timeout_s=60)
    assert not Home.open(house.environ).run(run.id).secrets.exists()

    without = {name: value for name, value in house.environ.items() if name != "TOKEN"}
    with pytest.raises(JobFileError, match="TOKEN"):
        attach(run.id, environ=without).resume()
    assert not run.status().is_live, "refused, and left as it was"

    attach(run.id, environ=house.environ).resume()
    eventually(lambda: run.read_log().data.count(b"digest") == 2, "the second start")
    first, second = (line for line in run.read_log().data.splitlines() if line.startswith(b"digest"))
    assert first == second
    run.stop()
    run.wait(timeout_s=60)


def _files_that_hold(house: House, text: str) -> list[str]:
    """Names of all files of the house that hold a text, but for the one private file that may while the run lives.

    Read by another process: closing a database that is open here too would drop SQLite's locks on it.
    """
    found = subprocess.run(
        ["grep", "-rlF", "--exclude=secrets.env", text, str(house.root)],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.splitlines()
