"""One bar a step of the engine: as wide as it took, as tall as its batch; beneath, its duration.

Tall and narrow is a full batch that goes fast. Low bars while requests wait are a scheduler that does not
fill its batches; long gaps between a step's work and the next one are a host that is late.
"""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from analyzer import theme
from analyzer.bottlenecks import BOTTLENECKS
from analyzer.drawing.decimate import extremes
from analyzer.formatting import count, duration, percent
from analyzer.panels import View
from analyzer.schema import Step

TITLE = "Steps"
ORDER = 10
KIND = "trace"
PAGE = "traces"

_PHASES = {
    "prefill": BOTTLENECKS["compute"].colour,
    "mixed": theme.WAITING,
    "decode": BOTTLENECKS["memory_bandwidth"].colour,
}


def figure(view: View) -> go.Figure:
    """Batch above, duration beneath, over the time since the trace began."""
    steps = view.analysis.steps.steps if view.analysis.steps else ()
    if not steps:
        return theme.nothing("no step of an LLM engine was recognised in this trace")
    kept = [steps[row] for row in extremes(np.asarray([step.duration_s for step in steps]))]
    origin_s = view.analysis.source.started_s
    drawn = theme.blank(300, barmode="overlay", hovermode="closest", uirevision=view.analysis.source.name)
    for phase in dict.fromkeys(step.phase for step in kept):
        _draw(drawn, [step for step in kept if step.phase == phase], phase, origin_s)
    span = [0, view.analysis.source.duration_s]
    drawn.update_xaxes(anchor="free", position=0, tickformat="~s", ticksuffix="s", range=span)
    drawn.update_layout(
        yaxis={"title": {"text": "batch"}, "domain": [0.56, 1], "rangemode": "tozero"},
        yaxis2={"title": {"text": "duration"}, "domain": [0, 0.44]}
        | theme.decades([step.duration_s for step in kept], duration),
    )  # fmt: skip
    return drawn


def _draw(drawn: go.Figure, steps: Sequence[Step], phase: str, origin_s: float) -> None:
    colour = _PHASES.get(phase, theme.GREY)
    middles = [step.start_s - origin_s + step.duration_s / 2 for step in steps]
    common = {
        "x": middles,
        "name": theme.safe(phase),
        "legendgroup": phase,
        "hovertext": [_words(step) for step in steps],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }
    widths = [step.duration_s for step in steps]
    drawn.add_bar(
        y=[step.batch for step in steps],
        width=widths,
        marker={"color": colour, "line": {"width": 0}},
        **common,
    )
    drawn.add_scatter(
        y=widths, yaxis="y2", mode="markers", marker={"color": colour, "size": 4}, showlegend=False, **common
    )


def _words(step: Step) -> str:
    work = f"batch {count(step.batch)}, {count(step.tokens)} tokens"
    return f"{theme.safe(step.phase)} {duration(step.duration_s)}<br>{work}<br>{percent(step.busy_ratio)} busy"
