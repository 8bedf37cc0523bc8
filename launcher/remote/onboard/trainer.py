"""Makes ``trainer`` a command for jobs that use the machine's own Python. Arguments::

    trainer FOLDER WHEEL

Nothing is installed into that Python: the wheel is unpacked to ``FOLDER/lib``, and ``FOLDER/bin/trainer`` runs it
with whatever ``python3`` comes first in PATH, and so with the torch that is there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import zipfile
from pathlib import Path

COMMAND = """#!/bin/sh
exec python3 -c 'import sys; sys.path[0] = sys.argv.pop(1); from trainer.cli import main; sys.exit(main())' '{}' "$@"
"""
"""The working folder does not come first in the path: it may hold a file of that name."""


def unpack(folder: Path, wheel: Path) -> None:
    """Make ``folder`` unless it is there; it appears whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return
        beside = folder.with_name(".%s.incoming" % folder.name)
        shutil.rmtree(str(beside), ignore_errors=True)
        with zipfile.ZipFile(str(wheel)) as archive:
            archive.extractall(str(beside / "lib"))
        command = beside / "bin" / "trainer"
        command.parent.mkdir()
        command.write_text(COMMAND.format(str(folder / "lib").replace("'", "'\\''")))
        command.chmod(0o755)
        os.rename(str(beside), str(folder))


def main(arguments: list[str]) -> int:
    """See the top of this file."""
    folder, wheel = arguments
    try:
        unpack(Path(folder), Path(wheel))
    except (OSError, zipfile.BadZipFile) as error:
        sys.stdout.write("[launch] the trainer could not be unpacked: %s\n" % error)
        return 1
    return 0
