"""What holds for a whole window, drawn as that: staircases for figures, boxes for intervals, words for pointing.

A window whose figure is missing is a hole, and so is time in which no window lies.
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

#: Windows closer than this follow each other without a hole.
_JOINT_S = 1e-3


def add_steps(
    figure: go.Figure,
    windows: Sequence[W],
    value: Callable[[W], float | None],
    *,
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
    figure.add_scatter(
        x=theme.utc(x), y=y, mode="lines", line=measure.stroke, showlegend=legend, **_common(measure, axis)
    )


def add_boxes(
    figure: go.Figure,
    windows: Sequence[W],
    bounds: Callable[[W], tuple[float, float | None] | None],
    *,
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
    box = {"mode": "lines", "fill": "toself", "fillcolor": theme.faint(measure.colour, 0.45), "line": {"width": 0}}
    figure.add_scatter(x=theme.utc(x), y=y, showlegend=legend, **box, **common)
    open_ended = [(window, low) for window, low, high in known if high is None]
    mark = {"symbol": "triangle-up", "size": 8, "color": measure.colour}
    x_of_marks = theme.utc((window.start_s + window.end_s) / 2 for window, _ in open_ended)
    y_of_marks = [low for _, low in open_ended]
    figure.add_scatter(x=x_of_marks, y=y_of_marks, mode="markers", marker=mark, showlegend=False, **common)


def add_words(
    figure: go.Figure,
    windows: Sequence[W],
    value: Callable[[W], float | None],
    words: Callable[[W], str],
    *,
    name: str,
    axis: str = "y",
) -> None:
    """Let every window say its words wherever it is pointed at: an invisible bar, because a bar is as wide as it is."""
    known = [(window, found) for window in windows if (found := value(window)) is not None]
    if not known:
        return
    figure.add_bar(
        x=theme.utc((window.start_s + window.end_s) / 2 for window, _ in known),
        width=[1e3 * (window.end_s - window.start_s) for window, _ in known],
        y=[found for _, found in known],
        marker={"color": "rgba(0,0,0,0)", "line": {"width": 0}},
        customdata=[words(window) for window, _ in known],
        hovertemplate="%{customdata}",
        name=name,
        yaxis=axis,
        showlegend=False,
    )


def _common(measure: theme.Measure, axis: str) -> dict[str, Any]:
    name = measure.label
    return {"legendgroup": name, "name": name, "yaxis": axis, "opacity": measure.strength, "hoverinfo": "skip"}
