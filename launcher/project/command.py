"""The command line that starts a program on a machine: its own options, with the folders that a run gives it. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from launcher.project.programs import Option, Program
from launcher.project.survey import Project

__all__ = ["CHECKPOINT_DIR", "CHECKPOINT_SUFFIXES", "Command", "command_for"]

RESUME = (
    "resume",
    "resume_from",
    "resume_from_checkpoint",
    "resume_checkpoint",
    "resume_path",
    "resume_ckpt",
    "load_checkpoint",
    "load_ckpt",
    "restore",
    "restore_from",
    "ckpt_path",
    "checkpoint_path",
    "checkpoint",
    "ckpt",
)
"""Names of the option that takes a checkpoint to go on from, the plainest first; so below."""
CHECKPOINT_DIR = (
    "checkpoint_dir",
    "checkpoints_dir",
    "checkpoints",
    "ckpt_dir",
    "ckpts",
    "save_dir",
    "save_path",
    "model_dir",
)
OUTPUT_DIR = (
    "output_dir",
    "out_dir",
    "outdir",
    "output",
    "out",
    "results_dir",
    "result_dir",
    "run_dir",
    "log_dir",
    "logdir",
    "exp_dir",
    "work_dir",
    "workdir",
)
DATA = (
    "data_dir",
    "data",
    "data_path",
    "data_root",
    "dataset",
    "dataset_dir",
    "dataset_path",
    "root",
    "train_data",
    "train_file",
    "input_dir",
    "input",
    "h5",
    "hdf5",
    "features",
)
STEPS = (
    "max_steps",
    "num_steps",
    "steps",
    "train_steps",
    "total_steps",
    "max_iters",
    "iterations",
    "num_iterations",
)
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".keras", ".safetensors", ".msgpack", ".weights.h5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is run, and what of it is known."""

    text: str
    reasons: tuple[str, ...] = ()
    resumes: bool = False
    checkpoint_dir: str | None = None
    """Relative to the working folder; None when nothing is known about it."""
    outputs: tuple[str, ...] = ()
    """Patterns of what the program leaves, relative to the working folder."""
    steps: int | None = None
    python_path: str | None = None
    """Where the project's own packages are found from where the command is started; None: beside it, or there are none."""
    to_fill_in: tuple[str, ...] = ()


def command_for(program: Program, project: Project) -> Command:
    """Put a program's command together from its own options."""
    folder, _, name = program.path.rpartition("/")
    is_module = program.is_part_of_package and bool(folder) and not program.is_notebook
    inside = bool(folder) and not is_module and _reads_beside_itself(program, folder, project)
    script = shlex.quote(name if inside else program.path)
    if program.is_notebook:
        reason = "executed cell by cell; the executed copy comes home, also when a cell fails"
        outputs = tuple(_outputs(program, inside="", into=None, saves=None))
        return Command(
            text=shlex.quote(program.path),
            reasons=(reason,),
            checkpoint_dir=_checkpoint_dir(program, given=False, inside=""),
            outputs=outputs,
        )
    words = ["python", "-m", _dotted(program.path)] if is_module else ["python", script]
    options = {option.word: option for option in program.options}
    reasons: list[str] = []
    missing: list[str] = []
    taken: set[str] = set()

    def give(option: Option, value: str, why: str) -> None:
        taken.add(option.word)
        words.extend([option.flag, value] if option.flag.startswith("-") else [value])
        reasons.append(f"{option.flag}: {why}")

    resume = _first(options, RESUME)
    checkpoints = _first(options, CHECKPOINT_DIR)
    output = _first(options, OUTPUT_DIR)
    if program.has_trainer and checkpoints is None:
        checkpoints, output = output, None  # its Trainer keeps checkpoints where its results lie
    if (data := _first(options, DATA)) is not None and (place := _data_place(data, project)) is not None:
        give(data, shlex.quote(place), "where the data lies there")
    if checkpoints is not None and not checkpoints.is_switch:
        give(
            checkpoints, '"$LAUNCH_CHECKPOINT_DIR"', "what is saved here is copied home while the run goes on"
        )
    if output is not None and not output.is_switch:
        give(output, '"$LAUNCH_OUTPUT_DIR"', "what is written here comes home at the end")
    for option in program.options:
        if option.required and option.word not in taken and option is not resume:
            words.extend([option.flag, "FILL_IN"] if option.flag.startswith("-") else ["FILL_IN"])
            missing.append(f"run: {program.path} needs {option.flag}")
    if resume is not None:
        words.append(_resume_words(resume))
        reasons.append(f"{resume.flag}: only after an interruption, with the newest checkpoint")
    text = " ".join(words)
    return Command(
        text=f"cd {shlex.quote(folder)} && {text}" if inside else text,
        reasons=tuple(reasons),
        resumes=resume is not None,
        checkpoint_dir=_checkpoint_dir(
            program, given=checkpoints is not None, inside=folder if inside else ""
        ),
        outputs=tuple(_outputs(program, inside=folder if inside else "", into=output, saves=checkpoints)),
        steps=_steps(options),
        python_path=_python_path(program, project, is_module=is_module, inside=folder if inside else ""),
        to_fill_in=tuple(missing),
    )


def _dotted(path: str) -> str:
    """The name by which a module of the project is imported."""
    return path.removeprefix("src/").removesuffix(".py").replace("/", ".")


def _python_path(program: Program, project: Project, *, is_module: bool, inside: str) -> str | None:
    """The folder of the project's own packages, where Python would not look for them by itself."""
    folder = posixpath.dirname(program.path)
    if is_module:
        return "src" if folder.startswith("src/") else None
    beside = set(project.modules_in_src if folder == "src" else project.modules if not folder else ())
    wanted = set(program.imports) - beside
    base = "src" if wanted & set(project.modules_in_src) else "." if wanted & set(project.modules) else None
    if base is None or base == (folder or "."):
        return None
    return posixpath.relpath(base, inside) if inside else base


def _first(options: dict[str, Option], words: tuple[str, ...]) -> Option | None:
    return next((options[word] for word in words if word in options), None)


def _resume_words(option: Option) -> str:
    if option.is_switch:
        return f"${{LAUNCH_RESUME_FROM:+{option.flag}}}"
    return f'${{LAUNCH_RESUME_FROM:+{option.flag} "$LAUNCH_RESUME_FROM"}}'


def _data_place(option: Option, project: Project) -> str | None:
    """What to pass for the data; None when the option's own default is right."""
    if isinstance(option.default, str) and project.data_at(option.default) is not None:
        return None
    if project.data:
        return project.data[0].path
    return "data" if option.required else None


def _reads_beside_itself(program: Program, folder: str, project: Project) -> bool:
    """Its paths are meant from its own folder, not from the top of the project."""
    defaults = [option.default for option in program.options if isinstance(option.default, str)]
    for path in (*program.reads, *(text for text in defaults if "/" in text or "." in text)):
        plain = path.split("*")[0]
        if not plain or posixpath.isabs(plain):
            continue
        at_top, beside = project.root / plain, project.root / folder / plain
        if beside.exists() and not at_top.exists():
            return True
    return False


def _checkpoint_dir(program: Program, *, given: bool, inside: str) -> str | None:
    if given:
        return "checkpoints"
    for folder in program.saves_into:
        if not posixpath.isabs(folder) and not folder.startswith(("..", "~")):
            return posixpath.normpath(posixpath.join(inside, folder))
    for path in program.writes:
        folder = posixpath.dirname(path)
        is_checkpoint = path.endswith(CHECKPOINT_SUFFIXES)
        if is_checkpoint and folder and "*" not in folder and not posixpath.isabs(folder):
            return posixpath.normpath(posixpath.join(inside, folder))
    return None


def _outputs(program: Program, *, inside: str, into: Option | None, saves: Option | None) -> Iterator[str]:
    """Patterns: the folders that a run gives, and what the program writes elsewhere."""
    seen: set[str] = set()
    wanted = ["outputs/"] if into is not None or program.is_notebook else []
    wanted += ["checkpoints/"] if saves is not None else []
    kept = [] if saves is not None else program.saves_into  # where an option says where, they are its default
    wanted += [posixpath.normpath(posixpath.join(inside, folder)) + "/" for folder in kept]
    for path in program.writes:
        folder, _, name = path.rpartition("/")
        is_elsewhere = posixpath.isabs(path) or path.startswith(("..", "~"))
        is_given = "*" in folder and bool(wanted)  # a folder that an option names: it is among the wanted
        if is_elsewhere or is_given:
            continue
        place = posixpath.normpath(posixpath.join(inside, folder)) if folder or inside else ""
        if not folder:
            wanted.append(f"{inside}/{name}" if inside else name)
        else:
            wanted.append(f"**/{name}" if "*" in folder else f"{place}/")
    for pattern in wanted:
        if pattern not in seen and not pattern.startswith(("/", "..", "~")):
            seen.add(pattern)
            yield pattern


def _steps(options: dict[str, Option]) -> int | None:
    for word in STEPS:
        option = options.get(word)
        if option is not None and isinstance(option.default, int) and option.default > 0:
            return int(option.default)
    return None
