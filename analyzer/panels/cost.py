"""What a thousand answers cost: the dark line is each window's price, the wide pale one its phase's, in figures.

The dotted line leaves out the time in which nothing ran: its distance to the dark one is what waiting for work
costs. A window without an answer has no price per answer, and no line.
"""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter

import plotly.graph_objects as go

from analyzer import drawing, theme
from analyzer.drawing.staircases import add_steps, add_words
from analyzer.formatting import count, money, per_thousand, percent
from analyzer.panels import View
from analyzer.schema import CostWindow

TITLE = "Cost of 1,000 answers"
ORDER = 10
KIND = "run"
PAGE = "cost"

_PHASE = theme.Measure("usd_per_1000", "phase", theme.faint(theme.MONEY, 0.28), 9)
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
    _draw(drawn, cost.phases, _PHASE, _of_phase)
    _draw(drawn, cost.windows, _BUSY, _busy)
    _draw(drawn, cost.windows, _ALL, _all)
    for phase in cost.phases:
        _label(drawn, phase)
    parts = (*cost.windows, *cost.phases)
    known = [usd for part in parts for usd in (part.usd_per_1000, part.usd_per_1000_busy) if usd]
    # Above the lines is room for the figures of the phases.
    span = [math.log10(min(known)) - 0.15, math.log10(max(known)) + 0.45]
    return drawn.update_yaxes(theme.decades(known, lambda usd: f"${usd:g}") | {"range": span})


def _draw(
    drawn: go.Figure, windows: Sequence[CostWindow], measure: theme.Measure, words: Callable[[CostWindow], str]
) -> None:
    value = attrgetter(measure.quantity)
    add_steps(drawn, windows, lambda window: value(window) or None, measure=measure)
    add_words(drawn, windows, lambda window: value(window) or None, words, name=measure.label)


def _label(drawn: go.Figure, phase: CostWindow) -> None:
    """The phase's figure, or that it has none, above its line."""
    (middle,) = theme.utc([(phase.start_s + phase.end_s) / 2])
    text = money(phase.usd_per_1000, missing="no answer")
    drawn.add_annotation(x=middle, y=1, yref="y domain", yanchor="top", text=text, showarrow=False, font={"size": 11})


def _of_phase(phase: CostWindow) -> str:
    return f"{theme.safe(phase.name or 'phase')} {per_thousand(phase.usd_per_1000)}"


def _all(window: CostWindow) -> str:
    answers = f"{count(window.requests_ok)} answers, {money(window.usd)}"
    return f"{per_thousand(window.usd_per_1000)} ({answers})"


def _busy(window: CostWindow) -> str:
    return f"{per_thousand(window.usd_per_1000_busy)} ({percent(window.idle_ratio)} idle)"
