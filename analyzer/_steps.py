"""What holds for a whole window, drawn as that: staircases for figures, boxes for intervals.

A window whose figure is missing is a hole, and so is time in which no window lies. In the middle of every
window stands a small point that carries the words shown when it is pointed at.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import plotly.graph_objects as go

from analyzer import theme


class Window(Protocol):
    """A part of a run, whatever was concluded of it."""

    @property
    def start_s(self) -> float:
        """First instant, seconds since the epoch."""

    @property
    def end_s(self) -> float:
        """Last instant."""


W = TypeVar("W", bound=Window)

#: Pixels of the points that carry the words.
_POINT = 2
#: Windows closer than this follow each other without a hole.
_JOINT_S = 1e-3


def add_steps(
    figure: go.Figure,
    windows: Sequence[W],
    value: Callable[[W], float | None],
    *,
    words: Callable[[W], str],
    measure: theme.Measure,
    axis: str = "y",
    legend: bool = True,
) -> None:
    """Draw a figure of every window as a staircase; nothing at all where no window has it."""
    known = [window for window in windows if value(window) is not None]
    if not known:
        return
    x: list[float] = []
    y: list[float | None] = []
    for window in known:
        if x and window.start_s > x[-1] + _JOINT_S:
            x.append(x[-1])
            y.append(None)
        x += [window.start_s, window.end_s]
        y += [value(window)] * 2
    common = _common(measure, axis)
    line = {"mode": "lines", "line": measure.stroke, "hoverinfo": "skip", "showlegend": legend}
    figure.add_scatter(x=theme.utc(x), y=y, **line, **common)
    figure.add_scatter(y=[value(window) for window in known], **_words(known, words, measure), **common)


def add_boxes(
    figure: go.Figure,
    windows: Sequence[W],
    bounds: Callable[[W], tuple[float, float | None] | None],
    *,
    words: Callable[[W], str],
    measure: theme.Measure,
    axis: str = "y",
    legend: bool = True,
) -> None:
    """Draw an interval of every window as a filled box, as ▲ on its lower bound where it has no upper one."""
    known = [(window, *found) for window in windows if (found := bounds(window)) is not None]
    if not known:
        return
    x: list[float] = []
    y: list[float | None] = []
    for window, low, high in known:
        if high is not None:
            x += [window.start_s, window.end_s, window.end_s, window.start_s, window.start_s, window.start_s]
            y += [low, low, high, high, low, None]
    common = _common(measure, axis)
    shade = theme.faint(measure.colour, 0.45)
    box = {"mode": "lines", "fill": "toself", "fillcolor": shade, "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_scatter(x=theme.utc(x), y=y, showlegend=legend, **box, **common)
    middles = [low if high is None else (low * high) ** 0.5 for _, low, high in known]
    figure.add_scatter(y=middles, **_words([window for window, _, _ in known], words, measure), **common)
    marks = [("triangle-up", 8) if high is None else ("circle", _POINT) for _, _, high in known]
    figure.data[-1].marker.update(symbol=[symbol for symbol, _ in marks], size=[size for _, size in marks])


def _common(measure: theme.Measure, axis: str) -> dict[str, Any]:
    return {"legendgroup": measure.label, "name": measure.label, "yaxis": axis}


def _words(windows: Sequence[W], words: Callable[[W], str], measure: theme.Measure) -> dict[str, Any]:
    """The points in the middle of the windows, small enough to vanish in the line they stand on."""
    return {
        "x": theme.utc((window.start_s + window.end_s) / 2 for window in windows),
        "mode": "markers",
        "marker": {"size": _POINT, "color": measure.colour},
        "customdata": [words(window) for window in windows],
        "hovertemplate": "%{customdata}",
        "showlegend": False,
    }
