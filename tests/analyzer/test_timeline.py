import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analyzer.columns import Int64
from analyzer.timeline import (
    IntervalSet,
    clip,
    complement,
    covered_until,
    covered_within,
    intersect,
    subtract,
    together,
    total,
    union,
    union_by,
)

INSTANT = st.integers(0, 200)
INTERVALS = st.lists(st.tuples(INSTANT, INSTANT), max_size=12)
EDGE = 200


def _arrays(pairs: list[tuple[int, int]]) -> IntervalSet:
    return np.array([pair[0] for pair in pairs], np.int64), np.array([pair[1] for pair in pairs], np.int64)


def _cells(start: Int64, end: Int64) -> set[int]:
    """The unit cells an interval list covers: the slow and certain way."""
    return {cell for low, high in zip(start, end, strict=True) for cell in range(int(low), int(high))}


@given(INTERVALS)
def test_a_union_covers_what_its_intervals_cover_and_is_sorted_and_disjoint(pairs: list[tuple[int, int]]) -> None:
    start, end = union(*_arrays(pairs))

    assert _cells(*_arrays(pairs)) == _cells(start, end)
    assert (end > start).all()
    assert (start[1:] > end[:-1]).all()


@given(INTERVALS)
def test_busy_and_gaps_add_up_to_the_window_exactly(pairs: list[tuple[int, int]]) -> None:
    busy = union(*_arrays(pairs))

    gaps = complement(busy, (0, EDGE))

    assert total(gaps) + total(clip(busy, (0, EDGE))) == EDGE
    assert not _cells(*gaps) & _cells(*busy)


@given(INTERVALS, INTERVALS)
def test_subtracting_leaves_what_only_the_first_covers(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    first, second = union(*_arrays(left)), union(*_arrays(right))

    rest = subtract(first, second)

    assert _cells(*first) - _cells(*second) == _cells(*rest)


@given(INTERVALS, st.lists(INSTANT, min_size=1, max_size=8))
def test_what_is_covered_until_an_instant_counts_its_cells(pairs: list[tuple[int, int]], instants: list[int]) -> None:
    busy = union(*_arrays(pairs))

    covered = covered_until(busy, np.array(instants, np.int64))

    assert [sum(cell < instant for cell in _cells(*busy)) for instant in instants] == covered.tolist()


@given(INTERVALS, st.lists(INSTANT, min_size=2, max_size=8, unique=True))
def test_neighbouring_windows_share_nothing_and_lose_nothing(pairs: list[tuple[int, int]], edges: list[int]) -> None:
    busy = union(*_arrays(pairs))
    cuts = np.array(sorted(edges), np.int64)

    inside = covered_within(busy, cuts[:-1], cuts[1:])

    assert total(clip(busy, (int(cuts[0]), int(cuts[-1])))) == inside.sum()


@given(INTERVALS, INTERVALS)
def test_sets_meet_where_both_cover_and_together_cover_what_either_does(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    first, second = union(*_arrays(left)), union(*_arrays(right))

    assert _cells(*first) & _cells(*second) == _cells(*intersect(first, second))
    assert _cells(*first) | _cells(*second) == _cells(*together([first, second]))


@given(INTERVALS, st.lists(st.integers(0, 2), min_size=12, max_size=12), st.sampled_from((1, 2**58)))
def test_the_union_of_each_group_is_that_of_its_own_intervals(
    pairs: list[tuple[int, int]], groups: list[int], scale: int
) -> None:
    start, end = (edges * scale // 256 for edges in _arrays(pairs))
    group = np.array(groups[: len(pairs)], np.int64)

    on, begun, ended = union_by(group, start, end)

    for one in range(3):
        expected, mine = union(start[group == one], end[group == one]), on == one
        assert [edges.tolist() for edges in expected] == [begun[mine].tolist(), ended[mine].tolist()]
