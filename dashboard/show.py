"""What the callbacks answer: plain functions of the library and of what the page says, tested without a browser."""

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

import plotly.graph_objects as go
from dash import html, no_update
from dash.exceptions import PreventUpdate

from analyzer import theme
from analyzer.bottlenecks import bottleneck
from analyzer.formatting import duration
from analyzer.wording import plain
from collector.errors import UserError
from dashboard import cards, ids
from dashboard.components import badge, bar, notice, tables
from dashboard.data import Library, Shown
from dashboard.header import header
from dashboard.layout import page_layout

#: What the page holds in ``ids.SHOWN``.
State: TypeAlias = Mapping[str, str]
_Answer = TypeVar("_Answer")


def poll(
    library: Library, _tick: int | None, source: str | None, state: State | None, versions: Sequence[str | None]
) -> tuple[Any, list[Any]]:
    """What is new since the page last asked: of the source that is looked at, and of each card."""
    found = [library.version(entry.id) for entry in library.entries]
    changed = [no_update if old == new else new for old, new in zip(versions, found, strict=True)]
    if source is None:
        return no_update, changed
    entry = library.entry(source)
    now = {"source": entry.id, "version": library.version(entry.id)}
    return (no_update if now == state else now), changed


def draw(panel: ModuleType, library: Library, state: State | None, span: Sequence[str] | None) -> go.Figure:
    """A panel of the run that is looked at, over the part of the time axis that all panels show."""
    source = _looked_at(state)
    figure = _read(lambda: library.shown(source), lambda shown: panel.figure(shown.view), theme.nothing)
    if span and figure.layout.xaxis.type == "date":
        figure.update_xaxes(range=span)
    return figure


def draw_trace(panel: ModuleType, library: Library, trace: str | None, state: State | None) -> go.Figure:
    """A panel of the trace that is looked at."""
    source = _looked_at(state)
    if trace is None:
        raise PreventUpdate
    return _read(lambda: library.trace(source, trace), lambda shown: panel.figure(shown.view), theme.nothing)


def card(library: Library, version: str | None, place: Mapping[str, str]) -> html.Article:
    """A source's card."""
    if version is None:
        raise PreventUpdate
    entry = library.entry(place["name"])
    return _read(
        lambda: library.shown(entry.id),
        lambda shown: cards.card(entry, shown),
        lambda reason: cards.unreadable(entry, reason),
    )


def header_of(library: Library, state: State | None) -> list[Any]:
    """The first line."""
    source = _looked_at(state)
    return _read(lambda: library.shown(source), header, lambda _: [])


def tables_of(page: ModuleType, library: Library, state: State | None) -> list[Any]:
    """The tables of a page."""
    source = _looked_at(state)
    return _read(lambda: library.shown(source), lambda shown: tables(page.tables(shown.view)), _reason)


def trace_tables(page: ModuleType, library: Library, trace: str | None, state: State | None) -> list[Any]:
    """The tables of the trace that is looked at."""
    source = _looked_at(state)
    if trace is None:
        raise PreventUpdate
    return _read(lambda: library.trace(source, trace), lambda shown: tables(page.tables(shown.view)), _reason)


def traces(library: Library, state: State | None, known: Mapping[str, Any] | None) -> Any:  # noqa: ANN401
    """The names of the traces of a source, and whose they are; no update where the page knows them."""
    source = _looked_at(state)
    found = {"source": source, "names": _read(lambda: library.shown(source), _names, lambda _: [])}
    return no_update if found == known else found


def _names(shown: Shown) -> list[str]:
    source = shown.view.analysis.source
    return list(source.traces) if source.kind == "run" else [source.name]


def trace_list(found: Mapping[str, Any] | None) -> Any:  # noqa: ANN401 - components
    """A line a trace, each waiting for its own analysis."""
    if found is None:
        raise PreventUpdate
    if not found["names"]:
        return html.P("No trace was recorded with this run.", className="how")
    waiting = [html.Span("analysing …", className="faint")]
    return [
        html.Div([html.Span(name), *waiting], id=ids.trace_row(name), className="trace-row") for name in found["names"]
    ]


def trace_choice(
    library: Library,
    found: Mapping[str, Any] | None,
    clicks: Sequence[int | None],
    buttons: Sequence[Mapping[str, str]],
    now: str | None,
    *,
    clicked: bool,
) -> tuple[list[str], str | None]:
    """The traces that can be chosen, and the one that is: as just clicked, else as before, else the first that tells.

    A list that is still growing asks again with every line of it, so a click that came meanwhile counts, too.
    """
    if found is None:
        raise PreventUpdate
    names = found["names"]
    last = max(zip(clicks, buttons, strict=True), key=lambda pair: pair[0] or 0, default=(None, {}))
    asked = last[1].get("name") if last[0] else None
    wanted = (asked, now) if clicked else (now, asked)
    telling = (name for name in names if _tells(library, found["source"], name))
    return names, next((name for name in wanted if name in names), None) or next(telling, next(iter(names), None))


def _tells(library: Library, source: str, name: str) -> bool:
    return _read(
        lambda: library.trace(source, name),
        lambda shown: shown.view.analysis.verdict.abstained is None,
        lambda _: False,
    )


def trace_row(library: Library, row: Mapping[str, str], state: State | None) -> list[Any]:
    """A trace in one line: its name, its verdict, where its time went."""
    source, name = _looked_at(state), row["name"]
    button = html.Button(plain(name, 60), id=ids.trace_button(name), className="link")
    return _read(
        lambda: library.trace(source, name),
        lambda shown: [button, *_trace_words(shown)],
        lambda reason: [button, html.Span(reason, className="faint")],
    )


def _trace_words(shown: Shown) -> list[Any]:
    analysis = shown.view.analysis
    found = analysis.verdict
    known = bottleneck("unknown" if found.abstained else found.bottleneck)
    words = found.abstained or f"{known.title} · confidence {found.confidence:.2f}"
    return [
        html.Span([badge(known), " ", plain(words)]),
        html.Span(duration(analysis.source.duration_s), className="figure"),
        bar(found.shares),
    ]


def page(
    panels: Mapping[str, ModuleType], library: Library, tab: str | None, source: str | None, built: Sequence[str] | None
) -> tuple[Any, Any]:
    """The page of a tab, empty, and a note of what was built; no update where it already stands there."""
    if tab is None or source is None:
        raise PreventUpdate
    wanted = [tab, library.entry(source).kind]
    return (no_update, no_update) if wanted == built else (page_layout(panels, tab), wanted)


def doors(
    pages: Mapping[str, ModuleType], library: Library, source: str | None, tabs: Sequence[Mapping[str, str]]
) -> tuple[list[bool], dict[str, str]]:
    """Which tabs are closed to a kind of source, and whether it has a time axis to lay the verdict over."""
    kind = library.entry(source).kind
    return [kind not in pages[tab["name"]].KINDS for tab in tabs], {} if kind == "run" else {"display": "none"}


def _looked_at(state: State | None) -> str:
    if state is None:
        raise PreventUpdate
    return state["source"]


def _read(read: Callable[[], Shown], then: Callable[[Shown], _Answer], otherwise: Callable[[str], _Answer]) -> _Answer:
    """An answer from a source, or the one that says in a sentence why there is none."""
    try:
        return then(read())
    except UserError as error:
        return otherwise(str(error))


def _reason(reason: str) -> list[Any]:
    return [notice("Nothing to show", reason)]
