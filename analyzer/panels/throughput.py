"""What came out: requests answered and tokens processed a second, as means of each window.

Tokens that rise while requests do not mean longer prompts or answers, not a faster server.
"""

from operator import attrgetter

import plotly.graph_objects as go

from analyzer import drawing, theme
from analyzer.drawing.staircases import add_steps, add_words
from analyzer.formatting import number
from analyzer.panels import View

TITLE = "Throughput"
ORDER = 20
KIND = "run"
PAGE = "cost"

_REQUESTS = theme.Measure("requests_per_s", "requests", theme.WAITING)
_OUTPUT = theme.Measure("output_tokens_per_s", "output tokens", theme.LINE)
_INPUT = theme.Measure("input_tokens_per_s", "input tokens", theme.SECOND_LINE)


def figure(view: View) -> go.Figure:
    """Requests above, tokens beneath, on the run's time axis."""
    drawn = drawing.timeline(view, ["requests/s", "tokens/s"], height=300)
    drawing.captures(drawn, view.events)
    _draw(drawn, view, _REQUESTS, unit="requests/s", row=0)
    counted = len(drawn.data)
    _draw(drawn, view, _OUTPUT, unit="tokens/s", row=1)
    _draw(drawn, view, _INPUT, unit="tokens/s", row=1)
    if not drawn.data:
        return theme.nothing("the engine counted neither requests nor tokens")
    if not counted:
        drawing.silence(drawn, "requests were not counted", row=0)
    if len(drawn.data) == counted:
        drawing.silence(drawn, "tokens were not counted", row=1)
    return drawn.update_yaxes(rangemode="tozero", tickformat="~s")


def _draw(drawn: go.Figure, view: View, measure: theme.Measure, *, unit: str, row: int) -> None:
    value = attrgetter(measure.quantity)
    windows = view.analysis.latency.windows if view.analysis.latency else ()
    axis = drawing.axis(row)
    add_steps(drawn, windows, value, measure=measure, axis=axis)
    add_words(drawn, windows, value, lambda window: number(value(window), unit), name=measure.label, axis=axis)
