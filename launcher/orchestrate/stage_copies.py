"""What earlier stages have left, in a folder that a person has asked for: it is at home, and on no machine any more."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from launcher import results
from launcher.errors import UsageError
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.stage_files import FOLDERS
from launcher.remote.onboard.files import sha256_of
from launcher.runners.base import FetchedFile, FetchReport

__all__ = ["copied", "copy_of_others", "copy_of_results"]


def copy_of_results(context: RunContext, dest: Path) -> FetchReport:
    """Copy all that is home of a run to a folder of its id in ``dest``; for a run that no machine is left of.

    Raises:
        UsageError: that folder is another's.
        HomeError: it cannot be made or written.
    """
    main = results.results_dir(context.job, context.run_id, out=dest)
    results.claim(main, context.run_id)
    return copy_of_others(context, "", main, ())


def copy_of_others(context: RunContext, stage: str, dest: Path, brought: Collection[Path]) -> FetchReport:
    """Copy to ``dest`` what is at home of a run and has not just been ``brought`` there from the machine of ``stage``.

    Where that has brought another file of the same path, the earlier stage's goes to ``stages/<stage>/<path>``, as at
    home. What is not at home any more, or was changed there, is in ``refused``.
    """
    bases = [base / context.run_id for base in results.results_bases(context.job, out=context.plan.out)]
    files: list[FetchedFile] = []
    refused: list[tuple[str, str]] = []
    for path, owner, digest in context.store.outputs_with_stages(context.run_id):
        source = Path(path)
        base = next((base for base in bases if source.is_relative_to(base)), None)
        if base is None:
            continue
        name = source.relative_to(base)
        target = dest / name
        if target in brought:
            if owner in ("", stage) or sha256_of(target) == digest:
                continue
            target = dest / FOLDERS[0] / owner / name
        try:
            files.append(copied(source, target, digest))
        except (OSError, UsageError) as err:
            whose = f" from stage {owner or stage}" if owner or stage else ""
            refused.append((str(name), f"it came home{whose} before, and {err}"))
    return FetchReport(files=tuple(files), refused=tuple(refused))


def copied(source: Path, target: Path, digest: str) -> FetchedFile:
    """Copy one file whole or not at all, unless it is there.

    Raises:
        UsageError: it is not what ``digest`` says.
        OSError: it could not be read or written.
    """
    known = FetchedFile(path=target, size_bytes=0, sha256=digest, was_home=True)
    if target.is_file() and not target.is_symlink() and sha256_of(target) == digest:
        return replace(known, size_bytes=target.stat().st_size)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        shutil.copy2(source, beside)
        if sha256_of(beside) != digest:
            raise UsageError(f"{source} was changed since")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    return replace(known, size_bytes=target.stat().st_size, was_home=False)
