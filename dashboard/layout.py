"""What stands where: the header, the cards, the verdict over time, the tabs and the page beneath them."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from dashboard import ids
from dashboard.components import panel
from dashboard.data import Entry

#: How often the page asks whether a source has something new.
POLL_MS = 2000

#: Text that is less important, and still easy to read (7 : 1 on either scheme).
_FAINT = {"light": "#4E5A66", "dark": "#B4BBC3"}


def app_layout(
    entries: Sequence[Entry], panels: Mapping[str, ModuleType], pages: Mapping[str, ModuleType]
) -> dmc.MantineProvider:
    """The whole page, empty; callbacks fill it."""
    return dmc.MantineProvider(
        [
            dcc.Location(id=ids.ADDRESS, refresh=False),
            dcc.Interval(id=ids.CLOCK, interval=POLL_MS),
            dcc.Store(id=ids.SHOWN),
            dcc.Store(id=ids.RANGE),
            dcc.Store(id=ids.BUILT),
            *(dcc.Store(id=ids.version(entry.id)) for entry in entries),
            dmc.AppShell(
                [
                    dmc.AppShellHeader(_header(entries)),
                    dmc.AppShellMain([_cards(entries), _overview(panels), _tabs(pages), html.Div(id=ids.PAGE)]),
                ],
                header={"height": 48},
                padding="md",
            ),
        ],
        defaultColorScheme="auto",
        theme={"primaryColor": "indigo", "cursorType": "pointer"},
    )


def _header(entries: Sequence[Entry]) -> html.Div:
    names = [{"value": entry.id, "label": entry.id} for entry in entries]
    picker = dmc.Select(
        id=ids.PICKER,
        data=names,
        allowDeselect=False,
        searchable=True,
        size="xs",
        w=260,
        display=None if len(entries) > 1 else "none",
        **{"aria-label": "run or trace"},
    )
    toggle = dmc.ColorSchemeToggle(
        lightIcon="☀", darkIcon="☾", variant="subtle", color="gray", **{"aria-label": "light or dark"}
    )
    return html.Div(
        [html.H1("Inferometer"), html.Div(id=ids.HEADER, className="facts"), picker, toggle], className="header"
    )


def _cards(entries: Sequence[Entry]) -> html.Div:
    waiting = dmc.Skeleton(height=132, radius="md")
    cards = [html.Div(waiting, id=ids.card(entry.id), className="card-place") for entry in entries]
    return html.Div(cards, className="cards one" if len(entries) == 1 else "cards")


def _overview(panels: Mapping[str, ModuleType]) -> html.Div:
    return html.Div([panel(*pair) for pair in panels_of(panels, "overview")], id=ids.OVERVIEW)


def _tabs(pages: Mapping[str, ModuleType]) -> dmc.Tabs:
    ordered = sorted(pages.items(), key=lambda item: item[1].ORDER)
    tabs = [dmc.TabsTab(page.TITLE, value=name, id=ids.tab(name)) for name, page in ordered]
    return dmc.Tabs(dmc.TabsList(tabs), id=ids.TABS, className="tabs")


def panels_of(panels: Mapping[str, ModuleType], page: str) -> list[tuple[str, ModuleType]]:
    """The panels that stand on a page, from the top."""
    found = [(name, module) for name, module in panels.items() if page == module.PAGE]
    return sorted(found, key=lambda item: item[1].ORDER)


def page_layout(panels: Mapping[str, ModuleType], name: str) -> list[Any]:
    """A page, empty: its panels, and the place of its tables."""
    before = _trace_picker() if name == "traces" else []
    return [
        *before,
        *(panel(*pair) for pair in panels_of(panels, name)),
        html.Div(id=ids.tables(name), className="tables"),
    ]


def _trace_picker() -> list[Any]:
    """The list of traces and the choice of the one to look at closely."""
    return [
        dcc.Store(id=ids.TRACES),
        html.Section([html.H3("Captured traces"), html.Div(id=ids.TRACE_LIST)], className="panel"),
        dmc.Select(id=ids.TRACE, label="Trace to look at closely", allowDeselect=False, w=420, mt="md"),
    ]
