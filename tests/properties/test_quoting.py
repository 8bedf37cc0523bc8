"""Any words arrive as they are: through a real tmux, and through a real ``sh``."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.remote import tmux

TELLS = 'file=$1; shift; printf "%s\\0" "$@" > "$file.tmp"; mv "$file.tmp" "$file"'

# Everything that a path or an argument may hold, with what shells and tmux give a meaning more often than by chance.
words = st.lists(
    st.one_of(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        st.sampled_from(
            ["", ";", "a;", "\\;", "#{host}", "#(id)", "%H", "$HOME", "`id`", "'", '"', "\n", "~", "-t", "\\"]
        ),
    ),
    min_size=1,
    max_size=5,
)

relaxed = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def arrived(path: Path) -> list[str]:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, "the program has not run"
        time.sleep(0.002)
    return path.read_bytes().decode().split("\0")[:-1]


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    """Of a server that lives as long as the test: one that has just lost its last session refuses the next."""
    name = f"launch-test-{os.getpid()}-{time.monotonic_ns()}"
    subprocess.run(tmux.new_session(name, "keeper", ["sleep", "600"]), cwd=tmp_path, check=True)
    yield name
    subprocess.run(tmux.end(name), check=True)


@relaxed
@given(argv=words)
def test_words_survive_tmux(socket: str, argv: list[str], tmp_path: Path) -> None:
    seen = tmp_path / f"seen-{time.monotonic_ns()}"
    command = tmux.new_session(socket, f"s{time.monotonic_ns()}", ["sh", "-c", TELLS, "sh", str(seen), *argv])
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert arrived(seen) == argv


@relaxed
@given(argv=words)
def test_words_survive_a_shell(argv: list[str]) -> None:
    line = shlex.join(["printf", "%s\\0", *argv])
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == argv


@pytest.mark.parametrize("folder", ["with space", "it's", "#{host}", "%H", "new\nline", "semi;"])
def test_the_session_begins_where_it_was_started(socket: str, folder: str, tmp_path: Path) -> None:
    here = tmp_path / folder
    here.mkdir()
    tells = ["sh", "-c", TELLS, "sh", str(tmp_path / "seen")]
    in_a_folder = ["sh", "-c", 'exec "$@" "$(pwd -P; echo .)"', "sh", *tells]
    subprocess.run(tmux.new_session(socket, "where", in_a_folder), cwd=here, check=True)
    assert arrived(tmp_path / "seen") == [f"{here.resolve()}\n."]


def test_a_session_is_found_by_its_whole_name_only(socket: str) -> None:
    found = [
        subprocess.run(tmux.has_session(socket, name), capture_output=True, check=False).returncode
        for name in ("keeper", "keep", "keep*")
    ]
    assert found == [0, 1, 1]
    again = subprocess.run(tmux.new_session(socket, "keeper", ["true"]), capture_output=True, check=False)
    assert b"duplicate session" in again.stderr


def test_the_users_configuration_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".tmux.conf").write_text(
        "set-option -g default-command 'false'\nset-option -g default-shell /nowhere\n"
    )
    socket = f"launch-test-{os.getpid()}-configuration"
    tells = ["sh", "-c", TELLS + "; sleep 600", "sh", str(tmp_path / "seen"), "fine"]
    environ = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(tmux.new_session(socket, "demo", tells), env=environ, check=True)
    try:
        assert arrived(tmp_path / "seen") == ["fine"]
    finally:
        subprocess.run(tmux.end(socket), check=True)


def test_ending_leaves_no_socket_and_repeating_it_is_fine(tmp_path: Path) -> None:
    socket = f"launch-test-{os.getpid()}-ending"
    environ = {**os.environ, "TMUX_TMPDIR": str(tmp_path)}
    subprocess.run(tmux.new_session(socket, "demo", ["sleep", "600"]), env=environ, check=True)
    assert len(list(tmp_path.rglob(socket))) == 1
    for _ in range(2):
        subprocess.run(tmux.end(socket), env=environ, check=True)
    assert list(tmp_path.rglob(socket)) == []
