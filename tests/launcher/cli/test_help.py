"""Help texts: short, each with an example, and the same as in the docs."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from launcher.cli.app import COMMANDS, root
from launcher.cli.reference import reference

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_of_commands_is_what_the_program_says() -> None:
    written = (ROOT / "docs" / "commands.md").read_text()
    assert written == reference(), "python -m launcher.cli.reference > docs/commands.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_short_help_and_an_example(name: str) -> None:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    assert command.name == name
    assert len(command.get_short_help_str(limit=60)) < 60
    assert not command.get_short_help_str(limit=60).endswith("...")
    assert f"launch {name}" in (command.epilog or "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_but_ssh_speaks_json(name: str) -> None:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    options = {option for param in command.params for option in param.opts}
    assert ("--json" in options) is (name != "ssh")
    assert "--debug" in options


def test_a_command_that_does_not_exist_is_none() -> None:
    assert root.get_command(click.Context(root), "frobnicate") is None
