"""The compiled loops of the n-best search; `trainer.lm.search` says what they do together.

A token is a (frame, state) pair that the beam kept. Tokens lie in one list: by frame, and within a frame by the
level of their state, so that every arc, with or without a frame, leads from a lower index to a higher one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["advance", "best_sentences", "link_tokens", "open_frame"]

INF = np.inf


@njit(cache=True, nogil=True)
def _grown(array: Any, size: int) -> Any:
    """The array itself, or a copy with room for `size` entries and as many again."""
    if size <= len(array):
        return array
    larger = np.empty(2 * size, array.dtype)
    for i in range(len(array)):  # a loop compiles in a tenth of the time of an assignment of slices
        larger[i] = array[i]
    return larger


@njit(cache=True, nogil=True)
def _with_room(state: Any, cost: Any, previous: Any, word: Any, size: int) -> Any:
    """The four lists of tokens with room for `size`."""
    return _grown(state, size), _grown(cost, size), _grown(previous, size), _grown(word, size)


@njit(cache=True, nogil=True)
def _with_links_room(source: Any, target: Any, label: Any, graph: Any, acoustic: Any, size: int) -> Any:
    """The five lists of links with room for `size`."""
    return (
        _grown(source, size), _grown(target, size), _grown(label, size), _grown(graph, size), _grown(acoustic, size)
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _close_and_order(
    arcs: Any, first: int, count: int, cutoff: float, state: Any, cost: Any, previous: Any, word: Any, token_of: Any
) -> Any:  # fmt: skip
    """Follow epsilon arcs within the frame that begins at `first`, and put its tokens in order of level.

    Works level by level: all that lead into a state lie on lower ones, so each token is looked at once.
    """
    top = 0
    for i in range(first, count):
        top = max(top, arcs.level[state[i]])
    heads = np.full(top + 1, -1, np.int32)
    chain = np.empty(count - first + 16, np.int32)
    for i in range(count - 1, first - 1, -1):
        level = arcs.level[state[i]]
        chain[i - first] = heads[level]
        heads[level] = i
    level = 0
    while level < len(heads):
        i = heads[level]
        while i >= 0:
            s = state[i]
            if cost[i] <= cutoff:
                for a in range(arcs.first_arc[s], arcs.first_emitting[s]):
                    total = cost[i] + arcs.weight[a]
                    if total >= cutoff:
                        continue
                    other = arcs.next_state[a]
                    j = token_of[other]
                    if j < 0:
                        j = count
                        if count == len(state):
                            state, cost, previous, word = _with_room(state, cost, previous, word, count + 1)
                        chain = _grown(chain, count + 1 - first)
                        up = arcs.level[other]
                        if up >= len(heads):
                            taller = np.full(up + 1, -1, np.int32)
                            for k in range(len(heads)):
                                taller[k] = heads[k]
                            heads = taller
                        state[j], cost[j] = other, INF
                        chain[j - first] = heads[up]
                        heads[up] = j
                        token_of[other] = j
                        count += 1
                    if total < cost[j]:
                        cost[j], previous[j], word[j] = total, i, arcs.olabel[a]
            i = chain[i - first]
        level += 1
    n = count - first
    place = np.empty(n, np.int32)
    old_state, old_cost = np.empty(n, np.int32), np.empty(n, np.float64)
    old_previous, old_word = np.empty(n, np.int32), np.empty(n, np.int32)
    for k in range(n):
        old_state[k], old_cost[k] = state[first + k], cost[first + k]
        old_previous[k], old_word[k] = previous[first + k], word[first + k]
    at = 0
    for level in range(len(heads)):
        i = heads[level]
        while i >= 0:
            place[i - first] = at
            at += 1
            i = chain[i - first]
    for k in range(n):
        j = first + place[k]
        state[j], cost[j], word[j] = old_state[k], old_cost[k], old_word[k]
        p = old_previous[k]
        previous[j] = first + place[p - first] if p >= first else p
    for j in range(first, count):
        token_of[state[j]] = -1
    return count, state, cost, previous, word


@njit(cache=True, nogil=True)
def open_frame(arcs: Any, beam: float, token_of: Any) -> Any:
    """The tokens before the first frame: the start state and what epsilon arcs reach from it."""
    state, cost = np.empty(64, np.int32), np.empty(64, np.float64)
    previous, word = np.empty(64, np.int32), np.empty(64, np.int32)
    state[0], cost[0], previous[0], word[0] = arcs.start, 0.0, -1, 0
    token_of[arcs.start] = 0
    return _close_and_order(arcs, 0, 1, beam, state, cost, previous, word, token_of)


@njit(cache=True, nogil=True)
def _nth_smallest(values: Any, first: int, last: int, n: int) -> Any:
    """The n-th smallest (from 0) of ``values[first:last]``, which stay as they are; NumPy's takes 5 s to compile."""
    copy = np.empty(last - first, np.float64)
    for i in range(first, last):
        copy[i - first] = values[i]
    low, high = 0, len(copy) - 1
    while low < high:
        a, b, c = copy[low], copy[(low + high) // 2], copy[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while copy[i] < pivot:
                i += 1
            while copy[j] > pivot:
                j -= 1
            if i <= j:
                copy[i], copy[j] = copy[j], copy[i]
                i += 1
                j -= 1
        if n <= j:
            high = j
        elif n >= i:
            low = i
        else:
            return copy[n]
    return copy[n]


@njit(cache=True, nogil=True)
def _cutoff(
    cost: Any, first: int, last: int, best: float, beam: float, max_active: int, min_active: int, beam_delta: float
) -> Any:  # fmt: skip
    """(highest cost that is expanded, beam for the next frame): the beam, the max_active best, the min_active best."""
    if last - first > max_active:
        limit = _nth_smallest(cost, first, last, max_active)
        if limit < best + beam:
            return limit, limit - best + beam_delta
    if last - first > min_active:
        limit = _nth_smallest(cost, first, last, min_active)
        if limit > best + beam:
            return limit, limit - best + beam_delta
    return best + beam, beam


@njit(cache=True, nogil=True)
def advance(
    arcs: Any, frames: Any, state: Any, cost: Any, previous: Any, word: Any, ends: Any, num_frames: int, cutoffs: Any,
    token_of: Any, beam: float, max_active: int, min_active: int, beam_delta: float,
) -> Any:  # fmt: skip
    """Take `frames` (T, K) of acoustic costs; returns (frames taken, arrays), fewer than T when no path goes on.

    `ends` and `cutoffs` have room for all frames; ``ends[f]`` is where frame f's tokens end.
    """
    for t in range(len(frames)):
        first = ends[num_frames - 1] if num_frames else 0
        count = ends[num_frames]
        best = first
        for i in range(first, count):
            if cost[i] < cost[best]:
                best = i
        limit, adaptive = _cutoff(cost, first, count, cost[best], beam, max_active, min_active, beam_delta)
        cutoffs[num_frames] = limit
        bound = INF
        s = state[best]
        for a in range(arcs.first_emitting[s], arcs.first_arc[s + 1]):
            total = cost[best] + arcs.weight[a] + frames[t, arcs.ilabel[a] - 1] + adaptive
            bound = min(bound, total)
        begin = count
        for i in range(first, begin):
            if cost[i] > limit:
                continue
            s = state[i]
            for a in range(arcs.first_emitting[s], arcs.first_arc[s + 1]):
                total = cost[i] + arcs.weight[a] + frames[t, arcs.ilabel[a] - 1]
                if total >= bound:
                    continue
                bound = min(bound, total + adaptive)
                other = arcs.next_state[a]
                j = token_of[other]
                if j < 0:
                    j = count
                    if count == len(state):
                        state, cost, previous, word = _with_room(state, cost, previous, word, count + 1)
                    state[j], cost[j] = other, INF
                    token_of[other] = j
                    count += 1
                if total < cost[j]:
                    cost[j], previous[j], word[j] = total, i, arcs.olabel[a]
        if count == begin:
            return t, state, cost, previous, word
        count, state, cost, previous, word = _close_and_order(
            arcs, begin, count, bound, state, cost, previous, word, token_of
        )
        num_frames += 1
        ends[num_frames] = count
    return len(frames), state, cost, previous, word


@njit(cache=True, nogil=True)
def link_tokens(
    arcs: Any, frames: Any, state: Any, cost: Any, ends: Any, cutoffs: Any, token_of: Any, lattice_beam: float,
    ending: Any, best: float,
) -> Any:  # fmt: skip
    """Walk back from the last frame: cost to the end of every token, and the arcs within the lattice beam.

    `ending` holds the final cost of each token of the last frame, `best` the cost of the best path. Returns
    (cost to the end, and of each link: from, to, word, graph cost, acoustic cost).
    """
    num_frames = len(frames)
    limit = best + lattice_beam + 1e-6
    rest = np.full(ends[num_frames], INF, np.float64)
    source, target = np.empty(1024, np.int32), np.empty(1024, np.int32)
    label, graph, acoustic = np.empty(1024, np.int32), np.empty(1024, np.float64), np.empty(1024, np.float64)
    n = 0
    for f in range(num_frames, -1, -1):
        first = ends[f - 1] if f else 0
        last = ends[f]
        if f == num_frames:
            for i in range(first, last):
                rest[i] = ending[i - first]
        else:
            for i in range(first, last):
                if cost[i] > cutoffs[f]:
                    continue
                s = state[i]
                for a in range(arcs.first_emitting[s], arcs.first_arc[s + 1]):
                    j = token_of[arcs.next_state[a]]
                    if j < 0:
                        continue
                    heard = frames[f, arcs.ilabel[a] - 1]
                    onward = arcs.weight[a] + heard + rest[j]
                    rest[i] = min(rest[i], onward)
                    if cost[i] + onward <= limit:
                        if n == len(source):
                            source, target, label, graph, acoustic = _with_links_room(
                                source, target, label, graph, acoustic, n + 1
                            )
                        source[n], target[n], label[n] = i, j, arcs.olabel[a]
                        graph[n], acoustic[n] = arcs.weight[a], heard
                        n += 1
            for i in range(last, ends[f + 1]):
                token_of[state[i]] = -1
        for i in range(first, last):
            token_of[state[i]] = i
        for i in range(last - 1, first - 1, -1):
            s = state[i]
            for a in range(arcs.first_arc[s], arcs.first_emitting[s]):
                j = token_of[arcs.next_state[a]]
                if j < 0:
                    continue
                onward = arcs.weight[a] + rest[j]
                rest[i] = min(rest[i], onward)
                if cost[i] + onward <= limit:
                    if n == len(source):
                        source, target, label, graph, acoustic = _with_links_room(
                            source, target, label, graph, acoustic, n + 1
                        )
                    source[n], target[n], label[n] = i, j, arcs.olabel[a]
                    graph[n], acoustic[n] = arcs.weight[a], 0.0
                    n += 1
    for i in range(ends[0]):
        token_of[state[i]] = -1
    return rest, source[:n], target[:n], label[:n], graph[:n], acoustic[:n]


@njit(cache=True, nogil=True)
def _intern(parent: int, word: int, parents: Any, words: Any, table: Any, count: int) -> Any:
    """The history `parent` + `word`: its number, or `count` when it is new (and then entered)."""
    mask = len(table) - 1
    at = (parent * 1000003 + word * 7919 + (parent >> 7)) & mask
    while table[at] >= 0:
        h = table[at]
        if parents[h] == parent and words[h] == word:
            return h
        at = (at + 1) & mask
    table[at] = count
    parents[count], words[count] = parent, word
    return count


@njit(cache=True, nogil=True)
def _rehashed(parents: Any, words: Any, count: int, size: int) -> Any:
    table = np.full(size, -1, np.int32)
    mask = size - 1
    for h in range(1, count):
        at = (parents[h] * 1000003 + words[h] * 7919 + (parents[h] >> 7)) & mask
        while table[at] >= 0:
            at = (at + 1) & mask
        table[at] = h
    return table


@njit(cache=True, nogil=True)
def _by_target(target: Any, num_tokens: int) -> Any:
    """(where the links into each token begin, the links in that order)."""
    begin = np.zeros(num_tokens + 1, np.int64)
    for j in target:
        begin[j + 1] += 1
    for i in range(num_tokens):
        begin[i + 1] += begin[i]
    order = np.empty(len(target), np.int32)
    at = begin[:-1].copy()
    for k in range(len(target)):
        order[at[target[k]]] = k
        at[target[k]] += 1
    return begin, order


@njit(cache=True, nogil=True)
def _keep_best(total: Any, count: int, most: int) -> Any:
    """Indices of the `most` smallest of the first `count`; of equal ones the earlier."""
    if count <= most:
        return np.arange(count)
    limit = _nth_smallest(total, 0, count, most - 1)
    kept = np.empty(most, np.int64)
    n = 0
    for k in range(count):
        if total[k] < limit:
            kept[n] = k
            n += 1
    for k in range(count):
        if n < most and total[k] == limit:
            kept[n] = k
            n += 1
    return kept


@njit(cache=True, nogil=True)
def best_sentences(
    rest: Any, ends: Any, source: Any, target: Any, label: Any, graph: Any, acoustic: Any, ending: Any, most: int,
    limit: float,
) -> Any:  # fmt: skip
    """Forward over the links, each token holding its `most` best distinct word histories.

    Returns (history, graph cost, acoustic cost) of the best complete sentences, best first, and the trie of
    histories as (parents, words); history 0 is empty.
    """
    num_tokens = len(rest)
    begin, order = _by_target(target, num_tokens)
    parents, words = np.empty(1024, np.int32), np.empty(1024, np.int32)
    parents[0], words[0] = -1, -1
    histories = 1
    table = np.full(4096, -1, np.int32)
    entry_at, entry_count = np.zeros(num_tokens, np.int64), np.zeros(num_tokens, np.int32)
    e_history = np.empty(4096, np.int32)
    e_graph, e_acoustic = np.empty(4096, np.float64), np.empty(4096, np.float64)
    slot = np.full(1024, -1, np.int32)
    c_history = np.empty(1024, np.int32)
    c_graph, c_acoustic, c_total = np.empty(1024), np.empty(1024), np.empty(1024)
    filled, frame, frame_begins = 0, 0, 0
    for j in range(num_tokens + 1):
        # One more round, past the last token, gathers the complete sentences.
        is_end = j == num_tokens
        if not is_end and j == ends[frame]:
            # A link spans one frame at most: entries of frames before the one that just ended are not read again.
            frame += 1
            shift = frame_begins
            for e in range(shift, filled):
                e_history[e - shift], e_graph[e - shift] = e_history[e], e_graph[e]
                e_acoustic[e - shift] = e_acoustic[e]
            filled -= shift
            frame_begins = filled
            for i in range(ends[frame - 2] if frame > 1 else 0, j):
                entry_at[i] -= shift
        n = 0
        if j == 0:
            c_history[0], c_graph[0], c_acoustic[0], c_total[0] = 0, 0.0, 0.0, 0.0
            slot[0] = 0
            n = 1
        if is_end:
            first_link, last_link = num_tokens - len(ending), num_tokens
        else:
            first_link, last_link = begin[j], begin[j + 1]
        for position in range(first_link, last_link):
            if is_end:
                i, w, g, h_cost = position, 0, ending[position - first_link], 0.0
                onward = 0.0
                if not g < INF:
                    continue
            else:
                k = order[position]
                i, w, g, h_cost = source[k], label[k], graph[k], acoustic[k]
                onward = rest[j]
            for e in range(entry_at[i], entry_at[i] + entry_count[i]):
                new_graph, new_acoustic = e_graph[e] + g, e_acoustic[e] + h_cost
                total = new_graph + new_acoustic
                if total + onward > limit + 1e-6:
                    continue
                h = np.int64(e_history[e])
                if w:
                    if histories + 1 > len(parents):
                        parents, words = _grown(parents, histories + 1), _grown(words, histories + 1)
                    if 2 * histories > len(table):
                        table = _rehashed(parents, words, histories, 4 * len(table))
                    h = np.int64(_intern(h, w, parents, words, table, histories))
                    if h == histories:
                        histories += 1
                    if h >= len(slot):
                        larger = np.full(2 * len(parents), -1, np.int32)
                        for k in range(len(slot)):
                            larger[k] = slot[k]
                        slot = larger
                c = slot[h]
                if c < 0:
                    c = n
                    n += 1
                    c_history, c_graph = _grown(c_history, n), _grown(c_graph, n)
                    c_acoustic, c_total = _grown(c_acoustic, n), _grown(c_total, n)
                    c_history[c], c_total[c] = h, INF
                    slot[h] = c
                if total < c_total[c]:
                    c_graph[c], c_acoustic[c], c_total[c] = new_graph, new_acoustic, total
        for c in range(n):
            slot[c_history[c]] = -1
        if n == 0 and not is_end:
            continue
        kept = _keep_best(c_total, n, most)
        if is_end:
            kept = kept[np.argsort(c_total[kept])]
            return c_history[kept], c_graph[kept], c_acoustic[kept], parents[:histories], words[:histories]
        m = len(kept)
        e_history = _grown(e_history, filled + m)
        e_graph, e_acoustic = _grown(e_graph, filled + m), _grown(e_acoustic, filled + m)
        entry_at[j], entry_count[j] = filled, m
        for c in kept:
            e_history[filled], e_graph[filled], e_acoustic[filled] = c_history[c], c_graph[c], c_acoustic[c]
            filled += 1
    return c_history[:0], c_graph[:0], c_acoustic[:0], parents[:histories], words[:histories]
