"""``docs/commands.md``, made from the help texts: ``python -m launcher.cli.reference > docs/commands.md``.

A test compares the two, so that the page never says what the program does not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from launcher.cli.app import COMMANDS, PROGRAM, root

__all__ = ["reference"]

WIDTH = 90

INTRO = """\
# Commands

This page is made from the help texts of the program (`python -m launcher.cli.reference`); a test keeps the two alike.

A RUN is a run's id, the beginning of one that no other run shares, or a name, which means its newest run. A first
argument that is the name of a command is that command; a job file of such a name is reached as `./estimate`.

Answers go to stdout, notices and errors to stderr. Where nobody sits at a terminal, nothing is asked: what needs an
answer then ends with exit code 2 unless `--yes` gives it. `NO_COLOR` is honoured.

## Exit codes

| code | meaning |
|---|---|
| 0 | done; with `--detach`, handed over to the background |
| 1 | the run failed or was stopped, whatever the program's own exit code was; it is not what `expect` asks for; or a question was answered with no |
| 2 | wrong usage or job file; an answer was needed and nobody was there to give it |
| 3 | credentials or a dependency are missing |
| 4 | no offer or no capacity within the limits |
| 5 | refused by a limit on money; `estimate`: nothing fits into the limits |
| 70 | our own fault: please report it |
| 130 | left by Ctrl-C; what was started goes on, and the last line says what it costs |
| `exec` | the command's own code; 255 when the machine was not reached |

## JSON

Every command but `ssh` takes `--json`: one document on stdout and nothing else there, people's text on stderr. What
streams (following a run, `logs`, `watch`) writes JSON Lines. Every document has `"schema": 1`.
A number that JSON does not have (nan, inf) is null.

| command | document |
|---|---|
| `launch`, `stop`, `down`, `resume` | lines of events (`kind`, `message`, `at`, `run_id`, `seq`, `data`), then the document of `status`; with `--detach` that one alone |
| `launch --dry-run` | `{"job", "name", "bills", "plan", "code", "findings", "results_dir"}`; with `"error"` as below where the run would be refused |
| `estimate` | `{"estimates": [{"offer", "hours": {"low", "likely", "high"}, "usd": {…}, "lines": [{"item", "usd", "basis"}], "basis", "narrow_by", "price_age_days", "missing", "fits", "stages"}], "free_hours": [{"provider", "hardware", "gpu", "gpu_count", "can_be_started", "usd", "hours", "basis", "sessions": {"likely", "high"}, "session_hours", "hours_per_week", "hours_used", "as_of"}], "market", "notes", "prices_as_of", "without_offer": [{"provider", "message", "hint"}]}` |
| `offers` | `{"offers": [{"provider", "instance_type", "region", "zone", "spot", "gpu", "gpu_count", "gpu_memory_gib", "vcpus", "memory_gib", "usd_per_hour", "price_source", "priced_at", "price_age_days", "missing"}], "without_offer"}` |
| `calibrate` | `{"run_id", "steps_per_s", "cost_usd", "estimate"}`; events go to stderr; with `--dry-run` the document of `launch --dry-run` |
| `ls` | `{"runs": [document of status, …], "usd_per_hour_now"}` |
| `status` | `{"run_id", "name", "state", "reason", "provider", "instance", "attempts": [{"n", "stage", "instances", "offer", "started", "ended", "cause", "steps_done", "steps_lost", "seconds_lost", "usd"}], "step", "total", "metrics", "best": {"value", "step"}, "verdict": {"met", "expectations": [{"name", "condition", "value", "met"}]}, "log_reading": {"lines", "matched", "passed_over_bytes", "trouble"}, "advice", "cost_usd", "usd_per_hour_now", "usd_per_hour_planned", "outputs", "stages": [{"name", "state", "reason", "attempts", "started", "ended", "seconds", "seconds_left", "step", "total", "metrics", "usd", "promoted"}], "last_words": {"stage", "lines"}, …}`; with `--events` also `"events"` |
| `logs` | lines of `{"offset", "stage", "text"}` |
| `pull` | `{"run_id", "dest", "files": [{"path", "size_bytes", "sha256", "was_home"}], "refused", "unmatched"}` |
| `report` | `{"run_id", "path", "account"}`; without RUN `{"runs": [{"run_id", "offer", "spot", "finished", "ended_at", "basis", "expected_usd", "usd", "expected_hours", "hours", "inside", "error"}], "calibration": {"runs", "inside", "median_error", "by_source"}}` |
| `compare` | `{"runs": [{"run_id", "name", "state", "reason", "machine", "step", "total", "hours", "usd", "verdict"}], "metrics": {NAME: [a value per run]}, "settings": {PATH: [a text per run]}, "metric": {"name", "mode"}, "best_run"}`; `--csv`: a row per run, with columns `metric.NAME` and `setting.PATH` |
| `exec` | `{"run_id", "argv", "exit_code", "stdout", "stderr"}` |
| `watch` | lines of events |
| `gc` | `{"leftovers": [{"ref", "run_id", "owner", "home_id", "instance_type", "state", "usd_per_hour", "judgement", "why", "action", "problem"}], "not_asked", "kept_here": [{"run_id", "size_bytes", "judgement", "why", "action"}]}`; `judgement` is `end`, `ask` or `leave`, `action` is `ended`, `removed`, `kept` or `failed` |
| `adopt` | `{"orphans": [{"ref", "run_id", "owner", "state", "why"}], "not_asked"}`; with a machine, the document of `status` |
| any failure | `{"error": {"code", "message", "left_behind", "hint"}}` |

Shell completion: `eval "$(_LAUNCH_COMPLETE=bash_source launch)"` (or `zsh_source`, `fish_source`).
"""


def reference() -> str:
    """Return the page."""
    context = click.Context(root, info_name=PROGRAM)
    sections = [INTRO, _section(PROGRAM, root, None)]
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        sections.append(_section(f"{PROGRAM} {name}", command, context))
    return "\n".join(sections)


def _section(title: str, command: click.Command, parent: click.Context | None) -> str:
    context = click.Context(
        command,
        info_name=title.split()[-1],
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    text = "\n".join(_tidy(command.get_help(context)))
    return f"## {title}\n\n```text\n{text}\n```\n"


def _tidy(text: str) -> Iterator[str]:
    return (line.rstrip() for line in text.strip().splitlines())


if __name__ == "__main__":
    sys.stdout.write(reference())
