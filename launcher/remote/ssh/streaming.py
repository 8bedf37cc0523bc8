"""Files as a tar stream through our own connection, for machines without rsync. Needs Python there, as jobs do."""

from __future__ import annotations

import contextlib
import json
import os
import tarfile
import threading
import time
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from launcher.errors import FetchError, MachineFull, MachineUnreachable, PlacementError
from launcher.remote.onboard import stream
from launcher.remote.transfer import Sent, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from launcher.events import Listen
    from launcher.remote.shell import OnProgress
    from launcher.remote.ssh.shell import SshShell
    from launcher.remote.tools import Tools

__all__ = ["Streaming"]

Answer = TypeVar("Answer")

TRIES = 6
PAUSE_S = 1.0


class Streaming:
    """Moves files with `launcher.remote.onboard.stream` on both ends."""

    def __init__(self, shell: SshShell, tools: Tools, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._shell = shell
        self._tools = tools
        self._sleep = sleep

    def send(self, source: Path, target: PurePosixPath, on_progress: OnProgress) -> Sent:
        """See `launcher.remote.transfer.Transfer.send`."""
        entries, root = _entries(source, target)
        return self._again(
            lambda: self._send_once(entries, root, source.is_dir(), on_progress), lambda: on_progress(0)
        )

    def bring(self, root: PurePosixPath, names: Sequence[str], dest: Path, on_progress: OnProgress) -> None:
        """See `launcher.remote.transfer.Transfer.bring`."""
        dest.mkdir(parents=True, exist_ok=True)
        self._again(lambda: self._bring_once(root, names, dest, on_progress), lambda: on_progress(0))

    def _again(self, act: Callable[[], Answer], listen: Listen) -> Answer:
        for _ in range(TRIES - 1):
            with contextlib.suppress(MachineUnreachable):
                return act()
            pause(PAUSE_S, listen, self._sleep)
        return act()

    def _send_once(
        self, entries: list[stream.Entry], root: PurePosixPath, owns_folder: bool, on_progress: OnProgress
    ) -> Sent:
        there = self._answer(_request({"action": "list", "root": str(root)}), listen=lambda: on_progress(0))
        missing = [
            (entry, _have(entry, there["parts"])) for entry in entries if not _is_there(entry, there["files"])
        ]
        moving = [(entry, have) for entry, have in missing if entry.link is None and not entry.is_folder]
        keep = (
            [entry.name for entry in entries]
            if owns_folder
            else [*there["files"], *there["other"], entries[0].name]
        )
        done = sum(entry.size for entry in entries) - sum(entry.size - have for entry, have in moving)
        digests: dict[str, str] = {}

        def counted() -> Iterator[bytes]:
            nonlocal done
            yield from _request({"action": "receive", "root": str(root), "keep": keep})
            for block in stream.pack(missing, digests):
                done += len(block)
                yield block

        answer = self._answer(counted(), listen=lambda: on_progress(done))
        broken = [name for name, digest in digests.items() if answer["digests"].get(name) != digest]
        if broken:
            raise PlacementError(f"{', '.join(broken[:3])} did not arrive as sent: did it change meanwhile?")
        return Sent(len(moving), sum(entry.size - have for entry, have in moving))

    def _bring_once(
        self, root: PurePosixPath, names: Sequence[str], dest: Path, on_progress: OnProgress
    ) -> None:
        parts = stream.listing(str(dest))["parts"]
        files = [[name, *parts.get(name, [0, 0, 0])] for name in names]
        receiver = stream.Receiver(str(dest))
        words = bytearray()
        with _Pipe(receiver, sum(have for _, _, have in parts.values()), on_progress) as pipe:
            try:
                code = self._shell.stream(
                    self._tools.argv("stream"),
                    _request({"action": "send", "root": str(root), "files": files}),
                    on_stdout=pipe.write,
                    on_stderr=words.extend,
                    listen=pipe.tell,
                )
            except BrokenPipeError:
                code = 1
        if pipe.error is not None:
            if isinstance(pipe.error, OSError):
                raise FetchError(
                    f"{dest} cannot be written: {pipe.error.strerror}",
                    hint="make room, or choose another folder",
                ) from pipe.error
            raise MachineUnreachable(f"a transfer was cut off: {pipe.error}") from pipe.error
        if code != 0:
            raise FetchError(f"the machine could not send files: {words.decode(errors='replace').strip()}")

    def _answer(self, stdin: Iterator[bytes], *, listen: Listen) -> dict[str, Any]:
        told, words = bytearray(), bytearray()
        self._shell.stream(
            self._tools.argv("stream"),
            stdin,
            on_stdout=told.extend,
            on_stderr=words.extend,
            listen=listen,
        )
        try:
            answer = json.loads(told)
        except ValueError:
            raise PlacementError(
                f"the machine could not take files: {words.decode(errors='replace').strip() or 'no answer'}"
            ) from None
        if "error" in answer:
            is_full = any(words in answer["error"] for words in ("No space left", "quota exceeded"))
            raise (MachineFull if is_full else PlacementError)(
                f"the machine could not take files: {answer['error']}",
                left_behind="what has arrived stays there and is not sent again",
                hint="ask for a larger disk, or make room there" if is_full else None,
            )
        return cast("dict[str, Any]", answer)


class _Pipe:
    """Bytes as they come on one side, a tar stream to be read on the other; a thread lies in between."""

    def __init__(self, receiver: stream.Receiver, done: int, on_progress: OnProgress) -> None:
        self._receiver = receiver
        self._on_progress = on_progress
        self._done = done
        self.error: BaseException | None = None
        out, into = os.pipe()
        self._into: IO[bytes] = os.fdopen(into, "wb", buffering=0)
        self._thread = threading.Thread(target=self._read, args=(out,), daemon=True)

    def __enter__(self) -> _Pipe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._into.close()
        self._thread.join()

    def write(self, data: bytes) -> None:
        """Pass on a piece; waits while the disk is slower than the network."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._into.fileno(), view) :]
        self._done += len(data)

    def tell(self) -> None:
        """Say how much has come."""
        self._on_progress(self._done)

    def _read(self, out: int) -> None:
        with os.fdopen(out, "rb", buffering=1 << 16) as source:
            try:
                self._receiver.take(source)
                while source.read(1 << 16):
                    pass  # what follows the end of the archive
            except (OSError, tarfile.TarError) as error:
                self.error = error


def _entries(source: Path, target: PurePosixPath) -> tuple[list[stream.Entry], PurePosixPath]:
    """What to send, and the folder that it is sent to."""
    if source.is_dir():
        return list(stream.walk(str(source))), target
    info = source.stat()
    entry = stream.Entry(target.name, str(source), info.st_size, info.st_mtime_ns, info.st_mode & 0o7777)
    return [entry], target.parent


def _is_there(entry: stream.Entry, files: dict[str, list[int]]) -> bool:
    return entry.link is None and files.get(entry.name) == [entry.size, entry.mtime_ns]


def _have(entry: stream.Entry, parts: dict[str, list[int]]) -> int:
    size, mtime_ns, have = parts.get(entry.name, [0, 0, 0])
    same = (size, mtime_ns) == (entry.size, entry.mtime_ns)
    return min(have, entry.size) if same else 0


def _request(content: dict[str, Any]) -> Iterator[bytes]:
    encoded = json.dumps(content).encode("ascii")
    yield b"%d\n" % len(encoded) + encoded
