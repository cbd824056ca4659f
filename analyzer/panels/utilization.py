"""How full the GPU really was, beside NVML's “utilization”, which only says that some kernel ran.

SM active: share of the SMs that had work. DRAM active: HBM traffic over the vendor's peak. Tensor active:
how busy the tensor cores were. NVML's figure lies behind them, thin, grey and dashed: the distance to it is
what it hides. Shaded: a profiler was tracing.
"""

import plotly.graph_objects as go

from analyzer import drawing, theme
from analyzer.formatting import percent
from analyzer.panels import View

TITLE = "GPU activity"
ORDER = 10
KIND = "run"
PAGE = "utilization"


def figure(view: View) -> go.Figure:
    """Four ratios on the run's time axis, from samples where the view has them, else from means."""
    drawn = drawing.timeline(view, ["share of peak"], height=300)
    drawing.captures(drawn, view.events)
    for measure in theme.ACTIVITY:
        drawing.add_measure(drawn, view, measure, template="%{y:.0%}", words=percent)
    if not drawn.data:
        return theme.nothing("no GPU counter was read (neither NVML nor GPM)")
    return drawn.update_yaxes(range=[0, 1.02], tickformat=".0%", dtick=0.25)
