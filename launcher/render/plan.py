"""What is shown before the one question: what goes up, what it costs, what holds, what happens when nobody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from launcher.quantities import offer_words
from launcher.render import facts, style, words
from launcher.render.bill import bill
from launcher.render.facts import Fact
from launcher.render.runs import fact_grid

if TYPE_CHECKING:
    from launcher import Prepared
    from launcher.planning.plan import Plan
    from launcher.planning.preflight import Finding
    from launcher.policy.limits import Limits
    from launcher.snapshot import LeftOut, Manifest

__all__ = ["code_facts", "findings_view", "limits_words", "plan_facts", "plan_view"]

SHOWN_LEFT_OUT = 5
DEFAULT = "by default"


def plan_view(prepared: Prepared) -> RenderableType:
    """Draw everything that somebody should know before saying yes."""
    head = Text.assemble((prepared.name, "bold"), " on ", (offer_words(prepared.plan.offer), "bold"))
    parts: list[RenderableType] = [head, fact_grid(code_facts(prepared.manifest))]
    parts += [findings_view(prepared.findings)] if _worth_showing(prepared.findings) else []
    parts.append(Padding(bill(prepared.plan.estimate, with_hints=False), (1, 0, 1, 2)))
    parts.append(fact_grid(plan_facts(prepared.plan, words.home_path(prepared.results_dir))))
    parts += [_marked("!", warning, style.WARNING) for warning in prepared.plan.warnings]
    return Group(*parts, Text())


def code_facts(manifest: Manifest | None) -> list[Fact]:
    """Say what goes up with its largest files, and what stays here and why."""
    if manifest is None:
        return []
    where = f"{words.home_path(manifest.workdir)}, listed by {manifest.listed_by}"
    going_up = f"{words.count(manifest.files, 'file')}, {words.size(manifest.size_bytes)} of {where}"
    found = [("code", going_up)]
    if manifest.entries:
        largest = ", ".join(
            f"{words.plain(entry.path)} {words.size(entry.size_bytes)}" for entry in manifest.largest
        )
        found.append(("largest", largest))
    if manifest.left_out:
        shown = [_left_out(item) for item in manifest.left_out[:SHOWN_LEFT_OUT]]
        more = len(manifest.left_out) - len(shown)
        found.append(("stays here", "; ".join([*shown, f"and {more} more"] if more else shown)))
    return found


def _left_out(item: LeftOut) -> str:
    least = "at least " if item.at_least else ""
    return f"{words.plain(item.path)} {least}{words.size(item.size_bytes)} ({item.reason})"


def plan_facts(plan: Plan, results_dir: str) -> list[Fact]:
    """Say which market, what else there is, which limits hold, and what becomes of checkpoints and results."""
    return [
        ("market", plan.market),
        *(("or", alternative.words) for alternative in plan.alternatives),
        ("limits", limits_words(plan.limits)),
        ("checkpoints", _mirroring(plan)),
        ("results", results_dir),
        ("unattended", plan.if_asleep),
    ]


def limits_words(limits: Limits) -> str:
    """Write the limits, and which of them nobody asked for."""
    time = words.duration(limits.max_duration_s) + (f" {DEFAULT}" if limits.duration_is_default else "")
    parts = [time]
    if limits.max_cost_usd is not None:
        parts.append(words.usd(limits.max_cost_usd) + (f" {DEFAULT}" if limits.cost_is_default else ""))
    if limits.max_usd_per_hour is not None:
        parts.append(f"at most {words.usd_per_hour(limits.max_usd_per_hour)}")
    if limits.until is not None:
        parts.append(f"until {limits.until.astimezone():%Y-%m-%d %H:%M}")
    return facts.SEP.join(parts)


def _mirroring(plan: Plan) -> str:
    return f"come home {plan.mirror_reason}" if plan.mirror_every_s else plan.mirror_reason


def _worth_showing(findings: tuple[Finding, ...]) -> bool:
    return any(finding.level.value != "ok" or finding.check == "variables" for finding in findings)


def findings_view(findings: tuple[Finding, ...]) -> RenderableType:
    """List what preflight found wrong or doubtful, with the line that repairs it, and the secrets that it found."""
    parts: list[RenderableType] = []
    for finding in findings:
        fix = f"  →  {finding.fix}" if finding.fix else ""
        if finding.level.value == "error":
            parts.append(_marked("✗", f"{finding.message}{fix}", style.ERROR))
        elif finding.level.value == "warning":
            parts.append(_marked("!", f"{finding.message}{fix}", style.WARNING))
        elif finding.check == "variables":
            parts.append(fact_grid([("secrets", finding.message)]))
    return Group(*parts)


def _marked(mark: str, text: str, colour: str) -> RenderableType:
    return Padding(Text(f"{mark} {text}", style=colour, no_wrap=False, overflow="fold"), (0, 0, 0, 2))
