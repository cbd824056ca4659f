"""What the GPU drew and how fast it ran: clocks that fall while power stays high are held down, not idle.

A clock that falls while requests wait is worth a look at the throttle reasons; one that falls with the
power because nothing runs is a GPU at rest. Shaded: a profiler was tracing.
"""

import plotly.graph_objects as go

from analyzer import drawing, theme
from analyzer.formatting import number
from analyzer.panels import View

TITLE = "Power and clocks"
ORDER = 20
KIND = "run"
PAGE = "utilization"

_POWER = theme.Measure("power_watts", "power", theme.SECOND_LINE)
_CLOCK = theme.Measure("sm_clock_hz", "SM clock", theme.LINE)


def figure(view: View) -> go.Figure:
    """Power above, SM clock beneath, on the run's time axis."""
    drawn = drawing.timeline(view, ["power, W", "SM clock, Hz"], height=300)
    drawing.captures(drawn, view.events)
    drawing.add_measure(drawn, view, _POWER, template="%{y:.3s}W", words=lambda value: number(value, "W"))
    power = len(drawn.data)
    drawing.add_measure(drawn, view, _CLOCK, template="%{y:.3s}Hz", words=lambda value: number(value, "Hz"), row=1)
    if not drawn.data:
        return theme.nothing("neither power nor clocks were read")
    if not power:
        drawing.silence(drawn, "power was not read", row=0)
    if len(drawn.data) == power:
        drawing.silence(drawn, "the SM clock was not read", row=1)
    return drawn.update_yaxes(rangemode="tozero", tickformat="~s")
