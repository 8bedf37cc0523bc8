"""`launch doctor`: what works here, and the line that repairs what does not."""

from __future__ import annotations

import click

from launcher.cli.arguments import example
from launcher.cli.screen import Screen, with_screen

__all__ = ["doctor"]

EXIT_MISSING = 3
MARKS = {"ok": "ok", "warning": "!", "error": "x"}


@click.command("doctor", short_help="What works here, and what is missing.", epilog=example("launch doctor"))
@with_screen
def doctor(screen: Screen) -> int:
    """Look at tools, SSH, LAUNCH_HOME and providers; the exit code is 3 when something that is needed is missing."""
    from launcher.doctor import findings

    found = findings()
    if screen.json:
        screen.document(
            {
                "findings": [
                    {"check": one.check, "level": one.level.value, "message": one.message, "fix": one.fix}
                    for one in found
                ]
            }
        )
    else:
        for one in found:
            screen.say(f"{MARKS[one.level.value]:<3} {one.check}: {one.message}")
            if one.fix:
                screen.say(f"      {one.fix}")
    return EXIT_MISSING if any(one.level.value == "error" for one in found) else 0
