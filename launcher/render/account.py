"""What runs came to, drawn: one bill beside its estimate, or all of them and how often the range held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from launcher.render import style, words
from launcher.render.bill import hours_range, usd_range
from launcher.render.runs import table

if TYPE_CHECKING:
    from launcher.forecast.account import Account
    from launcher.forecast.experience import Calibration

__all__ = ["account_view", "history_view"]


def account_view(account: Account) -> RenderableType:
    """Draw the estimate of a run beside what it came to, line by line."""
    rows = table("ITEM", "EXPECTED TIME", "TOOK", "EXPECTED COST", "CAME TO")
    for line in account.lines:
        rows.add_row(
            line.item,
            hours_range(line.expected_hours) if line.expected_hours else "",
            words.duration(3600 * line.hours) if line.hours else "",
            usd_range(line.expected_usd),
            words.usd(line.usd),
        )
    took = words.duration(3600 * account.hours)
    total = ("in all", hours_range(account.expected_hours), took, usd_range(account.expected_usd))
    rows.add_row(*(Text(cell, style="bold") for cell in (*total, words.usd(account.usd))))
    parts: list[RenderableType] = [rows]
    if account.stages:
        parts += [Text(), _stages(account)]
    return Group(*parts, Text(_verdict(account), style=style.QUIET))


def _stages(account: Account) -> RenderableType:
    rows = table("STAGE", "EXPECTED TIME", "TOOK", "EXPECTED COST", "CAME TO", "TIME WAS")
    for stage in account.stages:
        rows.add_row(
            stage.name,
            hours_range(stage.expected_hours),
            words.duration(3600 * stage.hours) if stage.hours else "",
            usd_range(stage.expected_usd),
            words.usd(stage.usd),
            "a guess" if stage.source == "guess" else stage.source,
        )
    return rows


def _verdict(account: Account) -> str:
    if not account.finished:
        return "the job did not do all its work"
    error = f", {account.error:+.0%} against the likely value" if account.error is not None else ""
    return f"{'inside' if account.is_inside else 'outside'} the range that was told{error}"


def history_view(accounts: Sequence[Account], seen: Calibration) -> RenderableType:
    """Draw what runs came to, newest first, and how often the range held."""
    rows = table("RUN", "ON", "TIME WAS", "EXPECTED COST", "CAME TO", "EXPECTED TIME", "TOOK", "INSIDE")
    for item in accounts:
        rows.add_row(
            item.run_id,
            f"{item.provider} {item.instance_type}{' spot' if item.spot else ''}",
            "a guess" if item.source == "guess" else item.source,
            usd_range(item.expected_usd),
            words.usd(item.usd),
            hours_range(item.expected_hours),
            words.duration(3600 * item.hours),
            ("yes" if item.is_inside else "no") if item.finished else "not finished",
        )
    parts: list[RenderableType] = [rows]
    if seen.runs:
        error = f"; half of them within {seen.median_error:.0%}" if seen.median_error is not None else ""
        parts.append(
            Text(f"{seen.inside} of {seen.runs} finished runs inside the range that was told{error}")
        )
        for name, (runs, inside) in sorted(seen.by_source.items()):
            parts.append(Text(f"  {name}: {inside} of {runs}", style=style.QUIET))
    return Group(*parts)
