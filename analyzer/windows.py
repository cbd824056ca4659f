"""Windows of a run, and what happened in each of them.

Windows never straddle the edge of a phase. Gauges are averaged over the readings inside a window; counters and
histograms are read as they stood at its edges, and a fall of a counter is a restart: what it shows afterwards is
what it counted since.
"""

from dataclasses import dataclass
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
    if instants:
        return min(int(t.min()) for t in instants), max(int(t.max()) for t in instants) + 1
    first, last = data.run.started_ns, data.run.ended_ns or data.run.started_ns
    if len(data.requests):
        sent = int(data.requests["t_ns"].min()), int(data.requests["t_ns"].max()) + 1
        return (min(first, sent[0]), max(last, sent[1])) if data.run.ended_ns else sent
    return first, last


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


@dataclass(frozen=True, kw_only=True)
class Scrapes:
    """The scrapes of one subject's histogram that can be used, on the edges that all subjects share."""

    t_ns: Int64
    #: Observations at or below each edge and in all, restarts made to climb on, shape (n, k + 1); and their sum, (n,).
    counted: Float64
    summed: Float64


def scrapes(data: RunData, quantity: str) -> tuple[tuple[float, ...], dict[str, Scrapes], tuple[str, ...]]:
    """A histogram's scrapes by subject, and why some cannot be used.

    Replicas and versions may differ in their buckets: the edges that all of them have are exact for all of them. A
    page whose counts fall from one edge to the next cannot be, and is passed over. A server restarts now and then;
    counts that fall time and again are of several servers that answer in turn, and say nothing.

    Returns:
        The edges, the scrapes by subject, and a sentence for whatever was left out.
    """
    frame = data.histograms[data.histograms["quantity"] == quantity]
    every = set(frame["edges"])
    shared = tuple(sorted(set.intersection(*map(set, every)))) if every else ()
    found, faults = {}, []
    if len(every) > 1:
        faults.append(
            f"{quantity}: buckets changed or differ between replicas; only their {len(shared)} common edges count."
        )
    for subject, rows in frame.groupby("subject", sort=True):
        place = {edges: [*(edges.index(edge) for edge in shared), -1] for edges in set(rows["edges"])}
        pages = zip(rows["edges"], rows["cumulative"], strict=True)
        cumulative = np.array([[counts[column] for column in place[edges]] for edges, counts in pages], np.float64)
        whole = np.isfinite(cumulative).all(axis=1) & (cumulative >= 0).all(axis=1)
        whole &= (np.diff(cumulative, axis=1) >= 0).all(axis=1)
        if not whole.all():
            faults.append(
                f"{quantity} of {subject}: {np.count_nonzero(~whole)} scrapes whose counts contradict each other."
            )
        t_ns, cumulative = rows["t_ns"].to_numpy(np.int64)[whole], cumulative[whole]
        edges = rows["edges"].to_numpy()[whole]
        restarted = np.r_[False, (np.diff(cumulative, axis=0) < 0).any(axis=1)][: len(t_ns)]
        restarted[1:] |= edges[1:] != edges[:-1]
        if np.count_nonzero(restarted) > max(FEW_RESTARTS, RESTARTS_RATIO * len(t_ns)):
            again = f"its counts fall {np.count_nonzero(restarted)} times in {len(t_ns)} scrapes"
            faults.append(f"{quantity} of {subject} is left out: {again}, as where several servers answer in turn.")
        elif len(t_ns):
            summed = _without_restarts(rows["sum"].to_numpy(np.float64)[whole][:, np.newaxis], restarted)[:, 0]
            found[str(subject)] = Scrapes(t_ns=t_ns, counted=_without_restarts(cumulative, restarted), summed=summed)
    return shared, found, tuple(faults)


#: Restarts that are believed whatever the number of scrapes, and the share of scrapes beyond that.
FEW_RESTARTS = 2
RESTARTS_RATIO = 0.1


def timed(data: RunData) -> list[str]:
    """The histograms that were scraped, by name."""
    return sorted(set(data.histograms["quantity"]))


def bucket_increase(data: RunData, quantity: str, start: Int64, end: Int64) -> tuple[Float64, Float64, Float64] | None:
    """What a histogram counted in each window, over all subjects.

    A window's count is what stood in the last scrape before its end less what stood in the last before its start.

    Returns:
        Upper edges of the finite buckets (k,), observations in each bucket and beyond the last (n, k + 1), and
        the sums of what was observed (n,), NaN where they fell; None where the histogram was never scraped.
    """
    edges, found, _ = scrapes(data, quantity)
    if not found:
        return None
    counts, sums = np.zeros((len(start), len(edges) + 1)), np.zeros(len(start))
    for each in found.values():
        low, high = (np.maximum(np.searchsorted(each.t_ns, at, side="right") - 1, 0) for at in (start, end))
        # Each page is whole; of two that were written while they were read, one may be ahead in one bucket.
        counts += np.maximum(np.diff(each.counted[high] - each.counted[low], axis=1, prepend=0.0), 0)
        sums += each.summed[high] - each.summed[low]
    return np.asarray(edges, np.float64), counts, np.where(sums >= 0, sums, np.nan)


def _without_restarts(counted: Float64, restarted: Bool) -> Float64:
    """Columns of counters made to climb on where they started again from zero, shape (scrapes, columns)."""
    before = np.vstack([np.zeros(counted.shape[1]), counted[:-1]])
    grown: Float64 = counted + np.cumsum(np.where(restarted[:, np.newaxis], before, 0), axis=0)
    return grown
