"""Puts what a stage needs on its machine: code, data, the checkpoint to go on from. Repeating it changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from launcher.errors import HomeError, PlacementError
from launcher.events import Kind, keep_going
from launcher.remote.layout import Start
from launcher.remote.onboard.files import sha256_of
from launcher.remote.runfile import link_of
from launcher.remote.shell import check
from launcher.remote.transfer import Pace, size_of
from launcher.results import require_at_home
from trainer.contract import DIGEST_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from launcher.events import Listen, Report
    from launcher.remote.layout import RunFolder
    from launcher.remote.shell import Shell
    from launcher.remote.tools import Tools
    from launcher.remote.transfer import Transfer
    from launcher.runners.base import Carried, Mount, SignedFile, StoredCheckpoint, Submission

__all__ = ["Download", "Placement", "downloads_of"]

LARGE_BYTES = 8 << 20
"""From here on it pays to move the code as data is moved: it goes on where it was cut."""
_PUT_IN_PLACE = 'find "$1" -type f -exec touch {} + && touch "$2" && mv -- "$1" "$3"'
"""For ``sh``. From here on its times are those of the machine's clock, like the ones of what is saved after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A source that the machine fetches by itself, as a step before the job."""

    url: str
    folder: str
    link: str
    sha256: str | None
    files: list[dict[str, Any]] | None = None
    """With their signed addresses, where the source lies in an object store."""
    is_folder: bool = False


class Placement:
    """Places one submission; each method may be called again after a crash at any point.

    ``shares_files``: the machine sees this computer's files under the same paths, so that data is linked.
    """

    def __init__(
        self,
        shell: Shell,
        tools: Tools,
        start: Start,
        *,
        shares_files: bool,
        timeout_s: float,
        report: Report,
        listen: Listen = keep_going,
        transfer: Transfer | None = None,
    ) -> None:
        """``transfer``: how data and checkpoints travel; file by file without it.

        How far they are goes to ``report``; what ``listen`` raises ends whatever goes on, and the next time goes on
        from there.
        """
        self._shell = shell
        self._tools = tools
        self._start = start
        self._folder: RunFolder = start.folder
        self._shares_files = shares_files
        self._timeout_s = timeout_s
        self._report = report
        self._listen = listen
        self._transfer = transfer

    def place(self, submission: Submission) -> PurePosixPath:
        """Make the run folder, unpack the code unless that was done, and lay out the data; return the packed code's place.

        Raises:
            PlacementError: something did not arrive whole, or is in the way; nothing of the job's was touched.
        """
        digest = sha256_of(submission.snapshot)
        packed = self._send(submission.snapshot, digest)
        local = [mount for mount in submission.mounts if not _is_address(mount)]
        sources = {mount.target: str(self._bring(mount)) for mount in local}
        self._record_inputs(submission.mounts, sources)
        request = {
            "run": str(self._folder.root),
            "snapshot": str(packed),
            "workdir": str(self._folder.workdir),
            "record": str(self._record),
            "digest": digest,
            "links": {name: str(target) for name, target in self._folder.links.items()},
            "folders": [str(self._start.logs), str(self._folder.mounts), str(self._folder.saved)],
            "mounts": list(sources.items()),
        }
        result, answer = self._tools.call("place", request, timeout_s=self._timeout_s, listen=self._listen)
        if "placed" not in answer:
            words = answer.get("error") or result.stderr.decode(errors="replace").strip() or "no answer"
            raise PlacementError(f"code and data could not be placed: {words}")
        if answer["placed"]:
            size = submission.snapshot.stat().st_size
            self._report(
                Kind.TRANSFER, f"code is in place ({size} bytes packed)", what="code", bytes=size, files=1
            )
        return packed

    def carry(self, carried: Carried) -> None:
        """Put outputs of an earlier stage where that stage would have left them, unless it ran here or that was done.

        Once done it is never done again: what the job makes of them afterwards stays.

        Raises:
            PlacementError: something did not arrive whole; what has arrived is not sent again.
            HomeError: what has to travel is not at home, or is not what the stage has made.
        """
        ran_here = Start(self._folder, carried.stage, carried.attempt, carried.start).status
        files = [[file.name, file.sha256] for file in carried.files]
        mark = hashlib.sha256(json.dumps(files).encode()).hexdigest()
        record = self._folder.control / f"carried-{carried.stage}"
        if self._is_there(ran_here) or self._read(record) == mark.encode():
            return
        require_at_home(carried)
        beside = self._folder.control / f"carrying-{mark[:16]}"
        sent = self._send_carried(carried, beside)
        request = {"beside": str(beside), "workdir": str(self._folder.workdir), "files": files}
        result, answer = self._tools.call("carry", request, timeout_s=self._timeout_s, listen=self._listen)
        if "carried" not in answer:
            for name in answer.get("differ", []):
                self._require_unchanged(carried, name)
            words = answer.get("error") or result.stderr.decode(errors="replace").strip() or "no answer"
            raise PlacementError(f"outputs of stage {carried.stage} could not be placed: {words}")
        self._shell.write(record, mark.encode())
        words = f"{len(files)} outputs of stage {carried.stage} are on the machine"
        self._report(Kind.TRANSFER, words, what=carried.stage, bytes=sent, files=len(files))

    def _send_carried(self, carried: Carried, beside: PurePosixPath) -> int:
        size = sum(file.size_bytes for file in carried.files)
        pace = Pace(f"outputs of stage {carried.stage}", size, self._report, listen=self._listen)
        if self._transfer is None:
            done = 0
            for file in carried.files:
                self._shell.put(file.below(carried.root), beside / file.name, on_progress=pace.after(done))
                done += file.size_bytes
            return size
        with tempfile.TemporaryDirectory(prefix="launch-") as folder:
            for file in carried.files:  # links that lead out of a folder travel as what they lead to
                link = Path(folder, file.name)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.below(carried.root))
            return self._transfer.send(Path(folder), beside, pace).size_bytes

    def _require_unchanged(self, carried: Carried, name: str) -> None:
        file = next(file for file in carried.files if file.name == name)
        path = file.below(carried.root)
        if sha256_of(path) != file.sha256:
            raise HomeError(
                f"{path}, an output of stage {carried.stage}, was changed since it came home",
                hint="put back what the stage has made, or run it again",
            )

    def _is_there(self, path: PurePosixPath) -> bool:
        try:
            self._shell.read(path, limit=1)
        except FileNotFoundError:
            return False
        return True

    def place_checkpoint(self, checkpoint: Path, *, is_newest: bool = False) -> None:
        """Put a checkpoint from home where the job looks for it, unless the machine has one that is as new.

        ``is_newest``: it was saved on another machine, after anything that may lie here. Only of what came from here
        can the time be compared with that of what is here: two machines have two clocks.
        """
        digests = checkpoint.with_name(checkpoint.name + DIGEST_SUFFIX)
        lines = digests.read_bytes() if digests.exists() else _digest_lines(checkpoint)
        mark = hashlib.sha256(lines).hexdigest().encode("ascii")
        if self._has_as_new(checkpoint, mark, is_newest=is_newest):
            return
        target = self._folder.checkpoints / checkpoint.name
        beside = target.with_name(f".{checkpoint.name}.incoming")
        # With a transfer, what of it has arrived before is not sent again.
        in_the_way = [str(target)] if self._transfer is not None else [str(beside), str(target)]
        check(
            self._shell.run(["rm", "-rf", "--", *in_the_way]),
            what="making room for a checkpoint",
        )
        size = sum(file.stat().st_size for file in _files(checkpoint))
        if self._transfer is not None:
            self._send_all(self._transfer, checkpoint, beside)
        else:
            pace = Pace(checkpoint.name, size, self._report, listen=self._listen)
            for file in _files(checkpoint):
                target_file = beside / file.relative_to(checkpoint) if checkpoint.is_dir() else beside
                self._shell.put(file, target_file, on_progress=pace)
        digest = target.with_name(target.name + DIGEST_SUFFIX)
        self._shell.write(digest, lines)
        words = ["sh", "-c", _PUT_IN_PLACE, "sh", str(beside), str(digest), str(target)]
        check(self._shell.run(words), what="placing a checkpoint")
        self._shell.write(self._resumed, mark)
        self._report(
            Kind.TRANSFER,
            f"checkpoint {checkpoint.name} is on the machine",
            what="checkpoint",
            bytes=size,
            files=1,
        )

    def restore(self, stored: Sequence[StoredCheckpoint]) -> None:
        """Have the machine fetch the newest of these checkpoints that is whole, unless it has one of its own.

        Raises:
            PlacementError: its disk would not take it.
        """
        parcels = [{"head": dict(one.head), "parts": [link_of(part) for part in one.parts]} for one in stored]
        request = {"checkpoints": str(self._folder.checkpoints), "parcels": parcels}
        result, answer = self._tools.call("restore", request, timeout_s=self._timeout_s, listen=self._listen)
        if "restored" not in answer or "error" in answer:
            words = answer.get("error") or result.stderr.decode(errors="replace").strip() or "no answer"
            raise PlacementError(f"a checkpoint could not be fetched from the bucket: {words}")
        for name, why in answer["problems"]:
            words = f"checkpoint {name} in the bucket is not used: {why}; falling back to the one before"
            self._report(Kind.WARNING, words, name=name)
        if answer["restored"]:
            name, size = answer["restored"], answer["bytes"]
            words = f"the machine has fetched checkpoint {name} from the bucket"
            self._report(Kind.TRANSFER, words, what="checkpoint", bytes=size, files=1)

    def _has_as_new(self, checkpoint: Path, mark: bytes, *, is_newest: bool) -> bool:
        there = self._complete_checkpoints()
        if there and self._read(self._resumed) == mark:  # it was placed before: what else is here came after
            return True
        here = _modified_ns(checkpoint)
        return not is_newest and any(modified_ns >= here for modified_ns in there.values())

    def _read(self, path: PurePosixPath) -> bytes:
        try:
            return self._shell.read(path)
        except FileNotFoundError:
            return b""

    @property
    def _resumed(self) -> PurePosixPath:
        """Which checkpoint was placed last, by the digest of its digests."""
        return (
            self._start.stage_control / "resumed"
            if self._folder.checkpoint_below
            else self._folder.control / "resumed"
        )

    @property
    def _record(self) -> PurePosixPath:
        return self._folder.control / "placed.json"

    def _send(self, snapshot: Path, digest: str) -> PurePosixPath:
        """Have the packed snapshot on the machine, where whoever takes the run over finds it, unless it is there."""
        packed = self._folder.control / f"snapshot-{digest[:16]}.tar.gz"
        if self._is_placed(digest):
            return packed
        size = snapshot.stat().st_size
        pace = Pace("code", size, self._report, listen=self._listen)
        if self._transfer is not None and size >= LARGE_BYTES:
            self._transfer.send(snapshot, packed, pace)
        else:
            self._shell.put(snapshot, packed, on_progress=pace)
        return packed

    def _is_placed(self, digest: str) -> bool:
        """The record is written after the snapshot was unpacked, so the snapshot is there for good."""
        try:
            record = json.loads(self._shell.read(self._record))
        except (FileNotFoundError, ValueError):
            return False
        return bool(record.get("digest") == digest)

    def _bring(self, mount: Mount) -> PurePosixPath:
        source = Path(mount.source)
        if not source.exists():
            raise PlacementError(f"file_mounts: {mount.target}: {source} does not exist at home any more")
        if self._shares_files:
            return PurePosixPath(source)
        target = self._folder.mounts / _key(mount) / source.name
        complete = self._folder.mounts / f"{_key(mount)}.complete"
        try:
            self._shell.read(complete, limit=1)
        except FileNotFoundError:
            self._upload(source, target)
            self._shell.write(complete, b"")
        return target

    def _upload(self, source: Path, target: PurePosixPath) -> None:
        """What is there with its size and time is passed over. Once complete, never again."""
        if self._transfer is not None:
            self._send_all(self._transfer, source, target)
            return
        there = self._listed(target.parent)
        sent = files = 0
        pace = Pace(source.name, size_of(source).size_bytes, self._report, listen=self._listen)
        for file in _files(source):
            name = PurePosixPath(source.name) / file.relative_to(source)
            info = file.stat()
            if there.get(str(name)) != (info.st_size, info.st_mtime_ns):
                self._shell.put(file, target.parent / name, on_progress=pace.after(sent))
                sent += info.st_size
                files += 1
        self._report(
            Kind.TRANSFER, f"{source.name} is on the machine", what=source.name, bytes=sent, files=files
        )

    def _send_all(self, transfer: Transfer, source: Path, target: PurePosixPath) -> None:
        size = size_of(source).size_bytes
        sent = transfer.send(source, target, Pace(source.name, size, self._report, listen=self._listen))
        self._report(
            Kind.TRANSFER,
            f"{source.name} is on the machine",
            what=source.name,
            bytes=sent.size_bytes,
            files=sent.files,
        )

    def _complete_checkpoints(self) -> dict[str, int]:
        """Entry -> time of its newest file, of those on the machine that have a digest."""
        newest: dict[str, int] = {}
        digests = set()
        for name, (_, modified_ns) in self._listed(self._folder.checkpoints).items():
            entry = name.partition("/")[0]
            if entry.endswith(DIGEST_SUFFIX):
                digests.add(entry.removesuffix(DIGEST_SUFFIX))
            else:
                newest[entry] = max(modified_ns, newest.get(entry, 0))
        return {entry: modified_ns for entry, modified_ns in newest.items() if entry in digests}

    def _listed(self, root: PurePosixPath) -> dict[str, tuple[int, int]]:
        request = {"root": str(root), "run": str(self._folder.root), "patterns": ["**"], "digests": False}
        result, answer = self._tools.call("manifest", request, timeout_s=self._timeout_s, listen=self._listen)
        if "files" not in answer:
            words = answer.get("error") or result.stderr.decode(errors="replace").strip() or "no answer"
            raise PlacementError(f"{root} on the machine cannot be listed: {words}")
        return {name: (size, modified_ns) for name, size, modified_ns, _ in answer["files"]}

    def _record_inputs(self, mounts: Sequence[Mount], sources: dict[str, str]) -> None:
        """What is data that was brought here, so that nobody takes it for results."""
        targets = [str(self._folder.workdir / mount.target) for mount in mounts]
        inputs: list[Any] = sorted({str(self._folder.mounts), *targets, *sources.values()})
        self._shell.write(self._folder.control / "inputs.json", json.dumps(inputs).encode("ascii"))


def downloads_of(mounts: Sequence[Mount], folder: RunFolder) -> list[Download]:
    """What the machine is to fetch by itself; a digest is given as ``https://…#sha256=<hex digits>``."""
    return [_download(mount, folder) for mount in mounts if _is_address(mount)]


def _download(mount: Mount, folder: RunFolder) -> Download:
    url, _, digest = mount.source.partition("#sha256=")
    return Download(
        url=url if mount.files else url.partition("#")[0],
        folder=str(folder.mounts / _key(mount)),
        link=str(folder.workdir / mount.target) + ("/" if mount.target.endswith("/") else ""),
        sha256=digest or None,
        files=[_told(file) for file in mount.files] or None,
        is_folder=mount.is_folder,
    )


def _is_address(mount: Mount) -> bool:
    return bool(mount.files) or mount.source.startswith(("https://", "http://"))


def _told(file: SignedFile) -> dict[str, Any]:
    return {**link_of(file.link), "name": file.name, "size_bytes": file.size_bytes, "etag": file.etag}


def _key(mount: Mount) -> str:
    """A folder's name for one entry of ``file_mounts``."""
    return hashlib.sha256(mount.target.encode(errors="surrogateescape")).hexdigest()[:16]


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path, followlinks=True):
        yield from (Path(folder, name) for name in sorted(names))


def _modified_ns(checkpoint: Path) -> int:
    return max((file.stat().st_mtime_ns for file in _files(checkpoint)), default=0)


def _digest_lines(checkpoint: Path) -> bytes:
    base = checkpoint.parent
    lines = (f"{sha256_of(file)}  {file.relative_to(base)}\n" for file in _files(checkpoint))
    return "".join(lines).encode(errors="surrogateescape")
