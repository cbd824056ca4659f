"""How every picture looks: one template, the colours of the measures, and the words for what is missing.

A figure knows no colour scheme: its paper is transparent and, where a page includes ``STYLE``, its text and
its grid take the colour of the page around it, so that one figure is readable in light and in dark.
"""

import html
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from analyzer.bottlenecks import bottleneck
from analyzer.schema import Analysis
from analyzer.wording import plain


@dataclass(frozen=True)
class Measure:
    """How one quantity is drawn, everywhere."""

    quantity: str
    label: str
    colour: str
    width: float = 1.8
    dash: str = "solid"
    strength: float = 1.0

    @property
    def stroke(self) -> dict[str, Any]:
        """Its line, as plotly takes it."""
        return {"color": self.colour, "width": self.width, "dash": self.dash}


GREY = "#8A939C"
SM = "#2FA98F"

#: What the GPU did, in the order it is drawn: NVML's figure lies behind, thin and grey, so its lie is visible.
ACTIVITY = (
    Measure("gpu_utilization_ratio", "NVML “GPU utilization”", GREY, 1.1, "4px,3px"),
    Measure("sm_active_ratio", "SM active", SM),
    Measure("dram_active_ratio", "DRAM active", "#56B4E9"),
    Measure("tensor_active_ratio", "tensor active", "#0072B2"),
)

#: Readable on white and on near-black where a page does not include ``STYLE``.
INK = "#6B7785"
LINE = "#4C7DD0"
SECOND_LINE = "#C2701C"
MONEY = "#2E9E5B"

WAITING = "#7B68EE"
#: p50, p95 and p99: the same hue, ``WAITING``, at three strengths.
STRENGTHS = {0.5: 0.45, 0.95: 0.7, 0.99: 1.0}

#: What a page adds to its style sheet: whatever is written in ``INK`` takes the colour of the page's own text.
STYLE = """
.js-plotly-plot text[style*="fill: rgb(107, 119, 133)"] { fill: currentColor !important; }
.js-plotly-plot .gridlayer path, .js-plotly-plot .zerolinelayer path
{ stroke: currentColor !important; stroke-opacity: 0.13; }
.js-plotly-plot .xlines-above, .js-plotly-plot .ylines-above
{ stroke: currentColor !important; stroke-opacity: 0.35; }
"""

#: How a page hands a figure to plotly.js, whose own defaults offer to upload it.
CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "showTips": False,
    "responsive": True,
    "doubleClick": "autosize",
    # "Reset" would lead back to where a panel was first drawn, which may be a part of the whole; "autoscale" does not.
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "resetScale2d"],
}

_AXIS = {
    "gridcolor": "rgba(128, 140, 150, 0.2)",
    "zerolinecolor": "rgba(128, 140, 150, 0.2)",
    "linecolor": "rgba(128, 140, 150, 0.5)",
    "automargin": False,
    "title": {"standoff": 6, "font": {"size": 11}},
    "tickfont": {"size": 11},
}

TEMPLATE = go.layout.Template(
    layout={
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {
            "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
            "size": 12,
            "color": INK,
        },
        "margin": {"l": 68, "r": 20, "t": 30, "b": 36},
        "xaxis": _AXIS | {"showline": True},
        "yaxis": _AXIS,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1,
            "yanchor": "bottom",
            "font": {"size": 11},
            "itemwidth": 30,
        },
        "hoverlabel": {
            "bgcolor": "#25292E",
            "bordercolor": "#25292E",
            "font": {"color": "#F1F3F5", "size": 12},
        },
        "uniformtext": {"minsize": 9, "mode": "hide"},
        "barcornerradius": 2,
        "dragmode": "zoom",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#8A939C", "activecolor": "#4C7DD0"},
    },
)

#: Decades that a logarithmic axis spans at most, and the marks in each of them.
_LADDERS = ((1.0, (1, 2, 3, 5)), (2.0, (1, 2, 5)), (3.2, (1, 3)), (math.inf, (1,)))

HATCHED = {"shape": "/", "size": 6, "solidity": 0.28, "fgcolor": "#6B7785", "bgcolor": "#C8CCD0"}


def blank(height: int, **layout: Any) -> go.Figure:  # noqa: ANN401 - plotly's own vocabulary
    """An empty figure of a height in pixels, ready to be drawn on."""
    figure = go.Figure()
    return figure.update_layout(template=TEMPLATE, height=height, **layout)


def nothing(reason: str, height: int = 120) -> go.Figure:
    """The figure of what cannot be shown: it says so, and why, in the place where the picture would be."""
    figure = blank(height, margin={"l": 20, "r": 20, "t": 8, "b": 8})
    figure.update_xaxes(visible=False, fixedrange=True)
    figure.update_yaxes(visible=False, fixedrange=True)
    words = f"no data: {safe(reason, 200)}"
    return figure.add_annotation(text=words, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)


def utc(seconds: Iterable[float]) -> npt.NDArray[np.datetime64]:
    """Seconds since the epoch as the instants a date axis takes."""
    return np.rint(np.fromiter(seconds, dtype=np.float64) * 1e3).astype("datetime64[ms]")


def decades(values: Iterable[float], words: Callable[[float], str]) -> dict[str, Any]:
    """A logarithmic axis for these values, with few enough marks, each written as a person would write it."""
    known = [value for value in values if value > 0]
    if not known:
        return {"type": "log"}
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    span = math.log10(max(known) / min(known))
    steps = next(steps for most, steps in _LADDERS if span <= most)
    marks = [step * 10.0**exponent for exponent in range(low - 1, high + 1) for step in steps]
    room = 0.06 * span + 0.04
    ends = [math.log10(min(known)) - room, math.log10(max(known)) + room]
    return {"type": "log", "range": ends, "tickvals": marks, "ticktext": [words(mark) for mark in marks]}


def safe(text: str, limit: int = 80) -> str:
    """Text that came from a file, as plotly may draw it: never markup, never endless."""
    return html.escape(plain(text, limit), quote=False)


def fill(name: str) -> dict[str, Any]:
    """The marker of a bottleneck class: its colour, hatched where nothing is known."""
    known = bottleneck(name)
    return {"color": known.colour, "line": {"width": 0}} | ({"pattern": HATCHED} if known.id == "unknown" else {})


def faint(colour: str, opacity: float) -> str:
    """A colour that lets the page through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity})"


def gpu_name(name: str) -> str:
    """A GPU without its maker: ``H200``."""
    return name.removeprefix("NVIDIA ")


def reference_name(reference: Analysis) -> str:
    """What the dotted outline is called: ``reference: vLLM 0.23.0 on H200``."""
    engine = (reference.source.engine or "").replace("vllm", "vLLM") or reference.source.name
    gpus = [gpu_name(name) for name in reference.source.gpus]
    where = f" on {len(gpus)} × {gpus[0]}" if len(gpus) > 1 else f" on {gpus[0]}" if gpus else ""
    return f"reference: {engine}{where}"
