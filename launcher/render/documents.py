"""JSON documents that are put together from several records. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.render.rows import missing_of, oldest_age_days

if TYPE_CHECKING:
    from launcher import Prepared
    from launcher.planning.comparison import Comparison
    from launcher.planning.free import FreeWay
    from launcher.planning.preflight import Finding
    from launcher.snapshot import Manifest

__all__ = ["estimates_document", "plan_document"]


def estimates_document(found: Comparison) -> dict[str, Any]:
    """Return the document of ``launch estimate``; the oldest price decides ``prices_as_of``."""
    oldest = min((offer.priced_at for item in found.estimates for offer in item.offers), default=None)
    fits = found.fits or (None,) * len(found.estimates)
    return {
        "estimates": [
            {
                **item.to_json(),
                "basis": item.source.value,
                "narrow_by": list(item.narrow_by),
                "price_age_days": round(oldest_age_days(found, item), 2),
                "missing": missing_of(found, item) or None,
                "fits": None if fit is None else {"share": round(fit.share, 4), "is_sure": fit.is_sure},
            }
            for item, fit in zip(found.estimates, fits, strict=True)
        ],
        "free_hours": [_free(way) for way in found.free],
        "market": found.market or None,
        "notes": list(found.notes),
        "prices_as_of": oldest.isoformat() if oldest else None,
        "without_offer": [
            {"provider": miss.provider, "message": miss.message, "hint": miss.hint} for miss in found.misses
        ],
    }


def _free(way: FreeWay) -> dict[str, Any]:
    """No estimate among others: a script that takes the cheapest must not come upon what it cannot start."""
    machine, (likely, high) = way.given.machine, way.sessions
    return {
        "provider": machine.provider,
        "hardware": machine.instance_type,
        "gpu": machine.gpu_name,
        "gpu_count": machine.gpu_count,
        "can_be_started": False,
        "usd": 0.0,
        "hours": {name: round(getattr(way.hours, name), 4) for name in ("low", "likely", "high")},
        "basis": way.source.value,
        "sessions": {"likely": likely, "high": high},
        "session_hours": way.given.session_h,
        "hours_per_week": way.given.per_week_h,
        "hours_used": None,
        "as_of": machine.priced_at.date().isoformat(),
    }


def plan_document(prepared: Prepared) -> dict[str, Any]:
    """Return the document of ``launch --dry-run``: everything that was found out and decided."""
    from launcher.records import to_json

    plan = prepared.plan
    return {
        "job": prepared.job.to_dict(),
        "name": prepared.name,
        "bills": plan.bills,
        "plan": {
            **plan.estimate.to_json(),
            "alternatives": [item.words for item in plan.alternatives],
            "candidates": [to_json(offer) for offer in plan.candidates],
            "limits": to_json(plan.limits),
            "market": plan.market,
            "mirror_every_s": plan.mirror_every_s,
            "if_asleep": plan.if_asleep,
            "warnings": list(plan.warnings),
        },
        "code": _code(prepared.manifest),
        "findings": [_finding(finding) for finding in prepared.findings],
        "results_dir": str(prepared.results_dir),
    }


def _code(manifest: Manifest | None) -> dict[str, Any] | None:
    if manifest is None:
        return None
    return {
        "workdir": str(manifest.workdir),
        "files": manifest.files,
        "size_bytes": manifest.size_bytes,
        "largest": [{"path": entry.path, "size_bytes": entry.size_bytes} for entry in manifest.largest],
        "left_out": [
            {"path": item.path, "reason": item.reason, "size_bytes": item.size_bytes}
            for item in manifest.left_out
        ],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "level": finding.level.value,
        "message": finding.message,
        "fix": finding.fix,
    }
