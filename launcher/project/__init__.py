"""From an existing folder to a job file: what a project is, read from its files alone; nothing of it is executed."""

from __future__ import annotations

from launcher.project.proposal import Answers, Proposal, Question, propose, questions
from launcher.project.survey import Project, survey
from launcher.project.writing import job_file, refuse_existing, write_job_file

__all__ = [
    "Answers",
    "Project",
    "Proposal",
    "Question",
    "job_file",
    "propose",
    "questions",
    "refuse_existing",
    "survey",
    "write_job_file",
]
