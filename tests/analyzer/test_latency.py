import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.columns import RunData
from analyzer.latency import QUANTILES, from_buckets, from_values, latency, order_interval
from analyzer.schema import Latency, LatencyStats, LatencyWindow, Percentile
from tests.analyzer.runs import at, phase, request, run, scrape, serving, spans

NAN = float("nan")
SECONDS = st.floats(0, 1e4)


def told(data: RunData, *edges_s: float) -> Latency:
    found = latency(data, *spans(*edges_s))
    assert found is not None
    return found


def stat(window: LatencyWindow, measure: str) -> LatencyStats:
    found = window.stat(measure)
    assert found is not None
    return found


def percentile(stats: LatencyStats, q: float) -> Percentile:
    return next(percentile for percentile in stats.percentiles if percentile.q == q)


def interpolated(values: Sequence[float], q: float) -> float:
    """Hyndman and Fan's type 7, by the book."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * q
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


# ------------------------------------------------------------------------------------------- every value is known


@given(st.lists(SECONDS, min_size=1, max_size=60))
def test_percentiles_are_interpolated_between_order_statistics(values: list[float]) -> None:
    stats = from_values("ttft_s", np.array(values))

    assert (len(values), QUANTILES) == (stats.n, tuple(found.q for found in stats.percentiles))
    assert sum(values) / len(values) == pytest.approx(stats.mean_s)
    for found in stats.percentiles:
        assert interpolated(values, found.q) == pytest.approx(found.value_s, rel=1e-9, abs=1e-12)


@given(st.lists(SECONDS, min_size=1, max_size=60))
def test_an_interval_of_order_statistics_holds_its_percentile(values: list[float]) -> None:
    for found in from_values("ttft_s", np.array(values)).percentiles:
        assert found.value_s is not None
        assert -math.inf if found.low_s is None else found.low_s <= found.value_s
        assert found.value_s <= (math.inf if found.high_s is None else found.high_s)
        assert ("low n" if None in (found.low_s, found.high_s) else None) == found.note


@given(st.integers(1, 80), st.sampled_from(["0.5", "0.9", "0.95", "0.99", "0.999"]))
def test_an_interval_of_order_statistics_leaves_out_2_5_percent_a_side_and_no_rank_more(n: int, exact: str) -> None:
    """Against the binomial distribution in exact fractions."""
    q, tail = Fraction(exact), Fraction("0.025")
    mass = [math.comb(n, below) * q**below * (1 - q) ** (n - below) for below in range(n + 1)]

    low, high = order_interval(n, float(exact))

    # The quantile lies below the value of rank r (from 0) where at most r of the n values lie below it.
    lowest = 0 if low is None else low + 1
    assert sum(mass[:lowest]) <= tail < sum(mass[: lowest + 1])
    highest = n if high is None else high
    assert sum(mass[highest + 1 :]) <= tail < sum(mass[highest:])


@pytest.mark.parametrize(("q", "n"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368), (0.999, 3688)])
def test_below_this_many_values_a_percentile_has_no_upper_bound(q: float, n: int) -> None:
    """The least n with q to the n at most 2.5 %; with one side of 5 % it would be 5, 29, 59, 299 and 2,995."""
    assert n == math.ceil(math.log(0.025) / math.log(q))
    assert order_interval(n - 1, q)[1] is None
    assert n - 1 == order_interval(n, q)[1]


def test_the_interval_of_many_values_is_what_the_normal_distribution_gives() -> None:
    n, q = 200_000, 0.99

    low, high = order_interval(n, q)

    half = 1.96 * math.sqrt(n * q * (1 - q))
    assert (n * q - half, n * q + half) == pytest.approx((low, high), abs=3)


def test_one_value_is_every_percentile_and_bounds_hardly_any() -> None:
    stats = from_values("ttft_s", np.array([0.25]))

    assert [0.25] * len(QUANTILES) == [found.value_s for found in stats.percentiles]
    assert {None} == {found.high_s for found in stats.percentiles}
    assert {"low n"} == {found.note for found in stats.percentiles}


# ------------------------------------------------------------------------------------------ buckets alone are known

EDGES = st.lists(st.integers(1, 1000), min_size=1, max_size=12, unique=True).map(sorted)


@given(EDGES, st.lists(st.integers(0, 1200), min_size=1, max_size=50))
def test_the_interval_of_a_bucket_holds_the_true_quantile(edges: list[int], drawn: list[int]) -> None:
    counts = [sum(low < value <= high for value in drawn) for low, high in pairwise([-math.inf, *edges, math.inf])]

    stats = from_buckets("ttft_s", np.array(edges, float), np.array(counts, float), float(sum(drawn)))

    assert (len(drawn), sum(drawn) / len(drawn)) == pytest.approx((stats.n, stats.mean_s))
    for found in stats.percentiles:
        assert found.low_s is not None
        for true in (interpolated(drawn, found.q), sorted(drawn)[math.ceil(Fraction(str(found.q)) * len(drawn)) - 1]):
            assert found.low_s <= true + 1e-9
            assert true - 1e-9 <= (math.inf if found.high_s is None else found.high_s)
        if found.value_s is None:
            assert (None, "beyond the last bucket") == (found.high_s, found.note)
        else:
            assert found.low_s <= found.value_s <= (edges[-1] if found.high_s is None else found.high_s)


@pytest.mark.parametrize(
    ("edges", "note"),
    [((1.0, 1.4), None), ((1.0, 1.5), None), ((1.0, 1.6), "resolution-limited"), ((0.001,), "resolution-limited")],
)
def test_an_interval_wider_than_20_percent_around_its_middle_is_limited_by_its_buckets(
    edges: tuple[float, ...], note: str | None
) -> None:
    counts = np.array([0.0] * (len(edges) - 1) + [10.0, 0.0])

    stats = from_buckets("ttft_s", np.array(edges), counts, 1.0)

    assert {note} == {found.note for found in stats.percentiles}


def test_a_sum_and_a_count_are_a_mean_and_no_percentile() -> None:
    stats = from_buckets("ttft_s", np.array([]), np.array([7.0]), 3.5)

    assert ("sums", 7, 0.5, ()) == (stats.origin, stats.n, stats.mean_s, stats.percentiles)


def test_a_sum_that_cannot_be_is_no_mean() -> None:
    assert from_buckets("ttft_s", np.array([1.0]), np.array([7.0, 0.0]), NAN).mean_s is None


def test_one_observation_is_all_percentiles_of_its_bucket() -> None:
    stats = from_buckets("ttft_s", np.array([0.1, 0.2, 0.4]), np.array([0.0, 1.0, 0.0, 0.0]), 0.15)

    assert {(0.1, 0.2)} == {(found.low_s, found.high_s) for found in stats.percentiles}
    assert 0.15 == pytest.approx(percentile(stats, 0.5).value_s)


# --------------------------------------------------------------------------------------------------- of a run


def test_a_run_without_requests_and_scrapes_has_no_latency() -> None:
    assert latency(run(samples={}), *spans(0, 1)) is None


def test_an_engine_without_histograms_still_has_its_throughput() -> None:
    found = told(run(serving(10, output_tokens_total=np.arange(11) * 50))).overall

    assert 50.0 == pytest.approx(found.output_tokens_per_s)
    assert () == found.stats


def test_requests_that_failed_are_not_fast_answers() -> None:
    failed = request(2, ttft_s=0.001, e2e_latency_s=0.001, error="503 Service Unavailable")
    data = run(serving(10), requests=[request(1, ttft_s=0.2), failed])

    stats = stat(told(data).overall, "ttft_s")

    assert (1, 0.2) == (stats.n, stats.mean_s)


def test_what_a_request_lacks_is_left_out_of_that_measure_only() -> None:
    data = run(
        requests=[
            request(1, ttft_s=0.1, e2e_latency_s=1.1, output_tokens=101),
            request(2, ttft_s=0.3, e2e_latency_s=None, output_tokens=101),
            request(3, ttft_s=0.2, e2e_latency_s=0.2, output_tokens=1),
            request(4, ttft_s=None, e2e_latency_s=0.8, output_tokens=None),
        ]
    )

    overall = told(data).overall

    for measure, expected in {"ttft_s": (3, 0.2), "tpot_s": (1, 0.01), "e2e_latency_s": (3, 0.7)}.items():
        stats = stat(overall, measure)
        assert expected == pytest.approx((stats.n, stats.mean_s))


def test_a_first_token_after_the_last_is_no_time_between_tokens() -> None:
    overall = told(run(requests=[request(1, ttft_s=0.5, e2e_latency_s=0.4)])).overall

    assert overall.stat("tpot_s") is None


def test_a_request_belongs_to_the_window_in_which_it_arrived() -> None:
    arrivals = (0, 4.999, 5, 9.999, 10)
    data = run(serving(10), requests=[request(at_s, e2e_latency_s=60.0) for at_s in arrivals])

    found = told(data, 0, 5, 10)

    assert [2, 2] == [stat(window, "e2e_latency_s").n for window in found.windows]
    assert len(arrivals) == stat(found.overall, "e2e_latency_s").n


def test_requests_in_any_order_are_found_by_phase() -> None:
    requests = [request(7, ttft_s=0.7), request(1, ttft_s=0.1), request(8, ttft_s=0.9)]
    events = [phase(0, 5, "calm"), phase(5, None, "storm")]

    calm, storm = told(run(serving(10), requests=requests[::-1], events=events)).phases

    assert ["calm", "storm"] == [calm.name, storm.name]
    assert [0.1, 0.8] == pytest.approx([stat(calm, "ttft_s").mean_s, stat(storm, "ttft_s").mean_s])


def test_the_edges_of_a_window_are_told_in_seconds() -> None:
    overall = told(run(serving(10))).overall

    assert (at(0) / 1e9, at(10) / 1e9) == pytest.approx((overall.start_s, overall.end_s), abs=1e-6)


def test_a_histogram_gives_what_its_window_counted() -> None:
    counted = [(0, 0, 0), (10, 10, 10), (10, 30, 30)]
    data = run(histograms=[scrape(5 * place, row, sum=2.0 * place) for place, row in enumerate(counted)])

    first, second = (stat(window, "ttft_s") for window in told(data, 0, 5, 10).windows)

    assert [(10, 0.2, 0.0, 0.1), (20, 0.1, 0.1, 0.2)] == [
        (stats.n, stats.mean_s, percentile(stats, 0.5).low_s, percentile(stats, 0.5).high_s)
        for stats in (first, second)
    ]


def test_a_window_in_which_nothing_was_observed_has_no_statistics() -> None:
    data = run(histograms=[scrape(0, (0, 0)), scrape(5, (0, 0))], requests=[request(7)])

    quiet, busy = told(data, 0, 5, 10).windows

    assert ((), 3) == (quiet.stats, len(busy.stats))
    assert quiet.stat("ttft_s") is None


def test_requests_are_believed_before_buckets() -> None:
    data = run(requests=[request(1)], histograms=[scrape(0, (0, 0)), scrape(5, (9, 9))])

    overall = told(data).overall

    assert ["requests", "histogram"] == [stats.origin for stats in overall.stats if stats.measure == "ttft_s"]
    assert "requests" == stat(overall, "ttft_s").origin


# ------------------------------------------------------------------------------------------------------ throughput


def test_rates_are_what_the_counters_grew_by_in_a_second() -> None:
    data = run(
        serving(
            10,
            requests_ok_total=np.arange(11) * 2,
            input_tokens_total=np.arange(11) * 300,
            output_tokens_total=np.arange(11) * 70,
        )
    )

    window = told(data, 2, 4).windows[0]

    assert (2.0, 300.0, 70.0) == pytest.approx(
        (window.requests_per_s, window.input_tokens_per_s, window.output_tokens_per_s)
    )


def test_a_restart_of_the_engine_is_no_negative_rate() -> None:
    totals = list(accumulate([5] * 5)) + list(accumulate([5] * 6))

    windows = told(run(serving(10, requests_ok_total=totals)), *range(11)).windows

    assert {5.0} == {window.requests_per_s for window in windows}


def test_nothing_is_said_of_the_time_when_nobody_scraped() -> None:
    data = run(serving(10, at_s=100, requests_ok_total=np.arange(11)), requests=[request(1)])

    unseen, seen = told(data, 0, 100, 110).windows

    assert (None, None, None) == (unseen.requests_per_s, unseen.requests_running, unseen.requests_waiting)
    assert (1.0, 8.0, 0.0) == (seen.requests_per_s, seen.requests_running, seen.requests_waiting)


def test_little_s_law_gives_the_delay_of_the_queue() -> None:
    data = run(serving(10, requests_waiting=4.0, requests_ok_total=np.arange(11) * 2))

    assert 2.0 == pytest.approx(told(data).overall.queue_delay_s)


def test_a_queue_that_grows_holds_its_delay_between_the_rates_in_and_out() -> None:
    """Ten join and two leave a second: who waits at the end waits longer than who waited at the start."""
    data = run(serving(10, requests_waiting=np.arange(11) * 8.0, requests_ok_total=np.arange(11) * 2.0))

    found = told(data).overall

    assert (20.0, 4.0, 20.0) == pytest.approx(
        (found.queue_delay_s, found.queue_delay_low_s, found.queue_delay_high_s), rel=1e-6
    )


def test_who_begins_to_run_has_left_the_queue_before_anything_ended() -> None:
    running, waiting = np.linspace(0, 20, 11), np.full(11, 4.0)
    data = run(serving(10, requests_running=running, requests_waiting=waiting, requests_ok_total=0.0))

    assert 2.0 == pytest.approx(told(data).overall.queue_delay_s)


def test_a_queue_that_nobody_joins_has_no_longest_delay() -> None:
    data = run(serving(10, requests_waiting=np.linspace(20, 0, 11), requests_ok_total=np.arange(11) * 1.0))

    found = told(data).overall

    assert (10.0, 10.0) == pytest.approx((found.queue_delay_s, found.queue_delay_low_s), rel=1e-6)
    assert found.queue_delay_high_s is None


@given(st.floats(0.5, 20), st.floats(0.01, 2), st.integers(0, 2**32))
def test_a_steady_queue_waits_as_long_as_its_requests_did(rate: float, wait_s: float, seed: int) -> None:
    """Every request waits as long: what runs and waits is counted once a second, the law gives the wait back."""
    arrived = np.sort(np.random.default_rng(seed).uniform(-10, 200, round(rate * 210)))
    instants = np.arange(201)
    waiting = np.searchsorted(arrived, instants) - np.searchsorted(arrived + wait_s, instants)
    ended = np.searchsorted(arrived + wait_s + 1, instants)
    running = np.searchsorted(arrived + wait_s, instants) - ended
    found = told(run(serving(200, requests_running=running, requests_waiting=waiting, requests_ok_total=ended))).overall
    if not waiting.any():
        return

    assert found.queue_delay_s is not None
    # Sampled once a second, the mean of what waits has a deviation of its own.
    spread = 5 * math.sqrt(wait_s / rate / 200 * max(1, 1 / wait_s))
    assert wait_s == pytest.approx(found.queue_delay_s, abs=spread + 0.2 * wait_s)


@pytest.mark.parametrize("counted", [7.0, NAN])
def test_where_nothing_was_seen_to_finish_the_queue_has_no_delay(counted: float) -> None:
    assert told(run(serving(10, requests_waiting=4.0, requests_ok_total=counted))).overall.queue_delay_s is None


def test_gauges_of_several_engines_add_up_where_all_are_known() -> None:
    data = run(
        serving(10, requests_running=3.0),
        serving(4, subject="engine:1", requests_running=4.0),
    )

    both, one = told(data, 0, 5, 10).windows

    assert (7.0, None) == (both.requests_running, one.requests_running)
