"""This server beside the reference workload, matched by load: is it dearer or slower at the same load?

Dotted outlines are the phases of the reference. Filled points are this run: large ones its phases, small
ones its windows. A point above an outline at the same load costs more, or is slower; in tokens/s, lower is
slower.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from analyzer import theme
from analyzer.formatting import duration, number, per_thousand
from analyzer.panels import View
from analyzer.schema import Analysis, CostWindow, LatencyWindow

TITLE = "Beside the reference, at the same load"
ORDER = 10
KIND = "run"
PAGE = "reference"


@dataclass(frozen=True)
class _Point:
    """One window or phase: its load, and what it gave."""

    name: str
    running: float
    usd_per_1000: float | None
    tpot_p50_s: float | None
    tokens_per_s: float | None


@dataclass(frozen=True)
class _Multiple:
    """One of the small pictures."""

    title: str
    value: Callable[[_Point], float | None]
    #: How a value is written where it is pointed at, and beside the axis.
    words: Callable[[float | None], str]
    tick: Callable[[float], str]


def _tick(value: float) -> str:
    return f"{value:,g}"


_MULTIPLES = (
    _Multiple("$ per 1,000 answers", lambda p: p.usd_per_1000, per_thousand, lambda usd: f"${_tick(usd)}"),
    _Multiple("time per output token, p50", lambda p: p.tpot_p50_s, duration, duration),
    _Multiple("output tokens/s", lambda p: p.tokens_per_s, lambda v: number(v, "tokens/s"), _tick),
)
_GUTTER = 0.075
_DOTTED = {"color": theme.GREY, "dash": "dot", "width": 2}
#: Ten pixels around, of four Bézier curves: a circle shape loses its negative pixels on a logarithmic axis.
_RING = "M -10 0 C -10 -5.5 -5.5 -10 0 -10 C 5.5 -10 10 -5.5 10 0 C 10 5.5 5.5 10 0 10 C -5.5 10 -10 5.5 -10 0 Z"


def figure(view: View) -> go.Figure:
    """Small multiples over the mean number of requests running, both axes logarithmic."""
    phases = _points(view.analysis, phases=True)
    windows = _points(view.analysis, phases=False)
    if not phases and not windows:
        return theme.nothing("no part of this run has requests running")
    reference = _points(view.reference, phases=True) if view.reference else []
    drawn = theme.blank(
        380, hovermode="closest", uirevision=view.analysis.source.name, margin={"t": 64}, legend={"y": 1.1}
    )
    loads = [point.running for point in (*phases, *windows, *reference)]
    for column, multiple in enumerate(_MULTIPLES):
        values = [v for point in (*phases, *windows, *reference) if (v := multiple.value(point))]
        _frame(drawn, multiple, column, loads, values)
        _dots(drawn, windows, multiple, column, name="this run, windows", size=5, opacity=0.45)
        _dots(drawn, phases, multiple, column, name="this run, phases", size=11, opacity=1.0)
        if view.reference:
            _outlines(drawn, reference, multiple, column, name=theme.reference_name(view.reference))
        if not values:
            _silence(drawn, column)
    return drawn


def _points(analysis: Analysis, *, phases: bool) -> list[_Point]:
    """Parts of a run that had requests running, joined by their time."""
    if analysis.latency is None:
        return []
    costs = (analysis.cost.phases if phases else analysis.cost.windows) if analysis.cost else ()
    by_start = {round(cost.start_s, 3): cost for cost in costs}
    parts = analysis.latency.phases if phases else analysis.latency.windows
    return [_point(part, by_start.get(round(part.start_s, 3))) for part in parts if part.requests_running]


def _point(part: LatencyWindow, cost: CostWindow | None) -> _Point:
    tpot = part.stat("tpot_s")
    median = next((p.value_s for p in tpot.percentiles if p.q == 0.5), None) if tpot else None  # noqa: PLR2004
    return _Point(
        name=part.name or "",
        running=part.requests_running or 0.0,
        usd_per_1000=cost.usd_per_1000 if cost else None,
        tpot_p50_s=median,
        tokens_per_s=part.output_tokens_per_s,
    )


def _axes(column: int) -> tuple[str, str]:
    return ("x", "y") if column == 0 else (f"x{column + 1}", f"y{column + 1}")


def _span(values: Sequence[float], room: float) -> list[float] | None:
    """The range of a logarithmic axis, with room in decades around the points for their names."""
    return [math.log10(min(values)) - room, math.log10(max(values)) + room] if values else None


def _frame(drawn: go.Figure, multiple: _Multiple, column: int, loads: Sequence[float], values: Sequence[float]) -> None:
    """The axes of one multiple, its title above it."""
    width = (1 - _GUTTER * (len(_MULTIPLES) - 1)) / len(_MULTIPLES)
    left = column * (width + _GUTTER)
    x, y = _axes(column)
    drawn.update_layout({
        x.replace("x", "xaxis"): theme.decades(loads, _tick) | {
            "domain": [left, left + width], "anchor": y, "range": _span(loads, 0.55),
            "title": {"text": "requests running, mean"}},
        y.replace("y", "yaxis"): theme.decades(values, multiple.tick) | {"anchor": x, "range": _span(values, 0.35)},
    })  # fmt: skip
    drawn.add_annotation(text=multiple.title, x=left, y=1.0, xref="paper", yref="paper", xanchor="left",
                         yanchor="bottom", showarrow=False)  # fmt: skip


def _dots(
    drawn: go.Figure,
    points: Sequence[_Point],
    multiple: _Multiple,
    column: int,
    *,
    name: str,
    size: int,
    opacity: float,
) -> None:
    x, y = _axes(column)
    known = [point for point in points if multiple.value(point)]
    drawn.add_scatter(
        x=[point.running for point in known],
        y=[multiple.value(point) for point in known],
        mode="markers",
        marker={"color": theme.LINE, "size": size, "opacity": opacity, "line": {"width": 0}},
        hovertext=[_words(point, multiple, "this run") for point in known],
        hovertemplate="%{hovertext}<extra></extra>",
        name=name,
        legendgroup=name,
        showlegend=column == 0,
        xaxis=x,
        yaxis=y,
    )


def _outlines(drawn: go.Figure, points: Sequence[_Point], multiple: _Multiple, column: int, *, name: str) -> None:
    """Dotted rings with the names of the reference's phases; plotly's own markers cannot be dotted."""
    x, y = _axes(column)
    known = sorted((p for p in points if multiple.value(p)), key=lambda point: point.running)
    for point in known:
        drawn.add_shape(
            type="path",
            path=_RING,
            line=_DOTTED,
            xref=x,
            yref=y,
            xsizemode="pixel",
            ysizemode="pixel",
            xanchor=point.running,
            yanchor=multiple.value(point),
        )
    values = [multiple.value(point) or 0.0 for point in known]
    # Above where the points fall to the next one and below where they rise, so that names keep out of its way.
    sides = [(point, here >= then) for point, here, then in zip(known, values, [*values, 0.0][1:], strict=True)]
    drawn.add_scatter(
        x=[point.running for point in known],
        y=values,
        mode="text",
        text=[_beside(theme.safe(point.name, 24), above=above) for point, above in sides],
        textposition=["top center" if above else "bottom center" for _, above in sides],
        textfont={"size": 10},
        hovertext=[_words(point, multiple, "reference") for point in known],
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
        xaxis=x,
        yaxis=y,
    )
    if column == 0:
        drawn.add_scatter(x=[None], y=[None], mode="lines", line=_DOTTED, name=name)


def _beside(name: str, *, above: bool) -> str:
    """A name with an empty line between it and the ring."""
    return f"{name}<br> " if above else f" <br>{name}"


def _words(point: _Point, multiple: _Multiple, whose: str) -> str:
    name = f"{theme.safe(point.name)}, " if point.name else ""
    return f"{name}{whose}<br>{multiple.words(multiple.value(point))} at {number(point.running)} running"


def _silence(drawn: go.Figure, column: int) -> None:
    x, y = _axes(column)
    drawn.add_annotation(text="no data: not measured in any phase", x=0.5, y=0.5, xref=f"{x} domain",
                         yref=f"{y} domain", showarrow=False)  # fmt: skip
