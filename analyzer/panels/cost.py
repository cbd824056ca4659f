"""What a thousand answers cost: the dark line is each window's price, the wide pale one its phase's, in figures.

The dotted line leaves out the time in which nothing ran: its distance to the dark one is what waiting for work
costs. A window without an answer has no price per answer, and no line.
"""

import math

import plotly.graph_objects as go

from analyzer import drawing, theme
from analyzer._steps import add_steps
from analyzer.formatting import count, money, per_thousand, percent
from analyzer.panels import View
from analyzer.schema import CostWindow

TITLE = "Cost of 1,000 answers"
ORDER = 10
KIND = "run"
PAGE = "cost"

_PHASE = theme.Measure("phase", "phase", theme.faint(theme.MONEY, 0.28), 9)
_BUSY = theme.Measure("usd_per_1000_busy", "while busy", theme.faint(theme.MONEY, 0.6), 1.2, "dot")
_ALL = theme.Measure("usd_per_1000", "per 1,000", theme.MONEY, 2)


def figure(view: View) -> go.Figure:
    """Dollars per 1,000 on the run's time axis, logarithmic: a phase at rest costs many times a busy one."""
    cost = view.analysis.cost
    if cost is None:
        return theme.nothing("no price is known for this GPU: give one with --price")
    if cost.overall.usd_per_1000 is None:
        return theme.nothing(cost.overall.reason or "no request was answered")
    drawn = drawing.timeline(view, ["$ per 1,000"], height=320)
    drawing.captures(drawn, view.events)
    add_steps(drawn, cost.phases, lambda phase: phase.usd_per_1000, words=_of_phase, measure=_PHASE)
    add_steps(drawn, cost.windows, lambda window: window.usd_per_1000_busy or None, words=_busy, measure=_BUSY)
    add_steps(drawn, cost.windows, lambda window: window.usd_per_1000, words=_all, measure=_ALL)
    for phase in cost.phases:
        _label(drawn, phase)
    return drawn.update_yaxes(type="log", tickprefix="$", nticks=6)


def _label(drawn: go.Figure, phase: CostWindow) -> None:
    """The phase's figure above its line; at the foot, why there is none."""
    known = phase.usd_per_1000 is not None
    text = money(phase.usd_per_1000) if known else "no answer"
    level = (
        {"y": math.log10(phase.usd_per_1000), "yshift": 14} if phase.usd_per_1000 else {"y": 0.04, "yref": "y domain"}
    )
    (middle,) = theme.utc([(phase.start_s + phase.end_s) / 2])
    drawn.add_annotation(x=middle, text=text, showarrow=False, font={"size": 11}, **level)


def _of_phase(phase: CostWindow) -> str:
    return f"{theme.safe(phase.name or 'phase')} {per_thousand(phase.usd_per_1000)}"


def _all(window: CostWindow) -> str:
    answers = f"{count(window.requests_ok)} answers, {money(window.usd)}"
    return f"{per_thousand(window.usd_per_1000)} ({answers})"


def _busy(window: CostWindow) -> str:
    return f"{per_thousand(window.usd_per_1000_busy)} ({percent(window.idle_ratio)} idle)"
