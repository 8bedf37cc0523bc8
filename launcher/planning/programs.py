"""What commands and programs say themselves: which files they start, and whether they save where nobody looks for checkpoints.
Reads their text, executes nothing.

A hint, and no more: what a program does is shown by ``launch rehearse``. Said is what stands literally in the command or
the program, so that a folder that is put together on the way is passed over.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.job.files import mount_above
from launcher.job.notebook import notebook_of
from launcher.project.command import CHECKPOINT_DIR, CHECKPOINT_SUFFIXES
from launcher.project.programs import Program, read_notebook, read_program

if TYPE_CHECKING:
    from launcher.job import Job

__all__ = ["SavedElsewhere", "missing_programs", "saved_elsewhere"]

VARIABLE = "LAUNCH_CHECKPOINT_DIR"
READ_BYTES = 2_000_000
_IS_A_SAVE = re.compile(r"ckpt|checkpoint|step|epoch|\*", re.IGNORECASE)
"""In the name of a file that is written again and again; a final model is saved wherever it belongs."""
_OPTION = re.compile(r"--?([A-Za-z][\w-]*)(?:=(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedElsewhere:
    """One program that names another folder than the one of its checkpoints."""

    stage: str
    """Empty where the job has no stages."""
    who: str
    """The program, or the option of its command."""
    folder: str
    """Where it saves, relative to the working folder."""
    expected: str
    """What LAUNCH_CHECKPOINT_DIR is there."""

    @property
    def words(self) -> str:
        """As a sentence for people."""
        of_stage = f"stage {self.stage}: " if self.stage else ""
        return (
            f"{of_stage}{self.who} saves to {self.folder}/, and checkpoints are looked for in {self.expected}/ "
            f"(${VARIABLE}): what it saves is neither copied home nor gone on from"
        )

    @property
    def fix(self) -> str:
        """What to write."""
        given = f'give it "${VARIABLE}"'
        return given if self.stage else f"checkpoint: {{dir: {self.folder}}}, or {given}"


def saved_elsewhere(job: Job) -> Iterator[SavedElsewhere]:
    """Yield what the commands of a job and the programs that they start say of where they save; each folder once."""
    for stage in job.every_stage:
        if stage.run is None or VARIABLE in stage.run:
            continue
        name = stage.name if job.stages else ""
        expected = posixpath.normpath(posixpath.join(job.checkpoint.dir, name))
        told = set()
        for who, folder in _folders(stage.run, job.workdir_path):
            if folder not in told and folder != expected and not folder.startswith(expected + "/"):
                told.add(folder)
                yield SavedElsewhere(stage=name, who=who, folder=folder, expected=expected)


def _folders(run: str, workdir: Path) -> Iterator[tuple[str, str]]:
    """(who says so, folder) of everything that a script starts."""
    notebook = notebook_of(run)
    if notebook is not None:
        yield from _of_program(_program(workdir, notebook), "", given=set())
        return
    for words, inside in _commands(run):
        yield from _of_command(words, inside, workdir)


def _commands(run: str) -> Iterator[tuple[list[str], str]]:
    """(words, folder in which they are started) of a script's simple commands; what is put together is passed over."""
    inside = ""
    for command in re.split(r"&&|\|\||[;\n|]", run.replace("\\\n", " ")):
        try:
            words = shlex.split(command, comments=True)
        except ValueError:  # half of a quoted text, or of a here-document
            continue
        if words[:1] == ["cd"] and len(words) == 2:
            inside = posixpath.join(inside, words[1])
        elif words:
            yield words, inside


def missing_programs(job: Job) -> Iterator[str]:
    """Yield the Python files that ``python FILE.py`` starts and that are not in the working folder, once each.

    Of a job whose ``setup`` may bring them, and of folders that its data bring, nothing is said.
    """
    told = set()
    for stage in job.every_stage:
        for words, inside in _commands(stage.run or "") if stage.setup is None else ():
            if not re.fullmatch(r"python[\d.]*", words[0]) or len(words) < 2 or not words[1].endswith(".py"):
                continue
            path = posixpath.normpath(posixpath.join(inside, words[1]))
            is_literal = not re.search(r"[$*`~{]", path) and not path.startswith("/")
            if is_literal and path not in told and mount_above(job, path) is None:
                told.add(path)
                if job.workdir_path.is_dir() and not (job.workdir_path / path).exists():
                    yield path


def _of_command(words: list[str], inside: str, workdir: Path) -> Iterator[tuple[str, str]]:
    given = {}
    for position, word in enumerate(words):
        option = _OPTION.fullmatch(word)
        if option is not None:
            value = option[2] if option[2] is not None else next(iter(words[position + 1 :]), "")
            given[option[1].replace("-", "_").lower()] = (word.partition("=")[0], value)
    for name, (flag, value) in given.items():
        if name in CHECKPOINT_DIR:
            yield from _literal(flag, value, inside)
    for path in _started(words):
        program = _program(workdir, posixpath.join(inside, path))
        yield from _of_program(program, inside, given=set(given))


def _started(words: list[str]) -> Iterator[str]:
    """The Python files that a command starts, also as modules, and behind ``torchrun`` and its like."""
    for position, word in enumerate(words):
        if word.endswith(".py"):
            yield word
        elif word == "-m" and position + 1 < len(words):
            module = words[position + 1].replace(".", "/") + ".py"
            yield from (module, f"src/{module}")


def _of_program(program: Program | None, inside: str, *, given: set[str]) -> Iterator[tuple[str, str]]:
    if program is None or program.knows_checkpoint_variable:
        return
    options = {option.word: option for option in program.options if option.word in CHECKPOINT_DIR}
    if given & set(options):
        return  # its command says where
    for option in options.values():
        if isinstance(option.default, str) and option.default:
            yield from _literal(f"{program.path} ({option.flag})", option.default, inside)
    for folder in program.saves_into:
        yield from _literal(program.path, folder, inside)
    for path in program.writes:
        folder = posixpath.dirname(path)
        if path.endswith(CHECKPOINT_SUFFIXES) and folder and _IS_A_SAVE.search(path):
            yield from _literal(program.path, folder, inside)


def _literal(who: str, folder: str, inside: str) -> Iterator[tuple[str, str]]:
    """Where it is a folder of the working folder and nothing that a shell or the program puts together."""
    plain = posixpath.normpath(posixpath.join(inside, folder))
    if folder and not re.search(r"[$*`~{]", plain) and not plain.startswith(("/", "..")) and plain != ".":
        yield who, plain


def _program(workdir: Path, path: str) -> Program | None:
    with suppress(OSError, UnicodeDecodeError, ValueError):
        file = workdir / path
        if file.stat().st_size <= READ_BYTES:
            read = read_notebook if path.endswith(".ipynb") else read_program
            return read(path, file.read_text(encoding="utf-8"))
    return None
