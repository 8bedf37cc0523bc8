"""Commands that are forked start as those do that start anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launcher.cli.conftest import Cli
from tests.launcher.cli.starting import MAC, differs_at_start, starter
from tests.system.house import House


@pytest.mark.parametrize(
    ("more", "differs"),
    [
        ({}, False),
        ({"LAUNCH_HOME": "/elsewhere", "PATH": "/bin"}, False),
        ({"PYTHONIOENCODING": "ascii"}, True),
        ({"LC_ALL": "C"}, True),
        ({"TZ": "Asia/Tokyo"}, True),
        ({"SOMETHING": "that an import reads"}, True),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_a_start_or_an_import_reads_is_compared(more: dict[str, str], differs: bool) -> None:
    environ = {"PATH": "/usr/bin", "LANG": "C.UTF-8"}
    assert differs_at_start({**environ, **more}, environ, ["SOMETHING"]) == differs
    assert differs_at_start(environ, {**environ, **more}, ["SOMETHING"]) == differs


@pytest.mark.skipif(MAC, reason="nothing is forked there")
def test_after_a_command_that_was_too_slow_the_next_is_carried_out(cli: Cli, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        starter()(("--help",), tmp_path, cli.environ, 0.0)
    ended = cli("--version")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("launch")
    for usual in (cli.environ, House(tmp_path / "house").environ):
        assert not differs_at_start(usual, starter()._environ, starter()._imports_read), "all start anew"
