"""`launch init`: a job file from an existing folder. Looks, asks what no file can answer, writes; rents nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.arguments import example, yes_option
from launcher.cli.screen import Screen, with_screen
from launcher.errors import UsageError

if TYPE_CHECKING:
    from launcher.project import Answers, Project, Proposal, Question

__all__ = ["init"]


@click.command(
    "init",
    short_help="A job file from an existing folder.",
    epilog=example("launch init --dry-run", "launch init examples --yes"),
)
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a launch.yaml that is there.")
@click.option("--dry-run", is_flag=True, help="Show the file; write nothing.")
@yes_option
@with_screen
def init(screen: Screen, folder: Path, *, force: bool, dry_run: bool, yes: bool) -> int:
    """Look at a project and write a commented launch.yaml for it. Nothing of it is executed, nothing is rented.

    With --yes every question gets its best guess.
    """
    from launcher.job import JOB_FILE
    from launcher.project import job_file, propose, refuse_existing, survey, write_job_file

    with screen.busy("Looking at the files"):
        project = survey(folder)
    target = project.root / JOB_FILE
    if not (force or dry_run):
        refuse_existing(target)
    _show_project(screen, project)
    answers = _answers(screen, project, yes=yes or dry_run or screen.json)
    proposal = propose(project, answers)
    text = job_file(proposal)
    if not dry_run:
        write_job_file(target, text)
    if screen.json:
        screen.document(_document(project, proposal, target, text, written=not dry_run))
        return 0
    if dry_run:
        screen.say(text)
    else:
        _show_next(screen, proposal, target)
    return 0


def _show_project(screen: Screen, project: Project) -> None:
    from launcher.render.project import project_lines

    for line in project_lines(project):
        screen.say(line)


def _answers(screen: Screen, project: Project, *, yes: bool) -> Answers:
    from launcher.project import Answers, questions
    from provisioning.registry import names

    asked = questions(project, names())
    if asked and not yes and not (sys.stdin.isatty() and screen.stream.isatty()):
        raise UsageError(
            f"nobody is there to answer: {asked[0].words}?",
            left_behind="nothing was written",
            hint="--yes takes the best guess",
        )
    told = {question.about: question.default if yes else _ask(question) for question in asked}
    return Answers.read(told)


def _ask(question: Question) -> str:
    kind = click.Choice(question.choices) if question.choices else None
    return str(click.prompt(f"{question.words}?", default=question.default, type=kind))


def _document(
    project: Project, proposal: Proposal, target: Path, text: str, *, written: bool
) -> dict[str, Any]:
    return {
        "file": str(target),
        "written": written,
        "job": proposal.fields,
        "text": text,
        "programs": [program.path for program in project.programs],
        "data": [{"path": one.path, "bytes": one.size_bytes, "files": one.num_files} for one in project.data],
        "to_fill_in": list(proposal.to_fill_in),
        "truths": list(proposal.truths),
    }


def _show_next(screen: Screen, proposal: Proposal, target: Path) -> None:
    screen.say(f"\n{target} is written.")
    for words in proposal.to_fill_in:
        screen.say(f"  fill in   {words}")
    for words in proposal.truths:
        screen.say(f"  !         {words}")
    here = " --set resources=null" if "resources" in proposal.fields else ""
    screen.say(
        "  next      launch rehearse        your program, interrupted and killed at home: does it survive?"
    )
    screen.say("            launch estimate        the bill, on every provider that is set up")
    screen.say(f"            launch --provider local{here}      here, as it is")
