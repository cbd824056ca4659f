"""What held the server back, when: a colour and a letter for each stretch, hatched where nobody can tell.

The phases of load are named beneath it with the verdict on each as a whole; ◆ marks captures, gaps and
restarts. Pointing at a stretch shows how its time was shared out between the bottleneck classes, and how
sure that is.
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from analyzer import drawing, theme
from analyzer.bottlenecks import bottleneck
from analyzer.formatting import percent
from analyzer.panels import View
from analyzer.schema import VerdictWindow
from collector.schema import Event

TITLE = "Verdict over time"
ORDER = 0
KIND = "run"
PAGE = "overview"

#: The rows, from the bottom.
_EVENTS, _PHASES, _VERDICT = 0, 1, 2
_MARKS = ("trace", "gap", "restart", "clock_jump")
#: Shares below this one are left out of the words.
_SHOWN = 0.005

_Stretch = tuple[float, float]


def figure(view: View) -> go.Figure:
    """Coloured stretches on the run's time axis."""
    verdict = view.analysis.verdict
    windows = verdict.windows or verdict.phases
    if not windows:
        return theme.nothing(verdict.abstained or "no window is long enough for a verdict of its own")
    marks = [event for event in view.events if event.kind in _MARKS]
    rows = {_VERDICT: "verdict"}
    rows |= {_PHASES: "phases"} if verdict.phases else {}
    rows |= {_EVENTS: "events"} if marks else {}
    drawn = drawing.timeline(view, [""], height=66 + 26 * len(rows))
    drawn.update_layout(hovermode="closest", barmode="overlay", bargap=0, xaxis={"showgrid": False})
    for name in dict.fromkeys(window.bottleneck for window in windows):
        drawn.add_bar(**_stretches(_joined(windows, name), name))
    drawn.add_bar(**_answers(windows, _VERDICT))
    if verdict.phases:
        drawn.add_bar(**_phases(verdict.phases))
    if marks:
        drawn.add_scatter(**_events(marks))
    return drawn.update_yaxes(
        tickvals=list(rows),
        ticktext=list(rows.values()),
        range=[min(rows) - 0.5, _VERDICT + 0.5],
        showgrid=False,
        zeroline=False,
    )


def _joined(windows: Sequence[VerdictWindow], name: str) -> list[_Stretch]:
    """The stretches of one class: neighbours are one stretch, so that it has one letter."""
    stretches: list[_Stretch] = []
    for window in windows:
        if window.bottleneck != name:
            continue
        if stretches and window.start_s <= stretches[-1][1] + 1e-3:
            stretches[-1] = (stretches[-1][0], window.end_s)
        else:
            stretches.append((window.start_s, window.end_s))
    return stretches


def _bar(stretches: Sequence[_Stretch], row: int) -> dict[str, Any]:
    return {
        "base": theme.utc(start for start, _ in stretches),
        "x": [1e3 * (end - start) for start, end in stretches],
        "y": [row] * len(stretches),
        "orientation": "h",
        "width": 0.86,
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
    }


def _stretches(stretches: Sequence[_Stretch], name: str) -> dict[str, Any]:
    known = bottleneck(name)
    return _bar(stretches, _VERDICT) | {
        "name": f"<b>{known.letter}</b> {known.title}",
        "marker": theme.fill(name),
        "text": [f"<b>{known.letter}</b>"] * len(stretches),
        "textfont": {"color": known.ink, "size": 14},
        "hoverinfo": "skip",
    }


def _answers(windows: Sequence[VerdictWindow], row: int) -> dict[str, Any]:
    """An invisible layer in which every window answers for itself."""
    return _bar([(window.start_s, window.end_s) for window in windows], row) | {
        "marker": {"color": "rgba(0,0,0,0)", "line": {"width": 0}},
        "hovertext": [_words(window) for window in windows],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "showlegend": False,
    }


def _phases(phases: Sequence[VerdictWindow]) -> dict[str, Any]:
    names = [f"<b>{bottleneck(p.bottleneck).letter}</b>  {theme.safe(p.name or 'phase', 40)}" for p in phases]
    return _answers(phases, _PHASES) | {
        "marker": {"color": theme.faint(theme.GREY, 0.22), "line": {"width": 0}},
        "text": names,
        "textfont": {"size": 11, "color": theme.INK},
        "name": "phases",
    }


def _events(marks: Sequence[Event]) -> dict[str, Any]:
    return {
        "x": theme.utc(event.t_ns / 1e9 for event in marks),
        "y": [_EVENTS] * len(marks),
        "mode": "markers",
        "marker": {"symbol": "diamond", "size": 8, "color": theme.GREY},
        "hovertext": [f"{event.kind.replace('_', ' ')}: {theme.safe(event.name)}" for event in marks],
        "hovertemplate": "%{hovertext}<br>%{x}<extra></extra>",
        "showlegend": False,
        "name": "events",
    }


def _words(window: VerdictWindow) -> str:
    """What one window says of itself when it is pointed at."""
    known = bottleneck(window.bottleneck)
    title = f"<b>{known.letter} {known.title}</b>  confidence {window.confidence:.2f}"
    if window.abstained:
        title = f"<b>?</b> cannot tell: {theme.safe(window.abstained, 160)}"
    ranked = sorted(window.shares.items(), key=lambda item: -item[1])
    shares = [f"{percent(part)}  {bottleneck(name).title}" for name, part in ranked if part >= _SHOWN]
    return "<br>".join([*([theme.safe(window.name)] if window.name else []), title, *shares])
