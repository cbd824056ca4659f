"""Windows of a run, and what happened in each of them.

Windows never straddle the edge of a phase. Gauges are averaged over the readings inside a window; counters and
histograms are read as they stood at its edges, and a fall of a counter is a restart: what it shows afterwards is
what it counted since.
"""

from itertools import pairwise

import numpy as np

from analyzer.schema import Bool, Float64, Int64, RunData


def cut(data: RunData, window_s: float) -> tuple[Int64, Int64]:
    """Windows of about ``window_s`` seconds over the whole run, cut at the edges of its phases; shape (n,)."""
    first, last = extent(data)
    marks = {edge for phase in data.phases for edge in (phase.t_ns, phase.end_ns or last) if first < edge < last}
    edges = sorted({first, *marks, last})
    bounds: list[int] = []
    for start, end in pairwise(edges):
        count = max(1, round((end - start) / (window_s * 1e9)))
        bounds += [start + (end - start) * piece // count for piece in range(count)]
    cuts = np.array([*bounds, last], np.int64)
    return cuts[:-1], cuts[1:]


def extent(data: RunData) -> tuple[int, int]:
    """First and last instant of the run: of its samples, or of its requests where it has none."""
    instants = [frame["t_ns"] for frame in data.samples.values() if len(frame)]
    if not instants and len(data.requests):
        instants = [data.requests["t_ns"]]
    if not instants:
        return data.run.started_ns, data.run.ended_ns or data.run.started_ns
    return min(int(t.min()) for t in instants), max(int(t.max()) for t in instants)


def window_of(t_ns: Int64, start: Int64, end: Int64) -> Int64:
    """Index of the window that holds each instant, -1 where none does, shape of ``t_ns``."""
    place = np.searchsorted(start, t_ns, side="right") - 1
    inside = (place >= 0) & (t_ns < end[np.maximum(place, 0)]) if len(start) else np.zeros(len(t_ns), bool)
    found: Int64 = np.where(inside, place, -1)
    return found


def mean_in(window: Int64, values: Float64, count: int, weights: Float64 | None = None) -> Float64:
    """Mean of the values that fall into each window, NaN where none does, shape (count,)."""
    used = (window >= 0) & np.isfinite(values)
    weight = np.ones(len(values)) if weights is None else weights
    whole = np.bincount(window[used], weight[used], count)
    summed = np.bincount(window[used], (weight * values)[used], count)
    mean: Float64 = np.divide(summed, whole, out=np.full(count, np.nan), where=whole > 0)
    return mean


def mean_of(rows: list[Float64]) -> Float64:
    """Mean over several subjects of what is known of each, NaN where nothing is, shape (n,)."""
    stacked = np.stack(rows)
    known = np.isfinite(stacked)
    count = known.sum(axis=0)
    summed = np.where(known, stacked, 0).sum(axis=0)
    mean: Float64 = np.divide(summed, count, out=np.full(stacked.shape[1:], np.nan), where=count > 0)
    return mean


def captures(data: RunData) -> tuple[Int64, Int64]:
    """Start and end of every profiler capture: its flush stalls the GPU, so averages leave it out."""
    events = [event for event in data.events if event.kind == "trace" and event.end_ns is not None]
    start = np.array([event.t_ns for event in events], np.int64)
    return start, np.array([event.end_ns for event in events], np.int64)


def outside(t_ns: Int64, intervals: tuple[Int64, Int64]) -> Bool:
    """Which instants lie in none of the intervals."""
    inside = np.zeros(len(t_ns), bool)
    for start, end in zip(*intervals, strict=True):
        inside |= (t_ns >= start) & (t_ns <= end)
    return ~inside


def series(data: RunData, source: str, quantity: str) -> dict[str, tuple[Int64, Float64]]:
    """A quantity's readings by subject: (t_ns, values), both of shape (n,); absent readings are left out."""
    frame = data.samples.get(source)
    if frame is None or quantity not in frame:
        return {}
    present = frame[frame[quantity].notna()]
    return {
        str(subject): (part["t_ns"].to_numpy(np.int64), part[quantity].to_numpy(np.float64))
        for subject, part in present.groupby("subject", sort=True)
    }


def increase(data: RunData, source: str, counter: str, start: Int64, end: Int64) -> Float64 | None:
    """How much a counter grew in each window, over all subjects; None where it was never read.

    Between two readings a counter is taken to grow evenly; beyond the first and the last it is flat.
    """
    found = series(data, source, counter)
    if not found:
        return None
    grown = np.zeros(len(start))
    for t_ns, values in found.values():
        step = np.diff(values, prepend=values[:1])
        climbed = np.cumsum(np.where(step < 0, values, step))
        grown += np.interp(end, t_ns, climbed) - np.interp(start, t_ns, climbed)
    return grown


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
        cumulative = np.stack(scrapes["cumulative"].to_list()).astype(np.float64)
        restarted = np.r_[False, np.diff(cumulative[:, -1]) < 0]
        climbed = _without_restarts(cumulative, restarted)
        summed = _without_restarts(scrapes["sum"].to_numpy(np.float64)[:, np.newaxis], restarted)[:, 0]
        counts += np.diff(climbed[high] - climbed[low], axis=1, prepend=0.0)
        sums += summed[high] - summed[low]
    return np.asarray(edges, np.float64), counts, sums


def _without_restarts(counted: Float64, restarted: Bool) -> Float64:
    """Columns of counters made to climb on where they started again from zero, shape (scrapes, columns)."""
    before = np.vstack([np.zeros(counted.shape[1]), counted[:-1]])
    climbed: Float64 = counted + np.cumsum(np.where(restarted[:, np.newaxis], before, 0), axis=0)
    return climbed
