"""The small parts that every page is made of: a class's badge, a bar of shares, a table, a panel with its help."""

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from analyzer import theme
from analyzer.bottlenecks import Bottleneck, bottleneck
from analyzer.formatting import percent
from analyzer.schema import Share
from analyzer.tables.grid import Grid, class_of
from dashboard import ids

#: Parts of a bar narrower than this have no letter: it would not fit.
_ROOM_FOR_A_LETTER = 0.03
_CONFIG: Any = theme.CONFIG


def badge(known: Bottleneck, *, size: str = "small") -> html.Span:
    """A class's letter on its colour, hatched where nothing is known."""
    hatched = " hatched" if known.id == "unknown" else ""
    return html.Span(
        known.letter,
        className=f"badge {size}{hatched}",
        style={"backgroundColor": known.colour, "color": known.ink},
        title=f"{known.title}: {known.meaning}",
    )


def bar(shares: Iterable[Share]) -> html.Div:
    """The shares of a verdict as one bar."""
    known = [(bottleneck(share.bottleneck), share.share) for share in shares if share.share > 0]
    return html.Div([_part(*part) for part in known], className="bar", role="img", **_named(known))


def _named(parts: Iterable[tuple[Bottleneck, float]]) -> Any:  # noqa: ANN401 - an attribute no signature can name
    """The bar in words, for those who do not see it."""
    return {"aria-label": ", ".join(f"{known.title} {percent(share)}" for known, share in parts)}


def _part(known: Bottleneck, share: float) -> html.Span:
    return html.Span(
        known.letter if share >= _ROOM_FOR_A_LETTER else "",
        className="hatched" if known.id == "unknown" else "",
        style={"width": f"{100 * share:.3f}%", "backgroundColor": known.colour, "color": known.ink},
        title=f"{known.title}: {percent(share)}",
    )


def stat(name: str, value: str, *details: Any) -> html.Div:  # noqa: ANN401 - text or components
    """One figure under its name, with what a reader must know beside it."""
    return html.Div(
        [
            html.Div(name, className="stat-name"),
            html.Div(value, className="stat-value"),
            html.Div(details, className="stat-detail"),
        ],
        className="stat",
    )


def tables(grids: Iterable[Grid]) -> list[html.Section]:
    """Tables under their titles; those without a row are left out."""
    return [_table(grid) for grid in grids if grid.rows]


def _table(grid: Grid) -> html.Section:
    head = html.Tr(
        [html.Th(column.title.replace("-\n", ""), className=column.kind, scope="col") for column in grid.columns]
    )
    rows = [html.Tr([_cell(*pair) for pair in zip(grid.columns, row, strict=True)]) for row in grid.rows]
    table = dmc.Table([html.Thead(head), html.Tbody(rows)], highlightOnHover=True, tabularNums=True)
    return html.Section([html.H3(grid.title), dmc.ScrollArea(table, type="auto")], className="table")


def _cell(column: Any, text: str) -> html.Td:  # noqa: ANN401 - a column of a grid
    if column.kind == "class" and text[1:2] == " ":
        return html.Td([badge(class_of(text)), " ", text[2:]], className="class")
    return html.Td(text, className=column.kind)


def panel(name: str, module: ModuleType) -> html.Section:
    """A panel: its title, how to read it, and its picture, which a callback draws."""
    summary, _, rest = (module.__doc__ or "").partition("\n\n")
    more = " ".join(rest.split())
    return html.Section(
        [
            html.Header([html.H3(module.TITLE), html.P(summary.strip(), className="how"), *_help(more)]),
            dcc.Loading(
                dcc.Graph(id=ids.panel(name), figure=_waiting(), config=_CONFIG, className="graph"),
                delay_show=500,
                overlay_style={"visibility": "visible", "opacity": 0.4},
                type="dot",
                color=theme.LINE,
            ),
        ],
        className=f"panel {module.KIND}",
    )


def _help(text: str) -> Sequence[Any]:
    """The rest of a panel's docstring, one click or key away."""
    if not text:
        return ()
    button = dmc.ActionIcon("?", variant="default", size="sm", radius="xl", **{"aria-label": "how to read this"})
    box = dmc.PopoverDropdown(dmc.Text(text, size="sm"))
    return (dmc.Popover([dmc.PopoverTarget(button), box], width=380, position="bottom-end", withArrow=True),)


def _waiting() -> Any:  # noqa: ANN401 - a figure
    return theme.blank(160, xaxis={"visible": False}, yaxis={"visible": False})


def notice(title: str, text: str) -> dmc.Alert:
    """What stands where a thing would be that cannot be shown."""
    return dmc.Alert(text, title=title, color="gray", variant="light")
