"""What becomes of a wish when another one was there before."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.policy.wishes import merged, why_not
from launcher.store import Intent, RunRow
from tests.launcher.core.builders import NOON

KEEP, DISCARD = {"keep_disk": True}, {"discard": True}
DECIDED = {"code": "finished", "words": "the job finished", "pull": True, "keep_disk": False}


def a_run(intent: Intent, options: dict[str, bool] | None = None, **changes: Any) -> RunRow:
    moments = {"created_at": NOON, "updated_at": NOON}
    told = {"intent": intent, "intent_options": options or {}, **changes}
    return RunRow(run_id="demo-ab12", name="demo", state="running", **moments, **told)


@pytest.mark.parametrize(
    ("run", "intent", "options", "words"),
    [
        (a_run(Intent.DOWN), Intent.STOP, KEEP, "no disk is kept"),
        (a_run(Intent.DOWN, DISCARD), Intent.STOP, {}, "without its outputs"),
        (a_run(Intent.NONE, verdict=DECIDED), Intent.STOP, KEEP, "its disk is not kept"),
    ],
)
def test_what_comes_too_late_is_told(
    run: RunRow, intent: Intent, options: dict[str, bool], words: str
) -> None:
    assert words in (why_not(run, intent, options) or "")


@pytest.mark.parametrize(
    ("run", "intent", "options", "then"),
    [
        (a_run(Intent.NONE), Intent.STOP, KEEP, (Intent.STOP, KEEP)),
        (a_run(Intent.STOP, KEEP), Intent.STOP, {}, (Intent.STOP, {})),
        (a_run(Intent.STOP, KEEP), Intent.DOWN, {}, (Intent.DOWN, {})),
        (a_run(Intent.DOWN), Intent.STOP, {}, (Intent.DOWN, {})),
        (a_run(Intent.DOWN), Intent.DOWN, DISCARD, (Intent.DOWN, DISCARD)),
        (
            a_run(Intent.STOP, KEEP, verdict={**DECIDED, "keep_disk": True}),
            Intent.STOP,
            KEEP,
            (Intent.STOP, KEEP),
        ),
    ],
)
def test_the_later_wish_counts_but_an_end_for_good_stays(
    run: RunRow, intent: Intent, options: dict[str, bool], then: tuple[Intent, dict[str, bool]]
) -> None:
    assert why_not(run, intent, options) is None
    assert merged(run, intent, options) == then
