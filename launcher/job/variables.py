"""``envs`` and ``secrets``: where the values come from that a job file leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.job.problem import FieldError, Path

if TYPE_CHECKING:
    from launcher.job.model import Job

__all__ = ["Variables", "resolve_variables"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """What the program will find in its environment, and what nobody gave."""

    envs: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    missing: tuple[FieldError, ...] = ()


def resolve_variables(job: Job, environ: Mapping[str, str]) -> Variables:
    """Take values that the job leaves open from ``environ``, the environment at home; an empty one counts. Pure.

    ``--env NAME=VALUE`` has been applied before (`Job.with_envs`).
    """
    missing: list[FieldError] = []

    def resolved(word: str, declared: Mapping[str, str | None]) -> dict[str, str]:
        values: dict[str, str] = {}
        for name, value in declared.items():
            found = environ.get(name) if value is None else value
            if found is None:
                missing.append(_missing((word, name), name))
            elif "\0" in found:
                missing.append(FieldError("holds a NUL character", path=(word, name)))
            else:
                values[name] = found
        return values

    envs, secrets = resolved("envs", job.envs), resolved("secrets", job.secrets)
    return Variables(envs=envs, secrets=secrets, missing=tuple(missing))


def _missing(path: Path, name: str) -> FieldError:
    return FieldError(
        f"{name} has no value: not in the job file, not in --env, not in the environment here",
        path=path,
        hint=f"export {name}=… and launch again; --env {name}=… works too, and shows in the shell's history",
    )
