"""What earlier stages have left, in a folder that a person has asked for: it is at home, and on no machine any more."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher import results
from launcher.errors import UsageError
from launcher.orchestrate.attention import NOBODY, Onlooker
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.stage_files import FOLDER
from launcher.remote.onboard.files import sha256_of
from launcher.remote.transfer import Pace
from launcher.runners.base import FetchedFile, FetchReport

if TYPE_CHECKING:
    from launcher.remote.shell import OnProgress

__all__ = ["copy_of_others", "copy_of_results"]

BLOCK_BYTES = 1 << 20


def copy_of_results(context: RunContext, dest: Path, onlooker: Onlooker = NOBODY) -> FetchReport:
    """Copy all that is home of a run to a folder of its id in ``dest``; for a run that no machine is left of.

    Raises:
        UsageError: that folder is another's.
        HomeError: it cannot be made or written.
    """
    main = results.results_dir(context.job, context.run_id, out=dest)
    results.claim(main, context.run_id)
    return copy_of_others(context, "", main, {}, onlooker)


def copy_of_others(
    context: RunContext, stage: str, dest: Path, brought: Mapping[Path, str], onlooker: Onlooker
) -> FetchReport:
    """Copy to ``dest`` what is at home of a run and has not just been ``brought`` there from the machine of ``stage``.

    ``brought``: those files, with their digests.

    Where that has brought another file of the same path, the earlier stage's goes to ``stages/<stage>/<path>``, as at
    home. What is not at home any more, or was changed there, is in ``refused``. How far it is goes to ``onlooker``.
    """
    files: list[FetchedFile] = []
    refused: list[tuple[str, str]] = []
    wanted = list(_wanted(context, stage, dest, brought))
    pace = Pace(
        "what is home, copied",
        sum(_size(one.source) for one in wanted),
        onlooker.report,
        listen=onlooker.listen,
    )
    done = 0
    for one in wanted:
        try:
            files.append(_copied(one, pace.after(done)))
        except (OSError, UsageError) as err:
            whose = f" from stage {one.owner or stage}" if one.owner or stage else ""
            refused.append((one.name, f"it came home{whose} before, and {err}"))
        done += _size(one.source)
        pace(done)
    return FetchReport(files=tuple(files), refused=tuple(refused))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file that is home, and where a copy of it goes."""

    name: str
    source: Path
    target: Path
    owner: str
    digest: str


def _wanted(context: RunContext, stage: str, dest: Path, brought: Mapping[Path, str]) -> Iterator[_Wanted]:
    bases = [base / context.run_id for base in results.results_bases(context.job, out=context.plan.out)]
    for path, owner, digest in context.store.outputs_with_stages(context.run_id):
        source = Path(path)
        base = next((base for base in bases if source.is_relative_to(base)), None)
        if base is None:
            continue
        name = source.relative_to(base)
        target = dest / name
        if target in brought:
            if owner in ("", stage) or brought[target] == digest:
                continue
            target = dest / FOLDER / owner / name
        yield _Wanted(str(name), source, target, owner, digest)


def _size(path: Path) -> int:
    """Of a file that may be gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _copied(wanted: _Wanted, on_progress: OnProgress) -> FetchedFile:
    """Copy one file whole or not at all, unless it is there.

    Raises:
        UsageError: it is not what came home.
        OSError: it could not be read or written.
    """
    source, target, digest = wanted.source, wanted.target, wanted.digest
    known = FetchedFile(path=target, size_bytes=0, sha256=digest, was_home=True)
    if target.is_file() and not target.is_symlink() and sha256_of(target, on_progress) == digest:
        return replace(known, size_bytes=target.stat().st_size)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        if _copy(source, beside, on_progress) != digest:
            raise UsageError(f"{source} was changed since")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    return replace(known, size_bytes=target.stat().st_size, was_home=False)


def _copy(source: Path, target: Path, on_progress: OnProgress) -> str:
    """Copy a file with its times and permissions, and return the digest of what was written."""
    digest, done = hashlib.sha256(), 0
    with source.open("rb") as reading, target.open("wb") as writing:
        while block := reading.read(BLOCK_BYTES):
            digest.update(block)
            done += writing.write(block)
            on_progress(done)
    shutil.copystat(source, target)
    return digest.hexdigest()
