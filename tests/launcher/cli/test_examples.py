"""Every command that a help text or the README shows is carried out here, as it stands there."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from collections.abc import Iterator

import click
import pytest

from launcher.cli.app import COMMANDS, EPILOG, root
from tests.launcher.cli.conftest import ROOT, Cli, end_everything, make_cli
from tests.launcher.cli.test_commands import until

JOB = """\
name: demo
run: |
  mkdir -p checkpoints && echo 1 > checkpoints/one && mkdir -p outputs && echo x > outputs/kept.txt
  [ "$LAUNCH_ATTEMPT" = 1 ] || exit 0
  trap 'exit 75' TERM
  while true; do sleep 0.1; done
file_outputs: {outputs/: results/}
checkpoint: {dir: checkpoints}
resources: {cloud: local}
max_cost: 5
"""

SPOKEN = frozenset({"again", "that", "itself", "command"})
"""Words that follow the product's name in a sentence."""


def shown() -> Iterator[str]:
    """Yield the commands of all help texts, and of the blocks of the README and of the repository's job file."""
    context = click.Context(root)
    epilogs = [EPILOG, *(_command(context, name).epilog or "" for name in COMMANDS)]
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    job_file = [
        line.lstrip("# ") for line in (ROOT / "launch.yaml").read_text().splitlines() if "#   launch" in line
    ]
    for line in [line.strip() for text in (*epilogs, *blocks) for line in text.splitlines()] + job_file:
        for part in re.split(r"\s{2,}", line.partition("   #")[0]):
            if part.startswith("launch "):
                yield part


def _command(context: click.Context, name: str) -> click.Command:
    command = root.get_command(context, name)
    assert command is not None
    return command


EXAMPLES = sorted({re.sub(r"\bRUN\b", "demo", text).strip() for text in shown()})
"""A text that says RUN means any run; here it is the one that the others call demo."""
OF_A_RUN = [text for text in EXAMPLES if re.search(r" demo\b(?![.-])", text)]
FREE = [text for text in EXAMPLES if text not in OF_A_RUN and " rehearse " not in text]
"""A rehearsal takes as long as it says, and has a test of its own."""
ENDING = ("stop", "down", "resume")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """The command in a folder with what the repository has, and nothing set up beyond this computer."""
    cli = make_cli(tmp_path_factory.mktemp("examples"))
    (cli.cwd / "demo.yaml").write_text(JOB)
    shutil.copytree(ROOT / "examples", cli.cwd / "examples")
    shutil.copy(ROOT / "launch.yaml", cli.cwd)
    nowhere = cli.cwd / "home"
    nowhere.mkdir()
    kept = {key: value for key, value in cli.environ.items() if not key.startswith("AWS_")}
    without_account = {**kept, "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(nowhere)}
    cli = Cli(cli.home, cli.cwd, without_account)
    yield cli
    end_everything(cli)


@pytest.mark.parametrize("text", FREE)
def test_an_example_without_a_run(shop: Cli, text: str) -> None:
    args = shlex.split(text)[1:]
    if args[0] not in COMMANDS and "--dry-run" not in args:
        args = ["--dry-run", *args]
    done = shop(*args)
    if any(re.match(r"\w+/[\w-]+/", word) for word in args):
        assert done.code == 2 and "no machine" in done.err  # the address of a machine that is not there
    elif args[0] == "adopt" and len(args) > 1:
        assert done.code == 2 and "no machine or run" in done.err  # the same
    elif args[0] == "compare":
        assert done.code == 2 and "no run" in done.err  # and with two: test_compare
    else:
        assert done.code == 0, f"{text}: {done.out}{done.err}"


@pytest.mark.parametrize("text", [text for text in OF_A_RUN if shlex.split(text)[1] not in ENDING])
def test_an_example_that_looks_at_a_run(shop: Cli, text: str) -> None:
    if not any(run["state"] == "running" for run in shop("ls", "--json").document["runs"]):
        start(shop)
    args = shlex.split(text)[1:]
    if "-f" in args:  # goes on as long as the run
        args.remove("-f")
    done = shop(*args)
    if args[0] == "ssh":
        assert done.code == 2 and "terminal" in done.err  # and with one: test_terminal
    else:
        assert done.code == 0, f"{text}: {done.out}{done.err}"


@pytest.mark.parametrize("text", [text for text in OF_A_RUN if shlex.split(text)[1] in ENDING])
def test_an_example_that_ends_or_resumes_a_run(shop: Cli, text: str) -> None:
    shop("down", "demo", "--no-pull", "--yes")
    start(shop)
    args = shlex.split(text)[1:]
    if args[0] == "resume":
        assert shop("stop", "demo").code == 0
    done = shop(*args)
    assert done.code == 0, f"{text}: {done.out}{done.err}"


def start(cli: Cli) -> None:
    """Start the run that the examples speak of, and wait until its process lives."""
    assert cli("demo.yaml", "--yes", "--detach").code == 0
    until(lambda: cli("status", "demo", "--json").document["state"] == "running")


def test_hints_name_only_commands_that_exist() -> None:
    unknown = []
    for room in ("launcher", "provisioning", "trainer"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                    continue
                named = re.findall(r"`launch ([a-z]+)\b(?!\.)", node.value)
                unknown += [
                    f"{path.relative_to(ROOT)}:{node.lineno}: launch {word}"
                    for word in named
                    if word not in COMMANDS and word not in SPOKEN
                ]
    assert not unknown
