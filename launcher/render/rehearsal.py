"""The result of a rehearsal, for people and for scripts. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from launcher.quantities import usd, usd_per_hour
from launcher.rehearse.findings import Grade, begins_anew, save_interval_s

if TYPE_CHECKING:
    from launcher.rehearse import Rehearsal

__all__ = ["rehearsal_document", "rehearsal_lines"]

MARKS = {Grade.OK: "ok", Grade.WARNING: "!", Grade.FAILED: "x"}
WIDTH = 12


def rehearsal_lines(name: str, result: Rehearsal) -> Iterator[str]:
    """Yield the findings, what a loss costs, and the lines to change."""
    yield f"rehearsal of {name}"
    for finding in result.findings:
        first, *rest = finding.words.split("\n")
        yield f"  {MARKS[finding.grade]:<3}{finding.check:<{WIDTH}} {first}"
        yield from (f"      {line}" for line in rest)
    if result.losses:
        yield ""
        most = "the whole run up to then, at most" if begins_anew(result.observed) else "at most"
        yield f"a machine lost without notice costs {most}, in work done again:"
        for loss in result.losses:
            yield f"  {usd(loss.usd):<8} at {usd_per_hour(loss.usd_per_hour)}, {loss.offer}"
    for fix in dict.fromkeys(finding.fix for finding in result.findings if finding.fix):
        yield ""
        yield "to change: " + ", ".join(one.check for one in result.findings if one.fix == fix)
        yield from (f"    {line}" for line in fix.splitlines())
    yield ""
    yield _verdict(result)


def _verdict(result: Rehearsal) -> str:
    if result.observed.failure is not None:
        return "as it is, it does not run: see x above"
    if not result.was_tried and not any(finding.grade is Grade.FAILED for finding in result.findings):
        return (
            "it was done before anything could be tried, so nothing is known of an interruption: see ! above"
        )
    return (
        "it survives an interruption"
        if result.passed
        else "as it is, an interruption loses work: see x above"
    )


def rehearsal_document(result: Rehearsal) -> dict[str, Any]:
    """Return the form that ``launch rehearse --json`` prints."""
    return {
        "passed": result.passed,
        "findings": [
            {"check": one.check, "grade": one.grade.value, "words": one.words, "fix": one.fix}
            for one in result.findings
        ],
        "save_interval_s": save_interval_s(result.observed),
        "losses": [
            {"offer": one.offer, "usd_per_hour": one.usd_per_hour, "usd": round(one.usd, 6)}
            for one in result.losses
        ],
    }
