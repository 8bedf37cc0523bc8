"""Laws of estimates: what must hold for every offer, every amount of work and every state of the world."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from launcher.forecast.conditions import Conditions, Sizes, default_conditions
from launcher.forecast.estimates import Estimate, estimate
from launcher.forecast.ranges import Range
from launcher.forecast.throughput import EarlierRun, Source, Work
from launcher.forecast.times import EarlierTime
from provisioning import Offer
from tests.launcher.core.builders import NOON, offer

GPUS = st.sampled_from(["T4", "RTX 4090", "A100", "H100 SXM", "Unobtainium 9"])
USD = st.floats(0.0, 50.0)
BYTES = st.integers(0, 1 << 38)
RATES = st.floats(1e4, 1e10)


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    gpu = draw(st.none() | GPUS)
    return offer(
        provider=draw(st.sampled_from(["aws", "vast", "local", "ssh", "new-cloud"])),
        gpu_name=gpu,
        gpu_count=draw(st.integers(1, 8)) if gpu else 0,
        vcpus=draw(st.floats(0.0, 256.0)),
        usd_per_hour=draw(USD),
        disk_usd_per_gib_month=draw(USD),
        ipv4_usd_per_hour=draw(USD),
        ingress_usd_per_gib=draw(USD),
        egress_usd_per_gib=draw(USD),
        interruptions_per_hour=draw(st.just(0.0) | st.floats(1e-4, 3.0)),
    )


@st.composite
def ranges(draw: st.DrawFn, numbers: st.SearchStrategy[float]) -> Range:
    return Range(*sorted(draw(st.tuples(numbers, numbers, numbers))))


WORKS = (
    st.builds(Work, steps=st.integers(1, 10**7), evaluation_h=st.none() | st.floats(0.0, 10.0))
    | st.builds(Work, hours=st.floats(0.01, 500.0), on=GPUS | st.just("cpu"))
    | st.just(Work())
)
HISTORIES = st.lists(
    st.builds(
        EarlierRun,
        steps_per_s=st.floats(1e-3, 1e4),
        gpu_name=st.none() | GPUS,
        vcpus=st.floats(0.0, 64.0),
        steps=st.none() | st.integers(1, 10**6),
        beside_share=st.none() | st.floats(0.0, 2.0),
    ),
    max_size=4,
)
TIMES = st.lists(
    st.builds(
        EarlierTime,
        work_s=st.floats(1e-2, 1e6),
        gpu_name=st.none() | GPUS,
        gpu_count=st.integers(0, 8),
        instance_type=st.sampled_from(["", "g4dn.xlarge", "elsewhere"]),
        vcpus=st.floats(0.0, 64.0),
        steps=st.none() | st.integers(1, 10**6),
    ),
    max_size=3,
)
SIZES = st.builds(
    Sizes,
    code_bytes=BYTES,
    data_bytes=BYTES,
    fetched_bytes=st.none() | BYTES,
    checkpoint_bytes=st.none() | st.integers(1, 1 << 34),
    output_bytes=st.none() | BYTES,
)
CONDITIONS = st.builds(
    Conditions,
    boot_s=ranges(st.floats(0.0, 3600.0)),
    setup_s=ranges(st.floats(0.0, 3600.0)),
    up=ranges(RATES),
    down=ranges(RATES),
    fetch=ranges(RATES),
    on_this_computer=st.booleans(),
    save_every_s=st.floats(0.0, 7200.0),
    mirrored=st.booleans(),
    mirror_every_s=st.none() | st.floats(1.0, 7200.0),
    mirror_ratio=st.none() | ranges(st.floats(0.05, 5.0)),
    notice_s=st.sampled_from([0.0, 30.0, 120.0]),
    disk_outlives=st.booleans(),
    disk_gib=st.floats(0.0, 1000.0),
    gpus_used=st.none() | st.integers(1, 4),
    interruptions_per_hour=st.none() | st.floats(1e-4, 3.0),
)
LIMITS = st.none() | st.floats(60.0, 1e6)


def dearer_or_equal(more: Range, less: Range) -> bool:
    """Up to rounding, in each of the three cases."""
    pairs = zip(dataclasses.astuple(more), dataclasses.astuple(less), strict=True)
    return all(high >= low - 1e-9 * max(1.0, abs(low)) for high, low in pairs)


@given(offers(), WORKS, CONDITIONS, SIZES, HISTORIES, TIMES, LIMITS)
def test_every_estimate_is_ordered_finite_and_never_promises_work_in_no_time(
    of: Offer,
    work: Work,
    conditions: Conditions,
    sizes: Sizes,
    history: list[EarlierRun],
    times: list[EarlierTime],
    limit_s: float | None,
) -> None:
    made = estimate(
        of,
        work,
        conditions=conditions,
        sizes=sizes,
        history=history,
        times=times,
        max_duration_s=limit_s,
    )
    for quantity in (made.hours, made.usd, *(line.usd for line in made.lines)):
        assert 0.0 <= quantity.low <= quantity.likely <= quantity.high < math.inf
    assert made.hours.low > 0.0
    if of.usd_per_hour > 0.0:
        assert made.usd.low > 0.0
    assert all(line.basis for line in made.lines)


@given(offers(), WORKS, CONDITIONS, SIZES, HISTORIES)
def test_lines_sum_to_the_total(
    of: Offer, work: Work, conditions: Conditions, sizes: Sizes, history: list[EarlierRun]
) -> None:
    made = estimate(of, work, conditions=conditions, sizes=sizes, history=history)
    assert made.usd == Range.sum(line.usd for line in made.lines)
    assert made.hours == Range.sum(line.hours for line in made.lines)
    document = made.to_json()
    assert sum(line["usd"] for line in document["lines"]) == pytest.approx(
        document["usd"]["likely"], abs=1e-6
    )
    assert document["usd"]["low"] <= document["usd"]["likely"] <= document["usd"]["high"]
    assert json.loads(json.dumps(document)) == document


@given(offers(), st.integers(1, 10**7), st.integers(1, 10**7), CONDITIONS, SIZES, HISTORIES, TIMES)
def test_more_steps_never_cost_less(
    of: Offer,
    steps: int,
    more: int,
    conditions: Conditions,
    sizes: Sizes,
    history: list[EarlierRun],
    times: list[EarlierTime],
) -> None:
    def priced(count: int) -> Estimate:
        work = Work(steps=count)
        return estimate(of, work, conditions=conditions, sizes=sizes, history=history, times=times)

    assert dearer_or_equal(priced(steps + more).usd, priced(steps).usd)
    assert dearer_or_equal(priced(steps + more).hours, priced(steps).hours)


PRICES = [
    "usd_per_hour",
    "disk_usd_per_gib_month",
    "ipv4_usd_per_hour",
    "ingress_usd_per_gib",
    "egress_usd_per_gib",
]


@given(offers(), st.sampled_from(PRICES), st.floats(1e-6, 100.0), WORKS, CONDITIONS, SIZES)
def test_a_higher_price_of_anything_never_lowers_the_total(
    of: Offer, price: str, more: float, work: Work, conditions: Conditions, sizes: Sizes
) -> None:
    dearer = dataclasses.replace(of, **{price: getattr(of, price) + more})  # type: ignore[arg-type]
    before = estimate(of, work, conditions=conditions, sizes=sizes)
    after = estimate(dearer, work, conditions=conditions, sizes=sizes)
    assert dearer_or_equal(after.usd, before.usd)


@given(offers(), WORKS, CONDITIONS, SIZES, st.floats(1e-4, 2.0))
def test_interruptions_never_make_a_run_shorter(
    of: Offer, work: Work, conditions: Conditions, sizes: Sizes, per_hour: float
) -> None:
    assume(conditions.mirror_every_s is not None)
    calm = dataclasses.replace(of, spot=False, interruptions_per_hour=0.0)
    taken = dataclasses.replace(of, spot=True, interruptions_per_hour=per_hour)
    before = estimate(calm, work, conditions=conditions, sizes=sizes)
    after = estimate(taken, work, conditions=conditions, sizes=sizes)
    assert dearer_or_equal(after.hours, before.hours)


@given(offers(), st.integers(1, 10**7), st.sampled_from(["aws", "local", "nowhere-yet"]))
def test_a_guess_is_called_one_and_is_wide(of: Offer, steps: int, provider: str) -> None:
    conditions = default_conditions(provider)
    for work in (Work(steps=steps), Work()):
        made = estimate(of, work, conditions=conditions, sizes=Sizes())
        training = next(line for line in made.lines if line.item == "training")
        assert made.source is Source.GUESS
        assert "a guess" in training.basis
        assert training.hours.high > 5 * training.hours.low > 0.0
        assert made.narrow_by


@given(offers(), WORKS, SIZES)
def test_what_costs_nothing_costs_nothing_in_every_line_and_still_takes_time(
    of: Offer, work: Work, sizes: Sizes
) -> None:
    free = dataclasses.replace(of, provider="local", interruptions_per_hour=0.0, **dict.fromkeys(PRICES, 0.0))  # type: ignore[arg-type]
    made = estimate(free, work, conditions=default_conditions("local"), sizes=sizes)
    assert made.usd == Range.zero()
    assert made.hours.likely > 0.0


def test_the_document_has_exactly_the_promised_form() -> None:
    made = estimate(
        offer(priced_at=NOON), Work(steps=10), conditions=default_conditions("aws"), sizes=Sizes()
    )
    document = made.to_json()
    assert list(document) == ["offer", "hours", "usd", "lines"]
    assert list(document["hours"]) == list(document["usd"]) == ["low", "likely", "high"]
    assert all(list(line) == ["item", "usd", "basis"] for line in document["lines"])
