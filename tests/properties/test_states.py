from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from launcher.policy.states import FINAL, LIVE, MOVES, RunState, can_move

STATES = st.sampled_from(RunState)


def reachable(start: RunState, *, without_resume: bool) -> set[RunState]:
    found, new = {start}, [start]
    while new:
        state = new.pop()
        if without_resume and state in FINAL:
            continue
        new += [follower for follower in MOVES[state] if follower not in found]
        found |= MOVES[state]
    return found


@st.composite
def walks(draw: st.DrawFn) -> list[RunState]:
    """A sequence of legal moves, from the beginning."""
    walk = [RunState.PLANNED]
    for _ in range(draw(st.integers(0, 30))):
        followers = sorted(MOVES[walk[-1]], key=lambda state: state.value)
        if not followers:
            break
        walk.append(draw(st.sampled_from(followers)))
    return walk


@given(walks())
def test_wherever_legal_moves_lead_a_live_run_can_still_end(walk: list[RunState]) -> None:
    if walk[-1] in LIVE:
        assert reachable(walk[-1], without_resume=True) & FINAL


@given(walks())
def test_wherever_legal_moves_lead_a_live_run_can_be_stopped_in_at_most_two_moves(
    walk: list[RunState],
) -> None:
    if walk[-1] in LIVE:
        assert any(RunState.STOPPED in {*MOVES[walk[-1]], *MOVES[near]} for near in MOVES[walk[-1]])


def test_every_state_can_be_reached_without_a_resume() -> None:
    assert reachable(RunState.PLANNED, without_resume=True) == set(RunState)


@given(STATES, STATES)
def test_nothing_leads_back_to_planned_and_only_a_resume_leaves_a_final_state(
    old: RunState, new: RunState
) -> None:
    if old is not new and can_move(old, new):
        assert new is not RunState.PLANNED
        assert old in LIVE or new is RunState.RECOVERING
