"""A proposal as a job file: every line with its reason, in the order in which people read one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.errors import UsageError
from launcher.project.proposal import Proposal

__all__ = ["job_file", "refuse_existing", "write_job_file"]

ORDER = (
    "name",
    "workdir",
    "resources",
    "file_mounts",
    "requires",
    "environment",
    "envs",
    "setup",
    "run",
    "checkpoint",
    "file_outputs",
    "work",
    "metric",
    "expect",
    "max_cost",
    "max_duration",
)
HEAD = """\
# Written by `launch init`. Every field is explained in docs/job-file.md.
#   launch estimate        what it would take and cost, on every provider that is set up; rents nothing
#   launch                 checks, prices, asks, runs, brings results home
"""


def refuse_existing(target: Path) -> None:
    """Raise `UsageError` where a job file is there already."""
    if target.exists():
        raise UsageError(
            f"{target} is there already",
            left_behind="it was not touched",
            hint="--force replaces it, --dry-run shows what would be written",
        )


def write_job_file(target: Path, text: str) -> None:
    """Write the file whole or not at all; one that is there is replaced.

    Raises:
        UsageError: it cannot be written; what was there is as it was.
    """
    beside = target.with_name(f".{target.name}.new")
    try:
        beside.write_bytes(text.encode())
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(
            f"{target} cannot be written: {error.strerror}", left_behind="nothing was written"
        ) from None


def job_file(proposal: Proposal) -> str:
    """Return the text of ``launch.yaml``; reading it gives `Proposal.fields` again."""
    parts = [HEAD]
    if proposal.to_fill_in:
        parts.append(_comment("BEFORE IT CAN RUN:", *(f"  - {words}" for words in proposal.to_fill_in)))
    for name in ORDER:
        if name in proposal.fields:
            reasons = proposal.reasons.get(name, ())
            parts.append(_comment(*reasons) + f"{name}:{_value(proposal.fields[name])}\n")
    if proposal.suggestions:
        parts.append(_comment("You may want:", *(f"  {line}" for line in proposal.suggestions)))
    if proposal.truths:
        parts.append(
            _comment("What the program does not do yet:", *(f"  - {line}" for line in proposal.truths))
        )
    return "\n".join(part for part in parts if part)


def _comment(*lines: str) -> str:
    return "".join(f"# {line}\n" for line in lines)


def _value(value: Any) -> str:
    """Behind the colon: a scalar on the same line, a script as a block, a mapping indented below."""
    if isinstance(value, Mapping):
        return "".join(f"\n  {_key(key)}:{_value(item)}" for key, item in value.items())
    if isinstance(value, str) and "\n" in value and not value.startswith((" ", "\n")):
        kept = "|" if value.endswith("\n") else "|-"
        return f" {kept}\n" + "\n".join(f"  {line}" for line in value.rstrip("\n").split("\n"))
    return f" {_scalar(value)}"


def _key(key: Any) -> str:
    """A plain word stays one: in a job file ``on`` is no truth value."""
    return key if isinstance(key, str) and re.fullmatch(r"[A-Za-z_][\w-]*", key) else _scalar(key)


def _scalar(value: Any) -> str:
    import yaml

    style = '"' if isinstance(value, str) and value.startswith("'") else None  # '''a b.ipynb''' reads badly
    text = yaml.safe_dump(
        value, default_flow_style=True, default_style=style, allow_unicode=True, width=10_000
    ).strip()
    return text.removesuffix("...").strip()
