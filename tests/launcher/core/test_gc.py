from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.gc import Evidence, Judgement, judge
from launcher.policy.states import RunState
from provisioning import Instance, InstanceRef, InstanceState
from tests.launcher.core.builders import NOON

HOME, OWNER = "0123456789abcdef", "ann@laptop"
KINDS = (InstanceState.PENDING, InstanceState.RUNNING, InstanceState.STOPPED)


def found(state: InstanceState = InstanceState.RUNNING, **changes: Any) -> Instance:
    values: dict[str, Any] = {
        "run_id": "demo-0001",
        "token": "demo-0001-1-1",
        "home_id": HOME,
        "owner": OWNER,
    }
    ref = InstanceRef("aws", "us-east-1", "i-1")
    return Instance(ref=ref, state=state, seen_at=NOON, **{**values, **changes})


def known(run_state: RunState | None = RunState.SUCCEEDED, **changes: Any) -> Evidence:
    values: dict[str, Any] = {"is_expected": True, "outputs_missing": False}
    return Evidence(home_id=HOME, owner=OWNER, run_state=run_state, **{**values, **changes})


@pytest.mark.parametrize(
    ("instance", "evidence", "judgement", "why"),
    [
        (found(), known(), Judgement.END, "has ended (succeeded)"),
        (found(), known(is_expected=False), Judgement.END, "has ended"),
        (found(), known(RunState.RUNNING, is_expected=False), Judgement.END, "goes on without it"),
        (found(), known(RunState.RUNNING), Judgement.LEAVE, "its run is live"),
        (found(owner="eve@elsewhere", home_id="other"), known(), Judgement.LEAVE, "eve@elsewhere"),
        (found(owner=None, home_id=None), known(None), Judgement.LEAVE, "somebody else"),
        (found(owner="ann@old-laptop"), known(), Judgement.END, "has ended"),
        (found(home_id="other"), known(None), Judgement.ASK, "from another home (other)"),
        (found(), known(None, outputs_missing=None), Judgement.ASK, "does not know its run"),
        (found(), known(outputs_missing=True), Judgement.ASK, "never came home"),
        (found(), known(silent_s=3.0), Judgement.ASK, "a sign of life 3 s ago"),
        (found(), known(silent_s=9000.0), Judgement.END, "has ended"),
        (found(InstanceState.STOPPED), known(), Judgement.ASK, "its disk was kept"),
        (found(), known(was_kept=True), Judgement.ASK, "its disk was kept"),
    ],
)
def test_what_may_be_done(instance: Instance, evidence: Evidence, judgement: Judgement, why: str) -> None:
    judged, words = judge(instance, evidence)
    assert judged is judgement
    assert why in words


@given(
    state=st.sampled_from(KINDS),
    home_id=st.sampled_from([HOME, "other", None]),
    owner=st.sampled_from([OWNER, "eve@elsewhere", None]),
    run_state=st.sampled_from([None, *RunState]),
    is_expected=st.booleans(),
    outputs_missing=st.sampled_from([True, False, None]),
    was_kept=st.booleans(),
    silent_s=st.sampled_from([None, 0.0, 299.0, 301.0]),
)
def test_nothing_is_ended_unasked_that_somebody_may_need(
    state: InstanceState, home_id: str | None, owner: str | None, **evidence: Any
) -> None:
    judged, words = judge(
        found(state, home_id=home_id, owner=owner), Evidence(home_id=HOME, owner=OWNER, **evidence)
    )
    assert words
    if judged is Judgement.END:
        assert home_id == HOME
        assert evidence["run_state"] is not None
        assert not (evidence["run_state"].is_live and evidence["is_expected"])
        assert evidence["outputs_missing"] is False
        assert evidence["silent_s"] is None or evidence["silent_s"] > 300
    if home_id != HOME and owner != OWNER:
        assert judged is Judgement.LEAVE
