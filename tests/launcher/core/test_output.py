from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from launcher.policy.output import LAST_BYTES, MOST_BYTES, TOO_MUCH_OUTPUT, read_from

SIZES = st.integers(0, 10_000_000_000)


@given(SIZES, SIZES)
def test_a_flood_comes_home_to_a_limit_and_with_its_end(offset: int, end: int) -> None:
    now, last = read_from(offset, end, has_ended=False), read_from(offset, end, has_ended=True)
    if offset < MOST_BYTES:
        assert now == last == offset
    else:
        assert now is None
        assert last is not None
        assert last >= offset, "nothing comes home twice"
        assert end - last <= LAST_BYTES
        assert last == offset or end - last == LAST_BYTES, "nothing is left out that could come"


def test_it_is_said_in_words() -> None:
    assert "more than 256 MB of output" in TOO_MUCH_OUTPUT
    assert "the last 1.0 MB come home at the end" in TOO_MUCH_OUTPUT
