"""Percentiles that state their error.

Where each request is known a percentile is the linear interpolation between order statistics (Hyndman and Fan,
type 7), with the interval of order statistics that holds it with 95 % confidence (binomial). Where only scraped
buckets are known it is the interval of the bucket that holds it, with the usual interpolation as an estimate
inside; nothing is ever said beyond the last finite edge.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from analyzer.columns import Float64, Int64, RunData
from analyzer.schema import Latency, LatencyStats, LatencyWindow, Percentile
from analyzer.windows import bucket_increase, increase, mean_between, or_none, sections, series

if TYPE_CHECKING:
    import pandas as pd  # 0.3 s, and a trace needs none

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
MEASURES = ("ttft_s", "itl_s", "tpot_s", "e2e_latency_s", "queue_time_s", "prefill_s", "decode_s")

#: An interval wider than ± this around its middle says more about the buckets than about the server.
RESOLUTION_RATIO = 0.2
#: Each side of the interval of order statistics leaves this much out.
_TAIL = 0.025


def latency(data: RunData, start: Int64, end: Int64) -> Latency | None:
    """Latency of the whole run, of its phases and of the given windows; None where no request and no scrape is known.

    A request belongs to the window in which it arrived; a histogram counts what was observed in a window.
    """
    if not len(data.requests) and not len(data.histograms) and "serving" not in data.samples:
        return None
    every = _windows(data, *sections(data, start, end))
    phases = len(data.phases)
    return Latency(overall=every[0], phases=every[1 : 1 + phases], windows=every[1 + phases :])


def _windows(data: RunData, names: Sequence[str | None], start: Int64, end: Int64) -> tuple[LatencyWindow, ...]:
    seconds = np.maximum(end - start, 1) / 1e9

    def rate(counter: str) -> list[float | None]:
        grown = increase(data, "serving", counter, start, end)
        return or_none(None if grown is None else grown / seconds, len(start))

    done, running, waiting = (
        rate("requests_ok_total"),
        *(_gauge(data, quantity, start, end) for quantity in ("requests_running", "requests_waiting")),
    )
    tokens_in, tokens_out = rate("input_tokens_total"), rate("output_tokens_total")
    stats = _stats(data, start, end)
    return tuple(
        LatencyWindow(
            name=name,
            start_s=int(start[row]) / 1e9,
            end_s=int(end[row]) / 1e9,
            stats=tuple(stats[row]),
            queue_delay_s=_little(waiting[row], done[row]),
            requests_per_s=done[row],
            input_tokens_per_s=tokens_in[row],
            output_tokens_per_s=tokens_out[row],
            requests_running=running[row],
            requests_waiting=waiting[row],
        )
        for row, name in enumerate(names)
    )


def _little(waiting: float | None, done_per_s: float | None) -> float | None:
    """Little's law, L = λW: mean waiting over the rate at which requests leave."""
    return waiting / done_per_s if waiting is not None and done_per_s else None


def _gauge(data: RunData, quantity: str, start: Int64, end: Int64) -> list[float | None]:
    """Mean of a gauge in each window, summed over the subjects; None where one of them was not read."""
    means = [mean_between(*readings, start, end) for readings in series(data, "serving", quantity).values()]
    return or_none(np.sum(means, axis=0) if means else None, len(start))


def _stats(data: RunData, start: Int64, end: Int64) -> list[list[LatencyStats]]:
    """The statistics of each window: from requests first, then from buckets."""
    found: list[list[LatencyStats]] = [[] for _ in start]
    answered = data.requests[data.requests["error"].isna()].sort_values("t_ns", kind="stable")
    arrived = answered["t_ns"].to_numpy(np.int64)
    for measure, values in _measured(answered):
        for row, (low, high) in enumerate(zip(start, end, strict=True)):
            inside = values[slice(*np.searchsorted(arrived, (low, high)))]
            if np.isfinite(inside).any():
                found[row].append(from_values(measure, inside[np.isfinite(inside)]))
    for measure in MEASURES:
        grown = bucket_increase(data, measure, start, end)
        if grown is not None:
            edges, counts, sums = grown
            for row in np.flatnonzero(counts.sum(axis=1)).tolist():
                found[row].append(from_buckets(measure, edges, counts[row], float(sums[row])))
    return found


def _measured(requests: "pd.DataFrame") -> Iterable[tuple[str, Float64]]:
    """Each measure of each request, NaN where it has none, shape (n,)."""
    ttft, e2e, tokens = (requests[name].to_numpy(np.float64) for name in ("ttft_s", "e2e_latency_s", "output_tokens"))
    yield "ttft_s", ttft
    later = tokens > 1
    yield "tpot_s", np.divide(e2e - ttft, tokens - 1, out=np.full(len(tokens), np.nan), where=later)
    yield "e2e_latency_s", e2e


def from_values(measure: str, values: Float64) -> LatencyStats:
    """Statistics of a measure of which every value is known, seconds, shape (n,), n > 0."""
    ordered = np.sort(values)
    return LatencyStats(
        measure=measure,
        origin="requests",
        n=len(ordered),
        mean_s=float(ordered.mean()),
        percentiles=tuple(map(partial(_of_order, ordered), QUANTILES, np.quantile(ordered, QUANTILES).tolist())),
    )


def _of_order(ordered: Float64, q: float, value: float) -> Percentile:
    low, high = order_interval(len(ordered), q)
    return Percentile(
        q=q,
        value_s=value,
        # Far out in the tail of few values the interval may begin above the interpolation; it is widened to hold it.
        low_s=None if low is None else min(value, float(ordered[low])),
        high_s=None if high is None else float(ordered[high]),
        note="low n" if low is None or high is None else None,
    )


@lru_cache(maxsize=1024)
def order_interval(n: int, q: float) -> tuple[int | None, int | None]:
    """Ranks (from 0) of the order statistics that hold the q-quantile with 95 % confidence.

    None on a side where even the smallest or largest of n values may lie inside it: then n is too small. The
    number of values below the quantile is binomial (n, q); each side leaves 2.5 % out.
    """
    k = np.arange(1, n + 1)
    log_choose = np.concatenate(([0.0], np.cumsum(np.log((n - k + 1) / k))))
    below = np.arange(n + 1)
    mass = np.exp(log_choose + below * np.log(q) + (n - below) * np.log1p(-q))
    cumulative = np.cumsum(mass)
    low = int(np.searchsorted(cumulative, _TAIL, side="right")) - 1
    high = int(np.searchsorted(cumulative, 1 - _TAIL, side="left"))
    return (low if low >= 0 else None), (high if high < n else None)


def from_buckets(measure: str, edges: Float64, counts: Float64, summed: float) -> LatencyStats:
    """Statistics of a measure of which only buckets are known.

    Args:
        measure: Its name.
        edges: Upper edges of the finite buckets, seconds, shape (k,).
        counts: Observations in each bucket and beyond the last, shape (k + 1,), not all zero.
        summed: Sum of what was observed, seconds.
    """
    bounds, cumulative = [0.0, *edges.tolist()], [0.0, *np.cumsum(counts).tolist()]
    n = cumulative[-1]
    return LatencyStats(
        measure=measure,
        origin="histogram",
        n=round(n),
        mean_s=summed / n,
        percentiles=tuple(_of_bucket(bounds, cumulative, q) for q in QUANTILES),
    )


def _of_bucket(bounds: Sequence[float], cumulative: Sequence[float], q: float) -> Percentile:
    """The bucket that holds the quantile; bucket k lies between bounds k and k + 1 and is counted between both, too."""
    rank = q * cumulative[-1]
    bucket = bisect_left(cumulative, rank) - 1
    if bucket == len(bounds) - 1:
        return Percentile(q=q, value_s=None, low_s=bounds[-1], high_s=None, note="beyond the last bucket")
    low, high = bounds[bucket : bucket + 2]
    before, until = cumulative[bucket : bucket + 2]
    value = low + (high - low) * (rank - before) / (until - before)
    limited = high - low > 2 * RESOLUTION_RATIO * (high + low) / 2
    return Percentile(q=q, value_s=value, low_s=low, high_s=high, note="resolution-limited" if limited else None)
