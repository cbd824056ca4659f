"""What the bill paid for: each bar begins where the one before it ends, and the last is their sum, the invoice.

Green are answers, orange is what brought none: start-up, idle time, requests that failed or came too late. Who has
which part of the busy time goes by the number of requests; the whole is the price times the hours.
"""

import plotly.graph_objects as go

from analyzer import theme
from analyzer.formatting import duration, percent
from analyzer.invoice import PARTS, rounded
from analyzer.panels import View
from analyzer.tables.money import decimals

TITLE = "Invoice"
ORDER = 11
KIND = "run"
PAGE = "cost"

_EARNED = {"in_slo", "answered"}


def figure(view: View) -> go.Figure:
    """The parts of the invoice as a waterfall, in the order of a server's life."""
    cost = view.analysis.cost
    if cost is None or cost.invoice is None:
        reason = cost.overall.reason if cost else None
        return theme.nothing(reason or "no price is known for this GPU: give one with --price")
    found = cost.invoice
    places = decimals(found)
    drawn = theme.blank(300, margin={"l": 60, "r": 20, "t": 28, "b": 40}, showlegend=False)
    base = 0.0
    for part, usd in zip(found.parts, rounded(found, places), strict=True):
        share = percent(part.usd / found.usd if found.usd else None)
        colour = theme.MONEY if part.part in _EARNED else theme.SECOND_LINE
        _bar(drawn, PARTS[part.part], base, part.usd, f"${usd:,}", colour)
        drawn.data[-1].hovertext = [f"{PARTS[part.part]}: ${usd:,}, {share}, {duration(part.seconds)}"]
        base += part.usd
    _bar(drawn, "invoice", 0.0, found.usd, f"${found.usd:,.{places}f}", theme.GREY)
    drawn.data[-1].hovertext = [f"invoice: ${found.usd:,.{places}f}"]
    top = found.usd * 1.15 or 1.0
    return drawn.update_yaxes(title="USD", tickprefix="$", range=[0, top])


def _bar(drawn: go.Figure, name: str, base: float, usd: float, words: str, colour: str) -> None:
    bar = go.Bar(
        x=[name.replace(" ", "<br>", 1)], y=[usd], base=[base], text=[words], textposition="outside", cliponaxis=False
    )
    drawn.add_trace(bar.update(marker={"color": colour}, hoverinfo="text", name=name))
