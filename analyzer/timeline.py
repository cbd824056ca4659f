"""Interval arithmetic over columns of int64 nanoseconds.

A *set* is a pair of arrays (start, end) of shape (n,): sorted, disjoint, every end after its start. ``union``
makes one out of any intervals; everything else takes and gives sets. Nothing here rounds: identities such as
``busy + idle = span`` hold exactly.
"""

from typing import TypeAlias

import numpy as np

from analyzer.columns import Int64

IntervalSet: TypeAlias = tuple[Int64, Int64]

EMPTY: IntervalSet = (np.empty(0, np.int64), np.empty(0, np.int64))


def union(start: Int64, end: Int64) -> IntervalSet:
    """The time covered by at least one of the intervals; they may overlap and come in any order."""
    real = end > start
    start, end = start[real], end[real]
    if not len(start):
        return EMPTY
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    first = np.r_[True, start[1:] > reach[:-1]]
    last = np.r_[np.flatnonzero(first)[1:] - 1, len(start) - 1]
    return start[first], reach[last]


def total(intervals: IntervalSet) -> int:
    """Nanoseconds covered."""
    start, end = intervals
    return int((end - start).sum())


def covered_until(intervals: IntervalSet, instants: Int64) -> Int64:
    """Nanoseconds of the set that lie before each instant, shape of ``instants``."""
    start, end = intervals
    if not len(start):
        return np.zeros(len(instants), np.int64)
    before = np.r_[0, np.cumsum(end - start)]
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
    return union(np.r_[window[0], end], np.r_[start, window[1]])


def clip(intervals: IntervalSet, window: tuple[int, int]) -> IntervalSet:
    """The part of the set inside the window."""
    start, end = np.maximum(intervals[0], window[0]), np.minimum(intervals[1], window[1])
    kept = end > start
    return start[kept], end[kept]


def subtract(intervals: IntervalSet, other: IntervalSet) -> IntervalSet:
    """The part of the first set that the second does not cover."""
    if not len(intervals[0]):
        return EMPTY
    window = (int(intervals[0][0]), int(intervals[1][-1]))
    holes = complement(intervals, window)
    return complement(union(np.r_[holes[0], other[0]], np.r_[holes[1], other[1]]), window)
