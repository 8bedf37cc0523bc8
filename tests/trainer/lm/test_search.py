"""The n-best search against a slow, obvious decoder that walks every path of small random graphs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import kaldifst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.lm.fst_file import Arcs, load_arcs
from trainer.lm.options import DecoderOptions
from trainer.lm.search import Path as Found
from trainer.lm.search import Search

ALL = DecoderOptions(
    acoustic_scale=0.5, beam=math.inf, lattice_beam=math.inf, max_active=10_000, min_active=1, nbest=1000
)
Arc = tuple[int, int, int, float, int]
"""From, input label, output label, cost, to."""


def write_fst(path: Path, arcs: list[Arc], finals: dict[int, float], states: int) -> Path:
    fst = kaldifst.StdVectorFst()
    for _ in range(states):
        fst.add_state()
    fst.start = 0
    for state, cost in finals.items():
        fst.set_final(state, kaldifst.TropicalWeight(cost))
    for source, ilabel, olabel, cost, target in arcs:
        fst.add_arc(source, kaldifst.StdArc(ilabel, olabel, kaldifst.TropicalWeight(cost), target))
    assert fst.write(str(path))
    return path


def every_path(
    arcs: list[Arc], frames: np.ndarray, state: int, t: int = 0
) -> Iterator[tuple[tuple[int, ...], float, float, int]]:
    """(words, graph cost, acoustic cost, last state) of every path from `state` through frames t and on."""
    if t == len(frames):
        yield (), 0.0, 0.0, state
    for source, ilabel, olabel, cost, target in arcs:
        if source != state or (ilabel and t == len(frames)):
            continue
        heard = float(frames[t, ilabel - 1]) if ilabel else 0.0
        for words, graph, acoustic, last in every_path(arcs, frames, target, t + bool(ilabel)):
            yield ((olabel, *words) if olabel else words), graph + cost, acoustic + heard, last


def slow_decode(
    arcs: list[Arc], finals: dict[int, float], frames: np.ndarray
) -> dict[tuple[int, ...], tuple[float, float]]:
    """The cheapest (graph, acoustic) cost of each sentence."""
    paths = list(every_path(arcs, frames, 0))
    if not any(last in finals for *_, last in paths):
        finals = {last: 0.0 for *_, last in paths}
    best: dict[tuple[int, ...], tuple[float, float]] = {}
    for words, graph, acoustic, last in paths:
        if last not in finals:
            continue
        costs = graph + finals[last], acoustic
        if words not in best or sum(costs) < sum(best[words]):
            best[words] = costs
    return best


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Arc], dict[int, float], int, np.ndarray]:
    # All from a seed: shrunk numbers make graphs without epsilon arcs, and costs with a common measure make ties.
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    states = int(rng.integers(1, 6))
    arcs: list[Arc] = []
    for _ in range(rng.integers(1, 13)):
        source, target = int(rng.integers(states)), int(rng.integers(states))
        is_epsilon = source < target and rng.random() < 0.5
        ilabel = 0 if is_epsilon else int(rng.integers(1, 4))
        arcs.append((source, ilabel, int(rng.integers(0, 4)), float(np.float32(rng.uniform(0, 3))), target))
    finals = {s: float(np.float32(rng.uniform(0, 2))) for s in range(states) if rng.random() < 0.5}
    return arcs, finals, states, rng.uniform(-4, 0, (int(rng.integers(1, 5)), 3))


def decode(arcs: Arcs, log_probs: np.ndarray, options: DecoderOptions) -> list[Found]:
    search = Search(arcs, options)
    for chunk in np.array_split(log_probs, 2):
        search.advance(chunk)
    found = search.finish()
    assert (search._token_of == -1).all()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@settings(max_examples=300)
@given(
    problem=problems(), beam=st.sampled_from([0.0, 0.7, 2.0, math.inf]), most=st.sampled_from([1, 3, 1000])
)
def test_the_list_is_that_of_the_decoder_that_walks_all_paths(
    folder: Path, problem: tuple[list[Arc], dict[int, float], int, np.ndarray], beam: float, most: int
) -> None:
    arcs, finals, states, log_probs = problem
    loaded = load_arcs(write_fst(folder / "g.fst", arcs, finals, states))
    expected = slow_decode(arcs, finals, -ALL.acoustic_scale * log_probs)
    found = decode(loaded, log_probs, ALL.changed({"lattice_beam": beam, "nbest": most}))
    costs = sorted(sum(both) for both in expected.values())
    if costs:
        costs = [cost for cost in costs if cost <= costs[0] + beam + 1e-6][:most]
    # Which of several sentences of equal cost come last is open; their costs are not.
    assert [path.cost for path in found] == pytest.approx(costs, abs=1e-5)
    assert len({path.labels for path in found}) == len(found)
    for path in found:
        graph, acoustic = expected[path.labels]
        assert (path.graph_cost, path.acoustic_cost) == pytest.approx((graph, acoustic), abs=1e-5)
