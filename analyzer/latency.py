"""Percentiles that state their error.

Where each request is known a percentile is the linear interpolation between order statistics (Hyndman and Fan,
type 7), with the interval of order statistics that holds it with 95 % confidence (binomial). Where only scraped
buckets are known it is the interval of the bucket that holds it, with the usual interpolation as an estimate
inside; nothing is ever said beyond the last finite edge. Where only sums and counts are known it is the mean. Replicas
add up bucket by bucket before any percentile is taken. No sketch is kept: the columns of known requests are in memory,
and exact; what is scraped was put into buckets by the engine already.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from math import floor, isfinite
from typing import TYPE_CHECKING

import numpy as np

from analyzer.columns import Float64, Int64, RunData
from analyzer.schema import Latency, LatencyStats, LatencyWindow, Percentile
from analyzer.windows import bucket_increase, increase, mean_between, or_none, sections, series
from collector import engines
from collector.plugins import discover

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
    return Latency(
        overall=every[0],
        phases=every[1 : 1 + phases],
        windows=every[1 + phases :],
        inference=data.inference or _inference(data),
    )


def _inference(data: RunData) -> str:
    """What the engine's page counts as one inference."""
    engine = discover(engines).get(data.run.engine.name) if data.run.engine else None
    return engine.INFERENCE if engine else "One inference is whatever the server counts as one."


def _windows(data: RunData, names: Sequence[str | None], start: Int64, end: Int64) -> tuple[LatencyWindow, ...]:
    done, tokens_in, tokens_out = _rates(data, start, end)
    running, waiting = (_gauge(data, name, start, end) for name in ("requests_running", "requests_waiting"))
    delays = _queue_delays(data, waiting, start, end)
    stats = _stats(data, start, end)
    return tuple(
        LatencyWindow(
            name=name,
            start_s=int(start[row]) / 1e9,
            end_s=int(end[row]) / 1e9,
            stats=tuple(stats[row]),
            queue_delay_s=delays[row][0],
            requests_per_s=done[row],
            input_tokens_per_s=tokens_in[row],
            output_tokens_per_s=tokens_out[row],
            requests_running=running[row],
            requests_waiting=waiting[row],
            queue_delay_low_s=delays[row][1],
            queue_delay_high_s=delays[row][2],
        )
        for row, name in enumerate(names)
    )


_RATES = ("requests_ok_total", "input_tokens_total", "output_tokens_total")


def _rates(data: RunData, start: Int64, end: Int64) -> tuple[list[float | None], ...]:
    """Answers, input tokens and output tokens a second: by the server's counters, else by its requests as they end."""
    seconds = np.maximum(end - start, 1) / 1e9
    if "serving" in data.samples or not len(data.requests):
        grown = [increase(data, "serving", counter, start, end) for counter in _RATES]
        return tuple(or_none(None if each is None else each / seconds, len(start)) for each in grown)
    answered = data.requests[data.requests["error"].isna() & data.requests["e2e_latency_s"].notna()]
    ended = (answered["t_ns"] + answered["e2e_latency_s"] * 1e9).to_numpy(np.int64)
    order = np.argsort(ended)
    low, high = np.searchsorted(ended[order], start), np.searchsorted(ended[order], end)

    def rate(amounts: Float64) -> list[float | None]:
        counted = np.r_[0.0, np.cumsum(amounts[order])]
        return or_none((counted[high] - counted[low]) / seconds, len(start))

    tokens = (answered[name].to_numpy(np.float64) for name in ("input_tokens", "output_tokens"))
    return rate(np.ones(len(order))), *(rate(amounts) for amounts in tokens)


def _queue_delays(
    data: RunData, waiting: Sequence[float | None], start: Int64, end: Int64
) -> list[tuple[float | None, float | None, float | None]]:
    """Little's law, L = λW, in each window: the mean wait by the rate out of the queue, and its two bounds.

    What leaves the queue is what ends and what runs more at the end than at the start; what joins it is what leaves it
    and what waits more at the end. Of a steady queue the two are one rate and the wait is exact; of one that grows or
    shrinks evenly they give the mean wait of who left it and of who joined it. Nothing leaves: no delay can be told.
    """
    seconds = np.maximum(end - start, 1) / 1e9
    ended = [
        grown for counter in ("requests_ok_total", "requests_failed_total")
        if (grown := increase(data, "serving", counter, start, end)) is not None
    ]  # fmt: skip
    if not ended:
        return [(None, None, None)] * len(start)
    out = (np.nansum(ended, axis=0) + _growth(data, "requests_running", start, end)) / seconds
    joined = out + _growth(data, "requests_waiting", start, end) / seconds
    found: list[tuple[float | None, float | None, float | None]] = []
    for length, leaving, joining in zip(waiting, out.tolist(), joined.tolist(), strict=True):
        if length is None or not leaving > 0:
            found.append((None, None, None))
            continue
        bounds = [length / leaving, *([length / joining] if joining > 0 else [])]
        # A queue that nobody joins any more drains: what stands in it may wait for ever longer.
        found.append((length / leaving, min(bounds), max(bounds) if joining > 0 else None))
    return found


def _growth(data: RunData, quantity: str, start: Int64, end: Int64) -> Float64:
    """How much more a gauge read at the end of each window than at its start, over all subjects; 0 where not read."""
    grown = np.zeros(len(start))
    for t_ns, values in series(data, "serving", quantity).values():
        read = t_ns - t_ns[0]
        grown += np.interp(end - t_ns[0], read, values) - np.interp(start - t_ns[0], read, values)
    return grown


def _gauge(data: RunData, quantity: str, start: Int64, end: Int64) -> list[float | None]:
    """Mean of a gauge in each window, summed over the subjects; None where one of them was not read."""
    means = [mean_between(*readings, start, end) for readings in series(data, "serving", quantity).values()]
    return or_none(np.sum(means, axis=0) if means else None, len(start))


def _stats(data: RunData, start: Int64, end: Int64) -> list[list[LatencyStats]]:
    """The statistics of each window: from requests first, then from what was scraped."""
    found: list[list[LatencyStats]] = [[] for _ in start]
    for measure, arrived, values in _measured(data):
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


def _measured(data: RunData) -> Iterable[tuple[str, Int64, Float64]]:
    """Each measure that is known of requests: when they arrived, in order, and its values, NaN where it has none."""
    answered = answered_requests(data)
    arrived = answered["t_ns"].to_numpy(np.int64)
    for measure in MEASURES:
        if measure in answered:
            yield measure, arrived, answered[measure].to_numpy(np.float64)
    if data.gaps is not None:
        gaps = data.gaps.sort_values("t_ns", kind="stable")
        yield "itl_s", gaps["t_ns"].to_numpy(np.int64), gaps["itl_s"].to_numpy(np.float64)


def answered_requests(data: RunData) -> "pd.DataFrame":
    """The requests that were answered, by arrival, with their ``tpot_s``: the mean gap after the first token."""
    answered = data.requests[data.requests["error"].isna()].sort_values("t_ns", kind="stable")
    later, decoded_s = answered["output_tokens"] - 1, answered["e2e_latency_s"] - answered["ttft_s"]
    return answered.assign(tpot_s=decoded_s.where(decoded_s >= 0) / later.where(later > 0))


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
    """Statistics of a measure of which only buckets are known; without a finite edge, its mean alone.

    Args:
        measure: Its name.
        edges: Upper edges of the finite buckets, seconds, shape (k,).
        counts: Observations in each bucket and beyond the last, shape (k + 1,), not all zero.
        summed: Sum of what was observed, seconds; NaN where it cannot be.
    """
    bounds, cumulative = [0.0, *edges.tolist()], [0.0, *np.cumsum(counts).tolist()]
    n = cumulative[-1]
    return LatencyStats(
        measure=measure,
        origin="histogram" if len(edges) else "sums",
        n=round(n),
        mean_s=summed / n if isfinite(summed) else None,
        percentiles=tuple(_of_bucket(bounds, cumulative, q) for q in QUANTILES) if len(edges) else (),
    )


def _of_bucket(bounds: Sequence[float], cumulative: Sequence[float], q: float) -> Percentile:
    """From the bucket with the order statistic below the quantile to the one with that above.

    Bucket k lies between bounds k and k + 1 and is counted between both, too. The two order statistics are those that
    the percentile of known requests lies between, so that an interval holds it by either definition.
    """
    n = cumulative[-1]
    before = floor((n - 1) * q) + 1
    lowest, highest = (bisect_left(cumulative, rank) - 1 for rank in (before, min(before + 1, n)))
    low, last = bounds[lowest], len(bounds) - 1
    bucket = bisect_left(cumulative, q * n) - 1
    if bucket == last:
        return Percentile(q=q, value_s=None, low_s=low, high_s=None, note="beyond the last bucket")
    share = (q * n - cumulative[bucket]) / (cumulative[bucket + 1] - cumulative[bucket])
    value = bounds[bucket] + (bounds[bucket + 1] - bounds[bucket]) * share
    if highest == last:
        return Percentile(q=q, value_s=value, low_s=low, high_s=None, note="resolution-limited")
    high = bounds[highest + 1]
    limited = high - low > 2 * RESOLUTION_RATIO * (high + low) / 2
    return Percentile(q=q, value_s=value, low_s=low, high_s=high, note="resolution-limited" if limited else None)
