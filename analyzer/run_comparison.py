"""What changed from one run to another, and whether it is more than noise: overall, and by phase of the same name.

Each side becomes figures with the interval that holds each with 95 % confidence. A percentile has that of order
statistics: of known requests the values themselves, of scraped buckets the edges around them. A rate, a cost or a
share of time is a ratio of sums over windows, and has the interval of a ratio estimate over batches of adjacent
windows (method of batch means, Student's t). The difference then lies between the least and the most that the two
intervals allow (90 % in any case, and more than 95 % where the errors are about normal); only where that leaves zero
out is a change called more than noise.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, isclose, sqrt
from statistics import NormalDist
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from analyzer.bottlenecks import BOTTLENECKS
from analyzer.columns import Float64, RunData
from analyzer.energy import joules
from analyzer.latency import RESOLUTION_RATIO, order_interval
from analyzer.schema import Analysis, ComparedRun, LatencyWindow, RunComparison, RunDifference
from analyzer.windows import bucket_increase, sections

#: Short, so that a phase of half a minute has batches enough.
WINDOW_S = 2.0

MEASURES = ("ttft_s", "itl_s", "tpot_s", "e2e_latency_s")
QUANTILES = (0.5, 0.99)
RATES = ("requests_per_s", "output_tokens_per_s")

#: Ten to thirty batches serve an interval best (Schmeiser, 1982); with fewer than five it says nothing.
_MOST_BATCHES, _LEAST_BATCHES = 20, 5
_CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
#: With more observations in buckets the binomial is normal, and its exact ranks not worth their memory.
_MANY = 100_000
#: More phases than this are not named in a sentence.
_NAMED = 5
#: Figures this near are one, but for the order in which they were added up.
_ROUNDING = 1e-9

Origin: TypeAlias = Literal["requests", "histogram", "sums", "windows"]
#: A phase and how often its name came before; None is the whole run.
Section: TypeAlias = tuple[str, int] | None
_ORIGINS: Mapping[Origin, str] = {
    "requests": "requests",
    "histogram": "buckets",
    "sums": "sums alone",
    "windows": "windows",
}


class Key(NamedTuple):
    """Which figure."""

    measure: str
    quantile: float | None = None
    bottleneck: str | None = None


class Figure(NamedTuple):
    """One figure of a run; a bound that is not known is None, with the reason."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunSide:
    """One run, reduced to what a comparison needs."""

    run: ComparedRun
    inference: str
    sections: Mapping[Section, Mapping[Key, Mapping[Origin, Figure]]]


def side(data: RunData, analysis: Analysis) -> RunSide:
    """Reduce a run to its figures.

    Args:
        data: The run.
        analysis: What was concluded of it; its windows are the batches.
    """
    none = np.empty(0, np.int64)
    names, start, end = sections(data, none, none)
    seen: Counter[str | None] = Counter()
    found: dict[Section, Mapping[Key, Mapping[Origin, Figure]]] = {}
    windows = _Windows(data, analysis)
    histograms = {measure: bucket_increase(data, measure, start, end) for measure in MEASURES}
    for row, name in enumerate(names):
        figures: dict[Key, dict[Origin, Figure]] = {}
        for measure, grown in histograms.items():
            if grown is not None and len(grown[0]) and grown[1][row].sum() >= 1:
                for q in QUANTILES:
                    figures[Key(measure, q)] = {"histogram": _of_buckets(grown[0], grown[1][row], q)}
        if analysis.latency is not None:
            latency = [analysis.latency.overall, *analysis.latency.phases][row]
            for key, origin, figure in _of_latency(latency):
                figures.setdefault(key, {})[origin] = figure
        for key, figure in windows.figures(row, int(start[row]), int(end[row])):
            figures[key] = {"windows": figure}
        found[None if name is None else (name, seen[name])] = figures
        seen[name] += 1
    return RunSide(
        run=ComparedRun(
            name=analysis.source.name,
            duration_s=analysis.source.duration_s,
            gpus=analysis.source.gpus,
            engine=analysis.source.engine,
            usd_per_gpu_hour=analysis.cost.price.usd_per_gpu_hour if analysis.cost and analysis.cost.price else None,
        ),
        inference=analysis.latency.inference if analysis.latency else "",
        sections=found,
    )


def _of_latency(window: LatencyWindow) -> Iterable[tuple[Key, Origin, Figure]]:
    for stats in window.stats:
        if stats.measure not in MEASURES:
            continue
        if stats.origin == "sums" and stats.mean_s is not None:
            yield Key(stats.measure), "sums", Figure(stats.mean_s, None, None, "only sums and counts are known of it")
        for item in stats.percentiles if stats.origin == "requests" else ():
            if item.q in QUANTILES:
                reason = f"{stats.n:,} values are too few for this percentile" if item.note else None
                yield Key(stats.measure, item.q), "requests", Figure(item.value_s, item.low_s, item.high_s, reason)


def _of_buckets(edges: Float64, counts: Float64, q: float) -> Figure:
    """A percentile by the edges around the order statistics that hold it."""
    cumulative, bounds = np.cumsum(counts), [0.0, *edges.tolist()]
    n = floor(cumulative[-1])
    low, high = order_interval(n, q) if n <= _MANY else normal_interval(n, q)
    buckets = [None if rank is None else int(np.searchsorted(cumulative, rank + 1)) for rank in (low, high)]
    middle = int(np.searchsorted(cumulative, q * cumulative[-1]))
    value = None
    if middle < len(edges):
        share = (q * cumulative[-1] - (cumulative[middle] - counts[middle])) / counts[middle]
        value = bounds[middle] + (bounds[middle + 1] - bounds[middle]) * float(share)
    least = None if buckets[0] is None else bounds[buckets[0]]
    most = None if buckets[1] is None or buckets[1] >= len(edges) else bounds[buckets[1] + 1]
    reason = None
    if low is None or high is None:
        reason = f"{n:,} values are too few for this percentile"
    elif least is None or most is None:
        reason = "it may lie beyond the last bucket"
    elif most - least > RESOLUTION_RATIO * (most + least):
        reason = "the buckets are too coarse"
    return Figure(value, least, most, reason)


def normal_interval(n: int, q: float) -> tuple[int, int]:
    """Ranks (from 0) of the order statistics that hold the q-quantile of many values."""
    reach = _Z * sqrt(n * q * (1 - q))
    return floor(q * n - reach) - 1, floor(q * n + reach) + 1


class _Windows:
    """A run's windows: what each of them held."""

    def __init__(self, data: RunData, analysis: Analysis) -> None:
        self._analysis, cost = analysis, analysis.cost
        windows = cost.windows if cost else ()
        start, end = (
            np.array([round(edge * 1e9) for edge in edges], np.int64)
            for edges in ([window.start_s for window in windows], [window.end_s for window in windows])
        )
        self._middle, self._seconds = (start + end) // 2, (end - start) / 1e9
        latency = analysis.latency.windows if analysis.latency else ()
        self._rates = {
            name: _known([getattr(window, name) for window in latency]) * self._seconds if latency else None
            for name in RATES
        }
        self._usd = _known([window.usd for window in windows])
        drawn = joules(data, start, end)
        self._joules = None if drawn is None or cost is None else drawn * cost.share.ratio
        self._shares = [window.shares for window in analysis.verdict.windows]

    def figures(self, row: int, start_ns: int, end_ns: int) -> Iterable[tuple[Key, Figure]]:
        """The figures of one section: of the whole run (row 0) or of a phase."""
        inside = (self._middle >= start_ns) & (self._middle < end_ns)
        requests = self._rates["requests_per_s"]
        latency, cost = self._analysis.latency, self._analysis.cost
        if latency is not None and requests is not None:
            whole = [latency.overall, *latency.phases][row]
            for name, amounts in self._rates.items():
                if amounts is not None and (value := getattr(whole, name)) is not None:
                    yield Key(name), _of_ratio(value, amounts[inside], self._seconds[inside], requests[inside])
        if cost is not None and requests is not None:
            bill = [cost.overall, *cost.phases][row]
            each = requests[inside] / 1000
            for name, spent in (("usd_per_1000", self._usd), ("joules_per_1000", self._joules)):
                if spent is not None and (value := getattr(bill, name)) is not None:
                    yield Key(name), _of_ratio(value, spent[inside], each, requests[inside])
        yield from self._of_shares(row, inside.nonzero()[0].tolist())

    def _of_shares(self, row: int, inside: Sequence[int]) -> Iterable[tuple[Key, Figure]]:
        verdict = self._analysis.verdict
        shares = verdict.phases[row - 1].shares if row else {share.bottleneck: share.share for share in verdict.shares}
        observed = [index for index in inside if index < len(self._shares) and self._shares[index]]
        for name in BOTTLENECKS if shares else ():
            seconds = self._seconds[observed]
            held = _known([self._shares[index].get(name, 0.0) for index in observed]) * seconds
            figure = _of_ratio(shares.get(name, 0.0), held, seconds, None)
            high = None if figure.high is None else min(1.0, figure.high)
            yield Key("share_ratio", None, name), figure._replace(high=high)


def _known(values: Sequence[float | None]) -> Float64:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _of_ratio(value: float, amounts: Float64, per: Float64, requests: Float64 | None) -> Figure:
    """A ratio of sums, with the interval that its batches give it; one request more or less is never told apart."""
    known = np.isfinite(amounts) & np.isfinite(per)
    batches = min(_MOST_BATCHES, int(known.sum()))
    if batches < _LEAST_BATCHES:
        return Figure(value, None, None, f"only {batches} windows of about {WINDOW_S:g} s")
    over, under = (
        np.array([part.sum() for part in np.array_split(column[known], batches)]) for column in (amounts, per)
    )
    whole = float(under.sum())
    if not whole > 0:
        return Figure(value, None, None, "no request was answered in its windows")
    residual = over - over.sum() / whole * under
    reach = students_t(batches - 1) * sqrt(batches / (batches - 1) * float((residual**2).sum())) / whole
    if requests is not None:
        answered = float(np.nansum(requests))
        reach = max(reach, abs(value) / answered if answered > 0 else 0.0)
    return Figure(value, max(0.0, value - reach), value + reach)


def students_t(freedom: int) -> float:
    """Half the width of the interval of a mean with so many degrees of freedom, in standard errors.

    The expansion of Abramowitz and Stegun, 26.7.5: within 0.3 % from four degrees of freedom on.
    """
    z = _Z
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / float(freedom**power) for power, term in enumerate(terms))


def compare(before: RunSide, after: RunSide) -> RunComparison:
    """What changed from one run to the other; the other way round, every change has the other sign."""
    rows = tuple(
        row
        for section in before.sections
        if section in after.sections
        for row in _rows(section, before.sections[section], after.sections[section])
    )
    return RunComparison(
        before=before.run,
        after=after.run,
        rows=rows,
        identical=bool(rows) and before.sections == after.sections,
        notes=tuple(_notes(before, after)),
    )


def _rows(
    section: Section, mine: Mapping[Key, Mapping[Origin, Figure]], theirs: Mapping[Key, Mapping[Origin, Figure]]
) -> Iterable[RunDifference]:
    order = (*RATES, *MEASURES, "usd_per_1000", "joules_per_1000", "share_ratio")
    classes = [None, *BOTTLENECKS]
    keys = sorted(
        {*mine, *theirs}, key=lambda key: (order.index(key.measure), key.quantile or 0, classes.index(key.bottleneck))
    )
    for key in keys:
        row = _row(section, key, mine.get(key, {}), theirs.get(key, {}))
        # A class of which neither run has anything is no news.
        if key.bottleneck is None or row.before or row.after:
            yield row


def _row(section: Section, key: Key, mine: Mapping[Origin, Figure], theirs: Mapping[Origin, Figure]) -> RunDifference:
    origin = next((name for name in _ORIGINS if name in mine and name in theirs), None)
    a, b = (next(iter(side.values()), None) if origin is None else side[origin] for side in (mine, theirs))
    difference = low = high = None
    if origin is not None and a and b:
        difference, low, high = _less(b.value, a.value), _less(b.low, a.high), _less(b.high, a.low)
    outcome, reason = _unmatched(mine, theirs) if origin is None or a is None or b is None else _judged(a, b, low, high)
    return RunDifference(
        phase=None if section is None else section[0] + (f" ({section[1] + 1})" if section[1] else ""),
        measure=key.measure,
        quantile=key.quantile,
        bottleneck=key.bottleneck,
        origin=origin,
        before=a.value if a else None,
        after=b.value if b else None,
        difference=difference,
        difference_low=low,
        difference_high=high,
        outcome=outcome,
        reason=reason,
    )


def _less(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


_Outcome: TypeAlias = Literal["more than noise", "within noise", "cannot tell"]


def _unmatched(mine: Mapping[Origin, Figure], theirs: Mapping[Origin, Figure]) -> tuple[_Outcome, str]:
    if mine and theirs:
        names = [" and ".join(_ORIGINS[name] for name in known) for known in (mine, theirs)]
        return "cannot tell", f"A knows it from {names[0]}, B from {names[1]}, and these are not timed alike"
    return "cannot tell", f"{'A' if theirs else 'B'} does not know it"


def _judged(a: Figure, b: Figure, low: float | None, high: float | None) -> tuple[_Outcome, str]:
    rounding = _ROUNDING * max(abs(it) for it in (a.value or 0.0, b.value or 0.0, a.high or 0.0, b.high or 0.0))
    if (low is not None and low > rounding) or (high is not None and high < -rounding):
        return "more than noise", "intervals apart"
    if reason := a.reason or b.reason:
        if a.value is not None and b.value is not None and isclose(a.value, b.value, rel_tol=_ROUNDING) and a == b:
            return "within noise", "both are the same"
        return "cannot tell", f"{reason} in {' and '.join(name for name, it in (('A', a), ('B', b)) if it.reason)}"
    return "within noise", "intervals overlap"


def _notes(before: RunSide, after: RunSide) -> Iterable[str]:
    """What a reader must know before trusting the comparison."""
    yield (
        "Noise is what varies within each run, requests taken as independent; what differs from one start of a server "
        "to the next shows only when runs are repeated."
    )
    if len(before.sections) > 1 and len(after.sections) > 1:
        yield "The load of a run with phases varies by plan, which widens the intervals of the whole: trust its phases."
    if sorted(before.run.gpus) != sorted(after.run.gpus):
        yield "The runs are of different GPUs."
    if before.run.usd_per_gpu_hour != after.run.usd_per_gpu_hour:
        yield "The runs are billed at different prices: --price bills both alike."
    if before.inference != after.inference:
        yield "The runs do not count the same as one inference."
    alone = sorted({section[0] for section in before.sections.keys() ^ after.sections.keys() if section is not None})
    if alone:
        yield f"Phases that only one run has are left out: {', '.join(alone[:_NAMED])}{' …' * (len(alone) > _NAMED)}."
