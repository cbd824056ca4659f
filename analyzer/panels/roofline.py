"""How near the roofs each family of kernels came: a point below the roof is time that its own work does not explain.

Across: operations for each byte moved. Up: operations a second. The slope is the memory's roof, the level the tensor
cores' (bf16); dashed is what somebody measured in public. Points are at least where they stand, as large as the
family's time. Families whose kernels carry no shapes are left out; a ring is a point above its roof: the peak is wrong
there, or the work.
"""

import math

import plotly.graph_objects as go

from analyzer import theme
from analyzer.formatting import percent, scaled
from analyzer.panels import View
from analyzer.schema import FamilyRoofline, Roofline

TITLE = "Roofline"
ORDER = 30
KIND = "trace"
PAGE = "traces"

_HEIGHT = 340
_LARGEST, _SMALLEST = 38.0, 8.0


def figure(view: View) -> go.Figure:
    """The roofs as lines, families as points."""
    found = view.analysis.roofline
    if found is None:
        return theme.nothing("no kernel in this trace")
    known = [row for row in found.families if row.flops_per_s and row.intensity_flops_per_byte]
    points = sorted(known, key=lambda row: row.intensity_flops_per_byte or 0.0)
    if not points:
        return theme.nothing("no kernel of this trace carries shapes from which its work could be told")
    across = [row.intensity_flops_per_byte or 0.0 for row in points]
    up = [row.flops_per_s or 0.0 for row in points]
    drawn = theme.blank(_HEIGHT, hovermode="closest", margin={"l": 82, "r": 20, "t": 30, "b": 46})
    edges = 10 ** math.floor(math.log10(min(across)) - 0.5), 10 ** math.ceil(math.log10(max(across)) + 0.5)
    heights = _add_roofs(drawn, found, edges)
    drawn.add_scatter(
        x=across,
        y=up,
        mode="markers+text",
        cliponaxis=False,
        text=[theme.safe(row.family, 20) for row in points],
        # Neighbours write on opposite sides.
        textposition=["top left" if place % 2 == 0 else "bottom right" for place in range(len(points))],
        marker={
            "size": [max(_SMALLEST, _LARGEST * math.sqrt(row.time_share)) for row in points],
            "color": theme.LINE,
            "opacity": 0.8,
            "symbol": ["circle-open" if row.warning else "circle" for row in points],
        },
        hovertext=[_words(row) for row in points],
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )
    drawn.update_xaxes(**theme.decades(list(edges), lambda value: f"{value:g}"), title={"text": "FLOP / byte"})
    return drawn.update_yaxes(**theme.decades([*up, *heights], lambda value: scaled(value, "FLOP/s")))


def _add_roofs(drawn: go.Figure, found: Roofline, edges: tuple[float, float]) -> list[float]:
    """Draw the roofs between two intensities, and give their heights there; none on a GPU that is not known."""
    roofs = (
        (f"roof of {found.gpu}", found.tensor_flops_per_s.get("bf16"), found.dram_bytes_per_s, "solid"),
        ("measured in public", found.achieved_flops_per_s.get("bf16"), found.achieved_bytes_per_s, "4px,3px"),
    )
    heights: list[float] = []
    for name, flops, bytes_per_s, dash in roofs:
        if flops is None or bytes_per_s is None:
            continue
        corners = sorted({edges[0], max(edges[0], flops / bytes_per_s), max(edges[1], flops / bytes_per_s)})
        roof = [min(flops, at * bytes_per_s) for at in corners]
        heights += roof
        line = {"color": theme.GREY, "width": 1.6, "dash": dash}
        drawn.add_scatter(x=corners, y=roof, mode="lines", name=theme.safe(name), line=line, hoverinfo="skip")
    return heights


def _words(row: FamilyRoofline) -> str:
    rates = f"{scaled(row.flops_per_s, 'FLOP/s')}, {scaled(row.bytes_per_s, 'B/s')}"
    near = f"{percent(row.efficiency_ratio)} of the {row.bound} roof" if row.bound else "roof unknown"
    known = f"{percent(row.time_share)} of the time, {percent(row.known_ratio)} of it known"
    return "<br>".join(theme.safe(line, 200) for line in (row.family, known, rates, near, row.warning) if line)
