"""What the command says to input that is wrong: one line what, one what to do, nothing done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launcher.cli.conftest import Cli

NO_JOB = "no job: none was named"


def write_job(folder: Path, text: str, name: str = "launch.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("args", "what", "hint"),
    [
        ([], NO_JOB, "launch [options] -- python train.py"),
        (["--yes"], NO_JOB, "launch JOB.yaml"),
        (["estmate"], "'estmate' is neither a command nor a job file", "did you mean `launch estimate`?"),
        (["stauts", "demo", "--events"], "'stauts' is neither a command", "did you mean `launch status`?"),
        (["status", "--evnts", "x"], "No such option '--evnts'. Did you mean '--events'?", "--help"),
        (["python", "a b.py"], "one job file at a time", "launch [options] -- python 'a b.py'"),
        (["xyzzy"], "'xyzzy' is neither a command nor a job file", "`launch --help` lists the commands"),
        (["--json", "ls"], "'ls' is neither a command nor a job file", "a command comes first: launch ls"),
        (["a.yaml", "b.yaml"], "one job file at a time, came a.yaml b.yaml", "put -- before it"),
        (["a.yaml", "--", "true"], "a.yaml and a command after -- are two jobs", "give one of the two"),
        (["--"], "there is no command", "launch [options] -- python train.py"),
        (["--jsn"], "No such option '--jsn'", "`launch --help`"),
        (["--gpu"], "Option '--gpu' requires an argument", "`launch --help`"),
        (["--max-cost", "cheap"], "expected an amount in USD such as 5 or 0.35, came 'cheap'", "--help"),
        (["--max-price", "0"], "expected more than 0 USD, came '0'", "--help"),
        (["--max-duration", "8"], "expected a duration such as 8h, 90m or 1d12h, came '8'", "--help"),
        (["--until", "25:00"], "expected a time such as 06:00 or 2027-01-31T06:00, came '25:00'", "--help"),
        (["--until", "2020-01-01"], "'2020-01-01' is in the past", "--help"),
        (["--set", "resources.cpus"], "expected path=value such as resources.cpus=8", "--help"),
        (["--env", "=1"], "expected key=value such as LEARNING_RATE=0.1, came '=1'", "--help"),
        (["--smoke", "--provider", "local", "--", "true"], "smoke: is missing", "smoke: {run:"),
        (
            ["--smoke", "--detach", "--", "true"],
            "--smoke waits for its small run",
            "leave one of the two out",
        ),
        (
            ["--provider", "fake", "--ssh-from", "10.0.0.0/8", "--", "true"],
            "--ssh-from: fake has no firewall",
            "leave",
        ),
        (["status"], "Missing argument 'RUN'", "`launch status --help`"),
        (["exec", "demo"], "no command", "launch exec demo -- CMD"),
        (["stop", "nothing-here"], "nothing-here", "launch ls"),
        (["logs", "nothing-here"], "nothing-here", "launch ls"),
        (["resume", "x", "--max-cost", "+"], "expected an amount in USD", "--help"),
        (["ssh", "demo"], "ssh needs a terminal", "launch exec demo -- CMD"),
    ],
)
def test_wrong_usage_is_said_in_two_lines_and_ends_with_2(
    cli: Cli, args: list[str], what: str, hint: str
) -> None:
    ended = cli(*args)
    assert ended.code == 2
    first, *rest = ended.err.splitlines()
    assert first.startswith("error: ")
    assert what in first
    assert any(line.startswith("what to do: ") and hint in line for line in rest)
    assert len(ended.err.splitlines()) <= 3


def test_with_json_the_error_is_a_document_and_the_text_goes_to_stderr(cli: Cli) -> None:
    ended = cli("status", "nothing-here", "--json")
    assert ended.code == 2
    error = ended.document["error"]
    assert set(error) == {"code", "message", "left_behind", "hint"}
    assert error["code"] == "run_not_found"
    assert error["message"] in ended.err


def test_json_after_the_dashes_belongs_to_the_job(cli: Cli) -> None:
    ended = cli("--max-cost", "x", "--", "true", "--json")
    assert ended.out == ""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("rnu: true", "rnu"),
        ("run: true\nresources: {cpsu: 4}", "resources.cpsu"),
        ("run: true\nmax_cost: lots", "max_cost"),
        ("run: true\nworkdir: nowhere", "workdir"),
        ("run: [", "launch.yaml"),
        ("", "the file is empty"),
        ("run: true\nnum_nodes: 2", "num_nodes"),
    ],
)
def test_a_wrong_job_file_is_named_by_file_and_field(cli: Cli, text: str, what: str) -> None:
    write_job(cli.cwd, text)
    ended = cli("--provider", "local", "--yes")
    assert ended.code == 2, ended.err
    assert what in ended.err.splitlines()[0]
    assert "left behind: nothing was rented" in ended.err


def test_what_was_meant_is_beside(cli: Cli) -> None:
    write_job(cli.cwd, "print('hello')", name="train.py")
    write_job(cli.cwd, "run: true", name="night.yaml")
    refused = cli("train.py", "--provider", "local")
    assert "train.py is a program, and no job file" in refused.err
    assert "launch [options] -- python train.py" in refused.err
    assert "did you mean `launch night.yaml`?" in cli("night").err


def test_a_misspelt_field_gets_the_nearest_name(cli: Cli) -> None:
    write_job(cli.cwd, "run: true\nresorces: {cpus: 4}")
    assert "resources" in cli("--dry-run").err


def test_a_setting_is_checked_like_the_file(cli: Cli) -> None:
    write_job(cli.cwd, "run: true")
    ended = cli("--set", "resources.cpsu=8", "--dry-run")
    assert ended.code == 2
    assert "resources.cpsu" in ended.err


def test_a_missing_job_file_is_said(cli: Cli) -> None:
    ended = cli("missing.yaml")
    assert ended.code == 2
    assert "missing.yaml: there is no such file" in ended.err


def test_a_file_with_a_commands_name_is_reached_by_its_path(cli: Cli) -> None:
    write_job(cli.cwd, "rnu: true", name="estimate")
    assert "estimate: rnu" in cli("./estimate").err


def test_the_nearest_job_file_is_looked_for_up_to_the_git_root(cli: Cli) -> None:
    (cli.cwd / ".git").mkdir()
    write_job(cli.cwd, "rnu: true")
    below = cli.cwd / "src" / "models"
    below.mkdir(parents=True)
    assert "rnu" in cli(cwd=below).err


def test_a_traceback_only_with_debug(cli: Cli) -> None:
    assert "Traceback" not in cli("missing.yaml").err
    assert "Traceback" in cli("missing.yaml", "--debug").err


def test_a_home_that_cannot_be_written_is_said(cli: Cli) -> None:
    blocked = cli.cwd / "file"
    blocked.write_text("")
    ended = cli("ls", LAUNCH_HOME=str(blocked / "home"))
    assert ended.code == 2
    assert "LAUNCH_HOME" in ended.err
    assert "what to do: set LAUNCH_HOME" in ended.err


def test_the_version_is_shown(cli: Cli) -> None:
    ended = cli("--version")
    assert ended.code == 0
    assert ended.out.startswith("launch ")


def test_a_dry_run_that_is_refused_is_one_document(cli: Cli) -> None:
    write_job(cli.cwd, "run: x\nrequires: nope.txt")
    ended = cli("--provider", "local", "--dry-run", "--json")
    document = ended.document
    assert ended.code == 2
    assert document["error"]["code"] == "job_file"
    assert [item["level"] for item in document["findings"] if "nope.txt" in item["message"]] == ["error"]
    assert "nope.txt does not exist" in ended.err


def test_a_dry_calibration_has_the_document_of_a_dry_run(cli: Cli) -> None:
    write_job(cli.cwd, "run: python train.py")
    planned = cli("calibrate", "--provider", "fake", "--minutes", "2", "--dry-run", "--json")
    assert planned.code == 0, planned.err
    assert planned.document["plan"]["limits"]["max_duration_s"] < 3600
