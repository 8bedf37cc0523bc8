"""``bucket.json``: what this stage may write to an object store, signed at home and renewed from there."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, List, Optional

from .files import read_json

SCHEMA = 1


def read_bucket(orders: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """What is told now; None when nothing is, or when it is for a later start than this one."""
    told = read_json(os.path.join(orders["paths"]["stage_control"], "bucket.json"))
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        return None
    is_ours = (told["attempt"], told["start"]) == (orders["attempt"], orders["start"])
    return told if is_ours else None


def signs_of_home(orders: Dict[str, Any]) -> List[float]:
    """When the launcher was here last to bring outputs home (wall clock), and now while it says that it still is."""
    path = os.path.join(orders["paths"]["stage_control"], "home.json")
    told = read_json(path)
    try:
        at = os.stat(path).st_mtime
    except OSError:
        return []
    is_at_it = isinstance(told, dict) and bool(told.get("fetching")) and time.time() - at < LONGEST_FETCH_S
    return [at, time.time()] if is_at_it else [at]


LONGEST_FETCH_S = 6 * 3600.0
"""A launcher that died while it fetched is not waited for any longer."""
