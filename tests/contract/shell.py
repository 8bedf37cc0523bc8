"""What every shell promises, as tests: the shell of this computer and those over the network behave alike.

A shell joins by a class in ``test_shells.py`` that inherits this one and provides the fixtures ``shell`` (connected)
and ``far`` (an empty folder on the machine, as the machine names it).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest

from launcher.errors import CommandFailed
from launcher.remote.shell import Shell, check

ODD_NAMES = [
    "plain",
    "with space",
    "it's",
    'say "x"',
    "new\nline",
    "$HOME `id` $(id)",
    "#{host} %H \\n",
    "-rf",
    "*?[a]",
    "~",
    "trailing;",
    "ünï",
    "tab\there",
]


class ShellContract:
    """Promises of `launcher.remote.shell.Shell`."""

    def test_a_command_gives_its_exit_code_and_both_outputs(self, shell: Shell) -> None:
        result = shell.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")

    def test_a_command_ended_by_a_signal_gives_128_plus_its_number(self, shell: Shell) -> None:
        assert shell.run(["sh", "-c", "kill -9 $$"]).exit_code == 128 + signal.SIGKILL

    def test_a_command_that_is_not_there_gives_127(self, shell: Shell) -> None:
        assert shell.run(["/nowhere/no-such-command"]).exit_code == 127

    def test_a_command_that_may_not_be_executed_gives_126(self, shell: Shell, far: PurePosixPath) -> None:
        shell.write(far / "plain", b"#!/bin/sh\n", mode=0o644)
        assert shell.run([str(far / "plain")]).exit_code == 126

    @pytest.mark.parametrize("word", [*ODD_NAMES, ""])
    def test_every_word_arrives_as_it_is(self, shell: Shell, word: str) -> None:
        result = shell.run(["printf", "%s|", "a", word, "z"])
        assert result.stdout == f"a|{word}|z|".encode()

    def test_standard_input_comes_in_pieces_and_its_end_is_heard(self, shell: Shell) -> None:
        pieces = [b"a", b"", b"b" * 1_000_000, b"c"]
        assert shell.run(["cat"], stdin=iter(pieces)).stdout == b"".join(pieces)
        assert shell.run(["cat"], stdin=iter([])).stdout == b""

    def test_input_that_never_ends_is_not_waited_for(self, shell: Shell) -> None:
        is_over = threading.Event()

        def endless() -> Iterator[bytes]:
            yield b"abcdef"
            is_over.wait(60)

        try:
            assert shell.run(["head", "-c", "3"], stdin=endless()).stdout == b"abc"
            assert not is_over.is_set()
        finally:
            is_over.set()

    def test_standard_input_arrives_byte_for_byte(self, shell: Shell) -> None:
        data = bytes(range(256)) * 4096
        assert shell.run(["cat"], stdin=data).stdout == data

    def test_a_command_that_does_not_read_its_input_is_fine(self, shell: Shell) -> None:
        assert shell.run(["true"], stdin=b"x" * 1_000_000).exit_code == 0

    def test_without_input_a_command_reads_its_end(self, shell: Shell) -> None:
        assert shell.run(["cat"], timeout_s=10.0).stdout == b""

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_the_folder_and_the_environment_are_those_asked_for(
        self, shell: Shell, far: PurePosixPath, name: str
    ) -> None:
        check(shell.run(["mkdir", "--", str(far / name)]), what="mkdir")
        result = shell.run(
            ["sh", "-c", 'pwd -P; printf "%s\\n" "$ODD"'], cwd=far / name, environ={"ODD": name}
        )
        assert result.stdout.decode().endswith(f"/{name}\n{name}\n")

    def test_a_folder_that_is_not_there_is_said(self, shell: Shell, far: PurePosixPath) -> None:
        with pytest.raises(FileNotFoundError):
            shell.run(["true"], cwd=far / "nowhere")

    def test_a_command_that_takes_too_long_is_ended_with_all_its_children(
        self, shell: Shell, far: PurePosixPath
    ) -> None:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            shell.run(["sh", "-c", f"sleep 600 & echo $! > '{far}/pid'; wait"], timeout_s=0.5)
        assert time.monotonic() - began < 10
        child = int(shell.read(far / "pid"))
        deadline = time.monotonic() + 10
        while shell.run(["kill", "-0", str(child)]).exit_code == 0:
            assert time.monotonic() < deadline, "the child lives on"

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_what_is_written_is_read(self, shell: Shell, far: PurePosixPath, name: str) -> None:
        shell.write(far / name / name, b"\0one\r\n\xff")
        assert shell.read(far / name / name) == b"\0one\r\n\xff"

    def test_reading_a_part(self, shell: Shell, far: PurePosixPath) -> None:
        shell.write(far / "file", b"0123456789")
        assert shell.read(far / "file", offset=3, limit=4) == b"3456"
        assert shell.read(far / "file", offset=8, limit=100) == b"89"
        assert shell.read(far / "file", offset=8) == b"89"
        assert shell.read(far / "file", limit=0) == b""
        assert shell.read(far / "file", offset=99) == b""

    def test_writing_replaces_at_once_and_leaves_nothing_beside(
        self, shell: Shell, far: PurePosixPath
    ) -> None:
        shell.write(far / "file", b"a" * 100_000)
        shell.write(far / "file", b"b")
        assert shell.read(far / "file") == b"b"
        assert shell.run(["ls", "-A", str(far)]).stdout == b"file\n"

    @pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
    def test_the_mode_is_the_one_asked_for(self, shell: Shell, far: PurePosixPath, mode: int) -> None:
        old = os.umask(0o077)
        try:
            shell.write(far / "file", b"x", mode=mode)
        finally:
            os.umask(old)
        result = shell.run(["python3", "-c", f"import os; print(oct(os.stat('{far}/file').st_mode & 0o777))"])
        assert result.stdout.decode().strip() == oct(mode)

    def test_several_small_files_are_read_at_once(self, shell: Shell, far: PurePosixPath) -> None:
        contents = [b"", b"no end of line", bytes(range(256)) * 40, b"line\n"]
        paths = [far / name for name in ("empty", "it's", "every byte", "-line")]
        for path, content in zip(paths, contents, strict=True):
            shell.write(path, content)
        asked = [paths[0], far / "nowhere", *paths[1:], far, PurePosixPath("/proc/sys/kernel/random/boot_id")]
        *told, boot_id = shell.read_some(asked)
        assert told == [contents[0], None, *contents[1:], None]
        assert boot_id is not None and len(boot_id.strip()) == 36
        assert shell.read_some([]) == []

    def test_reading_what_is_not_there_names_it(self, shell: Shell, far: PurePosixPath) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            shell.read(far / "nowhere")
        assert "nowhere" in str(caught.value)

    def test_reading_a_folder_is_an_error(self, shell: Shell, far: PurePosixPath) -> None:
        with pytest.raises(OSError, match=str(far)):
            shell.read(far)

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_files_go_there_and_back_with_mode_and_time(
        self, shell: Shell, far: PurePosixPath, tmp_path: Path, name: str
    ) -> None:
        here, back = tmp_path / "here" / name, tmp_path / "back" / name
        here.parent.mkdir()
        here.write_bytes(os.urandom(100_000))
        here.chmod(0o640)
        os.utime(here, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
        shell.put(here, far / "deep" / name)
        shell.get(far / "deep" / name, back)
        assert back.read_bytes() == here.read_bytes()
        assert int(back.stat().st_mtime) == 1_600_000_000

    def test_getting_what_is_not_there_leaves_what_is_here(
        self, shell: Shell, far: PurePosixPath, tmp_path: Path
    ) -> None:
        (tmp_path / "kept").write_text("old")
        with pytest.raises(FileNotFoundError):
            shell.get(far / "nowhere", tmp_path / "kept")
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "kept"))] == ["kept"]
        assert (tmp_path / "kept").read_text() == "old"

    def test_whoever_listens_can_end_a_command_with_all_its_children(
        self, shell: Shell, far: PurePosixPath
    ) -> None:
        marker = far / "child"
        script = 'sleep 600 & echo $! > "$1"; wait'

        def listen() -> None:
            raise InterruptedError("somebody said stop")

        with pytest.raises(InterruptedError, match="said stop"):
            shell.run(["sh", "-c", script, "sh", str(marker)], listen=listen)
        child = shell.read(marker).decode().strip()
        look = ["sh", "-c", 'while kill -0 "$1" 2>/dev/null; do sleep 0.01; done', "sh", child]
        assert shell.run(look, timeout_s=60).exit_code == 0

    def test_a_copy_is_watched_and_what_is_ended_leaves_nothing(
        self, shell: Shell, far: PurePosixPath, tmp_path: Path
    ) -> None:
        here = tmp_path / "large"
        with here.open("wb") as file:
            file.truncate(8 << 30)  # nothing of it on the disk

        for enough in (0, 64 << 20):  # before it has begun over there, perhaps, and in the middle of it

            def stop(done: int, enough: int = enough) -> None:
                if done >= enough:
                    raise InterruptedError(f"stopped at {done}")

            with pytest.raises(InterruptedError):
                shell.put(here, far / "folder" / "copy", on_progress=stop)
            listed = shell.run(["sh", "-c", 'mkdir -p "$1"; ls -A "$1"', "sh", str(far / "folder")])
            assert listed.stdout == b""

    def test_check_turns_a_failure_into_words(self, shell: Shell) -> None:
        with pytest.raises(CommandFailed, match="asking failed with exit code 4: last words") as caught:
            check(shell.run(["sh", "-c", "echo first; echo last words; exit 4"]), what="asking")
        assert caught.value.exit_code_of_command == 4

    def test_closing_twice_is_fine_and_work_goes_on(self, shell: Shell, far: PurePosixPath) -> None:
        started = shell.run(["sh", "-c", "setsid sleep 600 > /dev/null 2>&1 & echo $!"])
        pid = int(started.stdout)
        shell.close()
        shell.close()
        assert shell.run(["kill", "-0", str(pid)]).exit_code == 0
        with suppress(CommandFailed):
            check(shell.run(["kill", str(pid)]), what="ending it")
