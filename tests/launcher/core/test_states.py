from __future__ import annotations

import re
from pathlib import Path

import pytest

from launcher.policy.states import FINAL, LIVE, MOVES, IllegalMove, Reason, RunState, can_move, check_move

DOCS = Path(__file__).parents[3] / "docs" / "states.md"


def test_live_and_final_states_are_all_states() -> None:
    assert set(RunState) == LIVE | FINAL
    assert not LIVE & FINAL
    assert {state for state in RunState if state.is_final} == FINAL


def test_every_state_and_reason_has_words() -> None:
    assert all(state.words for state in RunState)
    assert all(reason.words for reason in Reason if reason is not Reason.NONE)


def test_an_illegal_move_names_both_states_and_what_is_legal() -> None:
    with pytest.raises(
        IllegalMove, match="from succeeded to running; from succeeded it can go to nothing"
    ) as caught:
        check_move(RunState.SUCCEEDED, RunState.RUNNING)
    assert caught.value.exit_code == 70
    assert caught.value.left_behind
    assert caught.value.hint


def test_a_reason_may_change_within_a_state() -> None:
    for state in RunState:
        check_move(state, state)


def test_only_failed_and_stopped_can_be_resumed() -> None:
    assert {state for state in RunState if state.is_resumable} == {RunState.FAILED, RunState.STOPPED}
    assert can_move(RunState.STOPPED, RunState.RECOVERING)


def test_limits_and_wishes_stop_a_run_and_errors_fail_it() -> None:
    stops = {reason for reason in Reason if reason.final_state is RunState.STOPPED}
    assert stops == {Reason.BUDGET, Reason.DEADLINE, Reason.STOPPED_BY_USER, Reason.IDLE, Reason.GAVE_UP}
    assert Reason.FINISHED.final_state is RunState.SUCCEEDED
    assert Reason.CRASH_LOOP.final_state is RunState.FAILED


def test_the_table_in_the_docs_is_the_one_in_the_code() -> None:
    moves = DOCS.read_text(encoding="utf-8").split("## States and moves")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", moves, re.MULTILINE)
    told = {state: set(re.findall(r"`(\w+)`", followers)) for state, followers in rows}
    assert told == {state.value: {follower.value for follower in MOVES[state]} for state in RunState}


def test_the_docs_tell_every_state_and_reason_in_the_words_of_the_code() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for state in RunState:
        assert f"| `{state.value}` | {state.words} |" in text
    for reason in Reason:
        if reason is not Reason.NONE:
            assert f"| `{reason.value}` | {reason.words} | `{reason.final_state.value}` |" in text
