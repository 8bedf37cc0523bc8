"""Reading OpenFst's binary ``vector``/``standard`` files straight into flat arrays.

Layout: magic, type, arc type (length and bytes each), version, flags, properties, start, states, arcs; then for each
state its final cost (float32, infinite when it is none) and its number of arcs (int64), and arcs of four 32-bit fields:
input label, output label, weight, next state. A file of n states and m arcs so takes 12 n + 16 m bytes and a header,
which is how a file written to a pipe, whose counts are -1, is measured before it is loaded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer.lm.errors import BadGraph, GraphTooLarge, missing_package
from trainer.lm.memory import available_bytes, gib

__all__ = ["Arcs", "FstHeader", "load_arcs", "measure", "read_header"]

MAGIC = 2125659606
HAS_INPUT_SYMBOLS, HAS_OUTPUT_SYMBOLS, IS_ALIGNED = 1, 2, 4

Ints = np.ndarray[Any, np.dtype[np.int32]]
Longs = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class FstHeader:
    """What the first bytes of a file say."""

    path: Path
    offset: int
    """Where the states begin."""
    start: int
    num_states: int
    """-1 when the file was written to a pipe."""
    file_bytes: int

    @property
    def body_bytes(self) -> int:
        """States and arcs."""
        return self.file_bytes - self.offset

    @property
    def most_states(self) -> int:
        """The number of states, or a bound on it where the header does not know."""
        return self.num_states if self.num_states >= 0 else self.body_bytes // 12

    @property
    def most_arcs(self) -> int:
        """The number of arcs, or a bound on it."""
        return max(0, (self.body_bytes - 12 * max(0, self.num_states)) // 16)

    def memory_bytes(self, threads: int = 1) -> int:
        """What `load_arcs` takes, and `threads` searches beside it: the map of states of each, and its lists."""
        states, arcs = self.most_states, self.most_arcs
        if self.num_states < 0:
            # Both bounds cannot be reached at once: as many bytes as all arcs would need.
            states = arcs // 3
        return 13 * arcs + 22 * states + threads * (4 * states + SEARCH_BYTES)


SEARCH_BYTES = 160 << 20
"""Lists of one search over a long sentence."""


class Arcs(NamedTuple):
    """A graph of S states and A arcs; arcs lie by source state, those with epsilon input first."""

    start: int
    first_arc: Longs
    """(S + 1,)"""
    first_emitting: Longs
    """(S,) the first arc of each state that takes a frame."""
    ilabel: np.ndarray[Any, np.dtype[np.uint8]]
    """(A,)"""
    olabel: Ints
    weight: Floats
    """(A,) costs, -ln p."""
    next_state: Ints
    final: Floats
    """(S,) cost of ending in a state; infinite where that is not possible."""
    level: np.ndarray[Any, np.dtype[np.int16]]
    """(S,) longest chain of epsilon arcs that leads to a state: an order in which epsilon arcs only go up."""


def read_header(path: Path) -> FstHeader:
    """Read and check the header of a graph. Raises `BadGraph`."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError as error:
        raise BadGraph(f"{path}: no such file") from error
    except OSError as error:
        raise BadGraph(f"{path} cannot be read: {error.strerror}") from error
    try:
        return _parse_header(path, head, size)
    except struct.error as error:
        raise BadGraph(f"{path}: is cut off within its header ({size} bytes)") from error


def _parse_header(path: Path, head: bytes, size: int) -> FstHeader:
    (magic,) = struct.unpack_from("<i", head, 0)
    if magic != MAGIC:
        raise BadGraph(f"{path}: is not an OpenFst file (it begins with {head[:4].hex()})")
    kinds, at = [], 4
    for _ in range(2):
        (length,) = struct.unpack_from("<i", head, at)
        if not 0 < length < 64:
            raise BadGraph(f"{path}: its header is damaged")
        kinds.append(head[at + 4 : at + 4 + length].decode("ascii", "replace"))
        at += 4 + length
    if kinds != ["vector", "standard"]:
        raise BadGraph(
            f"{path}: is of type {kinds[0]}/{kinds[1]}, expected vector/standard",
            hint="fstconvert --fst_type=vector turns other types into this one",
        )
    # The number of arcs, at the end, is 0 in files that OpenFst itself writes.
    _, flags, _, start, states, _ = struct.unpack_from("<iiQqqq", head, at)
    if flags & (HAS_INPUT_SYMBOLS | HAS_OUTPUT_SYMBOLS):
        raise BadGraph(
            f"{path}: carries symbol tables inside", hint="fstsymbols --clear_isymbols --clear_osymbols"
        )
    if start < 0:
        raise BadGraph(f"{path}: is empty: it has no start state")
    return FstHeader(
        path=path, offset=at + struct.calcsize("<iiQqqq"), start=start, num_states=states, file_bytes=size,
    )  # fmt: skip


def measure(header: FstHeader) -> tuple[Ints, int, int]:
    """The body as 32-bit words, left in the file, and its numbers of states and arcs, for which all states are visited.

    Raises `BadGraph` for a file that is cut off, `MissingPackage` without numba.
    """
    path = header.path
    try:
        from trainer.lm.fst_arrays import count
    except ImportError as error:
        raise missing_package(error, "decoding with a graph") from error
    words = np.memmap(path, dtype=np.int32, mode="r", offset=header.offset, shape=(header.body_bytes // 4,))
    states, num_arcs = count(words, header.num_states)
    if states < 0:
        raise BadGraph(f"{path}: is cut off: {header.file_bytes} bytes do not hold all its states")
    return words, int(states), int(num_arcs)


def load_arcs(path: Path, *, threads: int = 1, most_bytes: int | None = None) -> Arcs:
    """Load a graph of which `threads` searches will make use.

    Raises `GraphTooLarge` before anything is loaded when it would take more than `most_bytes` (default: what is
    free), and `BadGraph` for a damaged file, input labels over 255, or a cycle of epsilon arcs.
    """
    header = read_header(path)
    free = available_bytes() if most_bytes is None else most_bytes
    needed = header.memory_bytes(threads)
    if needed > free:
        raise GraphTooLarge(
            f"{path} needs about {gib(needed)} of memory in {threads} threads, and {gib(free)} are free",
            hint="take a machine with more memory, a smaller graph (trainer lm build --order 2 --prune 1), "
            "or --decoder lexicon",
        )
    words, states, num_arcs = measure(header)
    from trainer.lm.fst_arrays import epsilon_levels, fill

    first_arc, first_emitting = np.empty(states + 1, np.int64), np.empty(states, np.int64)
    ilabel, final = np.empty(num_arcs, np.uint8), np.empty(states, np.float32)
    olabel, next_state = np.empty(num_arcs, np.int32), np.empty(num_arcs, np.int32)
    weight = np.empty(num_arcs, np.float32)
    good = fill(
        words, words.view(np.float32), first_arc, first_emitting, ilabel, olabel, weight, next_state, final
    )
    if not good or header.start >= states:
        raise BadGraph(f"{path}: has labels or states that cannot be: it is damaged, or no decoding graph")
    level = np.zeros(states, np.int16)
    if not epsilon_levels(first_arc, first_emitting, next_state, level):
        raise BadGraph(f"{path}: has a cycle of arcs that take no frame, which no decoding graph has")
    return Arcs(
        header.start, first_arc, first_emitting, ilabel, olabel, weight, next_state, final, level
    )  # fmt: skip
