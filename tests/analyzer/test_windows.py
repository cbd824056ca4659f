import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.columns import Float64, Int64, RunData
from analyzer.windows import (
    bucket_increase,
    captures,
    cut,
    empty_ratio,
    extent,
    increase,
    mean_between,
    mean_in,
    mean_of,
    or_none,
    outside,
    scrapes,
    sections,
    window_of,
)
from tests.analyzer.runs import NS, START_NS, at, capture, gpu, phase, request, run, scrape, serving, spans

NAN = float("nan")
#: Odd instants, in nanoseconds after the start of a run of ten seconds.
INSTANT_NS = st.integers(-1 * NS, 11 * NS)


def ns(*after: int) -> Int64:
    return np.array([START_NS + instant for instant in after], np.int64)


# ------------------------------------------------------------------------------------------------------ windows


@given(st.lists(st.tuples(INSTANT_NS, INSTANT_NS), max_size=5), st.floats(0.01, 20))
def test_windows_cover_the_run_exactly_and_never_straddle_a_phase(
    pairs: list[tuple[int, int]], window_s: float
) -> None:
    data = run(serving(10), events=[phase(low / NS, high / NS) for low, high in pairs])
    first, last = extent(data)

    start, end = cut(data, window_s)

    assert (first, last) == (start[0], end[-1])
    assert start[1:].tolist() == end[:-1].tolist()
    assert (end > start).all()
    edges = {edge for event in data.phases for edge in (event.t_ns, event.end_ns) if edge and first < edge < last - 1}
    assert edges <= set(start.tolist())


@given(st.floats(0.05, 3))
def test_windows_are_about_as_long_as_asked_and_alike(window_s: float) -> None:
    start, end = cut(run(serving(10)), window_s)

    assert (end - start) / NS == pytest.approx(window_s, rel=0.5)
    assert np.ptp(end - start) <= 1


def test_an_edge_of_a_phase_is_kept_to_the_nanosecond() -> None:
    event = phase(3, 7)
    data = run(serving(10), events=[event])

    start, _ = cut(data, 100)

    assert [START_NS, event.t_ns, event.end_ns] == start.tolist()


def test_a_phase_outside_the_run_or_as_long_as_it_cuts_nothing() -> None:
    data = run(serving(10), events=[phase(-9, -1), phase(0, 10), phase(20, 30)])

    assert 1 == len(cut(data, 100)[0])


def test_the_last_reading_lies_in_the_last_window() -> None:
    data = run(serving(10))

    start, end = cut(data, 5)

    assert [len(start) - 1] == window_of(ns(10 * NS), start, end).tolist()


def test_a_single_reading_makes_one_window_and_no_reading_none() -> None:
    assert 1 == len(cut(run(serving(0)), 5)[0])
    assert 0 == len(cut(run(serving(0)[:0]), 5)[0])


def test_a_run_without_samples_lasts_as_long_as_its_requests() -> None:
    data = run(samples={}, requests=[request(2), request(4)])

    assert (at(2), at(4) + 1) == extent(data)


def test_sections_are_the_run_its_phases_and_the_windows() -> None:
    data = run(serving(10), events=[phase(1, 2, "a"), phase(3, None, "b")])

    names, start, end = sections(data, *spans(0, 5, 10))

    assert [None, "a", "b", None, None] == names
    assert ns(0, 1 * NS, 3 * NS, 0, 5 * NS).tolist() == start.tolist()
    assert ns(10 * NS + 1, 2 * NS, 10 * NS + 1, 5 * NS, 10 * NS).tolist() == end.tolist()


def test_a_phase_never_ends_before_it_starts() -> None:
    begun_after_the_last_sample, clock_jumped = phase(30, None), phase(8, 2)

    _, start, end = sections(run(serving(10), events=[begun_after_the_last_sample, clock_jumped]), *spans())

    assert (end >= start).all()


@given(st.lists(st.integers(0, 60), max_size=6), st.lists(st.integers(-5, 65), max_size=20))
def test_an_instant_belongs_to_the_window_that_holds_it(edges: list[int], instants: list[int]) -> None:
    pairs = list(pairwise(sorted(set(edges))))[::2]
    start, end = ns(*(low for low, _ in pairs)), ns(*(high for _, high in pairs))

    found = window_of(ns(*instants), start, end)

    holding = [[row for row, (low, high) in enumerate(pairs) if low <= instant < high] for instant in instants]
    assert [rows[0] if rows else -1 for rows in holding] == found.tolist()


# -------------------------------------------------------------------------------------------------------- means


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([NAN, 0.0, 0.5, 3.0, 1e12])), max_size=20),
    st.lists(st.tuples(st.integers(-2, 32), st.integers(-2, 32)), min_size=1, max_size=6),
)
def test_a_mean_between_is_the_mean_of_the_readings_there(
    readings: list[tuple[int, float]], windows: list[tuple[int, int]]
) -> None:
    readings.sort(key=lambda reading: reading[0])
    values = np.array([value for _, value in readings])
    bounds = [tuple(sorted(window)) for window in windows]

    found = mean_between(
        ns(*(t for t, _ in readings)), values, ns(*(b[0] for b in bounds)), ns(*(b[1] for b in bounds))
    )

    expected = [[v for t, v in readings if low <= t < high and np.isfinite(v)] for low, high in bounds]
    assert [sum(v) / len(v) if v else None for v in expected] == [
        None if value is None else pytest.approx(value, rel=1e-9, abs=1e-3) for value in or_none(found, len(bounds))
    ]


def test_a_quiet_window_after_a_loud_one_is_exactly_zero() -> None:
    values = np.array([1e17, 1 / 3, 0.1, 0.0, 0.0])

    assert [0.0] == mean_between(ns(0, 1, 2, 3, 4), values, ns(3), ns(5)).tolist()


def test_a_weighted_mean_leaves_out_what_weighs_nothing_or_is_not_there() -> None:
    window = np.array([0, 0, 0, -1, 1], np.int64)

    mean = mean_in(window, np.array([1.0, 4.0, NAN, 99.0, 7.0]), 3, np.array([3.0, 1.0, 5.0, 1.0, 0.0]))

    assert [1.75, None, None] == or_none(mean, 3)


def test_a_mean_over_subjects_is_of_those_that_are_known() -> None:
    assert [2.0, 3.0, None] == or_none(mean_of([np.array([1.0, 3.0, NAN]), np.array([3.0, NAN, NAN])]), 3)


def test_what_was_never_read_is_none_in_every_window() -> None:
    assert [None, None] == or_none(None, 2)


def test_a_server_with_a_third_of_a_request_was_empty_for_two_thirds_of_the_time() -> None:
    assert [1.0, pytest.approx(2 / 3), 0.0, 0.0] == empty_ratio(np.array([0, 1 / 3, 1, 200])).tolist()


def test_instants_outside_captures_are_those_in_none_of_them() -> None:
    data = run(events=[capture(1, 3), capture(2, 3.5), capture(8, None)])

    free = outside(ns(*(second * NS for second in range(10))), captures(data))

    assert [0, 5, 6, 7, 8, 9] == np.flatnonzero(free).tolist()


# ----------------------------------------------------------------------------------------------------- counters


def test_what_a_counter_shows_after_a_restart_is_what_it_counted_since() -> None:
    data = run(serving(3, requests_ok_total=[100, 150, 20, 60]))

    assert [110.0] == _grown(data, 0, 3)
    assert [50.0, 20.0, 40.0] == _grown(data, 0, 1, 2, 3)


def test_between_two_readings_a_counter_grows_evenly() -> None:
    data = run(serving(10, hz=0.1, requests_ok_total=[0, 100]))

    assert [25.0, 75.0] == pytest.approx(_grown(data, 0, 2.5, 10))


def test_counters_of_several_subjects_add_up() -> None:
    data = run(
        serving(2, requests_ok_total=[0, 5, 10]),
        serving(2, subject="engine:1", requests_ok_total=[1000, 3, 4]),
    )

    assert [8.0, 6.0] == _grown(data, 0, 1, 2)


def test_a_counter_is_unknown_before_its_first_reading_and_after_its_last() -> None:
    data = run(serving(2, at_s=4, requests_ok_total=[7, 8, 9]))

    assert [None, 1.0, 1.0, None] == _grown(data, 0, 4, 5, 6, 10)
    assert [2.0] == _grown(data, 0, 10)


def test_an_absent_reading_of_a_counter_is_bridged() -> None:
    data = run(serving(4, requests_ok_total=[0, NAN, 4, NAN, 8]))

    assert [2.0, 2.0, 2.0, 2.0] == _grown(data, 0, 1, 2, 3, 4)


def test_one_reading_of_a_counter_tells_nothing() -> None:
    assert [None] == _grown(run(serving(0, requests_ok_total=5)), -1, 1)


def test_a_counter_that_was_never_read_has_no_increase() -> None:
    assert increase(run(serving()), "serving", "requests_ok_total", *spans(0, 1)) is None
    assert increase(run(serving(requests_ok_total=NAN)), "serving", "requests_ok_total", *spans(0, 1)) is None
    assert increase(run(serving()), "host", "requests_ok_total", *spans(0, 1)) is None


def test_a_window_of_a_microsecond_is_not_lost_in_rounding() -> None:
    data = run(serving(10, requests_ok_total=np.arange(11) * 1e9))

    grown = increase(data, "serving", "requests_ok_total", ns(5_000_000_000), ns(5_000_001_000))

    assert grown is not None
    assert 1000.0 == pytest.approx(grown[0], abs=1e-3)


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=8), st.lists(st.integers(-2 * NS, 9 * NS), max_size=8))
def test_increases_over_adjacent_windows_add_up_to_the_increase_over_all(read: list[float], inner: list[int]) -> None:
    data = run(serving(len(read) - 1, requests_ok_total=read))
    edges = ns(*sorted({-3 * NS, *inner, 10 * NS}))

    apart = increase(data, "serving", "requests_ok_total", edges[:-1], edges[1:])
    whole = increase(data, "serving", "requests_ok_total", edges[:1], edges[-1:])

    assert apart is not None
    assert whole is not None
    assert whole[0] == pytest.approx(np.nansum(apart), rel=1e-9, abs=1e-3)
    assert not (apart < -1e-3).any()
    assert whole[0] == pytest.approx(sum(b - a if b >= a else b for a, b in pairwise(read)), rel=1e-9, abs=1e-3)


def _grown(data: RunData, *edges_s: float) -> list[float | None]:
    found = increase(data, "serving", "requests_ok_total", *spans(*edges_s))
    return or_none(found, len(edges_s) - 1)


# --------------------------------------------------------------------------------------------------- histograms


def _counted(scrapes: list[dict[str, object]], *edges_s: float) -> tuple[list[list[float]], list[float]]:
    found = bucket_increase(run(histograms=scrapes), "ttft_s", *spans(*edges_s))
    assert found is not None
    return found[1].tolist(), found[2].tolist()


def test_a_window_holds_what_was_counted_between_its_edges() -> None:
    scrapes = [scrape(0, (2, 5, 9), sum=1.0), scrape(5, (3, 8, 13), sum=3.0), scrape(10, (3, 8, 14), sum=8.0)]

    assert ([[1, 2, 1], [0, 0, 1]], [2, 5]) == _counted(scrapes, 0, 5, 10)


def test_what_was_counted_before_the_first_scrape_is_not_of_this_run() -> None:
    assert ([[0, 0, 0], [1, 0, 0]], [0, 0]) == _counted([scrape(1, (10, 20, 30)), scrape(6, (11, 21, 31))], 0, 5, 10)


def test_after_a_restart_everything_was_counted_since() -> None:
    scrapes = [scrape(0, (4, 4, 10), sum=9.0), scrape(5, (1, 1, 2), sum=0.5), scrape(10, (2, 2, 3), sum=0.75)]

    assert ([[1, 0, 1], [1, 0, 0]], [0.5, 0.25]) == _counted(scrapes, 0, 5, 10)


def test_a_restart_shows_in_any_bucket_even_if_more_was_counted_since() -> None:
    scrapes = [scrape(0, (5, 5, 5), sum=0.1), scrape(5, (0, 0, 8), sum=80.0)]

    assert ([[0, 0, 8]], [80.0]) == _counted(scrapes, 0, 5)


def test_a_page_whose_counts_contradict_each_other_is_passed_over() -> None:
    rows = [scrape(0, (0, 0, 0)), scrape(3, (3, 2, 4)), scrape(5, (3, 3, 5)), scrape(6, (3, 3, NAN))]

    assert [[3, 0, 2]] == _counted(rows, 0, 7)[0]
    assert ("ttft_s of engine:0: 2 scrapes whose counts contradict each other.",) == _faults(rows)


def test_the_common_edges_of_all_scrapes_count() -> None:
    rows = [scrape(0, (0, 9)), scrape(2, (9, 99)), scrape(5, (1, 2, 3)), scrape(8, (2, 4, 6))]

    assert ([[10, 83], [1, 2]], [0, 0]) == _counted(rows, 0, 5, 10)
    assert ["ttft_s: buckets changed or differ between replicas; only their 1 common edges count."] == [*_faults(rows)]


def test_replicas_with_other_buckets_share_what_they_have_in_common() -> None:
    rows = [
        *(scrape(at_s, (n, 2 * n, 3 * n), edges=(0.1, 0.2), subject="engine:0") for at_s, n in ((0, 0), (5, 10))),
        *(scrape(at_s, (n, 2 * n, 3 * n), edges=(0.2, 0.3), subject="engine:1") for at_s, n in ((0, 0), (5, 4))),
    ]

    found = bucket_increase(run(histograms=rows), "ttft_s", *spans(0, 5))

    assert found is not None
    assert ([0.2], [[24, 18]]) == (found[0].tolist(), found[1].tolist())


def test_counts_that_fall_time_and_again_are_of_several_servers_and_say_nothing() -> None:
    rows = [scrape(second, (second + 50 * (second % 2),) * 2) for second in range(20)]

    assert bucket_increase(run(histograms=rows), "ttft_s", *spans(0, 20)) is None
    assert "its counts fall 9 times in 20 scrapes" in _faults(rows)[0]


def test_a_sum_that_falls_while_the_counts_climb_is_no_sum() -> None:
    counts, sums = _counted([scrape(0, (0, 0), sum=5.0), scrape(5, (2, 2), sum=1.0)], 0, 5)

    assert [[2, 0]] == counts
    assert [True] == [math.isnan(each) for each in sums]


def _faults(rows: list[dict[str, object]]) -> tuple[str, ...]:
    return scrapes(run(histograms=rows), "ttft_s")[2]


@given(st.lists(st.lists(st.floats(0.001, 2), max_size=30), min_size=1, max_size=4), st.data())
def test_replicas_add_up_to_what_one_server_would_have_counted(drawn: list[list[float]], data: st.DataObject) -> None:
    every = [0.01, 0.05, 0.1, 0.5, 1.0]
    edges = [sorted({0.1, *data.draw(st.sets(st.sampled_from(every)))}) for _ in drawn]
    rows = []
    for replica, (values, mine) in enumerate(zip(drawn, edges, strict=True)):
        counts = (*(sum(value <= edge for value in values) for edge in mine), len(values))
        for at_s, read in ((0, (0,) * len(counts)), (5, counts)):
            rows.append(scrape(at_s, read, edges=tuple(mine), subject=f"engine:{replica}"))
    shared = sorted(set.intersection(*map(set, edges)))

    found = bucket_increase(run(histograms=rows), "ttft_s", *spans(0, 5))

    assert found is not None
    together = [value for values in drawn for value in values]
    cumulative = [*(sum(value <= edge for value in together) for edge in shared), len(together)]
    assert (shared, cumulative) == (found[0].tolist(), np.cumsum(found[1][0]).tolist())


def test_as_many_scrapes_as_edges_are_not_compared_one_by_one() -> None:
    assert [[1, 0, 0]] == _counted([scrape(0, (0, 0, 0)), scrape(1, (1, 1, 1))], 0, 1)[0]


def test_histograms_of_several_subjects_add_up() -> None:
    scrapes = [
        scrape(at_s, (count, count), subject=subject)
        for subject, counts in (("engine:0", (0, 3)), ("engine:1", (10, 4)))
        for at_s, count in zip((0, 5), counts, strict=True)
    ]

    assert [[7, 0]] == _counted(scrapes, 0, 5)[0]


def test_a_histogram_without_a_finite_bucket_still_counts() -> None:
    assert [[2]] == _counted([scrape(0, (1,)), scrape(5, (3,))], 0, 5)[0]


def test_a_histogram_that_was_never_scraped_has_no_increase() -> None:
    assert bucket_increase(run(histograms=[scrape(0, (1, 2))]), "itl_s", *spans(0, 1)) is None


@given(
    st.lists(st.tuples(*[st.integers(0, 20)] * 3), min_size=1, max_size=6),
    st.sets(st.integers(1, 5), max_size=2),
    st.lists(st.integers(-NS, 7 * NS), max_size=6),
)
def test_counts_over_adjacent_windows_add_up_to_those_over_all(
    added: list[tuple[int, ...]], restarts: set[int], inner: list[int]
) -> None:
    counts, scrapes = np.zeros(3), [scrape(0, (0, 0, 0))]
    for second, row in enumerate(added, start=1):
        counts = np.array(row, np.float64) + (0 if second in restarts else counts)
        scrapes.append(scrape(second, tuple(np.cumsum(counts).tolist())))
    edges = ns(*sorted({-2 * NS, *inner, 8 * NS}))

    found = bucket_increase(run(histograms=scrapes), "ttft_s", edges[:-1], edges[1:])
    whole = bucket_increase(run(histograms=scrapes), "ttft_s", edges[:1], edges[-1:])

    assert found is not None
    assert whole is not None
    _same(whole[1].sum(axis=0), found[1].sum(axis=0))
    if not restarts:
        _same(np.sum(added, axis=0), whole[1][0])


def _same(expected: Float64, found: Float64) -> None:
    assert expected.tolist() == found.tolist()


def test_gpu_readings_count_toward_the_extent_too() -> None:
    assert (at(-1), at(10) + 1) == extent(run(serving(5), gpu(11, at_s=-1)))
