"""`launch init` as a person meets it, and the file that it writes, carried out."""

from __future__ import annotations

import os
from pathlib import Path

from tests.launcher.cli.conftest import Cli
from tests.launcher.cli.test_terminal import on_terminal

PROGRAM = """\
import argparse, json, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--output-dir", default="out")
args = parser.parse_args()
if __name__ == "__main__":
    pathlib.Path(args.output_dir, "answer.json").write_text(json.dumps({"answer": 42}))
"""


def a_project(cli: Cli) -> Path:
    (cli.cwd / "train.py").write_text(PROGRAM)
    return cli.cwd / "launch.yaml"


def test_the_file_that_it_writes_runs(cli: Cli) -> None:
    file = a_project(cli)
    written = cli("init", "--yes")
    assert (written.code, file.exists()) == (0, True), written.err
    assert "launch estimate" in written.out
    ran = cli("--provider", "local", "--set", "resources=null", "--yes", "--json")
    assert ran.code == 0, ran.err
    assert (cli.cwd / "results/latest/outputs/answer.json").read_text() == '{"answer": 42}'


def test_what_is_there_is_kept_and_a_dry_run_writes_nothing(cli: Cli) -> None:
    file = a_project(cli)
    shown = cli("init", "--dry-run")
    assert (shown.code, file.exists()) == (0, False)
    assert "run: python train.py" in shown.out
    file.write_text("mine")
    refused = cli("init", "--yes")
    assert (refused.code, file.read_text()) == (2, "mine")
    assert "--force" in refused.err
    assert cli("init", "--yes", "--force").code == 0
    assert file.read_text() != "mine"


def test_nobody_to_answer_writes_nothing(cli: Cli) -> None:
    file = a_project(cli)
    refused = cli("init")
    assert (refused.code, file.exists()) == (2, False)
    assert "--yes" in refused.err


def test_the_document(cli: Cli) -> None:
    a_project(cli)
    document = cli("init", "--json").document
    assert document["job"]["run"] == 'python train.py --output-dir "$LAUNCH_OUTPUT_DIR"'
    assert document["written"] is True
    assert Path(document["file"]).read_text() == document["text"]


def test_a_person_is_asked(cli: Cli) -> None:
    file = a_project(cli)
    with on_terminal(cli, "init") as terminal:
        terminal.until("what it should come to")
        terminal.type("\n")
        terminal.until("may cost, USD")
        terminal.type("lots\n")
        terminal.until("Where you have an account")
        terminal.type("\n")
        assert terminal.end() == 2
    assert not file.exists()
    with on_terminal(cli, "init") as terminal:
        terminal.until("what it should come to")
        terminal.type("val_bleu >= 20\n")
        terminal.until("may cost, USD")
        terminal.type("3\n")
        terminal.until("Where you have an account")
        terminal.type("aws\n")
        assert terminal.end() == 0
    assert "max_cost: 3.0" in file.read_text()
    assert "cloud: aws" in file.read_text()
    assert "val_bleu" in file.read_text()


def test_links_in_circles_and_names_of_other_bytes_are_passed_over(cli: Cli) -> None:
    file = a_project(cli)
    (cli.cwd / "a").symlink_to("b")
    (cli.cwd / "b").symlink_to("a")
    (cli.cwd / "here").symlink_to(".")
    (cli.cwd / "everything").symlink_to("/")
    (cli.cwd / os.fsdecode(b"tr\xffain.py")).write_text(PROGRAM)
    written = cli("init", "--yes")
    assert (written.code, (cli.cwd / ".launch.yaml.new").exists()) == (0, False), written.err
    assert "run: python train.py" in file.read_text()
