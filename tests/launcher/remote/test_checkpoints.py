"""Which entries of the checkpoint folder count, what they are given, and which one a start goes on from."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from pathlib import Path

from launcher.runners.base import Handle, Signal
from tests.launcher.remote.jobs import Machine, wait_until

KEEP_RUNNING = "\necho ready\npython3 job.py"


def names(machine: Machine, handle: Handle) -> list[str]:
    return [entry.name for entry in machine.runner.poll(handle).checkpoints]


def checkpoints(machine: Machine, handle: Handle) -> Path:
    return Path(machine.paths(handle).folder.checkpoints)


def verify(folder: Path, digest: str) -> str:
    done = subprocess.run(["sha256sum", "-c", digest], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_renamed_entry_is_complete_at_once_and_gets_a_digest(machine: Machine) -> None:
    run = 'cd checkpoints; echo one > a.pt.tmp; mv a.pt.tmp "step 1.pt"; cd ..' + KEEP_RUNNING
    handle = machine.submit(run)
    machine.said(handle, "ready")
    wait_until(lambda: names(machine, handle) == ["step 1.pt"], "the checkpoint")
    assert "OK" in verify(checkpoints(machine, handle), "step 1.pt.sha256")
    entry = machine.runner.poll(handle).checkpoints[0]
    assert entry.size_bytes == 4


def test_an_entry_written_in_place_is_complete_when_it_rests(machine: Machine) -> None:
    program = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open("checkpoints/slow.pt", "wb", buffering=0) as file:
    while not os.path.exists("enough"):
        file.write(b"x")
        time.sleep(0.02)
print("written", flush=True)
time.sleep(60)
"""
    handle = machine.submit("python3 job.py", {"job.py": program})
    slow = checkpoints(machine, handle) / "slow.pt"
    wait_until(lambda: slow.exists() and slow.stat().st_size > 50, "a second of writing")
    assert names(machine, handle) == []
    (machine.workdir(handle) / "enough").touch()
    wait_until(lambda: names(machine, handle) == ["slow.pt"], "the rest")
    assert "OK" in verify(slow.parent, "slow.pt.sha256")


def test_a_folder_is_one_checkpoint_with_a_line_for_each_file(machine: Machine) -> None:
    run = """
mkdir -p new/deep; echo 1 > new/a; echo 2 > 'new/deep/b\nc'
mv new "$LAUNCH_CHECKPOINT_DIR/step_1"
"""
    handle = machine.submit(run + KEEP_RUNNING)
    wait_until(lambda: names(machine, handle) == ["step_1"], "the checkpoint")
    assert verify(checkpoints(machine, handle), "step_1.sha256").count("OK") == 2
    machine.runner.end(handle)


def test_links_digests_empty_and_unfinished_things_are_none(machine: Machine) -> None:
    run = """
cd checkpoints
echo 1 > .hidden; echo 1 > x.tmp; echo 1 > x.part; touch empty; mkdir nothing
echo 1 > real.tmp; mv real.tmp real; ln -s real latest
"""
    handle = machine.submit(run)
    machine.ended(handle)
    assert names(machine, handle) == ["real"]
    assert {path.name for path in checkpoints(machine, handle).glob("*.sha256")} == {"real.sha256"}


def test_the_programs_own_digest_is_kept(machine: Machine) -> None:
    run = """
cd checkpoints
echo one > a.tmp; (sha256sum a.tmp | sed 's/a.tmp/a/') > a.sha256; echo '# mine' >> a.sha256; mv a.tmp a
"""
    handle = machine.submit(run)
    machine.ended(handle)
    assert names(machine, handle) == ["a"]
    assert "# mine" in (checkpoints(machine, handle) / "a.sha256").read_text()


def test_a_checkpoint_saved_anew_under_its_name_gets_a_new_digest(machine: Machine) -> None:
    save = "echo {0} > checkpoints/t.tmp; mv checkpoints/t.tmp checkpoints/last"
    run = save.format("one") + "\nwhile [ ! -e go ]; do sleep 0.02; done\n" + save.format("two") + "\nexit 75"
    handle = machine.submit(run)
    digest = checkpoints(machine, handle) / "last.sha256"
    wait_until(digest.exists, "the first digest")
    (machine.workdir(handle) / "go").touch()
    machine.ended(handle)
    assert digest.read_text().split()[0] == hashlib.sha256(b"two\n").hexdigest()


def test_a_good_end_completes_what_was_written_last(machine: Machine) -> None:
    handle = machine.submit("echo one > checkpoints/final.pt; exit 75")
    assert [entry.name for entry in machine.ended(handle).checkpoints] == ["final.pt"]


def test_a_start_goes_on_from_the_newest(machine: Machine) -> None:
    save = """
for n in 9 10; do echo $n > checkpoints/t.tmp; mv checkpoints/t.tmp checkpoints/step_$n.pt; done
touch -d @1700000000 checkpoints/step_9.pt checkpoints/step_10.pt
echo later > checkpoints/best.pt
exit 75
"""
    machine.ended(machine.submit(save))
    again = machine.submit('echo "from ${LAUNCH_RESUME_FROM}."', start=2)
    progress = machine.ended(again)
    assert progress.resumed_from == "step_10.pt"
    assert f"from {checkpoints(machine, again)}/step_10.pt.\n" in machine.log(again)


def test_beside_the_checkpoints_of_a_library_its_results_are_none_and_named(machine: Machine) -> None:
    run = """
mkdir checkpoints/checkpoint-500 checkpoints/best_model
echo {} | tee checkpoints/checkpoint-500/trainer_state.json checkpoints/config.json > checkpoints/best_model/config.json
"""
    handle = machine.submit(run)
    machine.ended(handle)
    assert sorted(names(machine, handle)) == ["best_model", "checkpoint-500"]
    assert machine.log(handle).count("config.json: beside the checkpoints of a library") == 1


def test_a_broken_newest_falls_back_loudly_to_the_one_before(machine: Machine) -> None:
    save = "for n in 1 2 3; do echo $n > checkpoints/t.tmp; mv checkpoints/t.tmp checkpoints/$n.pt; sleep 0.02; done; exit 75"
    handle = machine.submit(save)
    machine.ended(handle)
    newest = checkpoints(machine, handle) / "3.pt"
    kept = newest.stat()
    newest.write_text("broken")
    os.utime(newest, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    again = machine.submit("exit 75", start=2)
    progress = machine.ended(again)
    assert progress.resumed_from == "2.pt"
    assert [entry.name for entry in progress.checkpoints] == ["1.pt", "2.pt"]
    assert "CHECKPOINT 3.pt IS BROKEN" in machine.log(again)
    assert "going back to 2.pt" in machine.log(again)


def test_half_a_checkpoint_of_a_killed_program_is_never_taken_for_a_whole_one(machine: Machine) -> None:
    program = """
import os, time
os.makedirs("checkpoints/whole.tmp"); open("checkpoints/whole.tmp/a", "w").write("a")
os.rename("checkpoints/whole.tmp", "checkpoints/whole")
open("checkpoints/half.pt", "w").write("x" * 1000)
print("half written", flush=True)
os.kill(os.getpid(), 9)
"""
    handle = machine.submit("python3 job.py", {"job.py": program})
    assert [entry.name for entry in machine.ended(handle).checkpoints] == ["whole"]
    again = machine.submit("sleep 0.6", {"job.py": program}, start=2)
    progress = machine.ended(again)
    assert progress.resumed_from == "whole"
    assert [entry.name for entry in progress.checkpoints] == ["whole"]
    assert "half.pt has no digest" in machine.log(again)
    assert not (checkpoints(machine, again) / "half.pt.sha256").exists()


def test_a_program_may_replace_the_checkpoint_folder(machine: Machine) -> None:
    handle = machine.submit("rm -rf checkpoints; mkdir checkpoints; echo 1 > checkpoints/a.pt; exit 75")
    assert [entry.name for entry in machine.ended(handle).checkpoints] == ["a.pt"]


def test_hashing_does_not_hold_up_the_signal(machine: Machine) -> None:
    run = """
truncate -s 3G checkpoints/big.tmp; mv checkpoints/big.tmp checkpoints/big
python3 job.py
"""
    handle = machine.submit(run, grace_s=1.0)
    machine.said(handle, "ready")
    machine.runner.signal(handle, Signal.SAVE)
    machine.said(handle, "saving")
    assert machine.ended(handle).exit_code == 75
    (checkpoints(machine, handle) / "big").unlink()


def test_a_stage_folder_elsewhere_in_the_working_folder(machine: Machine) -> None:
    handle = machine.submit("echo 1 > model/state/a.pt; exit 75", checkpoint_dir="model/state")
    assert [entry.name for entry in machine.ended(handle).checkpoints] == ["a.pt"]
    assert (Path(machine.paths(handle).folder.root) / "checkpoints" / "a.pt").exists()


def test_the_job_killed_leaves_its_renamed_checkpoints_complete(machine: Machine) -> None:
    run = "echo 1 > checkpoints/t.tmp; mv checkpoints/t.tmp checkpoints/a.pt; kill -9 $$"
    progress = machine.ended(machine.submit(run))
    assert progress.exit_code == 128 + signal.SIGKILL
    assert [entry.name for entry in progress.checkpoints] == ["a.pt"]
