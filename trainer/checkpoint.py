"""Checkpoints for any PyTorch script: atomic, checksummed, off the training thread. Five lines::

    checkpoints = Checkpointer("checkpoints", keep=3, every_s=300)
    saved = checkpoints.load_newest()                       # None on a fresh start
    start = saved.step if saved else 0                      # … load_state_dict(saved.state["model"]) …
    if checkpoints.due(step): checkpoints.save(step, {"model": model.state_dict()})   # a thread writes
    checkpoints.close()                                     # waits for the last write

A checkpoint is ``step_00001200.pt`` with ``step_00001200.pt.sha256`` beside it. The state may hold
tensors, numbers, texts, None, lists, tuples and dicts: what ``torch.load(weights_only=True)`` reads.
"""

from __future__ import annotations

import errno
import re
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from trainer.durable import (
    HashingFile,
    digest_path,
    file_digest,
    link_into_place,
    publish,
    read_digest,
    remove_published,
    remove_stale,
)
from trainer.errors import CheckpointCorrupt, CheckpointNotSaved, NoCheckpoint
from trainer.memory import host_memory

__all__ = ["Checkpoint", "Checkpointer", "load", "newest_good", "step_files", "why_unreadable"]

STEP_NAME = re.compile(r"step_(\d{8,})\.pt")
BEST_NAME = "best.pt"

Report = Callable[[str], None]


def _to_stderr(text: str) -> None:
    """Where warnings go that nobody else wants to hear."""
    sys.stderr.write(f"warning: {text}\n")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state that was read back and verified."""

    path: Path
    step: int
    state: dict[str, Any]


def step_files(folder: Path) -> list[Path]:
    """Checkpoints in a folder, oldest first, by the step in their names."""
    found = [(int(m[1]), p) for p in folder.glob("step_*.pt") if (m := STEP_NAME.fullmatch(p.name))]
    return [path for _, path in sorted(found)]


def load(path: Path, *, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read and verify one checkpoint file.

    Raises `NoCheckpoint` when there is none, `CheckpointCorrupt` when it does not match its digest (where
    it has one) or cannot be read. Never runs code from the file (``weights_only=True``).
    """
    if not path.is_file():
        raise NoCheckpoint(f"there is no checkpoint {path}")
    expected = read_digest(path)
    if expected is not None and file_digest(path) != expected:
        raise CheckpointCorrupt(f"{path} does not match its digest {digest_path(path).name}")
    try:
        state = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        raise CheckpointCorrupt(f"{path} cannot be read: {why_unreadable(path, error)}") from error
    if not isinstance(state, dict):
        raise CheckpointCorrupt(f"{path} holds a {type(state).__name__}, not a checkpoint")
    return state


def why_unreadable(path: Path, error: Exception) -> str:
    """One line for what torch says of a file in a page of advice."""
    if not zipfile.is_zipfile(path):
        return "it is no file that torch.save wrote, or it is cut off"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    telling = (line for line in lines if "unsupported" in line.lower())
    return next(telling, lines[0])[:160]


def newest_good(folder: Path, warn: Report = _to_stderr, *, before: Path | None = None) -> Checkpoint | None:
    """The newest checkpoint of a folder that can be trusted; each one passed over is said to `warn`.

    `before` looks only at checkpoints older than that one. A file without a digest was not finished by
    its writer and is passed over too.
    """
    for path in reversed(step_files(folder)):
        if before is not None and path.name >= before.name:
            continue
        if read_digest(path) is None:
            warn(f"{path} has no digest beside it: passed over")
            continue
        try:
            return Checkpoint(path, int(path.stem.partition("_")[2]), load(path))
        except CheckpointCorrupt as error:
            warn(f"{error}: falling back to the one before")
    return None


class Checkpointer:
    """Saves states into a folder in the background and keeps the newest `keep` of them, and the best.

    `save` returns once the state is copied (about 0.1 s per GB of CPU memory); hashing and writing happen
    in a thread. A disk that is full, or any other refusal, never ends the training: `warn` hears of it,
    older checkpoints stay, and the next save tries again. `every_s` seconds and `every_steps` steps are what
    `due` goes by; 0 is never. Use as a context manager or call `close`.
    """

    def __init__(
        self, folder: Path | str, *, keep: int = 3, every_s: float = 0.0, every_steps: int = 0,
        warn: Report = _to_stderr, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        if keep < 1:
            raise ValueError(f"keep must be at least 1, found {keep}: the newest checkpoint is always kept")
        self._every_s, self._every_steps, self._clock = every_s, every_steps, clock
        self._saved_at = clock()
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keep = keep
        self._warn = warn
        self._copies = _Copies()
        self._writer: threading.Thread | None = None
        self._error: OSError | None = None
        self.last_saved: Path | None = None
        """The newest checkpoint that this object made durable."""
        for path in remove_stale(self.folder):
            warn(f"removed {path.name}, left behind by a process that was killed while saving")

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def busy(self) -> bool:
        """Whether the state saved last is still being written."""
        return self._writer is not None and self._writer.is_alive()

    @property
    def failed(self) -> bool:
        """Whether the state saved last could not be written."""
        return not self.busy and self._error is not None

    def due(self, step: int) -> bool:
        """Whether it is time for a save after `step` finished steps.

        By steps always; by the clock only when the last save is written, so that a slow disk is not waited for.
        """
        if self._every_steps > 0 and step > 0 and step % self._every_steps == 0:
            return True
        return self._every_s > 0 and self._clock() - self._saved_at >= self._every_s and not self.busy

    def load_newest(self) -> Checkpoint | None:
        """The newest checkpoint in the folder that is whole; None when there is none."""
        return newest_good(self.folder, self._warn)

    def save(
        self,
        step: int,
        state: Mapping[str, Any],
        *,
        best: bool = False,
        wait: bool = False,
        prepare: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Copy `state` and write it as the checkpoint of `step`.

        `best` also makes it ``best.pt``, which is kept whatever its age. `prepare` runs in the writing
        thread on the copied state, for additions that need no copy, and once more when a full disk makes the
        write start again. With `wait` the call returns when
        the checkpoint is durable, and raises `CheckpointNotSaved` when it could not be written. A save
        that is still being written is waited for first.
        """
        self._saved_at = self._clock()
        self._join()
        copied = self._copies.take(state)
        path = self.folder / f"step_{step:08d}.pt"
        self._error = None
        self._writer = threading.Thread(
            target=self._write, args=(path, copied, best, prepare), name="checkpoint-writer"
        )
        self._writer.start()
        if wait:
            self.close(check=True)

    def close(self, *, check: bool = False) -> None:
        """Wait until the last save has ended; with `check` raise `CheckpointNotSaved` when it failed."""
        self._join()
        if check and self._error is not None:
            raise CheckpointNotSaved(
                f"the newest checkpoint could not be written: {self._error.strerror or self._error}",
                left_behind=self._remaining(),
                hint="free some disk space; the run can be resumed from the newest checkpoint",
            ) from self._error

    def _join(self) -> None:
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def _remaining(self) -> str | None:
        files = step_files(self.folder)
        return f"the newest checkpoint is {files[-1]}" if files else None

    def _write(
        self, path: Path, state: dict[str, Any], best: bool, prepare: Callable[[dict[str, Any]], None] | None
    ) -> None:
        try:
            self._write_making_room(path, state, prepare)
            if best:
                self._publish_best(path)
        except OSError as error:
            self._error = error
            self._warn(
                f"checkpoint {path.name} could not be written: {error.strerror or error}. "
                f"Training goes on; {self._remaining() or 'there is no older checkpoint'}"
            )
            return
        self.last_saved = path
        self._prune(self._keep)

    def _write_making_room(
        self, path: Path, state: dict[str, Any], prepare: Callable[[dict[str, Any]], None] | None
    ) -> None:
        """Write; when the disk is full, give up all older checkpoints but the newest and try once more."""

        def write() -> None:
            if prepare is not None:
                prepare(state)
            publish(path, lambda out: _save(state, out))

        try:
            write()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._prune(1):
                raise
            write()

    def _publish_best(self, path: Path) -> None:
        best = self.folder / BEST_NAME
        digest = read_digest(path)
        publish(digest_path(best), lambda out: _text(out, f"{digest}  {BEST_NAME}\n"), with_digest=False)
        link_into_place(path, best)

    def _prune(self, keep: int) -> int:
        """Delete all but the newest `keep`; a deletion that fails is said and not fatal."""
        doomed = step_files(self.folder)[:-keep]
        for path in doomed:
            try:
                remove_published(path)
            except OSError as error:
                self._warn(f"{path} could not be deleted: {error.strerror}")
        return len(doomed)


def _save(state: dict[str, Any], out: HashingFile) -> None:
    torch.save(state, out)  # type: ignore[arg-type]


def _text(out: HashingFile, text: str) -> None:
    out.write(text.encode())


_PLAIN = (int, float, bool, str, bytes, type(None))
"""What may stand beside tensors: exactly these types, because a subclass would not load again."""


class _Copies:
    """Copies states to the CPU, into the same memory each time: fresh memory costs more than the copy."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self._gpus: set[torch.device] = set()
        """Those whose copies are under way."""

    def take(self, state: Mapping[str, Any]) -> dict[str, Any]:
        copied = {key: self._copy(value, key) for key, value in state.items()}
        while self._gpus:  # not only the current one: a script may have its model on another
            torch.cuda.synchronize(self._gpus.pop())
        return copied

    def _copy(self, value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            return self._copy_tensor(value.detach(), path)
        if isinstance(value, Mapping):
            return {key: self._copy(item, f"{path}/{key}") for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._copy(item, f"{path}/{i}") for i, item in enumerate(value))
        if type(value) in _PLAIN:
            return value
        raise TypeError(
            f"state[{path}] is a {type(value).__name__}: a checkpoint holds tensors and plain values only"
        )

    def _copy_tensor(self, value: Tensor, path: str) -> Tensor:
        buffer = self._buffers.get(path)
        if buffer is None or buffer.shape != value.shape or buffer.dtype != value.dtype:
            buffer = host_memory(value.shape, value.dtype, pinned=value.is_cuda)
            self._buffers[path] = buffer
        if value.is_cuda:
            self._gpus.add(value.device)
        return buffer.copy_(value, non_blocking=value.is_cuda)
