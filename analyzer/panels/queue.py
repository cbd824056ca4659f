"""Who was being served and who was waiting; beneath, how long a newcomer waits by Little's law.

Waiting above zero while the GPU has room means that the scheduler, not the hardware, is the limit. The
delay is an estimate that needs no request to finish before it shows a jam: the line is waiting over the rate
at which requests leave the queue, the box reaches to the rate at which they join it. It is a line where the
queue is steady; ▲ where nobody joins any more and no longest delay is known.
"""

from operator import attrgetter

import plotly.graph_objects as go

from analyzer import drawing, theme
from analyzer.drawing.staircases import add_boxes, add_steps, add_words
from analyzer.formatting import duration, interval, number
from analyzer.panels import View
from analyzer.schema import LatencyWindow

TITLE = "Queue"
ORDER = 20
KIND = "run"
PAGE = "latency"

_RUNNING = theme.Measure("requests_running", "running", theme.LINE)
_WAITING = theme.Measure("requests_waiting", "waiting", theme.SECOND_LINE)
_DELAY = theme.Measure("queue_delay_s", "queue delay", theme.WAITING)


def figure(view: View) -> go.Figure:
    """Requests above, queue delay beneath, on the run's time axis."""
    drawn = drawing.timeline(view, ["requests", "queue delay"], height=300)
    drawing.captures(drawn, view.events)
    _draw_requests(drawn, view, _RUNNING)
    _draw_requests(drawn, view, _WAITING)
    counted = len(drawn.data)
    windows = view.analysis.latency.windows if view.analysis.latency else ()
    delay = attrgetter(_DELAY.quantity)
    add_boxes(drawn, windows, _bounds, measure=_DELAY, axis="y2", legend=False)
    add_steps(drawn, windows, delay, measure=_DELAY, axis="y2")
    add_words(drawn, windows, delay, _words, name=_DELAY.label, axis="y2")
    if not drawn.data:
        return theme.nothing("the engine reported neither running nor waiting requests")
    if len(drawn.data) == counted:
        drawing.silence(drawn, "no request left the queue, so the delay cannot be estimated", row=1)
    drawn.update_yaxes(rangemode="tozero")
    return drawn.update_layout(yaxis2={"tickformat": "~s", "ticksuffix": "s"})


def _bounds(window: LatencyWindow) -> tuple[float, float | None] | None:
    low, high = window.queue_delay_low_s, window.queue_delay_high_s
    return None if low is None or low == high else (low, high)


def _words(window: LatencyWindow) -> str:
    between = interval(window.queue_delay_low_s, window.queue_delay_high_s)
    return f"{duration(window.queue_delay_s)} (estimate: {between})"


def _draw_requests(drawn: go.Figure, view: View, measure: theme.Measure) -> None:
    if drawing.add_samples(drawn, view.samples.get("serving"), measure, template="%{y:.3~f}"):
        return
    value = attrgetter(measure.quantity)
    windows = view.analysis.latency.windows if view.analysis.latency else ()
    add_steps(drawn, windows, value, measure=measure)
    add_words(drawn, windows, value, lambda window: number(value(window)), name=measure.label)
