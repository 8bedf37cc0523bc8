"""The command ``launch``: it parses, calls the Python API and renders. It decides nothing, and nothing imports it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises, and never calls `sys.exit`."""
    from launcher.cli.app import run_command  # after `--help` was asked for, not on `import launcher.cli`

    return run_command(argv)
