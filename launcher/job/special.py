"""The rules that only the top of a job file has: its name, its variables, its number of machines, its provider options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from launcher.job.names import MAX_NAME_LENGTH, NAME, derive_name
from launcher.job.problem import FieldError
from launcher.job.rules import Number, came
from launcher.job.written import natural

__all__ = ["NodesRule", "ProviderOptionsRule", "name_problem", "variable_problem"]


def name_problem(text: str) -> str | None:
    """Say why ``text`` is no name of a job; None when it is one."""
    if NAME.fullmatch(text) and len(text) <= MAX_NAME_LENGTH:
        return None
    return (
        f"expected at most {MAX_NAME_LENGTH} lower-case letters, digits and dashes, starting with a letter, "
        f"came {text!r}; {derive_name(text)!r} would do"
    )


def variable_problem(name: str) -> str | None:
    """Say why ``name`` cannot be set for the program; None when it can."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return f"not a name of an environment variable: {name!r}"
    return f"{name} is set by the launcher itself" if name.startswith("LAUNCH_") else None


class NodesRule:
    """The number of machines: one, until more work."""

    def read(self, value: object) -> int:
        """Read a whole number and refuse more than one, in words."""
        nodes: int = Number(kind=int, what="a whole number of machines", at_least=1).read(value)
        if nodes > 1:
            raise FieldError(
                f"a job runs on one machine in this release, {nodes} are asked for",
                hint="several GPUs of one machine work: resources.accelerators: T4:4",
            )
        return nodes

    def write(self, value: int) -> int:
        """Write the number."""
        return value


class ProviderOptionsRule:
    """Options by provider, as plain data; each provider's own dataclass checks its part."""

    def read(self, value: object) -> dict[str, dict[str, Any]]:
        """Read a mapping of mappings."""
        if not isinstance(value, Mapping):
            raise FieldError(f"expected a mapping of providers, came {came(value)}")
        for provider, options in value.items():
            if not isinstance(options, Mapping):
                raise FieldError(
                    f"expected a mapping of options, came {came(options)}", path=(str(provider),)
                )
        return {str(provider): natural(options) for provider, options in value.items()}

    def write(self, value: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Write a copy."""
        return {provider: natural(options) for provider, options in value.items()}
