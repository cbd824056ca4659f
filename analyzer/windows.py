"""Windows of a run, and what happened in each of them.

Windows never straddle the edge of a phase. Gauges are averaged over the readings inside a window; counters and
histograms are read as they stood at its edges, and a fall of a counter is a restart: what it shows afterwards is
what it counted since.
"""

from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from analyzer.columns import Bool, Float64, Int64, RunData

if TYPE_CHECKING:
    import pandas as pd  # 0.3 s, and a trace needs none

#: So long after a capture a server is not yet itself: GPUs stood still for 0.1 to 0.7 s, NVML's figures lag behind.
SETTLE_NS = 500_000_000


def cut(data: RunData, window_s: float) -> tuple[Int64, Int64]:
    """Windows of about ``window_s`` seconds over the whole run, cut at the edges of its phases; shape (n,)."""
    first, last = extent(data)
    marks = {edge for phase in data.phases for edge in (phase.t_ns, phase.end_ns or last)}
    # A phase that ends with the last reading leaves no window of a nanosecond behind it.
    edges = sorted({first, *(edge for edge in marks if first < edge < last - 1), last})
    bounds: list[int] = []
    for start, end in pairwise(edges):
        count = max(1, round((end - start) / (window_s * 1e9)))
        bounds += [start + (end - start) * piece // count for piece in range(count)]
    cuts = np.array([*bounds, last], np.int64)
    return cuts[:-1], cuts[1:]


def extent(data: RunData) -> tuple[int, int]:
    """The run's first instant and the one after its last: of its samples, or of its requests where it has none."""
    instants = [frame["t_ns"] for frame in data.samples.values() if len(frame)]
    if not instants and len(data.requests):
        instants = [data.requests["t_ns"]]
    if not instants:
        return data.run.started_ns, data.run.ended_ns or data.run.started_ns
    return min(int(t.min()) for t in instants), max(int(t.max()) for t in instants) + 1


def sections(data: RunData, start: Int64, end: Int64) -> tuple[list[str | None], Int64, Int64]:
    """Names, starts and ends of the whole run, then of its phases, then of the given windows.

    A phase that has not ended lasts until the run's last instant.
    """
    first, last = extent(data)
    begun = [phase.t_ns for phase in data.phases]
    ended = [max(phase.t_ns, phase.end_ns or last) for phase in data.phases]
    return (
        [None, *(phase.name for phase in data.phases), *(None for _ in start)],
        np.array([first, *begun, *start], np.int64),
        np.array([last, *ended, *end], np.int64),
    )


def window_of(t_ns: Int64, start: Int64, end: Int64) -> Int64:
    """Index of the window that holds each instant, -1 where none does, shape of ``t_ns``."""
    place = np.searchsorted(start, t_ns, side="right") - 1
    inside = (place >= 0) & (t_ns < end[np.maximum(place, 0)]) if len(start) else np.zeros(len(t_ns), bool)
    found: Int64 = np.where(inside, place, -1)
    return found


def mean_in(window: Int64, values: Float64, count: int, weights: Float64) -> Float64:
    """Weighted mean of the values that fall into each window, NaN where none does, shape (count,)."""
    used = (window >= 0) & np.isfinite(values)
    window, values, weights = window[used], values[used], weights[used]
    whole = np.bincount(window, weights, count)
    summed = np.bincount(window, weights * values, count)
    mean: Float64 = np.divide(summed, whole, out=np.full(count, np.nan), where=whole > 0)
    return mean


def mean_between(t_ns: Int64, values: Float64, start: Int64, end: Int64) -> Float64:
    """Mean of the readings in each span [start, end), NaN where none falls; spans may overlap, shape of ``start``."""
    low, high = np.searchsorted(t_ns, start), np.searchsorted(t_ns, end)
    known = np.isfinite(values)
    count = np.r_[0, np.cumsum(known)]
    summed = np.r_[0.0, np.cumsum(np.where(known, values, 0))]
    number = count[high] - count[low]
    mean: Float64 = np.divide(summed[high] - summed[low], number, out=np.full(len(start), np.nan), where=number > 0)
    return mean


def or_none(values: Float64 | None, count: int) -> list[float | None]:
    """Each of ``count`` values as it leaves the columns: None where it is NaN, or where there are none."""
    return [None] * count if values is None else [value if isfinite(value) else None for value in values.tolist()]


def empty_ratio(requests: Float64) -> Float64:
    """The least share of its time that a server held nothing, by its number of requests.

    Requests come in whole numbers, so a mean of 0.3 of them left the server empty for 70 % of the time or more.
    """
    return np.clip(1 - requests, 0, 1)


def mean_of(rows: list[Float64]) -> Float64:
    """Mean over several subjects of what is known of each, NaN where nothing is, shape (n,)."""
    stacked = np.stack(rows)
    known = np.isfinite(stacked)
    count = known.sum(axis=0)
    summed = np.where(known, stacked, 0).sum(axis=0)
    mean: Float64 = np.divide(summed, count, out=np.full(stacked.shape[1:], np.nan), where=count > 0)
    return mean


def captures(data: RunData) -> tuple[Int64, Int64]:
    """Start and end of every profiler capture: its flush stalls the GPU, so averages leave it and its wake out."""
    events = [event for event in data.events if event.kind == "trace" and event.end_ns is not None]
    start = np.array([event.t_ns for event in events], np.int64)
    return start, np.array([event.end_ns for event in events], np.int64) + SETTLE_NS


def outside(t_ns: Int64, intervals: tuple[Int64, Int64]) -> Bool:
    """Which instants lie in none of the intervals."""
    inside = np.zeros(len(t_ns), bool)
    for start, end in zip(*intervals, strict=True):
        inside |= (t_ns >= start) & (t_ns <= end)
    return ~inside


def subjects(data: RunData, source: str) -> "dict[str, pd.DataFrame]":
    """A source's samples by subject."""
    frame = data.samples.get(source)
    return {str(name): part for name, part in frame.groupby("subject", sort=True)} if frame is not None else {}


def gpus(data: RunData) -> "dict[str, pd.DataFrame]":
    """The samples of each GPU or MIG instance; the processes on it are subjects of their own, below it."""
    return {name: frame for name, frame in subjects(data, "nvml").items() if "/pid:" not in name}


def series(data: RunData, source: str, quantity: str) -> dict[str, tuple[Int64, Float64]]:
    """A quantity's readings by subject: (t_ns, values), both of shape (n,); absent readings are left out."""
    return {
        subject: (present["t_ns"].to_numpy(np.int64), present[quantity].to_numpy(np.float64))
        for subject, frame in subjects(data, source).items()
        if quantity in frame and len(present := frame[frame[quantity].notna()])
    }


def increase(data: RunData, source: str, counter: str, start: Int64, end: Int64) -> Float64 | None:
    """How much a counter grew in each window, over all subjects; None where it was never read.

    Between two readings a counter is taken to grow evenly; beyond the first and the last it is flat. A window that
    lies wholly beyond them is NaN.
    """
    found = series(data, source, counter)
    if not found:
        return None
    grown, known = np.zeros(len(start)), np.zeros(len(start), bool)
    for t_ns, values in found.values():
        total = climbed(values)
        # From the first reading on, so that float64 holds every nanosecond.
        low, high, read = start - t_ns[0], end - t_ns[0], t_ns - t_ns[0]
        grown += np.interp(high, read, total) - np.interp(low, read, total)
        known |= (low < read[-1]) & (high > 0) & (read[-1] > 0)
    return np.where(known, grown, np.nan)


def climbed(counter: Float64) -> Float64:
    """A counter's growth since its first reading, restarts left out, shape of ``counter``."""
    step = np.diff(counter, prepend=counter[:1])
    total: Float64 = np.cumsum(np.where(step < 0, counter, step))
    return total


def bucket_increase(data: RunData, quantity: str, start: Int64, end: Int64) -> tuple[Float64, Float64, Float64] | None:
    """What a histogram counted in each window, over all subjects that share their edges.

    A window's count is what stood in the last scrape before its end less what stood in the last before its start.

    Returns:
        Upper edges of the finite buckets (k,), observations in each bucket and beyond the last (n, k + 1), and
        the sums of what was observed (n,); None where the histogram was never scraped.
    """
    frame = data.histograms[data.histograms["quantity"] == quantity]
    if not len(frame):
        return None
    edges = frame["edges"].iloc[-1]
    counts, sums = np.zeros((len(start), len(edges) + 1)), np.zeros(len(start))
    for _, scrapes in frame[frame["edges"] == edges].groupby("subject", sort=True):
        t_ns = scrapes["t_ns"].to_numpy(np.int64)
        low, high = (np.maximum(np.searchsorted(t_ns, at, side="right") - 1, 0) for at in (start, end))
        cumulative = np.array(scrapes["cumulative"].to_list(), np.float64)
        restarted = np.r_[False, (np.diff(cumulative, axis=0) < 0).any(axis=1)]
        grown = _without_restarts(cumulative, restarted)
        summed = _without_restarts(scrapes["sum"].to_numpy(np.float64)[:, np.newaxis], restarted)[:, 0]
        # A page that was written while it was read may count more below an edge than below the next.
        counts += np.maximum(np.diff(grown[high] - grown[low], axis=1, prepend=0.0), 0)
        sums += summed[high] - summed[low]
    return np.asarray(edges, np.float64), counts, sums


def _without_restarts(counted: Float64, restarted: Bool) -> Float64:
    """Columns of counters made to climb on where they started again from zero, shape (scrapes, columns)."""
    before = np.vstack([np.zeros(counted.shape[1]), counted[:-1]])
    grown: Float64 = counted + np.cumsum(np.where(restarted[:, np.newaxis], before, 0), axis=0)
    return grown
