"""Files on their way, by rsync and as a tar stream: the same promises, kept through cuts."""

from __future__ import annotations

import contextlib
import filecmp
import gc
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from launcher.errors import FetchError, HostKeyRefused, MachineFull
from launcher.events import Kind, Listen, keep_going
from launcher.remote.facts import look
from launcher.remote.onboard import stream
from launcher.remote.ssh.rsync import Rsync, is_rsync, local_rsync
from launcher.remote.ssh.shell import SshShell
from launcher.remote.ssh.streaming import Streaming
from launcher.remote.ssh.transfers import transfer_for
from launcher.remote.tools import Tools
from launcher.remote.transfer import Pace, Transfer, size_of
from tests.system.ssh.machines import shell_on
from tests.system.ssh.proxy import Proxy
from tests.system.ssh.server import Sshd, keygen, names

WAYS = ["rsync", "stream"]


def way(name: str, shell: SshShell, tools: Tools | None = None) -> Transfer:
    if name == "rsync":
        program = local_rsync()
        assert program is not None, "rsync is not installed: run `make tools`"
        return Rsync(program, shell, sleep=lambda _: None)
    return Streaming(shell, tools or Tools(shell, "python3", PurePosixPath("/nowhere")), sleep=lambda _: None)


@pytest.fixture(params=WAYS)
def transfer(request: pytest.FixtureRequest, shell: SshShell, tools: Tools) -> Transfer:
    return way(request.param, shell, tools)


@pytest.fixture
def far(machine: Sshd, request: pytest.FixtureRequest) -> PurePosixPath:
    return PurePosixPath(machine.home) / f"{request.node.name} 'x' $HOME"[:100]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set with whatever data sets have."""
    root = tmp_path / 'it\'s "data"'
    for name in ("a", "with space/b", "deep/er/c", "*?[x]", "-rf", "new\nline", "ünï", ".hidden"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 1000)
    (root / "script.sh").write_text("#!/bin/sh\n")
    (root / "script.sh").chmod(0o755)
    (root / "nothing").touch()
    (root / "empty folder").mkdir()
    (root / "inside").symlink_to("deep/er/c")
    (tmp_path / "elsewhere").write_text("elsewhere")
    (root / "outside").symlink_to(tmp_path / "elsewhere")
    os.utime(root / "a", ns=(1_600_000_000_123_456_789,) * 2)
    return root


def no_progress(_: int) -> None:
    pass


def test_a_folder_arrives_as_it_is(transfer: Transfer, data: Path, far: PurePosixPath) -> None:
    there = Path(far)
    sent = transfer.send(data, far, no_progress)
    assert sent.files == 11
    assert names(there) == names(data)
    for name in ("a", "with space/b", "deep/er/c", "*?[x]", "-rf", "new\nline", "ünï", ".hidden", "nothing"):
        assert filecmp.cmp(data / name, there / name, shallow=False)
    assert (there / "script.sh").stat().st_mode & 0o777 == 0o755
    assert (there / "a").stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert (there / "empty folder").is_dir()
    assert (there / "inside").readlink() == Path("deep/er/c")
    assert not (there / "outside").is_symlink()
    assert (there / "outside").read_text() == "elsewhere"


def test_what_is_there_is_not_sent_again_and_leftovers_go(
    transfer: Transfer, data: Path, far: PurePosixPath
) -> None:
    there = Path(far)
    transfer.send(data, far, no_progress)
    beside = there.parent / "beside"
    beside.touch()
    (there / "leftover").touch()
    (there / "old").mkdir()
    (there / "old" / "x").touch()
    (there / "a").write_text("changed on the way")
    sent = transfer.send(data, far, no_progress)
    assert (sent.files, sent.size_bytes) == (1, 1000)
    assert filecmp.cmp(data / "a", there / "a", shallow=False)
    assert names(there) == names(data)
    assert beside.exists()


def test_one_file_leaves_its_neighbours(transfer: Transfer, tmp_path: Path, far: PurePosixPath) -> None:
    source = tmp_path / "one file"
    source.write_bytes(b"1" * 5000)
    Path(far).mkdir()
    (Path(far) / "neighbour").touch()
    assert transfer.send(source, far / "one file", no_progress).size_bytes == 5000
    assert transfer.send(source, far / "one file", no_progress).size_bytes == 0
    assert names(Path(far)) == ["neighbour", "one file"]


def test_files_come_home_through_links_and_the_missing_are_left_out(
    transfer: Transfer, tmp_path: Path, far: PurePosixPath
) -> None:
    outputs = Path(far).parent / f"outputs of {Path(far).name}"
    outputs.mkdir()
    (outputs / "mo del\n.bin").write_bytes(b"m" * 100_000)
    (outputs / "other").touch()
    Path(far).mkdir()
    (Path(far) / "outputs").symlink_to(outputs)
    dest = tmp_path / "dest's"
    transfer.bring(far, ["outputs/mo del\n.bin", "gone"], dest, no_progress)
    found = [str(path.relative_to(dest)) for path in dest.rglob("*") if path.is_file()]
    assert found == ["outputs/mo del\n.bin"]
    assert (dest / found[0]).read_bytes() == b"m" * 100_000


@pytest.mark.parametrize("name", WAYS)
def test_a_large_file_goes_on_where_it_was_cut(
    name: str, machine: Sshd, tools: Tools, proxy: Proxy, tmp_path: Path
) -> None:
    shell = shell_on(machine, port=proxy.port)
    shell.run(["true"])
    transfer = way(name, shell, Tools(shell, "python3", PurePosixPath(machine.home) / "tools"))
    source, size = tmp_path / "large", 24 << 20
    source.write_bytes(os.urandom(size))
    far = PurePosixPath(machine.home) / f"cut {name}" / "large"
    before = proxy.passed_bytes
    proxy.cut_after_bytes = before + 16 * size // 20
    transfer.send(source, far, no_progress)
    assert Path(far).read_bytes() == source.read_bytes()
    assert proxy.passed_bytes - before < 1.6 * size
    before = proxy.passed_bytes
    proxy.cut_after_bytes = before + 16 * size // 20
    transfer.bring(far.parent, ["large"], tmp_path / "home", no_progress)
    assert (tmp_path / "home" / "large").read_bytes() == source.read_bytes()
    assert proxy.passed_bytes - before < 1.6 * size
    assert names(Path(far).parent) == ["large"]
    shell.close()


@pytest.mark.parametrize("name", WAYS)
def test_after_a_cut_what_is_there_of_another_version_is_replaced(
    name: str, machine: Sshd, tools: Tools, proxy: Proxy, tmp_path: Path
) -> None:
    shell = shell_on(machine, port=proxy.port)
    shell.run(["true"])
    transfer = way(name, shell, Tools(shell, "python3", PurePosixPath(machine.home) / "tools"))
    source, far = tmp_path / "data", Path(machine.home) / f"versions {name}"
    for folder in (source, far):
        folder.mkdir()
    new = {
        "a": os.urandom(8 << 20),
        "b-as-long": b"new" * 1000,
        "c-shorter": b"n" * 10,
        "d-longer": b"new" * 2000,
    }
    old = {"b-as-long": b"old" * 1000, "c-shorter": b"o" * 5000, "d-longer": b"old" * 1000}
    for folder, files in ((source, new), (far, old)):
        for file, content in files.items():
            (folder / file).write_bytes(content)
            os.utime(folder / file, (1, 1) if folder is far else None)
    proxy.cut_after_bytes = proxy.passed_bytes + (6 << 20)
    transfer.send(source, PurePosixPath(far), no_progress)
    assert {path.name: path.read_bytes() for path in far.iterdir()} == new
    shell.close()


class StopNow(Exception):
    """Somebody said so."""


class StopsAfter:
    """Somebody who watches until so much is there."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.thread = threading.get_ident()

    def __call__(self, done: int) -> None:
        assert threading.get_ident() == self.thread
        if done >= self.size:
            raise StopNow


@pytest.mark.parametrize("name", WAYS)
def test_whoever_watches_can_end_it_and_the_next_goes_on_from_there(
    name: str, machine: Sshd, tools: Tools, proxy: Proxy, tmp_path: Path
) -> None:
    shell = shell_on(machine, port=proxy.port)
    transfer = way(name, shell, Tools(shell, "python3", PurePosixPath(machine.home) / "tools"))
    source, size = tmp_path / "large", 12 << 20
    source.write_bytes(os.urandom(size))
    far, home = PurePosixPath(machine.home) / f"stopped {name}" / "large", tmp_path / "home"
    for move in (
        lambda watch: transfer.send(source, far, watch),
        lambda watch: transfer.bring(far.parent, ["large"], home, watch),
    ):
        proxy.bytes_per_s = 3e6
        before = proxy.passed_bytes
        with pytest.raises(StopNow):
            move(StopsAfter(size // 3))
        assert proxy.passed_bytes - before < 0.9 * size
        proxy.bytes_per_s = None
        move(no_progress)
        assert proxy.passed_bytes - before < 1.3 * size
    assert Path(far).read_bytes() == source.read_bytes() == (home / "large").read_bytes()
    assert names(Path(far).parent) == names(home) == ["large"]
    shell.close()


@pytest.mark.parametrize("name", WAYS)
def test_a_full_disk_is_said(name: str, machine: Sshd, shell: SshShell, tools: Tools, tmp_path: Path) -> None:
    with small_disk(machine.folder / f"small {name}") as disk:
        source = tmp_path / "large"
        source.write_bytes(os.urandom(4 << 20))
        with pytest.raises(MachineFull, match=r"(?i)no (room|space)") as refused:
            way(name, shell, tools).send(source, PurePosixPath(disk) / "sub" / "large", no_progress)
        assert "disk" in str(refused.value.hint)
        (machine.home / "big").write_bytes(source.read_bytes())
        with pytest.raises(FetchError, match=r"(?i)no (room|space)"):
            way(name, shell, tools).bring(PurePosixPath(machine.home), ["big"], disk / "home", no_progress)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_rsync_refuses_the_wrong_key_too(machine: Sshd, tmp_path: Path) -> None:
    shell = shell_on(machine, known_hosts=tmp_path / "known_hosts")
    shell.run(["true"])
    other = keygen(tmp_path / "other")
    shell.connection.host_keys.pin(shell.connection.destination, [other])
    (tmp_path / "secret").write_text("s3cret")
    with pytest.raises(HostKeyRefused):
        way("rsync", shell).send(tmp_path / "secret", PurePosixPath(machine.home) / "secret", no_progress)
    assert not (machine.home / "secret").exists()
    shell.close()


def test_a_login_that_talks_gets_the_stream(own_machine: Sshd, data: Path) -> None:
    (own_machine.home / ".bashrc").write_text("echo welcome to this machine\n")
    shell = shell_on(own_machine.start())
    tools = Tools(shell, "python3", PurePosixPath(own_machine.home) / "tools")
    tools.install()
    facts = look(shell)
    assert is_rsync(facts.rsync)
    transfer = transfer_for(shell, tools, facts)
    assert transfer.send(data, PurePosixPath(own_machine.home) / "data", no_progress).files == 11
    transfer.bring(PurePosixPath(own_machine.home) / "data", ["a"], data.parent / "back", no_progress)
    assert filecmp.cmp(data / "a", data.parent / "back" / "a", shallow=False)
    shell.close()


@pytest.mark.parametrize(
    ("version", "usable"),
    [
        ("rsync  version 3.2.7  protocol version 31", True),
        ("rsync  version v3.4.1  protocol version 32", True),
        ("rsync  version 2.6.9  protocol version 29", False),
        ("openrsync: protocol version 29", False),
        ("", False),
    ],
)
def test_which_rsync_will_do(version: str, usable: bool) -> None:
    assert is_rsync(version) is usable


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ""])
def test_a_stream_cannot_leave_its_folder(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "content").write_text("x")
    entry = stream.Entry(name, str(tmp_path / "content"), 1, 0, 0o644)
    (tmp_path / "tar").write_bytes(b"".join(stream.pack([(entry, 0)])))
    with (tmp_path / "tar").open("rb") as archive, pytest.raises(stream.tarfile.TarError):
        stream.Receiver(str(root)).take(archive)
    assert names(root) == []
    assert not (tmp_path / "x").exists()


def test_a_stream_of_many_files_needs_memory_for_a_few(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"from/{number:03}").parent.mkdir(exist_ok=True)
        (tmp_path / f"from/{number:03}").write_text("small")
    entries = [(entry, 0) for entry in stream.walk(str(tmp_path / "from"))]

    class Watched(io.BytesIO):
        remembered = 0

        def read(self, size: int | None = -1, /) -> bytes:
            if not self.remembered and self.tell() > 0.9 * self.getbuffer().nbytes:
                self.remembered = sum(type(thing) is tarfile.TarInfo for thing in gc.get_objects())
            return super().read(size)

    source = Watched(b"".join(stream.pack(entries)))
    stream.Receiver(str(tmp_path / "to")).take(source)
    assert names(tmp_path / "to") == names(tmp_path / "from")
    assert 0 < source.remembered < 30


def test_a_stream_does_not_write_behind_a_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (tmp_path / "content").write_text("x")
    entry = stream.Entry("link/x", str(tmp_path / "content"), 1, 0, 0o644)
    (tmp_path / "tar").write_bytes(b"".join(stream.pack([(entry, 0)])))
    with (tmp_path / "tar").open("rb") as archive, pytest.raises(stream.tarfile.TarError):
        stream.Receiver(str(root)).take(archive)
    assert names(outside) == []


class Steps:
    """A transfer that is noted at these moments."""

    def __init__(self, total: int, *, listen: Listen = keep_going) -> None:
        self.now = 0.0
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.pace = Pace("data", total, self._report, listen=listen, clock=lambda: self.now)

    def _report(self, kind: Kind, message: str, **data: Any) -> None:
        assert kind is Kind.TRANSFER
        self.told.append((message, data))

    def note(self, *moments: tuple[float, int]) -> Steps:
        for self.now, done in moments:
            self.pace(done)
        return self

    @property
    def words(self) -> list[str]:
        return [message for message, _ in self.told]


def test_pace_tells_share_rate_and_time_left() -> None:
    steps = Steps(1000_000_000).note(
        (1.0, 0), (1.9, 9_000_000), (4.0, 30_000_000), (5.0, 40_000_000), (9.0, 80_000_000)
    )
    assert steps.words == [
        "data: 3 % of 1.0 GB, 10.0 MB/s, 1 min 37 s left",
        "data: 8 % of 1.0 GB, 10.0 MB/s, 1 min 32 s left",
    ]
    assert steps.told[-1][1] == {
        "what": "data",
        "bytes": 80_000_000,
        "total_bytes": 1000_000_000,
        "bytes_per_s": 10_000_000,
        "seconds_left": 92,
    }


def test_the_rate_is_that_of_the_last_seconds() -> None:
    fast = [(float(at), at * 10_000_000) for at in range(30)]
    stalled = [(30.0 + at, 290_000_000) for at in range(40)]
    assert steps_end(fast) == "data: 27 % of 1.0 GB, 10.0 MB/s, 1 min 13 s left"
    assert steps_end(fast + stalled) == "data: 29 % of 1.0 GB, 0.0 MB/s"
    again = [(70.0, 0), (71.0, 5_000_000), (72.0, 10_000_000)]
    assert steps_end(fast + stalled + again) == "data: 1 % of 1.0 GB, 5.0 MB/s, 3 min 18 s left"


def test_there_is_never_more_than_all_of_it() -> None:
    assert steps_end([(1.0, 0), (3.0, 5000_000_000)]).startswith("data: 100 % of 1.0 GB")


def steps_end(moments: list[tuple[float, int]]) -> str:
    return Steps(1000_000_000).note(*moments).words[-1]


def test_a_small_transfer_is_not_talked_about_and_everybody_is_heard_once_a_second() -> None:
    heard: list[float] = []
    steps = Steps(100, listen=lambda: heard.append(steps.now))
    steps.note(*((at / 10, at) for at in range(19)))
    assert steps.words == []
    assert heard == [1.0]


def test_sizes_are_known_beforehand(data: Path) -> None:
    size = size_of(data)
    assert size.files == 11
    assert size_of(data / "a").size_bytes == 1000
