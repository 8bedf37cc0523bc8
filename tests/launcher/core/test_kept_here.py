from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.gc import Judgement
from launcher.kept_here import KEEP, judge_kept
from launcher.policy.states import RunState
from launcher.store import InstanceRow, RunRow
from tests.launcher.core.builders import NOON


def ended(state: RunState) -> RunRow:
    return RunRow(
        run_id="demo-0001", name="demo", state=state.value, created_at=NOON, updated_at=NOON, ended_at=NOON
    )


def machine(*, gone: bool) -> InstanceRow:
    return InstanceRow(
        ref="fake/here/m-1", run_id="demo-0001", stage="run", attempt=1, token="demo-0001-1-1", offer={},
        state="stopped", created_at=NOON, seen_at=NOON, ended_at=NOON if gone else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "days", "judgement"),
    [
        (RunState.SUCCEEDED, 13, Judgement.LEAVE),
        (RunState.SUCCEEDED, 15, Judgement.END),
        (RunState.STOPPED, 400, Judgement.ASK),
        (RunState.FAILED, 400, Judgement.ASK),
        (RunState.RUNNING, 400, Judgement.LEAVE),
    ],
)
def test_what_may_go(state: RunState, days: int, judgement: Judgement) -> None:
    now = NOON + timedelta(days=days)
    assert judge_kept(ended(state), [machine(gone=True)], now)[0] is judgement


def test_a_run_that_nobody_knows_may_be_the_only_copy() -> None:
    assert judge_kept(None, [], NOON)[0] is Judgement.ASK


@given(st.sampled_from(RunState), st.timedeltas(timedelta(0), timedelta(days=999)), st.booleans())
def test_nothing_goes_unasked_that_is_nowhere_else(state: RunState, age: timedelta, gone: bool) -> None:
    judgement, why = judge_kept(ended(state), [machine(gone=gone)], NOON + age)
    assert why
    if judgement is Judgement.END:
        assert state is RunState.SUCCEEDED and gone and age >= KEEP
