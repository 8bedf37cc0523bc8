"""Pressing Tab: what the program offers to the shell."""

from __future__ import annotations

import pytest

from tests.launcher.cli.conftest import Cli


def offered(cli: Cli, line: str) -> list[str]:
    ended = cli(_LAUNCH_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(line.count(" ")))
    assert ended.err == ""
    return [line for line in ended.out.splitlines() if line]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("launch st", ["plain,status", "plain,stop"]),
        ("launch --provider local --max-", ["plain,--max-price", "plain,--max-cost", "plain,--max-duration"]),
        ("launch tra", ["file,tra"]),
        ("launch estimate tra", ["file,tra"]),
        ("launch estimate --gp", ["plain,--gpu"]),
        ("launch status ", []),
    ],
)
def test_what_is_offered(cli: Cli, line: str, expected: list[str]) -> None:
    assert offered(cli, line) == expected
