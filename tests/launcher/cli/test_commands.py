"""Every command on real runs of this computer, and the documents that scripts may rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.launcher.cli.conftest import Cli, end_everything, is_alive, make_cli

STATUS = {
    "schema",
    "run_id",
    "name",
    "state",
    "reason",
    "provider",
    "instance",
    "attempts",
    "step",
    "total",
    "metrics",
    "cost_usd",
    "usd_per_hour_now",
    "outputs",
}
ATTEMPT = {
    "n",
    "stage",
    "instances",
    "offer",
    "started",
    "ended",
    "cause",
    "steps_done",
    "steps_lost",
    "seconds_lost",
    "usd",
}
EVENT = {"schema", "kind", "message", "at", "run_id", "seq", "data"}

QUICK = """\
name: quick
run: |
  echo '{"step": 3, "total": 3, "loss": 0.25}' >> "$LAUNCH_METRICS_FILE"
  echo "hello from $LAUNCH_RUN_ID"
  echo kept > kept.txt
  sleep 1
file_outputs: {kept.txt: results/}
resources: {cloud: local}
"""

WAITING = """\
name: waiting
run: |
  trap 'echo saved > saved.txt; exit 75' TERM
  echo ready
  while true; do sleep 0.1; done
resources: {cloud: local}
"""


def until(condition: Callable[[], Any], *, within_s: float = 30.0) -> Any:
    """Return the first answer that is true; fail when there is none in time."""
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not true within {within_s} s")


@pytest.fixture(scope="module")
def done(shared_cli: Cli) -> tuple[Cli, list[Any]]:
    """A run that has succeeded, followed with --json; and what was printed."""
    (shared_cli.cwd / "launch.yaml").write_text(QUICK)
    ended = shared_cli("--yes", "--json")
    assert ended.code == 0, ended.err
    return shared_cli, ended.lines


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A home with a run called ``waiting`` that lives until it is told to go."""
    cli = make_cli(tmp_path_factory.mktemp("live"))
    (cli.cwd / "launch.yaml").write_text(WAITING)
    detached = cli("--yes", "--detach", "--json")
    assert detached.code == 0, detached.err
    assert set(detached.document) >= STATUS
    until(lambda: "ready" in cli("logs", "waiting").out)
    yield cli
    end_everything(cli)


def test_following_with_json_is_lines_of_events_and_then_the_status(done: tuple[Cli, list[Any]]) -> None:
    _, lines = done
    *events, status = lines
    assert all(set(event) == EVENT for event in events)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert set(status) >= STATUS
    assert status["state"] == "succeeded"
    assert all(set(attempt) == ATTEMPT for attempt in status["attempts"])
    assert status["metrics"]["loss"] == 0.25


def test_results_are_where_the_status_says(done: tuple[Cli, list[Any]]) -> None:
    cli, lines = done
    folder = Path(lines[-1]["results_dir"])
    assert folder == cli.cwd / "results" / lines[-1]["run_id"]
    assert (folder / "kept.txt").read_text() == "kept\n"


def test_status_shows_the_run_and_its_events(done: tuple[Cli, list[Any]]) -> None:
    cli, lines = done
    document = cli("status", "quick", "--events", "--json").document
    assert {key: document[key] for key in STATUS - {"schema"}} == {
        key: lines[-1][key] for key in STATUS - {"schema"}
    }
    assert [event["seq"] for event in document["events"]] == [event["seq"] for event in lines[:-1]]
    shown = cli("status", "qui", "--events")
    assert shown.code == 0
    assert "succeeded" in shown.out
    assert "loss 0.25" in shown.out
    assert shown.err == ""


def test_a_terminal_without_the_characters_is_no_failure(done: tuple[Cli, list[Any]]) -> None:
    cli, _ = done
    shown = cli(
        "status", "quick", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii", PYTHONCOERCECLOCALE="0"
    )
    assert shown.code == 0, shown.err
    assert "succeeded" in shown.out


def test_ls_lists_it(done: tuple[Cli, list[Any]]) -> None:
    cli, lines = done
    document = cli("ls", "--json").document
    assert [run["run_id"] for run in document["runs"]] == [lines[-1]["run_id"]]
    assert document["usd_per_hour_now"] == 0
    assert lines[-1]["run_id"] in cli("ls").out
    assert lines[-1]["run_id"] in cli("ls", "--all").out


def test_logs_are_what_the_program_printed(done: tuple[Cli, list[Any]]) -> None:
    cli, lines = done
    said = cli("logs", "quick").out
    assert said.startswith(f"hello from {lines[-1]['run_id']}\n")
    assert "".join(line["text"] for line in cli("logs", "quick", "--json").lines) == said
    assert cli("logs", "-f", "quick").out == said
    last = said.splitlines(keepends=True)[-1]
    assert cli("logs", "-n", "1", "quick").out == last
    assert cli("logs", "-n", "0", "quick").out == ""
    assert cli("logs", "-n", "999", "quick").out == said


@pytest.mark.parametrize("args", [["stop", "quick"], ["resume", "quick"], ["exec", "quick", "--", "true"]])
def test_what_has_ended_well_can_neither_be_stopped_nor_resumed(
    done: tuple[Cli, list[Any]], args: list[str]
) -> None:
    cli, _ = done
    ended = cli(args[0], "--json", *args[1:])
    assert ended.code == 2
    assert ended.document["error"]["code"] == "wrong_state"


def test_estimate_is_a_bill_with_a_basis_for_every_line(done: tuple[Cli, list[Any]]) -> None:
    cli, _ = done
    document = cli("estimate", "--provider", "fake", "--gpu", "T4", "--json").document
    told = {"schema", "estimates", "free_hours", "market", "notes", "prices_as_of", "without_offer"}
    assert set(document) == told
    for estimate in document["estimates"]:
        assert set(estimate) >= {"offer", "hours", "usd", "lines"}
        assert set(estimate["hours"]) == set(estimate["usd"]) == {"low", "likely", "high"}
        assert all(set(line) == {"item", "usd", "basis"} and line["basis"] for line in estimate["lines"])
        total = sum(line["usd"] for line in estimate["lines"])
        assert total == pytest.approx(estimate["usd"]["likely"], abs=1e-5)
    shown = cli("estimate", "--provider", "fake", "--gpu", "T4").out
    assert "in all" in shown
    assert "fake t4.1x" in shown


def test_a_dry_run_rents_nothing_and_says_everything(done: tuple[Cli, list[Any]]) -> None:
    cli, lines = done
    (cli.cwd / ".launchignore").write_text("big.bin\n")
    (cli.cwd / "big.bin").write_bytes(b"0" * 5000)
    document = cli("--dry-run", "--json").document
    assert document["bills"] is False
    assert document["code"]["largest"][0]["size_bytes"] >= document["code"]["largest"][-1]["size_bytes"]
    assert "big.bin" in [item["path"] for item in document["code"]["left_out"]]
    assert document["plan"]["limits"]["max_duration_s"] >= 3600
    shown = cli("--dry-run").out
    assert "big.bin 5.0 kB (named in .launchignore)" in shown
    assert "results" in shown
    assert len(cli("ls", "--json").document["runs"]) == 1
    assert lines


def test_a_command_after_the_dashes_is_a_job(cli: Cli) -> None:
    ended = cli(
        "--provider", "local", "--yes", "--name", "one", "--", "sh", "-c", "echo 'a  b' \"$1\"", "x", "c d"
    )
    assert ended.code == 0, ended.err
    assert "succeeded" in ended.out
    assert cli("logs", "one").out.startswith("a  b c d\n")


@pytest.mark.parametrize("code", [1, 2])
def test_a_failed_job_is_1_whatever_its_own_code_was(cli: Cli, code: int) -> None:
    ended = cli(
        "--provider", "local", "--yes", "--name", "bad", "--", "sh", "-c", f"echo last words; exit {code}"
    )
    assert ended.code == 1
    assert "│ last words" in ended.out
    assert f"exit code    {code}" in ended.out
    assert "launch resume bad-" in ended.out


def test_nobody_there_to_answer_is_2_with_a_hint(cli: Cli) -> None:
    ended = cli("--provider", "local", "--", "true")
    assert ended.code == 2
    assert "nobody is there to answer: Start?" in ended.err
    assert "what to do: --yes answers it" in ended.err
    assert cli("ls", "--json").document["runs"] == []


def test_a_limit_that_cannot_hold_is_5(cli: Cli) -> None:
    ended = cli(
        "--provider", "fake", "--gpu", "H100", "--max-cost", "0.000001", "--yes", "--json", "--", "true"
    )
    assert ended.code == 5, ended.err
    assert ended.document["error"]["code"] == "over_budget"


def test_nothing_to_rent_is_4(cli: Cli) -> None:
    ended = cli("--provider", "fake", "--gpu", "T4", "--max-price", "0.01", "--yes", "--", "true")
    assert ended.code == 4, ended.err
    assert "left behind: nothing" in ended.err
    assert "--max-price 0.53 allows fake t4.1x" in ended.err  # on demand, as it would be rented


def test_an_unknown_provider_is_2(cli: Cli) -> None:
    ended = cli("--provider", "nimbus", "--yes", "--", "true")
    assert ended.code == 2
    assert "nimbus" in ended.err


def test_no_tmux_is_3_and_says_how_to_install_it(cli: Cli, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    ended = cli("--provider", "local", "--yes", "--", "true", PATH=str(tools))
    assert ended.code == 3
    assert "error: tmux is not installed" in ended.err
    assert "what to do: install tmux" in ended.err
    assert "left behind: nothing was rented" in ended.err


def test_exec_gives_output_and_exit_code_of_the_command(live: Cli) -> None:
    ended = live("exec", "waiting", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (ended.code, ended.out, ended.err) == (7, "out\n", "err\n")
    document = live("exec", "waiting", "--json", "--", "echo", "two words", "--json").document
    assert document["exit_code"] == 0
    assert document["stdout"] == "two words --json\n"
    assert document["argv"] == ["echo", "two words", "--json"]


def test_exec_reads_what_it_is_given_and_ends_with_its_command(live: Cli) -> None:
    argv = live.argv("exec", "waiting", "--", "head", "-c", "3")
    with subprocess.Popen(
        argv, cwd=live.cwd, env=live.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"abcdef")
        process.stdin.flush()
        assert process.stdout.read() == b"abc"
        assert process.wait(60) == 0, "though whoever gives it input has not ended"


def test_exec_that_takes_too_long_is_255(live: Cli) -> None:
    ended = live("exec", "--timeout", "0.3", "waiting", "--", "sleep", "60")
    assert ended.code == 255
    assert "did not end within 0.3 s" in ended.err


def test_pull_brings_outputs_of_a_live_run(live: Cli) -> None:
    live("exec", "waiting", "--", "sh", "-c", "echo part > part.txt")
    first = live("pull", "waiting", "--json").document
    assert {file["was_home"] for file in first["files"] if file["path"].endswith("part.txt")} == {False}
    again = live("pull", "waiting", "--json").document
    assert {file["was_home"] for file in again["files"] if file["path"].endswith("part.txt")} == {True}
    shown = live("pull", "waiting", str(live.cwd / "elsewhere"))
    assert shown.code == 0
    assert "came home" in shown.out
    assert (live.cwd / "elsewhere" / first["run_id"] / "part.txt").read_text() == "part\n"


def test_a_pull_to_another_folder_is_not_counted_among_the_runs_own_outputs(
    live: Cli, tmp_path: Path
) -> None:
    assert live("pull", "waiting").code == 0
    before = live("status", "waiting", "--json", "--events").document
    brought = live("pull", "waiting", str(tmp_path), "--json").document
    assert brought["dest"] == str(tmp_path / brought["run_id"])
    assert all(Path(file["path"]).is_relative_to(brought["dest"]) for file in brought["files"])
    status = live("status", "waiting", "--json", "--events").document
    assert status["outputs"] == before["outputs"]
    later = [event for event in status["events"] if event["seq"] > before["events"][-1]["seq"]]
    assert not [event for event in later if event["kind"] == "output"]
    names = [event["message"] for event in status["events"] if event["kind"] == "output"]
    assert any(name.startswith("logs/") for name in names)


def test_exec_of_a_command_that_is_not_there_says_so(live: Cli) -> None:
    ended = live("exec", "waiting", "--", "no-such-program", "--flag")
    assert ended.code == 127
    assert ended.err == "no-such-program: there is no such command on the machine\n"


def test_the_same_name_twice_is_refused(live: Cli) -> None:
    ended = live("--yes")
    assert ended.code == 2
    assert "waiting" in ended.err
    assert "launch logs -f waiting" in ended.err


def test_watch_leaves_the_supervisor_alone_that_is_there(live: Cli) -> None:
    ended = live("watch")
    assert ended.code == 0
    assert "a supervisor follows the runs already" in ended.err


def test_ls_says_what_is_live(live: Cli) -> None:
    shown = live("ls").out
    assert "running" in shown
    assert "1 live run, $0/h now" in shown


def test_ctrl_c_while_following_the_log_says_what_goes_on(live: Cli) -> None:
    process = subprocess.Popen(
        live.argv("logs", "-f", "waiting"),
        cwd=live.cwd,
        env=dict(live.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    last = err.strip().splitlines()[-1]
    assert "goes on at $0/h" in last
    assert "launch stop waiting-" in last
    assert "launch logs -f waiting-" in last


def test_discarding_asks_first(live: Cli) -> None:
    ended = live("down", "waiting", "--no-pull")
    assert ended.code == 2
    assert "nobody is there to answer: Discard" in ended.err
    assert live("status", "waiting", "--json").document["state"] == "running"


def test_a_reader_that_has_seen_enough_is_no_error(done: tuple[Cli, list[Any]]) -> None:
    cli, _ = done
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        cli.argv("status", "quick", "--json"),
        env=dict(cli.environ),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert ended.returncode == 0
    assert ended.stderr == ""


def test_stop_saves_and_resume_goes_on(cli: Cli) -> None:
    (cli.cwd / "launch.yaml").write_text(WAITING)
    assert cli("--yes", "--detach").code == 0
    until(lambda: "ready" in cli("logs", "waiting").out)
    stopped = cli("stop", "waiting", "--json")
    assert stopped.code == 0, stopped.err
    assert stopped.lines[-1]["state"] == "stopped"
    assert "saved.txt" in json.dumps(stopped.lines[-1]["outputs"])
    resumed = cli("resume", "waiting", "--detach", "--json")
    assert resumed.code == 0, resumed.err
    until(lambda: cli("status", "waiting", "--json").document["state"] == "running")
    assert cli("down", "waiting").code == 0
    assert len(cli("status", "waiting", "--json").document["attempts"]) == 2


def test_watch_follows_in_the_foreground_what_nobody_follows(cli: Cli) -> None:
    (cli.cwd / "launch.yaml").write_text(WAITING)
    assert cli("--yes", "--detach").code == 0
    until(lambda: "ready" in cli("logs", "waiting").out)
    supervisor = int((cli.home / "supervisor.lock").read_text())
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not is_alive(supervisor))
    process = subprocess.Popen(
        cli.argv("watch", "--json"),
        env=dict(cli.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: (cli.home / "supervisor.lock").read_text().strip() == str(process.pid))
    assert cli("stop", "waiting").code == 0
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert all(set(event) == EVENT for event in events)
    assert events[-1]["data"]["state"] == "stopped"


def test_two_launches_of_one_name_at_the_same_time_are_one_run(cli: Cli) -> None:
    (cli.cwd / "launch.yaml").write_text(WAITING)
    both = [
        subprocess.Popen(
            cli.argv("--yes", "--detach", "--json"),
            cwd=cli.cwd,
            env=dict(cli.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    refused = outputs[[process.returncode for process in both].index(2)]
    assert json.loads(refused)["error"]["code"] == "name_taken"
    assert len(cli("ls", "--json").document["runs"]) == 1


def test_a_run_in_the_fake_cloud_has_a_price_beside_its_estimate(cli: Cli) -> None:
    ended = cli(
        "--provider", "fake", "--gpu", "T4", "--spot", "--yes", "--json", "--name", "try", "--", "sleep", "1"
    )
    assert ended.code == 0, ended.err
    status = ended.lines[-1]
    assert status["cost_usd"] > 0
    assert status["usd_per_hour_now"] == 0
    assert status["estimate"]["usd"]["high"] > 0
    assert status["attempts"][0]["offer"].endswith("spot")
    assert "estimated $" in ended.err
