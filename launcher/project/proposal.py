"""The job that fits a project, with the reason for each line, and what only a person can say. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.errors import UsageError
from launcher.job.notebook import PACKAGES
from launcher.project.command import Command, command_for
from launcher.project.goal import NO_GOAL, Goal, likely_goal
from launcher.project.programs import Program
from launcher.project.survey import OFFICIAL_CONFIG, OFFICIAL_PROGRAM, Project
from launcher.quantities import size

__all__ = ["OFFICIAL_OURS", "Answers", "Proposal", "Question", "propose", "questions"]

OFFICIAL_DATA = "hdf5_data_final"
OFFICIAL_OURS = "trainer"
"""The answer to "which program" that means the trainer in the box, with the checkout's own configuration."""
GPU = "T4:1"
"""The smallest GPU that every cloud rents; enough to find out what a job needs."""
MAX_COST_USD = 5.0
OFFICIAL_MAX_COST_USD = 15.0
"""The full model takes half a day on the smallest GPU."""
RESULTS = "results/"
NO_ACCOUNT = ("fake", "local", "ssh")
"""Providers that nobody needs an account for."""
PRINTED = r"step (?P<step>\d+)/(?P<total>\d+).*loss[ :=]+(?P<loss>\S+)"
PRINTED_BY_TRAINER = r"""['(?P<step>\d+)/(?P<total>\d+) \[', '''loss'': ''?(?P<loss>[-+.\deE]+)']"""
"""The bar and the dictionary that the Trainer of transformers prints."""
PRINTED_BY_KERAS = r"['Epoch (?P<step>\d+)/(?P<total>\d+)', ' loss: (?P<loss>[-+.\de]+)']"
"""What Keras' fit prints of every epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something that no file can answer."""

    about: str
    """Field of `Answers`."""
    words: str
    default: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a person said, or the best guess."""

    program: str = ""
    """Path of what shall be run, or `OFFICIAL_OURS`; empty: the likeliest."""
    gpu: str = GPU
    """Empty: none."""
    max_cost: float = MAX_COST_USD
    cloud: str = ""
    """Empty: whichever is cheapest of those that are set up."""
    goal: Goal | None = None
    """What the run is to reach; None with ``has_goal``: nothing that a number says."""
    has_goal: bool = False
    """It was asked for; otherwise the program's own metric is the best guess."""

    @classmethod
    def read(cls, told: Mapping[str, str]) -> Answers:
        """Read what was answered to `questions`, by `Question.about`; what was not asked is not in there.

        Raises:
            UsageError: no amount of money that a run may cost, or no goal.
        """
        cloud, gpu = told.get("cloud", "any"), told.get("gpu", "").strip()
        return cls(
            program=told.get("program", ""),
            gpu="" if gpu.lower() in ("none", "no") else gpu,
            max_cost=_amount(told["max_cost"]) if "max_cost" in told else MAX_COST_USD,
            cloud="" if cloud == "any" else cloud,
            goal=Goal.parse(told["goal"]) if "goal" in told else None,
            has_goal="goal" in told,
        )


def _amount(text: str) -> float:
    try:
        amount = float(text.strip().removeprefix("$"))
    except ValueError:
        amount = 0.0
    if not 0 < amount < math.inf:
        raise UsageError(f"expected an amount in USD, came {text!r}", left_behind="nothing was written")
    return amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A job in the words of the job file, and why."""

    fields: dict[str, Any]
    reasons: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Field → comment lines above it."""
    suggestions: tuple[str, ...] = ()
    """Lines of a job file that a person may want, each with its reason behind a ``#``."""
    truths: tuple[str, ...] = ()
    """What the program does not do yet, and what that costs."""
    to_fill_in: tuple[str, ...] = ()
    """What has to be replaced in the file before it can work."""


def questions(project: Project, providers: Sequence[str]) -> list[Question]:
    """Return what has to be asked, each with its best guess. ``providers``: names of those that are installed."""
    asked: list[Question] = []
    names = [program.path for program in project.programs[:6]]
    if project.official:  # in its own folder its trainer has no way to the data, which lies beside that
        words = "Which trainer: ours with the checkout's rnn_args.yaml, or its own train_model.py"
        choices = (OFFICIAL_OURS, project.official + OFFICIAL_PROGRAM)
        asked.append(Question(about="program", words=words, default=OFFICIAL_OURS, choices=choices))
    elif project.official is None and len(names) > 1:
        asked.append(
            Question(about="program", words="Which program trains", default=names[0], choices=tuple(names))
        )
    if project.official is None and names:
        words = f"The goal: a number and what it should come to, as val_loss min or val_bleu >= 20 ({NO_GOAL}: no number)"
        seen = next((program.metrics for program in project.programs if program.metrics), ())
        asked.append(Question(about="goal", words=words, default=str(likely_goal(seen) or NO_GOAL)))
    if project.official is not None or any(program.trains for program in project.programs):
        asked.append(Question(about="gpu", words="Which GPU (none: on processors alone)", default=GPU))
    most = MAX_COST_USD if project.official is None else OFFICIAL_MAX_COST_USD
    asked.append(Question(about="max_cost", words="The most that the run may cost, USD", default=f"{most:g}"))
    clouds = [name for name in providers if name not in NO_ACCOUNT]
    if clouds:
        asked.append(
            Question(
                about="cloud", words="Where you have an account", default="any", choices=("any", *clouds)
            )
        )
    return asked


def propose(project: Project, answers: Answers) -> Proposal:
    """Return the job for this project; ``fields`` may name files that do not exist yet, as the checkout's data."""
    if project.official is not None and answers.program in ("", OFFICIAL_OURS):
        return _official(project, answers)
    chosen = next((one for one in project.programs if one.path == answers.program), None)
    program = chosen or (project.programs[0] if project.programs else None)
    if program is None:
        return _without_program(project, answers)
    return _for_program(project, program, answers)


def _for_program(project: Project, program: Program, answers: Answers) -> Proposal:
    command = command_for(program, project)
    fields: dict[str, Any] = {"name": project.name}
    reasons: dict[str, tuple[str, ...]] = {}
    _resources(fields, reasons, answers)
    _data(fields, reasons, project, program, command)
    _environment(fields, reasons, project)
    if command.python_path is not None and "setup.py" not in fields.get("environment", {}).values():
        fields["envs"] = {"PYTHONPATH": command.python_path}
        reasons["envs"] = ("the project's own packages are found there; nothing of it has to be installed",)
    fields["run"] = command.text
    reasons["run"] = command.reasons
    if command.checkpoint_dir is not None:
        fields["checkpoint"] = {"dir": command.checkpoint_dir}
        reasons["checkpoint"] = (
            f"{program.path} saves here; a complete file is copied home while the run goes on",
        )
    outputs = dict.fromkeys(command.outputs, RESULTS)
    if outputs:
        fields["file_outputs"] = outputs
        reasons["file_outputs"] = ("what comes home, and where to: a folder for each run",)
    if command.steps is not None:
        fields["work"] = {"steps": command.steps}
        reasons["work"] = ("for the estimate: the default of its own option",)
    fields["max_cost"] = answers.max_cost
    goal = answers.goal if answers.has_goal else likely_goal(program.metrics)
    if goal is not None and program.reports_metrics:
        fields["metric"] = {"name": goal.name, "mode": goal.mode}
        if goal.condition:
            fields["expect"] = {goal.name: goal.condition}
            reasons["expect"] = ("the verdict: whether the run came to what it was to reach",)
    return Proposal(
        fields=fields,
        reasons=reasons,
        suggestions=tuple(_suggestions(program, goal, command)),
        truths=tuple(_truths(project, program, command)),
        to_fill_in=command.to_fill_in,
    )


def _resources(fields: dict[str, Any], reasons: dict[str, tuple[str, ...]], answers: Answers) -> None:
    resources: dict[str, Any] = {}
    if answers.cloud:
        resources["cloud"] = answers.cloud
    if answers.gpu:
        resources["accelerators"] = answers.gpu
        reasons["resources"] = (
            "the least that a machine must have; `launch estimate` shows what is dearer and faster.",
            "On this computer as it is: launch --provider local --set resources=null",
        )
    if resources:
        fields["resources"] = resources


def _data(
    fields: dict[str, Any],
    reasons: dict[str, tuple[str, ...]],
    project: Project,
    program: Program,
    command: Command,
) -> None:
    mounts = {folder.path: folder.path for folder in project.data}
    if not mounts:
        return
    fields["file_mounts"] = mounts
    sizes = [f"{one.path}: {size(one.size_bytes)} in {_count(one.num_files, 'file')}" for one in project.data]
    reasons["file_mounts"] = ("data, sent once and kept on the machine: place there, source here", *sizes)


_WHY = {
    "pyproject.toml": "what it declares, without the project itself; extras: […] and groups: […] name more of it",
    "setup.py": "the project is installed from its working folder (`-e .`), with all that it needs",
    "lock": "installed as it is pinned, hashes included",
    "requirements": "the newest versions that it allows; torch in the build that runs on the machine's GPU",
    "conda": "by micromamba, mamba or conda",
}


def _environment(fields: dict[str, Any], reasons: dict[str, tuple[str, ...]], project: Project) -> None:
    if not project.environment:
        return
    kind, path = project.environment[0]
    python = {"python": project.python} if project.python is not None and kind != "conda" else {}
    fields["environment"] = {**python, kind: path}
    why = _WHY.get(path.rpartition("/")[2]) or _WHY[kind]
    reasons["environment"] = (why, "made on the machine, and kept there for the next run")


def _suggestions(program: Program, goal: Goal | None, command: Command) -> list[str]:
    lines = []
    if command.resumes or program.knows_resume_variable:
        lines.append(
            "resources: {use_spot: true}   # half the price or less; it can go on after an interruption"
        )
    if goal is not None and not program.reports_metrics:
        once = "once the program writes it to $LAUNCH_METRICS_FILE, or progress finds it"
        lines.append(f"metric: {{name: {goal.name}, mode: {goal.mode}}}   # {once}")
        if goal.condition:
            lines.append(f'expect: {{{goal.name}: "{goal.condition}"}}   # {once}')
    if not program.reports_metrics:
        by_keras = program.imports & {"keras", "tensorflow"}
        printed = (
            PRINTED_BY_TRAINER if program.has_trainer else PRINTED_BY_KERAS if by_keras else f"'{PRINTED}'"
        )
        lines.append(
            f"progress: {printed}   # read from lines that it prints; name the groups for what they are"
        )
    if command.steps is None:
        lines.append(
            "work: {hours: 3, on: T4}   # how long it took somewhere: the estimate is a guess without it"
        )
    lines.append("max_duration: 8h   # twice the high estimate when it is not given")
    lines.append(
        "recovery: {max_restarts_on_errors: 1}   # interruptions are always recovered from; errors are not"
    )
    return lines


def _truths(project: Project, program: Program, command: Command) -> list[str]:
    found = _truths_of_notebook(program) if program.is_notebook else _truths_of_program(program, command)
    needed = program.imports - {*project.modules, *project.modules_in_src}
    needed |= set(PACKAGES) if program.is_notebook else set()
    if not project.environment and needed:
        found.append(
            f"no requirements file: the machine's own packages are used, and it needs {', '.join(sorted(needed))}. "
            "Write requirements.txt, and environment: {requirements: requirements.txt}"
        )
    return [*found, *_not_used(project)]


def _truths_of_program(program: Program, command: Command) -> list[str]:
    found = []
    if not (command.resumes or program.knows_resume_variable):
        found.append(
            f"{program.path} has no option to go on from a checkpoint: after an interruption it starts from the "
            "beginning. Let it take the path in $LAUNCH_RESUME_FROM"
        )
    if not program.handles_sigterm:
        found.append(
            f"{program.path} does not listen to SIGTERM: when a machine is taken away, only what it had saved "
            "before survives. trainer.interrupt does it in five lines of PyTorch (docs/trainer.md)"
        )
    if not program.reports_metrics:
        found.append(
            f"{program.path} does not write to $LAUNCH_METRICS_FILE: progress is shown by time alone. One JSON "
            'line {"step": 1, "total": 100, "loss": 0.5} each step is enough; `progress` reads it from what it prints'
        )
    return found


def _truths_of_notebook(program: Program) -> list[str]:
    if program.knows_resume_variable:
        return []
    words = (
        f"{program.path} begins at its first cell after an interruption. Let a cell save to $LAUNCH_CHECKPOINT_DIR and "
        "look at $LAUNCH_RESUME_FROM; when a machine is taken away the running cell sees a KeyboardInterrupt"
    )
    return [words]


def _not_used(project: Project) -> list[str]:
    """Files that were found and cannot be used, each with its reason."""
    return [f"{path} {reason}" for path, reason in (*project.unusable, *project.unreadable)]


def _official(project: Project, answers: Answers) -> Proposal:
    fields: dict[str, Any] = {"name": "b2t25"}
    reasons: dict[str, tuple[str, ...]] = {}
    _resources(fields, reasons, answers)
    folder = project.official or ""
    source = "data" if folder else "../data"
    fields["file_mounts"] = {"data": source}
    is_here = (project.root / source / OFFICIAL_DATA).is_dir()
    held = project.data_at("data") if is_here else None
    where = size(held.size_bytes) if held else "here" if is_here else "not here yet, see below"
    reasons["file_mounts"] = (f"the competition's data, {source}/{OFFICIAL_DATA}/<session>/…; {where}",)
    fields["requires"] = [f"data/{OFFICIAL_DATA}"]
    reasons["requires"] = ("nothing is rented without it",)
    fields["run"] = (
        f'trainer train --config {folder}{OFFICIAL_CONFIG} --data-dir "$LAUNCH_DATA_DIR" --run-dir "$LAUNCH_OUTPUT_DIR"\n'
        'trainer evaluate --run-dir "$LAUNCH_OUTPUT_DIR" --data-dir "$LAUNCH_DATA_DIR" --split val\n'
    )
    reasons["run"] = (
        "the trainer in the box, with the checkout's own configuration: resumes exactly, saves off the training",
        "thread, reads and writes the checkout's checkpoints. The checkout's own trainer instead:",
        "  run: cd model_training && python train_model.py"
        + ("" if folder else "     (in a job file at the top of the checkout)"),
        "which forgets its step at an interruption, refuses an existing output folder, and needs a GPU with bf16",
    )
    fields["checkpoint"] = {"every": "5m", "keep": 3}
    fields["file_outputs"] = {"outputs/": RESULTS}
    fields["work"] = {"hours": 3.5, "on": "RTX 4090"}
    reasons["work"] = ("published by the authors of the baseline",)
    fields["metric"] = {"name": "val_per", "mode": "min"}
    fields["max_cost"] = answers.max_cost
    return Proposal(
        fields=fields,
        reasons=reasons,
        suggestions=(
            "resources: {use_spot: true}   # half the price or less; it goes on from the same step",
        ),
        truths=()
        if is_here
        else (
            f"{source}/{OFFICIAL_DATA} is not here yet: the competition's page has it, and nothing is rented before it is here",
        ),
    )


def _without_program(project: Project, answers: Answers) -> Proposal:
    """Nothing that can be started was found: a shell script, or a line to fill in."""
    fields: dict[str, Any] = {"name": project.name}
    reasons: dict[str, tuple[str, ...]] = {}
    _resources(fields, reasons, answers)
    if project.data:
        fields["file_mounts"] = {folder.path: folder.path for folder in project.data}
    _environment(fields, reasons, project)
    script = project.shell_scripts[0] if project.shell_scripts else None
    fields["run"] = f"bash {script}" if script else "echo 'what shall be run?'; exit 2"
    fields["max_cost"] = answers.max_cost
    missing = (
        () if script else ("run: no program was found that can be started; write the command that trains",)
    )
    return Proposal(fields=fields, reasons=reasons, to_fill_in=missing, truths=tuple(_not_used(project)))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
