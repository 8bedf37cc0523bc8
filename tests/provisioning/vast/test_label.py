"""A label says everything that it was given, whatever that was, within Vast's length."""

from __future__ import annotations

import base64
from datetime import datetime, timezone

from hypothesis import given
from hypothesis import strategies as st

from provisioning.vast.label import LONGEST, PREFIX, Label

HEAD = base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIA==")
times = st.datetimes(datetime(2024, 1, 1), datetime(2090, 1, 1), timezones=st.just(timezone.utc))
keys = st.binary(min_size=32, max_size=32).map(
    lambda key: "ssh-ed25519 " + base64.b64encode(HEAD + key).decode()
)
tokens = st.from_regex(r"[a-z][a-z0-9-]{0,27}-[1-9][0-9]?-[1-9]", fullmatch=True)


@given(
    token=tokens,
    owner=st.text(max_size=12),
    deadline=times,
    price=st.none() | st.integers(1, 12_800_000).map(lambda n: n / 100_000),
    key=st.none() | keys,
    parked=st.booleans(),
)
def test_what_is_written_is_read(
    token: str, owner: str, deadline: datetime, price: float | None, key: str | None, parked: bool
) -> None:
    label = Label(
        token=token,
        home_id="0123456789abcdef",
        owner=owner,
        deadline=deadline,
        max_usd_per_hour=price,
        host_key=key,
        parked=parked,
    )
    text = str(label)
    read = Label.parse(text)
    assert read is not None
    assert len(text) <= LONGEST
    assert text.isascii()
    assert '"' not in text
    kept = (read.token, read.home_id, read.deadline, read.host_key, read.parked)
    assert kept == (token, "0123456789abcdef", deadline, key, parked)
    assert owner.startswith(read.owner)
    assert price is None or abs((read.max_usd_per_hour or 0.0) - price) <= price * 1e-5


def test_a_long_owner_is_cut_and_nothing_else() -> None:
    deadline = datetime(2027, 1, 1, tzinfo=timezone.utc)
    label = Label(token="r-abcd-1-1", home_id="h", owner="é" * 200, deadline=deadline)
    assert len(str(label)) <= LONGEST
    read = Label.parse(str(label))
    assert read is not None
    assert 20 < len(read.owner) < 200


@given(st.text())
def test_other_peoples_labels_are_not_ours(text: str) -> None:
    assert Label.parse(text) is None
    assert Label.parse(PREFIX + text) is None or text.count(":") == 6


def test_no_label_is_not_ours() -> None:
    assert Label.parse(None) is None
