"""What the panels of a run share: one time axis, rows on it, and lines of samples that keep their peaks."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from analyzer import theme
from analyzer.drawing.decimate import LIMIT, break_gaps, extremes
from analyzer.drawing.staircases import add_steps, add_words
from analyzer.panels import View
from analyzer.schema import UseWindow
from collector.schema import Event

if TYPE_CHECKING:
    import pandas as pd  # 0.3 s, and a trace needs none

Instants: TypeAlias = npt.NDArray[np.datetime64]
Values: TypeAlias = npt.NDArray[np.float64]

#: Pixels above and below the rows: legend and tick labels.
_FRAME = 66
_GAP = 26


def axis(row: int) -> str:
    """The y axis of a row of ``timeline``, counted from the top."""
    return "y" if row == 0 else f"y{row + 1}"


def layout_axis(row: int) -> str:
    """What the layout of a figure calls that axis."""
    return axis(row).replace("y", "yaxis")


def timeline(view: View, rows: Sequence[str], height: int, **layout: Any) -> go.Figure:  # noqa: ANN401
    """An empty figure over the time of the source: one x axis, one titled y axis a row, from the top."""
    source = view.analysis.source
    figure = theme.blank(height, hovermode="x unified", hoversubplots="axis", barmode="overlay", uirevision=source.name)
    span = theme.utc((source.started_s, source.started_s + source.duration_s))
    figure.update_xaxes(type="date", range=list(span), anchor="free", position=0, showspikes=False)
    figure.update_xaxes(hoverformat="%H:%M:%S.%L UTC", showgrid=True)
    # A page that shares one range between its panels finds here what all of it is.
    figure.update_layout(meta={"span": [str(end) for end in span]})
    gap = _GAP / (height - _FRAME)
    part = (1 - gap * (len(rows) - 1)) / len(rows)
    for row, title in enumerate(rows):
        top = 1 - row * (part + gap)
        spec = {"title": {"text": title}, "domain": [max(0.0, top - part), top], "anchor": "x", "fixedrange": True}
        figure.update_layout({layout_axis(row): spec})
    return figure.update_layout(**layout)


def add_measure(
    figure: go.Figure,
    view: View,
    measure: theme.Measure,
    *,
    template: str,
    words: Callable[[float | None], str],
    row: int = 0,
) -> None:
    """Draw what the GPUs did: from samples where the view has them, else from means of windows, else nothing.

    Args:
        figure: What is drawn on.
        view: Where it is taken from.
        measure: What is drawn, and how.
        template: How plotly writes a sample.
        words: How the mean of a window is written.
        row: The row it is drawn in.
    """
    if add_samples(figure, view.samples.get("nvml"), measure, template=template, row=row):
        return
    windows = view.analysis.budget.windows if view.analysis.budget else ()

    def value(window: UseWindow) -> float | None:
        return window.means.get(measure.quantity)

    add_steps(figure, windows, value, measure=measure, axis=axis(row))
    add_words(figure, windows, value, lambda window: words(value(window)), name=measure.label, axis=axis(row))


def add_samples(
    figure: go.Figure, frame: "pd.DataFrame | None", measure: theme.Measure, *, template: str, row: int = 0
) -> bool:
    """Draw samples, at most ``LIMIT`` points: of one subject as read, of several as their mean in a band.

    Returns:
        Whether there was anything to draw.
    """
    if frame is None or measure.quantity not in frame.columns:
        return False
    known = frame.loc[frame[measure.quantity].notna().groupby(frame["subject"]).transform("any")]
    if known.empty:
        return False
    common = {"mode": "lines", "name": measure.label, "legendgroup": measure.label, "yaxis": axis(row)}
    if len(known["subject"].unique()) == 1:
        x, y = _thin(known["t_ns"].to_numpy(), known[measure.quantity].to_numpy(dtype=np.float64))
    else:
        x, y, low, high = _across(known, measure.quantity)
        silent = common | {"hoverinfo": "skip", "showlegend": False, "line": {"width": 0}}
        figure.add_scatter(x=x, y=low, **silent)
        figure.add_scatter(x=x, y=high, fill="tonexty", fillcolor=theme.faint(measure.colour, 0.2), **silent)
    figure.add_scatter(x=x, y=y, line=measure.stroke, hovertemplate=template, **common)
    return True


def _thin(t_ns: npt.NDArray[np.int64], values: Values) -> tuple[Instants, Values]:
    kept = extremes(values)
    instants, unbroken = break_gaps(t_ns[kept], values[kept])
    return _instants(instants), unbroken


def _instants(t_ns: npt.NDArray[np.int64]) -> Instants:
    return (t_ns // 1_000_000).astype("datetime64[ms]")


def _across(frame: "pd.DataFrame", quantity: str) -> tuple[Instants, Values, Values, Values]:
    """Mean, least and greatest of a quantity over its subjects, in equal buckets of time."""
    t_ns = frame["t_ns"].to_numpy()
    rows = int(frame.groupby("subject").size().max())
    width = max(1, -(-int(np.ptp(t_ns) + 1) // min(rows, LIMIT // 2)))
    slot = (t_ns - t_ns.min()) // width
    grouped = frame[quantity].groupby(slot).agg(["mean", "min", "max"])
    middle = t_ns.min() + grouped.index.to_numpy() * width + width // 2
    mean, low, high = (grouped[name].to_numpy(dtype=np.float64) for name in ("mean", "min", "max"))
    return _instants(middle), mean, low, high


def captures(figure: go.Figure, events: Iterable[Event]) -> None:
    """Shade the seconds in which a profiler was tracing: the server was not its usual self then."""
    for event in events:
        if event.kind == "trace" and event.end_ns is not None:
            start, end = theme.utc((event.t_ns / 1e9, event.end_ns / 1e9))
            shade = {"fillcolor": theme.GREY, "opacity": 0.16, "line": {"width": 0}, "layer": "below"}
            figure.add_shape(type="rect", x0=start, x1=end, y0=0, y1=1, yref="paper", **shade)


def silence(figure: go.Figure, reason: str, row: int) -> None:
    """Say in a row of a figure why nothing is drawn there."""
    figure.add_annotation(text=f"no data: {theme.safe(reason, 200)}", x=0.5, y=0.5, xref="paper",
                          yref=f"{axis(row)} domain", showarrow=False)  # fmt: skip
