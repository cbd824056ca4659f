"""Interval arithmetic over columns of int64 nanoseconds.

A *set* is a pair of arrays (start, end) of shape (n,): sorted, disjoint, every end after its start. ``union``
makes one out of any intervals; everything else takes and gives sets. Nothing here rounds: identities such as
``busy + idle = span`` hold exactly.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from analyzer.columns import Int64

IntervalSet: TypeAlias = tuple[Int64, Int64]

EMPTY: IntervalSet = (np.empty(0, np.int64), np.empty(0, np.int64))


def union(start: Int64, end: Int64) -> IntervalSet:
    """The time covered by at least one of the intervals; they may overlap and come in any order."""
    real = end > start
    if not real.all():
        start, end = start[real], end[real]
    if not len(start):
        return EMPTY
    if (start[1:] < start[:-1]).any():
        order = np.argsort(start, kind="stable")
        start, end = start[order], end[order]
    reach = np.maximum.accumulate(end)
    first = np.flatnonzero(start[1:] > reach[:-1]) + 1
    return start[np.concatenate(((0,), first))], reach[np.concatenate((first - 1, (len(start) - 1,)))]


def union_by(group: Int64, start: Int64, end: Int64) -> tuple[Int64, Int64, Int64]:
    """The union of each group's intervals: (group, start, end), sorted by group, then by start.

    Intervals of different groups never merge: two devices may use one stream id.
    """
    real = end > start
    group, start, end = group[real], start[real], end[real]
    if not len(start):
        return EMPTY[0], *EMPTY
    order = np.lexsort((start, group))
    group, start, end = group[order], start[order], end[order]
    opens = np.r_[True, group[1:] != group[:-1]]
    # The running maximum of ranks stays inside its group however long the times are, and cannot overflow.
    ends = np.sort(end)
    before = (np.cumsum(opens) - 1) * len(ends)
    reach = ends[np.maximum.accumulate(np.searchsorted(ends, end) + before) - before]
    first = opens | np.r_[True, start[1:] > reach[:-1]]
    last = np.r_[np.flatnonzero(first)[1:] - 1, len(start) - 1]
    return group[first], start[first], reach[last]


def total(intervals: IntervalSet) -> int:
    """Nanoseconds covered."""
    start, end = intervals
    return int((end - start).sum())


def covered_until(intervals: IntervalSet, instants: Int64) -> Int64:
    """Nanoseconds of the set that lie before each instant, shape of ``instants``."""
    start, end = intervals
    if not len(start):
        return np.zeros(len(instants), np.int64)
    before = np.concatenate(((0,), np.cumsum(end - start)))
    done = np.searchsorted(end, instants, side="right")
    current = np.minimum(done, len(start) - 1)
    inside = np.where(done < len(start), np.maximum(instants - start[current], 0), 0)
    covered: Int64 = before[done] + inside
    return covered


def covered_within(intervals: IntervalSet, start: Int64, end: Int64) -> Int64:
    """Nanoseconds of the set that lie inside each window [start, end), shape (windows,)."""
    return covered_until(intervals, end) - covered_until(intervals, start)


def complement(intervals: IntervalSet, window: tuple[int, int]) -> IntervalSet:
    """The part of the window that the set does not cover: its gaps."""
    start, end = clip(intervals, window)
    opens, closes = np.concatenate(((window[0],), end)), np.concatenate((start, (window[1],)))
    real = closes > opens
    return opens[real], closes[real]


def clip(intervals: IntervalSet, window: tuple[int, int]) -> IntervalSet:
    """The part of the set inside the window."""
    start, end = np.maximum(intervals[0], window[0]), np.minimum(intervals[1], window[1])
    kept = end > start
    return start[kept], end[kept]


def subtract(intervals: IntervalSet, other: IntervalSet) -> IntervalSet:
    """The part of the first set that the second does not cover."""
    if not len(intervals[0]) or not len(other[0]):
        return intervals
    window = (int(intervals[0][0]), int(intervals[1][-1]))
    holes = complement(intervals, window)
    return complement(union(*(np.concatenate(edges) for edges in zip(holes, other, strict=True))), window)


def intersect(intervals: IntervalSet, other: IntervalSet) -> IntervalSet:
    """The part of the first set that the second covers too."""
    return subtract(intervals, subtract(intervals, other))


def together(sets: Sequence[IntervalSet]) -> IntervalSet:
    """The time covered by at least one of the sets."""
    return union(*(np.concatenate(edges) for edges in zip(*sets, strict=True))) if sets else EMPTY
