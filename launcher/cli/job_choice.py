"""Which job is meant: a file, a command after ``--``, or the nearest ``launch.yaml``."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import UsageError

if TYPE_CHECKING:
    from launcher.job import Job

__all__ = ["NoJob", "changed", "choose_job", "refuse_a_misspelt_command"]

PROGRAM_SUFFIXES = (".py", ".ipynb", ".sh")


class NoJob(UsageError):
    """Nothing says what shall run; a person may take the built-in job, which nobody takes for them."""


def choose_job(
    named: Sequence[str],
    command: Sequence[str] | None,
    *,
    settings: Mapping[str, str],
    envs: Mapping[str, str],
    commands: Sequence[str],
    cwd: Path,
) -> Job:
    """Return the job that the arguments name, with ``--set`` and ``--env`` applied.

    Raises:
        UsageError: two jobs are named.
        NoJob: none is, and no ``launch.yaml`` is near.
        JobFileError: the file, a setting or the command is wrong.
    """
    from launcher.job import Job, find_job_file

    if named:
        refuse_a_misspelt_command(named, commands)
    if len(named) > 1:
        raise UsageError(
            f"one job file at a time, came {' '.join(named)}",
            hint=f"to run a command, put -- before it: launch [options] -- {shlex.join(named)}",
        )
    if named and command is not None:
        raise UsageError(f"{named[0]} and a command after -- are two jobs", hint="give one of the two")
    if command is not None:
        job = Job.from_command(command, base_dir=cwd)
    elif named:
        _refuse_a_program(named[0])
        job = Job.from_yaml(named[0])
    else:
        found = find_job_file(cwd)
        if found is None:
            raise NoJob(
                "no job: none was named, and there is no launch.yaml here or above, up to the git root",
                hint="`launch init` writes one; or launch JOB.yaml, or launch [options] -- python train.py",
            )
        job = Job.from_yaml(found)
    return changed(job, settings, envs)


def changed(job: Job, settings: Mapping[str, str], envs: Mapping[str, str]) -> Job:
    """Return the job with ``--set`` and ``--env`` applied."""
    if settings:
        job = job.with_overrides(settings)
    return job.with_envs(envs) if envs else job


def refuse_a_misspelt_command(named: Sequence[str], commands: Sequence[str]) -> None:
    """Raise `UsageError` where the first word is no command and no file; the hint has the nearest.

    A program with arguments (``python train.py``) is let through: it is told of the ``--`` that it lacks.
    """
    word = named[0]
    if not word or "/" in word or "." in word or Path(word).exists():
        return
    if len(named) > 1 and word not in commands and shutil.which(word):
        return
    import difflib

    close = difflib.get_close_matches(word, commands, n=1, cutoff=0.6)
    beside = next((f"{word}{end}" for end in (".yaml", ".yml") if Path(word + end).is_file()), None)
    if word in commands:
        hint = f"a command comes first: launch {word} …"
    elif beside:
        hint = f"did you mean `launch {beside}`?"
    elif close:
        hint = f"did you mean `launch {close[0]}`?"
    else:
        hint = "`launch --help` lists the commands; a program comes after --: launch [options] -- python train.py"
    raise UsageError(f"{word!r} is neither a command nor a job file", hint=hint)


def _refuse_a_program(path: str) -> None:
    """A program in the place of its job file would be read as YAML, and refused in words about that."""
    if not path.endswith(PROGRAM_SUFFIXES) or not Path(path).is_file():
        return
    starter = {".py": "python ", ".sh": "bash "}.get(Path(path).suffix, "")
    raise UsageError(
        f"{path} is a program, and no job file",
        hint=f"launch [options] -- {starter}{shlex.quote(path)}; or `launch init` writes a job file for it",
    )
