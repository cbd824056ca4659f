"""Where each GPU's time went: the parts add up to the whole span, so nothing hides.

Compute: kernels ran. Exposed: a copy or a collective ran and no kernel beside it. Idle, launch: the next
kernel had not been launched yet, the host is late. Idle, device: it had been launched, the device waited
for itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from analyzer import theme
from analyzer.bottlenecks import bottleneck
from analyzer.formatting import duration, percent
from analyzer.panels import View
from analyzer.schema import DeviceBudget

TITLE = "Time budget"
ORDER = 0
KIND = "trace"
PAGE = "traces"


@dataclass(frozen=True)
class _Part:
    """One part of a device's time, in the colour of the class it speaks for."""

    name: str
    seconds: Callable[[DeviceBudget], float]
    speaks_for: str


_PARTS = (
    _Part("compute", lambda d: d.compute_s, "compute"),
    _Part("exposed communication", lambda d: d.exposed_communication_s, "communication"),
    _Part("exposed copy", lambda d: d.exposed_copy_s, "io"),
    _Part("idle, launch", lambda d: d.idle_launch_s, "host_overhead"),
    _Part("idle, device", lambda d: d.idle_device_s, "low_traffic"),
    _Part("idle, cause unknown", lambda d: max(0.0, d.idle_s - d.idle_launch_s - d.idle_device_s), "unknown"),
)
#: A part that is only the rounding of a sum is no part.
_NOTHING_S = 1e-9


def figure(view: View) -> go.Figure:
    """One stacked bar a device."""
    budget = view.analysis.budget
    if budget is None or not budget.devices:
        return theme.nothing(view.analysis.verdict.abstained or "no kernel or copy in this trace")
    drawn = theme.blank(
        70 + 34 * len(budget.devices),
        barmode="stack",
        bargap=0.25,
        hovermode="closest",
        legend={"traceorder": "normal"},
    )
    for part in _PARTS:
        if any(part.seconds(device) > _NOTHING_S for device in budget.devices):
            drawn.add_bar(**_bar(part, budget.devices))
    drawn.update_xaxes(tickformat="~s", ticksuffix="s", range=[0, max(device.span_s for device in budget.devices)])
    return drawn.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True)


def _bar(part: _Part, devices: Sequence[DeviceBudget]) -> dict[str, object]:
    known = bottleneck(part.speaks_for)
    seconds = [part.seconds(device) for device in devices]
    ratios = [s / device.span_s if device.span_s else None for s, device in zip(seconds, devices, strict=True)]
    return {
        "x": seconds,
        "y": [f"GPU {device.device}" for device in devices],
        "orientation": "h",
        "name": part.name,
        "marker": theme.fill(part.speaks_for),
        "text": [percent(ratio) for ratio in ratios],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "textfont": {"color": known.ink, "size": 12},
        "hovertext": [f"{duration(s)}, {percent(ratio)}" for s, ratio in zip(seconds, ratios, strict=True)],
        "hovertemplate": f"{part.name}: %{{hovertext}}<extra></extra>",
    }
