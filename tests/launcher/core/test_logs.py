"""Whose every byte of a log is, however it is cut into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from launcher.logs import LogPart, ranges_of, split, with_part

WORDS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.binary(min_size=1, max_size=9)), max_size=12
)


@given(WORDS, st.integers(1, 7))
def test_every_piece_is_of_whoever_said_it(said: list[tuple[str, int, bytes]], at_once: int) -> None:
    log, stored = b"", ()
    for stage, attempt, words in said:
        stored = with_part(stored, len(log), stage, attempt)
        log += words
    parts = [LogPart(offset=offset, stage=stage, attempt=attempt) for offset, stage, attempt in stored]
    heard: dict[str, bytes] = {}
    for offset in range(0, len(log), at_once):
        for piece in split(offset, log[offset : offset + at_once], parts):
            assert piece.part is not None
            assert log[piece.offset :].startswith(piece.data)
            heard[piece.part.stage] = heard.get(piece.part.stage, b"") + piece.data
    own = {stage: b"".join(words for name, _, words in said if name == stage) for stage, _, _ in said}
    assert heard == own
    for stage, words in own.items():
        assert b"".join(log[begin:end] for begin, end in ranges_of(parts, stage, len(log))) == words


def test_a_job_without_stages_has_one_voice() -> None:
    (piece,) = split(5, b"all", ())
    assert (piece.offset, piece.data, piece.part) == (5, b"all", None)
    assert ranges_of((), None, 8) == [(0, 8)]
