"""How long people waited, window by window: p50, p95 and p99 in three strengths of one hue.

The scale is logarithmic. A line is an order statistic of requests whose latencies are each known. A box is all
that a histogram's buckets can say: the percentile lies somewhere inside it; ▲ marks one above the last bucket.
Pointing shows the interval and the count. Dashed: the target, where one was given. Shaded: a profiler was tracing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

import plotly.graph_objects as go

from analyzer import drawing, theme
from analyzer.drawing.staircases import add_boxes, add_steps, add_words
from analyzer.formatting import count, duration, interval
from analyzer.panels import View
from analyzer.schema import LatencyStats, LatencyWindow, Percentile

TITLE = "Tail latency"
ORDER = 10
KIND = "run"
PAGE = "latency"

_MEANS_ALONE = "the engine shows sums and counts of its latencies: their means are in the tables, percentiles nowhere"
_MEASURES = {"ttft_s": "first token", "tpot_s": "per output token", "e2e_latency_s": "end to end"}


@dataclass(frozen=True)
class _Point:
    """One percentile of one measure in one window."""

    start_s: float
    end_s: float
    stats: LatencyStats
    found: Percentile


def figure(view: View) -> go.Figure:
    """One row a measure that has statistics, on the run's time axis."""
    windows = view.analysis.latency.windows if view.analysis.latency else ()
    known = [measure for measure in _MEASURES if _points(windows, measure, 0.5)]
    if not known:
        means = any(stats.origin == "sums" for window in windows for stats in window.stats)
        return theme.nothing(_MEANS_ALONE if means else "neither requests nor latency histograms were recorded")
    drawn = drawing.timeline(view, [_MEASURES[measure] for measure in known], height=60 + 165 * len(known))
    drawing.captures(drawn, view.events)
    limits = view.analysis.slo.slo.limits_s if view.analysis.slo else {}
    for row, measure in enumerate(known):
        points = {q: _points(windows, measure, q) for q in theme.STRENGTHS}
        for q, strength in theme.STRENGTHS.items():
            _draw(drawn, points[q], _measure(measure, q, strength), row)
        ends = [end for part in points.values() for point in part for end in _ends(point)]
        limit = limits.get(measure)
        if limit is not None:
            _draw_target(drawn, limit, row)
            ends.append(limit)
        drawn.update_layout({drawing.layout_axis(row): theme.decades(ends, duration)})
    return drawn


def _draw_target(drawn: go.Figure, limit_s: float, row: int) -> None:
    """A dashed line across a row, with its limit at the right end."""
    place = {"xref": "paper", "yref": drawing.axis(row)}
    line = {"color": theme.INK, "width": 1.5, "dash": "dash"}
    drawn.add_shape(type="line", x0=0, x1=1, y0=limit_s, y1=limit_s, line=line, **place)
    # On a logarithmic axis an annotation stands at the logarithm.
    text = {"text": f"target {duration(limit_s)}", "x": 1, "y": log10(limit_s), "xanchor": "right", "yanchor": "bottom"}
    drawn.add_annotation(showarrow=False, **text, **place)


def _measure(measure: str, q: float, strength: float) -> theme.Measure:
    return theme.Measure(measure, f"p{q * 100:.0f}", theme.WAITING, strength=strength)


def _points(windows: Sequence[LatencyWindow], measure: str, q: float) -> list[_Point]:
    found = ((window, window.stat(measure)) for window in windows)
    return [
        _Point(window.start_s, window.end_s, stats, percentile)
        for window, stats in found
        if stats is not None and stats.n > 0
        for percentile in stats.percentiles
        if percentile.q == q
    ]


def _draw(drawn: go.Figure, points: Sequence[_Point], measure: theme.Measure, row: int) -> None:
    """One percentile of one measure: a staircase where requests are known, boxes where only buckets are."""
    exact = [point for point in points if point.stats.origin == "requests"]
    coarse = [point for point in points if point.stats.origin == "histogram"]
    axis = drawing.axis(row)
    new = measure.label not in {trace.name for trace in drawn.data}
    add_steps(drawn, exact, lambda point: point.found.value_s, measure=measure, axis=axis, legend=new)
    add_boxes(drawn, coarse, _bounds, measure=measure, axis=axis, legend=new and not exact)
    name = f"{_MEASURES[measure.quantity]}, {measure.label}"
    add_words(drawn, points, lambda point: next(iter(_ends(point)), None), _words, name=name, axis=axis)


def _bounds(point: _Point) -> tuple[float, float | None] | None:
    return (point.found.low_s, point.found.high_s) if point.found.low_s else None


def _ends(point: _Point) -> list[float]:
    """Where a point is drawn: at its value, or from one bound to the other."""
    if point.stats.origin == "requests":
        return [point.found.value_s] if point.found.value_s else []
    return [end for end in _bounds(point) or () if end]


def _words(point: _Point) -> str:
    between = interval(point.found.low_s, point.found.high_s)
    of = f"n {count(point.stats.n)}"
    if point.stats.origin == "histogram":
        return f"{between}, {of}, from buckets"
    note = f", {theme.safe(point.found.note)}" if point.found.note else ""
    return f"{duration(point.found.value_s)} ({between}), {of}{note}"
