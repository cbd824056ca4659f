"""Which part of the page answers to which: every callback is one call of a function that knows no page."""

from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Any

from dash import ALL, MATCH, ClientsideFunction, Dash, Input, Output, State, ctx

from dashboard import ids, show
from dashboard.data import Library
from dashboard.navigation import go

_Modules = Mapping[str, ModuleType]

#: A trace, and the run that it belongs to.
_LOOKED_AT = (Input(ids.TRACE, "value"), State(ids.SHOWN, "data"))


def register(app: Dash, library: Library, panels: _Modules, pages: _Modules) -> None:
    """Connect everything."""
    _navigation(app, library, panels, pages)
    _source(app, library)
    _pictures(app, library, panels)
    _tables(app, library, pages)
    _traces(app, library)
    _in_the_browser(app)


def _navigation(app: Dash, library: Library, panels: _Modules, pages: _Modules) -> None:
    @app.callback(
        Output(ids.ADDRESS, "search"),
        Output(ids.TABS, "value"),
        Output(ids.PICKER, "value"),
        Input(ids.ADDRESS, "search"),
        Input(ids.TABS, "value"),
        Input(ids.PICKER, "value"),
    )
    def navigate(search: str | None, tab: str | None, source: str | None) -> tuple[str, str, str]:
        return go(library, pages, ctx.triggered_id, search=search, tab=tab, source=source)

    app.callback(
        Output(ids.PAGE, "children"),
        Output(ids.BUILT, "data"),
        Input(ids.TABS, "value"),
        Input(ids.PICKER, "value"),
        State(ids.BUILT, "data"),
        prevent_initial_call=True,
    )(partial(show.page, panels, library))
    app.callback(
        Output(ids.tab(ALL), "disabled"),
        Output(ids.OVERVIEW, "style"),
        Input(ids.PICKER, "value"),
        State(ids.tab(ALL), "id"),
        prevent_initial_call=True,
    )(partial(show.doors, pages, library))


def _source(app: Dash, library: Library) -> None:
    app.callback(
        Output(ids.SHOWN, "data"),
        Output(ids.version(ALL), "data"),
        Input(ids.CLOCK, "n_intervals"),
        Input(ids.PICKER, "value"),
        State(ids.SHOWN, "data"),
        State(ids.version(ALL), "data"),
    )(partial(show.poll, library))
    app.callback(Output(ids.HEADER, "children"), Input(ids.SHOWN, "data"))(partial(show.header_of, library))
    app.callback(
        Output(ids.card(MATCH), "children"),
        Input(ids.version(MATCH), "data"),
        State(ids.card(MATCH), "id"),
    )(partial(show.card, library))


def _pictures(app: Dash, library: Library, panels: _Modules) -> None:
    for name, panel in panels.items():
        figure = Output(ids.panel(name), "figure")
        if panel.KIND == "run":
            app.callback(figure, Input(ids.SHOWN, "data"), State(ids.RANGE, "data"))(partial(show.draw, panel, library))
        else:
            app.callback(figure, *_LOOKED_AT)(partial(show.draw_trace, panel, library))


def _tables(app: Dash, library: Library, pages: _Modules) -> None:
    for name, page in pages.items():
        tables = Output(ids.tables(name), "children")
        if "trace" in page.KINDS:
            app.callback(tables, *_LOOKED_AT)(partial(show.trace_tables, page, library))
        else:
            app.callback(tables, Input(ids.SHOWN, "data"))(partial(show.tables_of, page, library))


def _traces(app: Dash, library: Library) -> None:
    app.callback(
        Output(ids.TRACES, "data"),
        Input(ids.SHOWN, "data"),
        State(ids.TRACES, "data"),
    )(partial(show.traces, library))
    app.callback(Output(ids.TRACE_LIST, "children"), Input(ids.TRACES, "data"))(show.trace_list)
    app.callback(
        Output(ids.trace_row(MATCH), "children"),
        Input(ids.trace_row(MATCH), "id"),
        State(ids.SHOWN, "data"),
    )(partial(show.trace_row, library))

    @app.callback(
        Output(ids.TRACE, "data"),
        Output(ids.TRACE, "value"),
        Input(ids.TRACES, "data"),
        Input(ids.trace_button(ALL), "n_clicks_timestamp"),
        State(ids.trace_button(ALL), "id"),
        State(ids.TRACE, "value"),
    )
    def choose(
        found: dict[str, Any] | None, clicks: list[int | None], buttons: list[dict[str, str]], now: str | None
    ) -> tuple[list[str], str | None]:
        return show.trace_choice(library, found, clicks, buttons, now, clicked=ids.is_click(ctx.triggered))


def _in_the_browser(app: Dash) -> None:
    """What needs no server."""
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("inferometer", "select"),
        Output(ids.card(ALL), "className"),
        Input(ids.PICKER, "value"),
        State(ids.card(ALL), "id"),
    )
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("inferometer", "share"),
        Output(ids.RANGE, "data"),
        Input(ids.panel(ALL), "relayoutData"),
        State(ids.RANGE, "data"),
    )
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("inferometer", "follow"),
        Input(ids.RANGE, "data"),
    )
