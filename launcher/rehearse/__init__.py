"""A dress rehearsal at home: the user's own program is interrupted, killed and resumed before anything is rented."""

from __future__ import annotations

from launcher.rehearse.conduct import rehearse
from launcher.rehearse.findings import Finding, Grade, Loss, Rehearsal
from launcher.rehearse.observed import Leaving, Observed, Return, Save

__all__ = ["Finding", "Grade", "Leaving", "Loss", "Observed", "Rehearsal", "Return", "Save", "rehearse"]
