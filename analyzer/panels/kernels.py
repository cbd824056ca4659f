"""Which kernels took the time, the longest first, coloured by family.

The percentage is of all device work, not of the span: a kernel can be most of the work of a GPU that is
idle most of the time. Pointing shows the full name, how often it ran, and what bounds it where the trace
tells.
"""

from collections.abc import Sequence

import plotly.graph_objects as go

from analyzer import theme
from analyzer.bottlenecks import BOTTLENECKS
from analyzer.formatting import count, duration, percent
from analyzer.panels import View
from analyzer.schema import Kernel
from analyzer.wording import kernel_name

TITLE = "Longest kernels"
ORDER = 20
KIND = "trace"
PAGE = "traces"

_MOST = 12
_FAMILIES = {
    "gemm": BOTTLENECKS["compute"].colour,
    "attention": theme.WAITING,
    "normalisation": "#2FA98F",
    "elementwise": BOTTLENECKS["memory_bandwidth"].colour,
    "copy": BOTTLENECKS["io"].colour,
    "communication": BOTTLENECKS["communication"].colour,
}


def figure(view: View) -> go.Figure:
    """One bar a kernel."""
    kernels = sorted(view.analysis.kernels or (), key=lambda kernel: -kernel.total_s)[:_MOST]
    if not kernels:
        return theme.nothing("no kernel in this trace")
    drawn = theme.blank(72 + 24 * len(kernels), barmode="overlay", hovermode="closest")
    for family in dict.fromkeys(kernel.family for kernel in kernels):
        drawn.add_bar(**_bars(kernels, family))
    longest = max(kernel.total_s for kernel in kernels)
    drawn.update_layout(margin={"l": 320})
    drawn.update_xaxes(tickformat="~s", ticksuffix="s", range=[0, 1.12 * longest])
    names = [theme.safe(kernel_name(kernel.name, 46), 46) for kernel in kernels]
    return drawn.update_yaxes(
        tickvals=list(range(len(kernels))),
        ticktext=names,
        autorange="reversed",
        showgrid=False,
        fixedrange=True,
    )


def _bars(kernels: Sequence[Kernel], family: str) -> dict[str, object]:
    mine = [(row, kernel) for row, kernel in enumerate(kernels) if kernel.family == family]
    return {
        "x": [kernel.total_s for _, kernel in mine],
        "y": [row for row, _ in mine],
        "orientation": "h",
        "name": theme.safe(family),
        "marker": {"color": _FAMILIES.get(family, theme.GREY), "line": {"width": 0}},
        "text": [f"{duration(kernel.total_s)}, {percent(kernel.share)}" for _, kernel in mine],
        "textposition": "outside",
        "width": 0.72,
        "cliponaxis": False,
        "hovertext": [_words(kernel) for _, kernel in mine],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _words(kernel: Kernel) -> str:
    bound = f"{kernel.bound} bound" if kernel.bound else "bound unknown"
    times = f"{count(kernel.count)} × {duration(kernel.mean_s)} = {duration(kernel.total_s)}"
    return f"{theme.safe(kernel_name(kernel.name, 110), 110)}<br>{times}<br>{theme.safe(kernel.family)}, {bound}"
