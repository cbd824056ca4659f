"""Where each GPU's time went: the parts add up to the whole span, so nothing hides.

Kernels: they ran. Exposed: a copy or a collective ran and no kernel beside it. Idle, launch: the next kernel had
not been launched yet, the host is late. Idle, device: it had been launched, the device waited for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    """One part of a device's time: work and waiting in plain colours, else in that of the class it speaks for."""

    name: str
    seconds: float
    marker: dict[str, Any]
    ink: str = "#111111"


def _parts(device: DeviceBudget) -> tuple[_Part, ...]:
    """A device's time, whole: every kind of part in a fixed order, some of them empty."""
    unexplained = device.idle_s - device.idle_launch_s - device.idle_device_s
    return (
        _Part("kernels", device.compute_s, _plain(theme.LINE)),
        _part("exposed communication", device.exposed_communication_s, "communication"),
        _part("exposed copy", device.exposed_copy_s, "io"),
        _part("idle, launch", device.idle_launch_s, "host_overhead"),
        _Part("idle, device", device.idle_device_s, _plain(theme.GREY)),
        _part("idle, cause unknown", unexplained if unexplained > _NOTHING_S else 0.0, "unknown"),
    )


def _part(name: str, seconds: float, speaks_for: str) -> _Part:
    return _Part(name, seconds, theme.fill(speaks_for), bottleneck(speaks_for).ink)


def _plain(colour: str) -> dict[str, Any]:
    return {"color": colour, "line": {"width": 0}}


#: What is left of a sum of parts by rounding is no part.
_NOTHING_S = 1e-9


def figure(view: View) -> go.Figure:
    """One stacked bar a device."""
    budget = view.analysis.budget
    if budget is None or not budget.devices:
        return theme.nothing(view.analysis.verdict.abstained or "no kernel or copy in this trace")
    drawn = theme.blank(78 + 34 * len(budget.devices), barmode="stack", bargap=0.25, hovermode="closest")
    for same in zip(*(_parts(device) for device in budget.devices), strict=True):
        if any(part.seconds for part in same):
            drawn.add_bar(**_bar(same, budget.devices))
    longest = max(device.span_s for device in budget.devices)
    drawn.update_xaxes(tickformat="~s", ticksuffix="s", range=[0, longest])
    drawn.update_layout(legend={"traceorder": "normal"})
    return drawn.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True)


def _bar(same: Sequence[_Part], devices: Sequence[DeviceBudget]) -> dict[str, object]:
    """One kind of part of all devices."""
    ratios = [part.seconds / device.span_s for part, device in zip(same, devices, strict=True)]
    words = [f"{duration(part.seconds)}, {percent(ratio)}" for part, ratio in zip(same, ratios, strict=True)]
    return {
        "x": [part.seconds for part in same],
        "y": [f"GPU {device.device}" for device in devices],
        "orientation": "h",
        "name": same[0].name,
        "marker": same[0].marker,
        "text": [percent(ratio) for ratio in ratios],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "textfont": {"color": same[0].ink, "size": 12},
        "hovertext": words,
        "hovertemplate": f"{same[0].name}: %{{hovertext}}<extra></extra>",
    }
